from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from dlcore import functional as F


def arrays(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def test_is_the_equation():
    x, kernel = arrays(0, (2, 5, 6, 3), (2, 3, 3, 2, 3, 4))
    y = jax.jit(functools.partial(F.locally_connected, stride=2))(x, kernel)
    expected = np.zeros((2, 2, 3, 4))
    for i, j in np.ndindex(2, 3):
        patch = np.asarray(x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 2], np.float64)
        expected[:, i, j] = np.tensordot(patch, np.asarray(kernel[i, j], np.float64), 3)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("stride", "padding"), [(1, "SAME"), ((2, 1), 1), (3, ((0, 1), (2, 0)))])
def test_equal_kernels_are_a_convolution(stride, padding):
    """In values, and in gradients: that of the shared kernel is the sum over the places."""
    x, kernel = arrays(1, (2, 7, 6, 3), (3, 2, 3, 4))
    options = {"stride": stride, "padding": padding}

    def value_and_gradients(function, x, kernel):
        y, back = jax.vjp(functools.partial(function, **options), x, kernel)
        return y, *back(2 * y)

    @jax.jit
    def both(x, kernel):
        y, *gradients = value_and_gradients(F.conv, x, kernel)
        copies = jnp.broadcast_to(kernel, (*y.shape[1:3], *kernel.shape))
        y_local, dx, dcopies = value_and_gradients(F.locally_connected, x, copies)
        return (y_local, dx, dcopies.sum((0, 1))), (y, *gradients)

    chex.assert_trees_all_close(*both(x, kernel), rtol=1e-4, atol=1e-4)


def test_equals_flax(standard_promotion):
    x, kernel = arrays(2, (2, 5, 6, 3), (3, 5, 3, 2, 3, 4))
    reference = linen.ConvLocal(4, (3, 2), padding="VALID", use_bias=False)

    @jax.jit
    def ours_and_theirs(x, kernel):
        theirs = jnp.moveaxis(kernel, 4, 2).reshape(3, 5, 3 * 3 * 2, 4)
        return F.locally_connected(x, kernel), reference.apply({"params": {"kernel": theirs}}, x)

    np.testing.assert_allclose(*ours_and_theirs(x, kernel), rtol=1e-4, atol=1e-5)


def test_bfloat16_adds_up_in_float32():
    x, kernel = (a.astype(jnp.bfloat16) for a in arrays(3, (1, 5, 5, 2), (1, 1, 5, 5, 2, 3)))
    y = jax.jit(F.locally_connected)(x, kernel)
    assert y.dtype == jnp.bfloat16
    exact = np.sum(x[..., None].astype(float) * kernel[0].astype(float), (1, 2, 3))
    np.testing.assert_allclose(np.asarray(y, float)[:, 0, 0], exact, rtol=2**-8)


@pytest.mark.parametrize(
    ("x", "kernel", "settings", "message"),
    [
        ((2, 5, 5), (3, 3, 3, 3, 1, 1), {}, r"x has shape \(2, 5, 5\)"),
        ((2, 5, 5, 1), (3, 3, 1, 1), {}, r"kernel has shape \(3, 3, 1, 1\), but \[rows"),
        ((2, 5, 5, 1), (2, 3, 3, 3, 1, 4), {}, r"but \[3, 3, 3, 3, 1, out\] is wanted for x"),
        ((2, 5, 5, 2), (3, 3, 3, 3, 1, 4), {}, r"but \[3, 3, 3, 3, 2, out\] is wanted for x"),
        ((2, 5, 5, 1), (3, 3, 3, 3, 1, 4), {"stride": 0}, "locally_connected: stride is 0"),
        ((2, 2, 5, 1), (1, 3, 3, 3, 1, 4), {}, "a window of 3×3 does not fit"),
    ],
)
def test_refuses(x, kernel, settings, message):
    with pytest.raises(ValueError, match=message):
        F.locally_connected(np.ones(x, np.float32), np.ones(kernel, np.float32), **settings)
