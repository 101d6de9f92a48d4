from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from dlcore import nn


def data(seed, shape=(6, 5, 4, 3)):
    scale = np.array([0.1, 1.0, 5.0])
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(scale, scale, shape), jnp.float32)


@pytest.mark.parametrize("shape", [(6, 5, 4, 3), (8, 3), (4, 5, 3)])
@pytest.mark.parametrize("settings", [{}, {"momentum": 0.6, "epsilon": 0.1}])
def test_equals_flax_in_training_and_evaluation(shape, settings, standard_promotion):
    settings = {"momentum": 0.9, "epsilon": 1e-5} | settings
    layer = nn.batch_norm(3, **settings)
    params, state = layer.init(jax.random.key(0))
    params = {"scale": jnp.array([1.0, -2.0, 0.5]), "offset": jnp.array([0.0, 1.0, 2.0])}
    theirs = {
        "params": {"scale": params["scale"], "bias": params["offset"]},
        "batch_stats": dict(state),
    }
    training = linen.BatchNorm(use_running_average=False, **settings)
    for step in range(3):
        x = data(step, shape)
        y, state = layer.apply(params, state, x, train=True)
        expected, updates = training.apply(theirs, x, mutable=["batch_stats"])
        theirs |= updates
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
        for name in ("mean", "var"):
            np.testing.assert_allclose(
                state[name], theirs["batch_stats"][name], rtol=1e-4, atol=1e-6
            )
    y, same = layer.apply(params, state, x)
    assert same is state
    expected = linen.BatchNorm(use_running_average=True, **settings).apply(theirs, x)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_differs_from_torch_as_the_docstring_says():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x, n = data(0), 6 * 5 * 4
    layer, reference = nn.batch_norm(3), torch.nn.BatchNorm2d(3, momentum=0.1)
    params, state = layer.init(jax.random.key(0))
    y, state = layer.apply(params, state, x, train=True)
    expected = reference(torch.tensor(np.transpose(x, (0, 3, 1, 2))))
    np.testing.assert_allclose(
        y, np.transpose(expected.detach().numpy(), (0, 2, 3, 1)), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(state["mean"], reference.running_mean.numpy(), rtol=1e-5)
    batch_var = (state["var"] - 0.9) / 0.1
    np.testing.assert_allclose(
        0.9 + 0.1 * batch_var * n / (n - 1), reference.running_var.numpy(), rtol=1e-5
    )


def test_one_value_a_feature_gives_the_offset():
    layer = nn.batch_norm(3)
    params, state = layer.init(jax.random.key(0))
    params["offset"] = jnp.array([1.0, 2.0, 3.0])
    x = jnp.array([[5.0, 1e4, -7.0]])
    y, state = layer.apply(params, state, x, train=True)
    np.testing.assert_array_equal(y[0], params["offset"])
    np.testing.assert_allclose(state["mean"], 0.1 * x[0], rtol=1e-6)
    np.testing.assert_allclose(state["var"], 0.9, rtol=1e-6)


def test_state_is_float32_and_right_for_bfloat16():
    layer = nn.batch_norm(3)
    params, state = layer.init(jax.random.key(0))
    x = data(1, (512, 3)).astype(jnp.bfloat16)
    y, state = layer.apply(params, state, x, train=True)
    assert (y.dtype, state["mean"].dtype, state["var"].dtype) == (
        jnp.bfloat16,
        jnp.float32,
        jnp.float32,
    )
    wide = np.asarray(x, np.float64)
    np.testing.assert_allclose(state["mean"], 0.1 * wide.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state["var"], 0.9 + 0.1 * wide.var(0), rtol=1e-4)


def test_buffers_are_apart_so_that_they_can_be_donated():
    params, state = nn.batch_norm(3).init(jax.random.key(0))
    step = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf + 1, tree), donate_argnums=0)
    moved = step((params, state))
    assert jax.tree.leaves(moved)[0].shape == (3,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": 0}, "batch_norm needs features ≥ 1"),
        ({"features": 3, "momentum": 1.1}, "momentum is 1.1"),
        ({"features": 3, "epsilon": 0}, "epsilon is 0"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        nn.batch_norm(**arguments)


def test_refuses_another_input():
    layer = nn.batch_norm(3)
    with pytest.raises(ValueError, match=r"batch_norm expected \[..., 3\], got float32\[2, 4\]"):
        layer.apply(*layer.init(jax.random.key(0)), jnp.ones((2, 4)))


def test_standardize():
    x = data(2)
    mean, std = np.asarray(x).mean((0, 1, 2)), np.asarray(x).std((0, 1, 2))
    layer = nn.standardize(mean, std)
    y, state = layer.apply((), (), x)
    np.testing.assert_allclose(np.mean(y, (0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(y, (0, 1, 2)), 1, rtol=1e-5)
    assert layer.init(jax.random.key(0)) == ((), state) == ((), ())
    assert all(isinstance(value, float) for value in layer.info.config["mean"])
    np.testing.assert_allclose(
        nn.standardize(0.5, 2.0).apply((), (), x)[0], (np.asarray(x) - 0.5) / 2, rtol=1e-6
    )


def test_standardize_refuses():
    with pytest.raises(ValueError, match="std > 0 is wanted"):
        nn.standardize(0.0, (1.0, 0.0))
    with pytest.raises(ValueError, match=r"mean has shape \(1, 2\)"):
        nn.standardize([[1.0, 2.0]], 1.0)
    with pytest.raises(ValueError, match=r"mean=\(1.0, 2.0\) does not fit float32\[6, 5, 4, 3\]"):
        nn.standardize((1.0, 2.0), 1.0).apply((), (), data(0))
