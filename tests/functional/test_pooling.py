"""Pooling as slices, against the plain form, lax.reduce_window and its gradient, and the peers."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from dlcore import functional as F
from tests.budget import examples
from tests.functional.conftest import TWICE, assert_derivatives


def plain(x, window, stride, padding, start, combine):
    return lax.reduce_window(x, start, combine, (1, *window, 1), (1, *stride, 1), padding)


plain_max = functools.partial(plain, start=-jnp.inf, combine=lax.max)


def plain_mean(x, window, stride, padding):
    return plain(x, window, stride, padding, 0.0, lax.add) / math.prod(window)


SIZES = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(
    size=st.tuples(st.integers(3, 7), st.integers(3, 7)),
    window=SIZES,
    stride=SIZES,
    padding=st.sampled_from(["VALID", "SAME"]),
    seed=st.integers(0, 9),
)
@examples(15)
def test_values_and_gradients_are_the_plain_forms(size, window, stride, padding, seed):
    """On small integers, so that windows are full of equal values."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, (2, *size, 2)).astype(np.float32)
    factor = rng.integers(-4, 5, x.shape).astype(np.float32)

    def value_and_gradient(pool):
        def loss(x):
            y = pool(x, window, stride, padding)
            return jnp.sum(y * factor[:, : y.shape[1], : y.shape[2]]), y

        return jax.grad(loss, has_aux=True)

    ours, expected = jax.jit(
        lambda x: [
            [value_and_gradient(pool)(x) for pool in pools]
            for pools in [(F.max_pool, F.avg_pool), (plain_max, plain_mean)]
        ]
    )(x)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), ours, expected
    )


TRIPLES = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))


@given(
    window=TRIPLES,
    stride=TRIPLES,
    dilation=TRIPLES,
    padding=st.sampled_from(["VALID", "SAME", 1]),
    seed=st.integers(0, 9),
)
@examples(12)
def test_volumes_and_gaps_are_the_plain_forms(window, stride, dilation, padding, seed):
    x = np.random.default_rng(seed).normal(size=(2, 5, 6, 7, 2)).astype(np.float32)
    padding = 0 if padding == 1 and 1 in window else padding
    around = padding if isinstance(padding, str) else [(0, 0), *[(padding, padding)] * 3, (0, 0)]
    if padding in ("VALID", 0):  # the window must fit
        dilation = tuple(min(d, 2) for d in dilation)

    def plain(x, start, combine, gaps):
        sizes = [(1, *size, 1) for size in (window, stride)]
        return lax.reduce_window(x, start, combine, *sizes, around, None, (1, *gaps, 1))

    def both(x):
        mean = plain(x, 0.0, lax.add, (1, 1, 1)) / math.prod(window)
        yield F.avg_pool(x, window, stride, padding), mean
        largest = plain(x, -jnp.inf, lax.max, dilation)
        yield F.max_pool(x, window, stride, padding, dilation=dilation), largest

    for ours, expected in jax.jit(lambda x: list(both(x)))(x):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("window", "stride", "padding", "dilation"),
    [(2, None, 0, 1), ((2, 3, 1), 2, (1, 1, 0), 1), (3, (1, 2, 1), 1, 2), (2, 1, 0, (1, 2, 3))],
)
def test_volumes_equal_torch(window, stride, padding, dilation, torch):
    x = np.random.default_rng(7).normal(size=(2, 5, 6, 7, 3)).astype(np.float32)
    given_x = torch.tensor(np.moveaxis(x, -1, 1), requires_grad=True)
    sizes = (window, stride, padding)
    expected = [
        torch.nn.functional.max_pool3d(given_x, *sizes, dilation),
        torch.nn.functional.avg_pool3d(given_x, *sizes, count_include_pad=False),
    ]
    window = (window,) * 3 if isinstance(window, int) else window
    sizes = (window, stride, padding)
    ours = [
        lambda x: F.max_pool(x, *sizes, dilation=dilation),
        lambda x: F.avg_pool(x, *sizes, count_include_pad=False),
    ]
    assert_equal_torch(ours, expected, x, given_x, torch)


@pytest.mark.parametrize(("window", "padding", "dilation"), [(2, 0, 3), ((3, 2), 1, (2, 3))])
def test_gaps_equal_torch(window, padding, dilation, torch):
    x = np.random.default_rng(8).normal(size=(2, 8, 9, 3)).astype(np.float32)
    given_x = torch.tensor(np.moveaxis(x, -1, 1), requires_grad=True)
    expected = torch.nn.functional.max_pool2d(given_x, window, 2, padding, dilation)
    settings = {"window": window, "stride": 2, "padding": padding, "dilation": dilation}
    assert_equal_torch([functools.partial(F.max_pool, **settings)], [expected], x, given_x, torch)


@pytest.mark.parametrize("padding", ["VALID", "SAME", 1, (1, 0), ((0, 1), (1, 0))])
@pytest.mark.parametrize("stride", [None, 1])
def test_equals_flax(padding, stride, standard_promotion):
    x = np.random.default_rng(0).normal(size=(2, 7, 6, 3)).astype(np.float32)
    theirs = {
        "strides": (2, 3) if stride is None else (1, 1),
        "padding": {1: ((1, 1), (1, 1)), (1, 0): ((1, 1), (0, 0))}.get(padding, padding),
    }

    def ours_and_theirs(x):
        yield F.max_pool(x, (2, 3), stride, padding), linen.max_pool(x, (2, 3), **theirs)
        for counted in (True, False):
            yield (
                F.avg_pool(x, (2, 3), stride, padding, count_include_pad=counted),
                linen.avg_pool(x, (2, 3), count_include_pad=counted, **theirs),
            )

    for ours, expected in jax.jit(lambda x: list(ours_and_theirs(x)))(x):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("counted", [True, False])
def test_equals_torch(counted, torch):
    x = np.random.default_rng(1).normal(size=(2, 7, 9, 3)).astype(np.float32)
    given_x = torch.tensor(np.transpose(x, (0, 3, 1, 2)), requires_grad=True)
    expected = [
        torch.nn.functional.max_pool2d(given_x, 3, 2, 1),
        torch.nn.functional.avg_pool2d(given_x, 3, 2, 1, count_include_pad=counted),
    ]
    ours = [
        lambda x: F.max_pool(x, 3, 2, 1),
        lambda x: F.avg_pool(x, 3, 2, 1, count_include_pad=counted),
    ]
    assert_equal_torch(ours, expected, x, given_x, torch)


def assert_equal_torch(ours, expected, x, given_x, torch):
    """Values, and the gradients of their sums of squares."""
    for function, reference in zip(ours, expected, strict=True):
        (gradient,) = torch.autograd.grad((reference**2).sum(), given_x, retain_graph=True)
        np.testing.assert_allclose(
            function(x), np.moveaxis(reference.detach().numpy(), 1, -1), rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(
            jax.grad(lambda x, f=function: jnp.sum(f(x) ** 2))(x),
            np.moveaxis(gradient.numpy(), 1, -1),
            rtol=1e-5,
            atol=1e-6,
        )


@pytest.mark.parametrize("size", [(6, 7), (8, 13), (5, 12)])
@pytest.mark.parametrize(("window", "stride", "pad"), [(3, 2, 0), (2, 2, 0), (3, 2, 1), (4, 3, 1)])
def test_windows_that_hang_over_are_torchs_ceil_mode(size, window, stride, pad, torch):
    x = np.random.default_rng(5).normal(size=(2, *size, 3)).astype(np.float32)
    expected = torch.nn.functional.max_pool2d(
        torch.tensor(np.transpose(x, (0, 3, 1, 2))), window, stride, pad, ceil_mode=True
    )
    y = F.max_pool(x, window, stride, ((pad, pad + stride - 1), (pad, pad + stride - 1)))
    np.testing.assert_array_equal(y, np.transpose(expected.numpy(), (0, 2, 3, 1)))


def test_stride_is_the_window_and_the_rest_is_cropped():
    x = np.arange(35, dtype=np.float32).reshape(1, 5, 7, 1)
    assert jax.eval_shape(lambda x: F.avg_pool(x, 2), x).shape == (1, 2, 3, 1)
    both = jax.jit(lambda x: (F.max_pool(x, 2), plain_max(x, (2, 2), (2, 2), "VALID")))
    np.testing.assert_array_equal(*both(x))


def test_first_of_equal_values_has_the_gradient():
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(F.max_pool(x, 2))))
    assert gradient(np.zeros((1, 2, 2, 1), np.float32)).ravel().tolist() == [1, 0, 0, 0]


def test_nan_is_not_hidden():
    x = np.where(np.eye(4), np.nan, 0).astype(np.float32).reshape(4, 2, 2, 1)  # at each place
    for y in jax.jit(lambda x: [pool(x, 2) for pool in (F.max_pool, F.avg_pool)])(x):
        assert np.isnan(y).all()


def test_padding_never_wins():
    y = jax.jit(lambda x: F.max_pool(x, 3, 1, 1))(np.full((1, 1, 1, 1), -5, np.float32))
    assert y.item() == -5


@pytest.mark.parametrize(
    ("window", "padding"),
    [((2, 2), ((1, 0), (0, 1))), ((3, 2), ((2, 2), (1, 1))), ((4, 3), ((3, 3), (0, 2)))],
)
@pytest.mark.parametrize("stride", [1, 2, 5])
def test_padding_less_than_the_window_leaves_something_in_each(window, padding, stride):
    """As loops do it, where what is outside of the image is left out."""
    x = np.random.default_rng(6).normal(size=(2, 2, 3, 2)).astype(np.float32)
    around = np.pad(x, [(0, 0), *padding, (0, 0)], constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(around, window, (1, 2))
    windows = windows[:, ::stride, ::stride]

    @jax.jit
    def pools(x):
        inside = F.avg_pool(x, window, stride, padding, count_include_pad=False)
        return F.max_pool(x, window, stride, padding), inside

    largest, mean = pools(x)
    np.testing.assert_array_equal(largest, np.nanmax(windows, (-2, -1)))
    np.testing.assert_allclose(mean, np.nanmean(windows, (-2, -1)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pool", [F.max_pool, F.avg_pool])
def test_second_derivatives_and_forward_mode(pool, x64):
    def squared(x):
        return pool(x.reshape(1, 3, 3, 1), 2, 1, "SAME").ravel() ** 2

    assert_derivatives(squared, np.random.default_rng(2).normal(size=9), TWICE)


@pytest.mark.parametrize("pool", [functools.partial(F.max_pool, dilation=(1, 2, 1)), F.avg_pool])
def test_derivatives_over_volumes(pool, x64):
    def squared(x):
        return pool(x.reshape(1, 2, 3, 2, 1), (2, 2, 2), 1, "SAME").ravel() ** 2

    assert_derivatives(squared, np.random.default_rng(2).normal(size=12))


def test_global_pooling():
    x = np.random.default_rng(3).normal(size=(2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(F.global_avg_pool(x), x.mean((1, 2)), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(F.global_max_pool(x), x.max((1, 2)))
    np.testing.assert_array_equal(F.global_max_pool(x[:, 0]), x[:, 0].max(1))


@pytest.mark.parametrize("pool", [F.max_pool, F.avg_pool])
def test_bfloat16_stays_and_averages_in_float32(pool):
    x = np.random.default_rng(4).normal(size=(2, 4, 4, 3)).astype(jnp.bfloat16)
    y, exact = jax.jit(lambda *xs: [pool(x, 4) for x in xs])(x, x.astype(np.float32))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, np.asarray(exact).astype(jnp.bfloat16))


@pytest.mark.parametrize("pool", [F.max_pool, F.avg_pool])
@pytest.mark.parametrize(
    ("shape", "settings", "error", "message"),
    [
        ((4, 4), {"window": 2}, ValueError, r"x has shape \(4, 4\), but \[B, H, W, C\]"),
        ((1, 4, 4, 1), {"window": 0}, ValueError, "window is 0"),
        ((1, 4, 4, 1), {"window": 2, "stride": -1}, ValueError, "stride is -1"),
        ((1, 4, 4, 1), {"window": 5}, ValueError, "a window of 5×5 does not fit"),
        (
            (1, 4, 4, 1),
            {"window": 2, "padding": 2},
            ValueError,
            "pool: padding is 2, but less than the window 2×2 is wanted",
        ),
        (
            (1, 4, 4, 1),
            {"window": (3, 2), "padding": ((2, 2), (0, 2))},
            ValueError,
            "less than the window 3×2 is wanted",
        ),
    ],
)
def test_refuses(pool, shape, settings, error, message):
    with pytest.raises(error, match=message):
        pool(np.ones(shape, np.float32), **settings)
    with pytest.raises(TypeError, match="x is int32, but floating point"):
        pool(np.ones((1, 4, 4, 1), np.int32), 2)


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [
        ((1, 4, 4, 4, 1), {"window": 2}, r"\(1, 4, 4, 4, 1\), but \[B, H, W, C\] is wanted"),
        ((1, 4, 4, 1), {"window": (2, 2, 2)}, r"\(1, 4, 4, 1\), but \[B, D, H, W, C\] is wanted"),
        ((1, 4, 4, 4, 1), {"window": (2, 2, 2), "stride": (1, 2)}, "integer or three of them"),
        ((1, 4, 4, 4, 1), {"window": (2, 2, 2), "padding": (1, 1)}, r"three \(depth, vertical,"),
        ((1, 4, 4, 4, 1), {"window": (1, 2, 5)}, "a window of 1×2×5 does not fit"),
        ((1, 4, 4, 1), {"window": 2, "dilation": 0}, "dilation is 0"),
        ((1, 4, 4, 1), {"window": 2, "dilation": 4}, "a window of 5×5 does not fit"),
        ((1, 4, 4, 1), {"window": 2, "dilation": 3, "padding": 4}, "less than the window 4×4"),
        ((1, 2, 2, 1), {"window": 2, "dilation": 3, "padding": 1}, "dilation is 3, but with paddi"),
    ],
)
def test_refuses_other_volumes_and_gaps(shape, settings, message):
    with pytest.raises(ValueError, match=message):
        F.max_pool(np.ones(shape, np.float32), **settings)
