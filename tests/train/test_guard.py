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


def test_a_gradient_that_is_not_finite_under_a_finite_loss_is_caught_one_step_later(fit, blobs):
    def objective(params, state, batch, *, key=None, train=False):
        # √ has an infinite slope at 0: a finite loss with a gradient that is not.
        loss = jnp.sqrt(jnp.sum(params["w"] ** 2)) + jnp.mean(batch["x"])
        return loss, (state, {})

    holder = nn.layer.make("w", lambda key: ({"w": jnp.zeros(2)}, ()), None)
    state = train.train_state(holder, optim.sgd(0.1))
    step = train.make_step(objective, optim.sgd(0.1))
    error = stop(fit(step, state, blobs(96), epochs=1, batch_size=16))
    assert (error.step, error.path) == (1, "params/w")


def test_a_gradient_that_spoils_the_last_update_is_caught_too(fit, blobs):
    def objective(params, state, batch, *, key=None, train=False):
        return jnp.sqrt(jnp.sum(params["w"] ** 2)), (state, {})

    holder = nn.layer.make("w", lambda key: ({"w": jnp.zeros(2)}, ()), None)
    state = train.train_state(holder, optim.sgd(0.1))
    step = train.make_step(objective, optim.sgd(0.1))
    error = stop(fit(step, state, blobs(96), epochs=1, batch_size=96))
    assert error.step == 0
    assert error.path.endswith("w")


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
