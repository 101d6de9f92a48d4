"""What a network remembers, from batch to batch: order, carry, begins."""

from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import data, device, nn, optim, train
from dlcore.data import batching

STREAMS, WINDOWS, T = 4, 6, 5
N = STREAMS * WINDOWS


def examples():
    """Windows of four streams one after another, each of which starts from its own sum."""
    x = np.random.default_rng(0).normal(size=(N, T, 3)).astype(np.float32)
    y = x.sum(-1).reshape(STREAMS, -1).cumsum(1).reshape(N, T, 1).astype(np.float32)
    return {"x": x, "y": y}


@functools.cache
def problem(batch_norm=True):
    middle = nn.batch_norm(8) if batch_norm else nn.linear(8, 8)
    layer = nn.serial(
        nn.rnn(3, 8), middle, nn.repeat(nn.residual(nn.rnn(8, 8)), 2), nn.linear(8, 1)
    )
    optimizer = optim.adam(0.01)
    return layer, optimizer, train.make_step(train.regression(layer), optimizer)


def start(rows=STREAMS, **how):
    layer, optimizer, step = problem(**how)
    return step, train.train_state(layer, optimizer, carry=nn.memory(layer, rows))


def end(records):
    *_, last = records
    return last.state


def streamed(step, state, batch, **how):
    how = {"epochs": 3, "batch_size": STREAMS, "order": data.streams} | how
    return end(train.fit(step, state, batch, **how))


def by_hand(batch, epochs=3):
    """The plain form: a Python loop over windows, and over examples that begin or go on."""
    step, state = start()
    update = jax.jit(step)
    for _ in range(epochs):
        for k in range(WINDOWS):
            rows = np.arange(STREAMS) * WINDOWS + k
            own = {name: leaf[rows] for name, leaf in batch.items()}
            begins = own.get("begins", np.zeros(STREAMS, bool)) | (k == 0)
            state, _ = update(state, {**own, "begins": begins})
    return state


@functools.cache
def whole():
    """The end of the run that several tests repeat otherwise."""
    return streamed(*start(), examples())


def assert_same_bits(one, other):
    chex.assert_trees_all_equal_structs(one, other)
    chex.assert_trees_all_equal(*(jax.tree.map(np.asarray, tree) for tree in (one, other)))


# -------------------------------------------------------------------------------------- the order


def test_streams_are_windows_that_follow_each_other():
    rows = data.streams(24, 4, seed=3, epoch=7)
    assert rows.dtype == np.int32
    np.testing.assert_array_equal(rows[:, 0], np.arange(6))
    np.testing.assert_array_equal(np.diff(rows, axis=0), 1)
    assert sorted(rows.ravel()) == list(range(24))
    assert data.streams(26, 4, 0, 0).shape == (6, 4)  # the rest is left out


@pytest.mark.parametrize(
    ("order", "gave"),
    [
        (lambda n, b, s, e: np.zeros((2, b), int), r"int64\[2, 4\], but indices \[6, 4\]"),
        (lambda n, b, s, e: np.full((6, b), n), "in \\[0, 24\\)"),
        (lambda n, b, s, e: np.zeros((6, b)), "gave float64"),
        (lambda n, b, s, e: -data.streams(n, b, s, e), "in \\[0, 24\\)"),
    ],
)
def test_an_order_gives_every_batch_of_an_epoch(order, gave):
    step, state = start()
    with pytest.raises(ValueError, match=gave):
        streamed(step, state, examples(), order=order)


@pytest.mark.slow
def test_an_order_of_ones_own_is_followed():
    seen = []

    class Source:
        def __len__(self):
            return N

        def gather(self, rows):
            seen.append(np.asarray(rows))
            return {name: leaf[rows] for name, leaf in examples().items()}

    def backwards(n, batch_size, seed, epoch):
        return batching.batches(n, batch_size, seed, epoch)[::-1]

    layer, optimizer, step = problem()
    state = train.train_state(layer, optimizer)
    end(train.fit(step, state, data.HostData(Source()), epochs=2, batch_size=4, order=backwards))
    taken = [rows for rows in seen if len(rows) == 4]
    expected = [*backwards(N, 4, 0, 0), *backwards(N, 4, 0, 1)]
    np.testing.assert_array_equal(taken, expected)


# -------------------------------------------------------------------------------------- training


def test_the_loop_is_the_plain_one():
    plain = by_hand(examples())
    chex.assert_trees_all_close(whole(), plain, rtol=1e-4, atol=1e-5)
    assert any(leaf.any() for leaf in jax.tree.leaves(whole().carry))


@pytest.mark.parametrize("at_once", [1, 4, 99])
def test_every_plan_ends_in_the_same_bits(at_once, monkeypatch):
    monkeypatch.setattr(device, "steps_in_one_call", lambda *_: at_once)
    step, state = start()
    reference = streamed(step, state, examples())
    host = streamed(step, state, data.HostData(examples()))
    chex.assert_trees_all_close(reference, host, rtol=1e-4, atol=1e-5)
    parts = streamed(step, state, examples(), every=2, validation=examples())
    parts = parts._replace(validation=state.validation, validations=state.validations)
    assert_same_bits(parts, reference)


@pytest.mark.parametrize("source", [lambda batch: batch, data.HostData])
def test_a_run_left_in_the_middle_goes_on_to_the_same_bits(source):
    step, state = start()
    batch = source(examples())
    reference = streamed(step, state, batch)
    records = train.fit(
        step, state, batch, epochs=3, batch_size=STREAMS, order=data.streams, every=1
    )
    middle = next(record.state for record in records if record.step == 8)
    assert_same_bits(streamed(step, middle, batch), reference)


def test_a_checkpoint_keeps_what_is_remembered(tmp_path):
    step, state = start()
    how = {"batch_size": STREAMS, "order": data.streams, "out": tmp_path, "visible": False}
    train.run(step, state, examples(), epochs=2, **how)
    resumed = train.run(step, state, examples(), epochs=3, resume=True, **how).state
    assert_same_bits(
        resumed, train.run(step, state, examples(), epochs=3, **how | {"out": None}).state
    )
    how["order"] = reversed
    with pytest.raises(ValueError, match="was made with order=streams, this run has reversed"):
        train.run(step, state, examples(), epochs=4, resume=True, **how)


@pytest.mark.slow
def test_the_column_begins_starts_rows_anew():
    batch = {**examples(), "begins": np.arange(N) % 2 == 0}
    chex.assert_trees_all_close(streamed(*start(), batch), by_hand(batch), rtol=1e-4, atol=1e-5)


def test_no_gradient_flows_from_window_to_window():
    step, state = start(batch_norm=False)
    batch = {name: leaf[:STREAMS] for name, leaf in examples().items()}
    carry = jax.tree.map(lambda leaf: leaf + 0.3, state.carry)
    layer, _, _ = problem(batch_norm=False)

    @jax.jit
    def both(state):
        _, gradient = step.gradients(state, batch)

        def loss(params):
            y, _ = layer.apply(params, carry, batch["x"])
            return jnp.mean(jnp.square(y - batch["y"]))

        return gradient, jax.grad(loss)(state.params)

    gradient, expected = both(state._replace(carry=carry))
    chex.assert_trees_all_close(gradient, expected, rtol=1e-3, atol=1e-5)


def test_a_loss_that_is_not_finite_leaves_the_carry():
    batch = examples()
    batch["x"][7] = np.nan
    step, state = start()
    with pytest.raises(train.NonFiniteLossError, match="the batch's x") as error:
        streamed(step, state, batch)
    chex.assert_tree_all_finite(error.value.state.carry)
    assert error.value.step == 1


@pytest.mark.slow
def test_local_sgd_carries_each_row_along():
    layer, _, step = problem(batch_norm=False)
    still = train.make_step(step.objective, optim.sgd(0.0))
    local = train.local_sgd(still, workers=2, period=2)
    state = train.train_state(layer, still.optimizer, carry=nn.memory(layer, 8))
    batch = {name: leaf[:N] for name, leaf in examples().items()}
    ended = streamed(local, state, batch, batch_size=8, epochs=1)
    rows = data.streams(N, 8, 0, 0)
    memory = nn.memory(layer, 8)
    apply = jax.jit(layer.apply)
    for row in rows:
        _, memory = apply(state.params, memory, batch["x"][row])
    chex.assert_trees_all_close(ended.carry, memory, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(ended.params, state.params)


# ------------------------------------------------------------------------------------- evaluation


def test_evaluation_goes_on_from_batch_to_batch():
    layer, _, step = problem()
    state = whole()
    batch = examples()

    def measured(rows):
        how = {"carry": nn.memory(layer, rows), "order": data.streams}
        return train.evaluate(step.objective, state.params, state.state, batch, **how)["loss"]

    x, y = (leaf.reshape(STREAMS, WINDOWS * T, -1) for leaf in (batch["x"], batch["y"]))
    outputs, _ = jax.jit(layer.apply)(state.params, state.state, x)
    np.testing.assert_allclose(measured(STREAMS), np.mean(np.square(outputs - y)), rtol=1e-4)
    alone = train.evaluate(step.objective, state.params, state.state, batch)["loss"]
    each, _ = jax.jit(layer.apply)(state.params, state.state, batch["x"])
    np.testing.assert_allclose(alone, np.mean(np.square(each - batch["y"])), rtol=1e-4)
    assert abs(measured(STREAMS) - alone) > 1e-4
    with pytest.raises(ValueError, match="5 streams leave 4 of the 24 examples out"):
        measured(5)


def test_what_was_remembered_is_refused_where_nothing_goes_on():
    layer, _, step = problem()
    state = whole()
    left = nn.joined(state.state, nn.memory(layer, N))
    batch = examples()
    message = "the state still holds memory \\(rnn1, repeat1/0/body, repeat1/1/body\\)"
    with pytest.raises(ValueError, match=f"evaluate: {message}"):
        train.evaluate(step.objective, state.params, left, batch)
    with pytest.raises(ValueError, match=f"predict: {message}"):
        train.predict(layer, state.params, left, batch)
    with pytest.raises(ValueError, match=f"batch_norm_statistics: {message}"):
        train.batch_norm_statistics(layer, state.params, left, batch)
    with pytest.raises(ValueError, match="state do not fit the layer"):
        train.train_state(layer, optim.sgd(0.1), state=left)


# --------------------------------------------------------------------------------------- refusals


def test_a_carry_wants_batches_that_follow_each_other():
    step, state = start()
    with pytest.raises(ValueError, match=r"shuffled batches do not follow .* order=data\.streams"):
        end(train.fit(step, state, examples(), epochs=1, batch_size=STREAMS))
    layer, _, _ = problem()
    carry = nn.memory(layer, 4)
    with pytest.raises(ValueError, match=r"evaluate\(…, carry=carry, order=data\.streams\)"):
        train.evaluate(step.objective, state.params, state.state, examples(), carry=carry)


def test_a_carry_is_of_this_network_and_batch():
    step, state = start()
    with pytest.raises(ValueError, match="carry is of 4 sequences, but a batch has 6"):
        streamed(step, state, examples(), batch_size=6)
    layer, optimizer, _ = problem()
    with pytest.raises(
        ValueError, match="carry does not fit the layer: repeat1/0/body/memory/h sh"
    ):
        train.train_state(layer, optimizer, carry={"rnn7": {"memory": {"h": jnp.zeros((4, 8))}}})


def test_begins_wants_a_carry():
    layer, optimizer, step = problem()
    batch = {**examples(), "begins": np.zeros(N, bool)}
    with pytest.raises(ValueError, match="the train state has no carry to go on from"):
        streamed(step, train.train_state(layer, optimizer), batch)


def test_alternation_has_no_streams():
    step, state = start()
    both = train.alternate({"a": step, "b": step})
    with pytest.raises(ValueError, match="'a' has a carry, but sees only the batches of its own"):
        streamed(both, {"a": state, "b": state._replace(seed=jnp.uint32(1))}, examples())
