from __future__ import annotations

import functools

import jax
import numpy as np
import optax
import pytest

from dlcore import functional as F
from dlcore import nn, optim, train
from dlcore.data import HostData

RNG = np.random.default_rng(0)
IMAGES = {
    "x": RNG.normal(2.0, 3.0, (50, 5, 5, 2)).astype(np.float32),
    "y": RNG.integers(0, 3, 50).astype(np.int32),
}


@functools.cache
def network():
    return nn.serial(
        nn.conv(2, 4, 3),
        nn.batch_norm(4),
        F.relu,
        nn.flatten,
        nn.linear(36, 8),
        nn.batch_norm(8, momentum=1.0),
        nn.linear(8, 3),
    )


@functools.partial(jax.jit, static_argnums=0)
def given(layer, params, state, x):
    """What each batch norm is given in training, by path."""
    _, seen = nn.observed(layer.apply, params, state, x, train=True)
    return {path: call.x for path, call in seen.items() if call.layer.info.kind == "batch_norm"}


def by_hand(layer, params, state, x, batch_size):
    """Mean and variance of what each batch norm is given, of all batches in one array."""
    inputs = {}
    for first in range(0, len(x), batch_size):
        for path, one in given(layer, params, state, x[first : first + batch_size]).items():
            flat = np.asarray(one, np.float64).reshape(-1, one.shape[-1])
            inputs.setdefault(path.rstrip("'"), []).append(flat)
    together = {path: np.concatenate(parts) for path, parts in inputs.items()}
    return {path: {"mean": one.mean(0), "var": one.var(0)} for path, one in together.items()}


@pytest.mark.parametrize("batch_size", [10, 50, 1000])
@pytest.mark.parametrize("where", [dict, HostData])
def test_statistics_are_the_moments_over_the_data(batch_size, where):
    layer = network()
    params, state = layer.init(jax.random.key(0))
    fresh = train.batch_norm_statistics(layer, params, state, where(IMAGES), batch_size=batch_size)
    expected = by_hand(layer, params, state, IMAGES["x"], batch_size)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), fresh, expected)
    jax.tree.map(lambda a, b: a.dtype == b.dtype or pytest.fail("dtype"), fresh, state)


def test_in_one_batch_evaluation_is_training():
    """What normalises in evaluation is then what normalised the whole data in training."""
    layer = network()
    params, state = layer.init(jax.random.key(0))
    fresh = train.batch_norm_statistics(layer, params, state, IMAGES)
    trained, _ = jax.jit(functools.partial(layer.apply, train=True))(params, state, IMAGES["x"])
    evaluated, _ = jax.jit(layer.apply)(params, fresh, IMAGES["x"])
    np.testing.assert_allclose(evaluated, trained, rtol=1e-3, atol=1e-4)


def test_parts_of_unequal_size_count_by_their_examples():
    layer = nn.serial(nn.batch_norm(2))
    params, state = layer.init(jax.random.key(0))
    x = np.concatenate([RNG.normal(-3, 1, (16, 2)), RNG.normal(9, 2, (15, 2))]).astype(np.float32)
    fresh = train.batch_norm_statistics(layer, params, state, {"x": x}, batch_size=16)
    np.testing.assert_allclose(fresh["batch_norm1"]["mean"], x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(fresh["batch_norm1"]["var"], x.var(0), rtol=1e-5)


def test_what_is_frozen_stays_and_calls_of_a_shared_layer_count_together():
    def forward(parts, x, *, key, train):
        return parts.held(parts.shared(parts.shared(x) + 5.0))

    layer = nn.wire(forward, shared=nn.batch_norm(2), held=nn.batch_norm(2))
    layer = nn.freeze(layer, "held/**")
    params, state = layer.init(jax.random.key(0))
    fresh = train.batch_norm_statistics(layer, params, state, IMAGES, batch_size=50)
    expected = by_hand(layer, params, state, IMAGES["x"], 50)
    np.testing.assert_allclose(fresh["shared"]["mean"], expected["shared"]["mean"], rtol=1e-4)
    np.testing.assert_allclose(fresh["shared"]["var"], expected["shared"]["var"], rtol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, fresh["held"], state["held"])


def test_averaged_weights_need_it(blobs, problem, network):
    """Far from the weights that the running averages followed, the loss falls with fresh ones."""
    layer = network()
    optimizer = optax.chain(optim.momentum(0.2), optim.swa(24, 6))
    step, start = problem(layer=layer, optimizer=optimizer)
    *_, record = train.fit(step, start, blobs(), epochs=8, batch_size=8)
    end = record.state
    params = optim.averaged(end.opt_state, end.params)
    fresh = train.batch_norm_statistics(layer, params, end.state, blobs(), seed=3)
    losses = [
        train.evaluate(step.objective, params, state, blobs())["loss"]
        for state in (start.state, fresh)
    ]
    assert losses[1] < losses[0]
    again = train.batch_norm_statistics(layer, params, end.state, blobs(), seed=3)
    jax.tree.map(np.testing.assert_array_equal, fresh, again)


def test_refuses_no_examples():
    layer = network()
    with pytest.raises(ValueError, match="there are no examples"):
        train.batch_norm_statistics(layer, *layer.init(jax.random.key(0)), {"x": IMAGES["x"][:0]})
