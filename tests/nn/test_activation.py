from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn

X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


@pytest.mark.parametrize(("features", "shape"), [(None, ()), (4, (4,)), ([4], (4,))])
def test_prelu(features, shape):
    layer = nn.prelu(features, initial=0.1)
    params, state = layer.init(jax.random.key(0))
    assert params["alpha"].shape == shape
    np.testing.assert_allclose(params["alpha"], 0.1)
    alpha = np.asarray(np.random.default_rng(1).normal(size=shape), np.float32)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient(alpha):
        y, _ = layer.apply({"alpha": alpha}, state, X)
        return jnp.sum(y), y

    by_alpha, y = gradient(alpha)
    np.testing.assert_allclose(y, np.where(X > 0, X, alpha * X), rtol=1e-6)
    axes = 0 if features else None
    np.testing.assert_allclose(by_alpha, np.minimum(X, 0).sum(axes), rtol=1e-5)


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
    plain, gaussian = (
        jax.jit(layer.apply)(params, state, X)[0]
        for layer in (nn.rbf(4, 3), nn.rbf(4, 3, form="gaussian", beta=0.3))
    )
    np.testing.assert_allclose(plain, distance, rtol=1e-5)
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


def test_prelu_of_each_element():
    images = np.random.default_rng(3).normal(size=(2, 3, 5, 4)).astype(np.float32)
    layer = nn.prelu((3, 5, 4))
    params, _ = layer.init(jax.random.key(0))
    assert params["alpha"].shape == images.shape[1:]
    alpha = np.random.default_rng(4).normal(size=(3, 5, 4)).astype(np.float32)
    y, _ = jax.jit(layer.apply)({"alpha": alpha}, (), images)
    np.testing.assert_allclose(y, np.where(images > 0, images, alpha * images), rtol=1e-6)
    with pytest.raises(ValueError, match=r"one an element \(5, 3, 4\)"):
        layer.apply(params, (), np.swapaxes(images, 1, 2))


@pytest.mark.parametrize("features", [0, 1.5, (3, 0), (3, True)])
def test_prelu_refuses(features):
    with pytest.raises(ValueError, match="prelu needs features ≥ 1"):
        nn.prelu(features)


def test_poolings_and_flatten_are_layers():
    image = np.random.default_rng(2).normal(size=(2, 4, 6, 3)).astype(np.float32)
    layer = nn.serial(nn.max_pool(2), nn.avg_pool((2, 3)), nn.flatten)
    y, _ = jax.jit(layer.apply)((), (), image)
    blocks = image.reshape(2, 2, 2, 3, 2, 3).max((2, 4))
    np.testing.assert_allclose(y, blocks.mean((1, 2)), rtol=1e-5, atol=1e-6)
    empty, _ = nn.serial(nn.flatten).apply((), (), image[:0])
    assert empty.shape == (0, 72)
    steps = nn.as_layer(functools.partial(nn.flatten, axis=2))
    np.testing.assert_array_equal(steps.apply((), (), image)[0], image.reshape(2, 4, 18))
    assert repr(steps) == "flatten(axis=2)"
    with pytest.raises(ValueError, match=r"unflatten expected \[B, 6\], got float32\[2, 4\]"):
        nn.unflatten((2, 3)).apply((), (), np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match=r"flatten: axis is 5, but x \(2, 4, 6, 3\) has 4 axes"):
        nn.flatten(image, 5)
    for pool in (nn.max_pool, nn.avg_pool):
        with pytest.raises(ValueError, match="window is 0, but a positive integer"):
            pool(0)
        with pytest.raises(ValueError, match="stride is 0, but a positive integer"):
            pool(2, stride=0)
