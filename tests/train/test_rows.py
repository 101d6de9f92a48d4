from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import data, keys, models, nn, optim, train

WORDS, FEATURES, N = 6, 3, 4


def objective(batch, *, key):
    """Σ (xᵢ·y + noise − t)², whose rows are read twice, and y's row is the same for all."""
    rows = {"input": batch["x"], "output": jnp.zeros((), jnp.int32)}
    noise = jax.random.normal(key, batch["t"].shape)

    def loss(read):
        residual = jnp.einsum("bkd,d->bk", read["input"], read["output"]) + noise - batch["t"]
        return jnp.sum(residual**2), jnp.asarray(float(residual.size))

    return rows, loss


def batch():
    rng = np.random.default_rng(0)
    x = np.array([[0, 0], [1, 3], [3, 3], [1, 0]], np.int32)  # never 2, 4 or 5
    return {"x": x, "t": rng.normal(size=x.shape).astype(np.float32)}


def begin(rate=0.1, layer=None):
    layer = layer or models.word2vec(WORDS, FEATURES)
    state = train.train_state(layer, optax.identity(), seed=7)
    output = np.random.default_rng(1).normal(size=(WORDS, FEATURES)).astype(np.float32)
    return train.row_step(objective, rate), state._replace(
        params={**state.params, "output": jnp.asarray(output)}
    )


def dense(params, batch, key):
    rows, loss = objective(batch, key=key)
    return loss({name: params[name][rows[name]] for name in rows})[0]


def test_it_is_descent_on_whole_tables():
    """A row that is read twice moves by the sum, one that is not read stays to the bit."""
    step, state = begin()
    new, measured = jax.jit(step)(state, batch())
    key = jax.random.fold_in(keys.stream(7, "step"), 0)
    loss, grads = jax.jit(jax.value_and_grad(dense))(state.params, batch(), key)
    for name in grads:
        expected = np.asarray(state.params[name]) - 0.1 * np.asarray(grads[name])
        np.testing.assert_allclose(new.params[name], expected, rtol=1e-5, atol=1e-6)
    same = [2, 4, 5]
    np.testing.assert_array_equal(new.params["input"][same, :], state.params["input"][same, :])
    np.testing.assert_array_equal(new.params["output"][1:], state.params["output"][1:])
    np.testing.assert_allclose(measured["loss"].value(), loss / 8, rtol=1e-6)
    assert new.step == 1


def test_the_rate_follows_the_schedule():
    step, state = begin(optim.linear(0.2, 0.0, 4))
    later = state._replace(step=jnp.asarray(4, jnp.int32))
    new, _ = jax.jit(step)(later, batch())
    np.testing.assert_array_equal(new.params["input"], state.params["input"])
    assert new.step == 5


def test_what_is_frozen_stays():
    layer = nn.freeze(models.word2vec(WORDS, FEATURES), "input")
    step, state = begin(layer=layer)
    new, _ = jax.jit(step)(state, batch())
    np.testing.assert_array_equal(new.params["input"], state.params["input"])
    assert np.abs(new.params["output"] - state.params["output"]).max() > 0


def test_a_loss_that_is_not_finite_leaves_the_tables_and_is_named():
    step, state = begin()
    spoiled = {**batch(), "t": np.full((N, 2), np.inf, np.float32)}
    new, _ = jax.jit(step)(state, spoiled)
    assert new.step == 0
    for name in new.params:
        np.testing.assert_array_equal(new.params[name], state.params[name])
    with pytest.raises(train.NonFiniteLossError, match="the batch's t holds a value that is not"):
        [*train.fit(step, state, spoiled, epochs=1, batch_size=N)]


def test_a_gradient_that_is_not_finite_is_named():
    step, state = begin(1e30)
    with pytest.raises(train.NonFiniteLossError, match="not finite"):
        [*train.fit(step, state, batch(), epochs=3, batch_size=N)]


def test_fit_goes_as_steps_do():
    step, state = begin()
    *_, last = train.fit(step, state, batch(), epochs=3, batch_size=2)
    by_hand = state
    update = jax.jit(step)
    for rows in data.batches(N, 2, 7, 0, epochs=3):
        by_hand, _ = update(by_hand, {name: leaf[rows] for name, leaf in batch().items()})
    for name in by_hand.params:
        np.testing.assert_allclose(
            last.state.params[name], by_hand.params[name], rtol=1e-5, atol=1e-6
        )


def test_nothing_as_large_as_a_table_is_made_in_a_loop_of_steps():
    """The program writes into the tables that it is given."""
    words = 20_000
    learned = models.skip_gram(models.negative_sampling(np.arange(words, 0, -1)), window=2)
    step = train.row_step(learned, 0.1)
    state = jax.eval_shape(
        lambda: train.train_state(models.word2vec(words, FEATURES), optax.identity())
    )

    def steps(state, x):
        return jax.lax.fori_loop(0, 3, lambda k, state: step(state, {"x": x[k]})[0], state)

    x = jax.ShapeDtypeStruct((3, 2, 6), jnp.int32)
    memory = jax.jit(steps, donate_argnums=0).lower(state, x).compile().memory_analysis()
    table = 4 * words * FEATURES
    assert memory.alias_size_in_bytes >= 2 * table
    assert memory.temp_size_in_bytes < table / 10


@pytest.mark.parametrize("rate", [-0.1, float("nan"), "0.1"])
def test_refuses_a_rate(rate):
    with pytest.raises((TypeError, ValueError), match="learning_rate"):
        train.row_step(objective, rate)


def test_rows_beyond_a_table_and_another_optimizer_are_refused():
    """In a compiled program such a row is NaN, and nothing is written."""
    step, state = begin()
    beyond = {**batch(), "x": np.full((4, 2), WORDS, np.int32)}
    with pytest.raises(ValueError, match=rf"rows of input\[0, 0\] is {WORDS}, but the table has 6"):
        step.loss(state, beyond)
    after, measured = jax.jit(step)(state, beyond)
    assert np.isnan(measured["loss"].value())
    np.testing.assert_array_equal(after.params["input"], state.params["input"])
    with_adam = train.train_state(models.word2vec(WORDS, FEATURES), optax.adam(0.1))
    with pytest.raises(ValueError, match=r"train_state\(layer, optax.identity\(\)\)"):
        step(with_adam, batch())
