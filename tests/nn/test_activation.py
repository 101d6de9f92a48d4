from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn

X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


@pytest.mark.parametrize(("features", "shape"), [(None, ()), (4, (4,))])
def test_prelu(features, shape):
    layer = nn.prelu(features, initial=0.1)
    params, state = layer.init(jax.random.key(0))
    assert params["alpha"].shape == shape
    np.testing.assert_allclose(params["alpha"], 0.1)
    params = {"alpha": jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)}
    y, _ = layer.apply(params, state, X)
    np.testing.assert_allclose(y, np.where(X > 0, X, params["alpha"] * X), rtol=1e-6)
    gradient = jax.grad(lambda params: jnp.sum(layer.apply(params, state, X)[0]))(params)["alpha"]
    axes = 0 if features else None
    np.testing.assert_allclose(gradient, np.minimum(X, 0).sum(axes), rtol=1e-5)


def test_prelu_equals_torch(torch):
    params, state = nn.prelu().init(jax.random.key(0))
    np.testing.assert_allclose(
        nn.prelu().apply(params, state, X)[0],
        torch.nn.PReLU()(torch.tensor(X)).detach().numpy(),
        rtol=1e-6,
    )


def test_rbf_in_both_forms():
    params, state = nn.rbf(4, 3).init(jax.random.key(0))
    centers = np.asarray(params["centers"])
    assert centers.shape == (3, 4)
    distance = ((X[:, None] - centers) ** 2).sum(-1)
    np.testing.assert_allclose(nn.rbf(4, 3).apply(params, state, X)[0], distance, rtol=1e-5)
    gaussian, _ = nn.rbf(4, 3, form="gaussian", beta=0.3).apply(params, state, X)
    np.testing.assert_allclose(gaussian, np.exp(-0.3 * distance), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": 0}, "rbf needs units ≥ 1"),
        ({"units": 3, "form": "cubic"}, "form is 'cubic', but must be one of"),
        ({"units": 3, "form": "gaussian", "beta": -1.0}, "beta is -1.0, but beta > 0"),
    ],
)
def test_rbf_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        nn.rbf(4, **arguments)


def test_prelu_refuses():
    with pytest.raises(ValueError, match="prelu needs features ≥ 1"):
        nn.prelu(0)


def test_poolings_and_flatten_are_layers():
    image = jnp.asarray(np.random.default_rng(2).normal(size=(2, 4, 6, 3)), jnp.float32)
    layer = nn.serial(nn.max_pool(2), nn.avg_pool((2, 3)), nn.flatten)
    y, _ = layer.apply((), (), image)
    blocks = np.asarray(image).reshape(2, 2, 2, 3, 2, 3).max((2, 4))
    np.testing.assert_allclose(y, blocks.mean((1, 2)), rtol=1e-5, atol=1e-6)
    empty, _ = nn.serial(nn.flatten).apply((), (), image[:0])
    assert empty.shape == (0, 72)
    for pool in (nn.max_pool, nn.avg_pool):
        with pytest.raises(ValueError, match="window is 0, but a positive integer"):
            pool(0)
        with pytest.raises(ValueError, match="stride is 0, but a positive integer"):
            pool(2, stride=0)
