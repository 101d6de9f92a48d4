from __future__ import annotations

import jax
import numpy as np
import pytest

from dlcore import nn

X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)


def test_layer_scale_is_the_product_with_a_diagonal_matrix():
    scale = np.float32([0.5, -1.0, 2.0, 0.0])

    @jax.jit
    def value_and_gradients(params, x):
        y, back = jax.vjp(lambda params, x: nn.layer_scale(4).apply(params, (), x)[0], params, x)
        return y, *back(y)

    y, by_params, by_x = value_and_gradients({"scale": scale}, X)
    np.testing.assert_allclose(y, X @ np.diag(scale), rtol=1e-6)
    np.testing.assert_allclose(by_params["scale"], np.sum(X * y, axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(by_x, np.asarray(y) @ np.diag(scale), rtol=1e-6)


def test_layer_scale_begins_at_its_initial_value():
    params, state = nn.layer_scale(4).init(jax.random.key(0))
    np.testing.assert_array_equal(params["scale"], np.full(4, 1e-6, np.float32))
    assert state == ()
    block = nn.residual(nn.serial(nn.linear(4, 4), nn.layer_scale(4, 0.0)))
    np.testing.assert_array_equal(block.apply(*block.init(jax.random.key(1)), X)[0], X)


def test_layer_scale_refuses():
    with pytest.raises(ValueError, match="layer_scale needs features ≥ 1"):
        nn.layer_scale(0)
    layer = nn.layer_scale(3)
    with pytest.raises(
        ValueError, match=r"layer_scale expected \[..., 3\], got float32\[2, 3, 4\]"
    ):
        layer.apply(*layer.init(jax.random.key(0)), X)
