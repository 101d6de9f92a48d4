"""Adaptive pooling against the windows' definition, and against torch."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore import functional as F
from tests.budget import examples

POOLS = [(F.adaptive_avg_pool, np.mean), (F.adaptive_max_pool, np.max)]


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    out=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
@examples(12)
def test_is_the_mean_or_the_largest_of_each_window(size, out):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)

    def window(i, length, count):
        return slice(math.floor(i * length / count), math.ceil((i + 1) * length / count))

    results = jax.jit(lambda x: [pool(x, out) for pool, _ in POOLS])(x)
    for y, (_, reduce) in zip(results, POOLS, strict=True):
        expected = np.zeros((2, *out, 3))
        for i, j in np.ndindex(*out):
            patch = x[:, window(i, size[0], out[0]), window(j, size[1], out[1])]
            expected[:, i, j] = reduce(patch.astype(np.float64), axis=(1, 2))
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "out"),
    [((7, 13), (3, 6)), ((5, 4), (7, 9)), ((6, 6), (3, 2)), ((7, 7), 7), ((8, 5), 1)],
)
@pytest.mark.parametrize("name", ["avg", "max"])
def test_equals_torch_in_values_and_gradients(size, out, name, torch):
    """On small integers, so that windows are full of equal values."""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 3, (2, *size, 3)).astype(np.float32)
    images = torch.tensor(np.transpose(x, (0, 3, 1, 2)), requires_grad=True)
    expected = getattr(torch.nn.functional, f"adaptive_{name}_pool2d")(images, out)
    factor = rng.normal(size=expected.shape).astype(np.float32)
    (expected_gradient,) = torch.autograd.grad((expected * torch.tensor(factor)).sum(), images)

    def loss(x):
        y = getattr(F, f"adaptive_{name}_pool")(x, out)
        return jnp.sum(y * np.transpose(factor, (0, 2, 3, 1))), y

    gradient, y = jax.jit(jax.grad(loss, has_aux=True))(x)
    for ours, theirs in [(y, expected.detach()), (gradient, expected_gradient)]:
        np.testing.assert_allclose(
            ours, np.transpose(theirs.numpy(), (0, 2, 3, 1)), rtol=1e-5, atol=1e-6
        )


def test_is_plain_and_global_pooling_where_windows_are_equal():
    @jax.jit
    def adaptive_and_others(x):
        return {
            "largest": [
                (F.adaptive_max_pool(x, 2), F.max_pool(x, (3, 4))),
                (F.adaptive_max_pool(x, 1)[:, 0, 0], F.global_max_pool(x)),
            ],
            "mean": [
                (F.adaptive_avg_pool(x, 2), F.avg_pool(x, (3, 4))),
                (F.adaptive_avg_pool(x, 1)[:, 0, 0], F.global_avg_pool(x)),
            ],
            "whole": F.adaptive_avg_pool(x, (6, 8)),
        }

    x = np.random.default_rng(2).normal(size=(2, 6, 8, 3)).astype(np.float32)
    results = adaptive_and_others(x)
    for adaptive, other in results["largest"]:
        np.testing.assert_array_equal(adaptive, other)
    for adaptive, other in results["mean"]:
        np.testing.assert_allclose(adaptive, other, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(results["whole"], x)


def test_bfloat16_stays_and_averages_in_float32():
    x = np.random.default_rng(3).normal(size=(2, 16, 16, 3)).astype(jnp.bfloat16)
    both = jax.jit(lambda *xs: [[pool(x, 3) for x in xs] for pool, _ in POOLS])
    for y, exact in both(x, x.astype(np.float32)):
        assert y.dtype == jnp.bfloat16
        np.testing.assert_array_equal(y, np.asarray(exact).astype(jnp.bfloat16))


IMAGE = np.ones((1, 4, 4, 1), np.float32)


@pytest.mark.parametrize(("pool", "_"), POOLS)
@pytest.mark.parametrize(
    ("x", "size", "error", "message"),
    [
        (IMAGE[0, :, :, 0], 2, ValueError, r"x has shape \(4, 4\), but \[B, H, W, C\]"),
        (IMAGE, 0, ValueError, "size is 0, but a positive integer or a pair"),
        (IMAGE, (2, 2, 2), ValueError, r"size is \(2, 2, 2\)"),
        (IMAGE.astype(np.int32), 2, TypeError, "x is int32, but floating point"),
    ],
)
def test_refuses(pool, _, x, size, error, message):
    with pytest.raises(error, match=message):
        pool(x, size)
