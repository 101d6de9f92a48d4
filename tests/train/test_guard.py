from __future__ import annotations

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import data as datasets
from dlcore import device, nn, optim, train

LINEAR = nn.linear(4, 3)  # where any layer would do


@pytest.fixture(params=["loop", "calls", "host"])
def fit(request, monkeypatch):
    plans = importlib.import_module("dlcore.train.plans")
    monkeypatch.setattr(plans, "_INDICES", 96)  # a table of batches is an epoch's
    monkeypatch.setattr(
        device, "steps_in_one_call", lambda *_: 99 if request.param == "loop" else 1
    )
    wrap = datasets.HostData if request.param == "host" else dict
    return lambda step, state, data, **options: train.fit(step, state, wrap(data), **options)


def stop(records):
    with pytest.raises(train.NonFiniteLossError) as caught:
        for _ in records:
            pass
    return caught.value


def step_of_row(row, seed=0, n=96, batch_size=16):
    return next(
        i
        for i, rows in enumerate(datasets.batches(n, batch_size, seed, 0))
        if row in np.asarray(rows).tolist()
    )


@pytest.mark.parametrize("every", [None, 1, 4, 100])
def test_a_nan_in_one_input_is_named_with_its_step_and_row(fit, problem, blobs, every):
    data = blobs(96)
    data["x"][61, 2] = np.nan
    step, state = problem()
    error = stop(fit(step, state, data, epochs=3, batch_size=16, every=every))
    assert error.step == step_of_row(61)
    assert error.path == "x"
    assert "rows 61" in str(error)


def test_the_state_before_the_bad_step_is_kept(fit, problem, blobs):
    clean, spoiled = blobs(96), blobs(96)
    spoiled["x"][61, 2] = np.inf
    step, state = problem()
    error = stop(fit(step, state, spoiled, epochs=3, batch_size=16))
    records = fit(step, state, clean, epochs=1, batch_size=16, every=1)
    before = next(record.state for record in records if record.step == error.step)
    for one, other in zip(jax.tree.leaves(before), jax.tree.leaves(error.state), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_run_that_explodes_names_the_first_bad_leaf(fit, blobs):
    layer = nn.linear(4, 1)
    data = blobs(96)
    data["y"] = data["x"][:, :1]
    step = train.make_step(train.regression(layer), optim.sgd(1e6))
    error = stop(
        fit(step, train.train_state(layer, optim.sgd(1e6)), data, epochs=50, batch_size=16)
    )
    assert error.path
    assert f"step {error.step}" in str(error)
    assert "learning rate" in str(error)


def test_a_gradient_that_is_not_finite_under_a_finite_loss_is_caught(fit, blobs):
    def objective(params, state, batch, *, key=None, train=False):
        # √ has an infinite slope at 0: a finite loss with a gradient that is not.
        loss = jnp.sqrt(jnp.sum(params["w"] ** 2)) + jnp.mean(batch["x"])
        return loss, (state, {})

    holder = nn.layer.make("w", lambda key: ({"w": jnp.zeros(2)}, ()), None)
    state = train.train_state(holder, optim.sgd(0.1))
    step = train.make_step(objective, optim.sgd(0.1))
    error = stop(fit(step, state, blobs(96), epochs=1, batch_size=16))
    assert (error.step, error.path) == (0, "gradient/w")
    assert str(error).startswith("the gradient is not finite at step 0: gradient/w")
    np.testing.assert_array_equal(error.state.params["w"], 0)


def test_a_gradient_that_spoils_the_last_update_is_caught_too(fit, blobs):
    def objective(params, state, batch, *, key=None, train=False):
        return jnp.sqrt(jnp.sum(params["w"] ** 2)), (state, {})

    holder = nn.layer.make("w", lambda key: ({"w": jnp.zeros(2)}, ()), None)
    state = train.train_state(holder, optim.sgd(0.1))
    step = train.make_step(objective, optim.sgd(0.1))
    error = stop(fit(step, state, blobs(96), epochs=1, batch_size=96))
    assert (error.step, error.path) == (0, "gradient/w")
    np.testing.assert_array_equal(error.state.params["w"], 0)


@jax.custom_vjp
def spoiled(w, flag):
    """w, whose gradient is not finite where the flag is set."""
    return w


spoiled.defvjp(lambda w, flag: (w, flag), lambda flag, g: (jnp.where(flag, jnp.nan, g), None))


def spoiling(objective):
    """`objective` with a gradient that is not finite where x of a batch has a value above 40."""

    def of_spoiled(params, state, batch, *, key=None, train=False):
        kernel = spoiled(params["kernel"], (batch["x"] > 40).any())
        return objective({**params, "kernel": kernel}, state, batch, key=key, train=train)

    return of_spoiled


def test_the_rows_of_a_gradient_that_is_not_finite_are_named(fit, blobs):
    data = blobs(96)
    data["x"][[61, 5]] = 50.0
    step = train.make_step(spoiling(train.classification(LINEAR)), optim.adam(1e-2))
    state = train.train_state(LINEAR, step.optimizer)
    error = stop(fit(step, state, data, epochs=1, batch_size=96))
    assert (error.step, error.path) == (0, "gradient/kernel")
    assert "(rows 61, 5)" in str(error) or "(rows 5, 61)" in str(error)


@pytest.mark.parametrize("size", [1, 4096])
def test_every_leaf_of_a_gradient_is_looked_at(size):
    def objective(params, state, batch, *, key=None, train=False):
        return jnp.sum(params["a"]) + jnp.sum(spoiled(params["b"], batch["x"][0] > 0)), (state, {})

    def draw(key):
        return {"a": jnp.zeros((size, 2)), "b": jnp.zeros((size, 2))}, ()

    step = train.make_step(objective, optim.sgd(0.1))
    state = train.train_state(nn.make("two", draw, lambda *_: None), step.optimizer)
    update = jax.jit(step)
    assert int(update(state, {"x": jnp.zeros(1)})[0].step) == 1
    stays, _ = update(state, {"x": jnp.ones(1)})
    assert int(stays.step) == 0
    np.testing.assert_array_equal(stays.params["a"], 0)


def test_what_an_update_spoils_itself_is_not_handed_out(fit, blobs, tmp_path):
    data = blobs(96)
    data["y"] = data["x"][:, :1]
    layer, optimizer = nn.linear(4, 1), optim.sgd(3e38)
    step = train.make_step(train.regression(layer), optimizer)
    state = train.train_state(layer, optimizer)
    record = next(fit(step, state, data, epochs=2, batch_size=96, every=1))
    with pytest.raises(train.NonFiniteLossError, match="after the last update, step 0") as error:
        _ = record.state
    assert "kept" not in str(error.value)
    assert not np.isfinite(error.value.state.params["kernel"]).all()
    with pytest.raises(train.NonFiniteLossError):
        train.run(step, state, data, epochs=2, batch_size=96, out=tmp_path, visible=False)
    assert not [*(tmp_path / "checkpoints").glob("step-*")]


def test_a_batch_whose_weights_are_all_0_is_named(fit, problem, blobs):
    data = {**blobs(96), "weight": np.ones(96, np.float32)}
    data["weight"][datasets.batches(96, 16, 0, 0)[2]] = 0
    step, state = problem(layer=LINEAR)
    error = stop(fit(step, state, data, epochs=1, batch_size=16))
    assert (error.step, error.path) == (2, "weight")
    assert "the batch's weights are all 0" in str(error)
    assert "learning rate" not in str(error)


def test_a_step_that_is_a_plain_function_is_stopped_too(fit, problem, blobs):
    step, state = problem(layer=LINEAR)
    spoiled = jax.tree.map(lambda leaf: leaf * jnp.nan, state.params)
    data = blobs(96)
    error = stop(
        fit(lambda s, b: step(s, b), state._replace(params=spoiled), data, epochs=1, batch_size=16)
    )
    assert (error.step, error.path) == (0, "params/bias")


def test_a_label_out_of_range_is_refused_by_the_loss_itself(fit, problem, blobs):
    data = blobs(96)
    data["y"][5] = 3
    step, state = problem(layer=LINEAR)
    with pytest.raises(ValueError, match="3"):
        list(fit(step, state, data, epochs=1, batch_size=16))


def test_reading_the_metrics_of_a_stalled_record_raises_too(fit, problem, blobs):
    data = blobs(96)
    data["x"][:] = np.nan
    step, state = problem()
    record = next(fit(step, state, data, epochs=2, batch_size=16))
    with pytest.raises(train.NonFiniteLossError, match="step 0"):
        _ = record.metrics
