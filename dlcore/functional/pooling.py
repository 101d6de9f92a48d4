"""Pooling over windows, and over everything.

A window is taken apart: the rows of a window are combined after its columns, each as a slice of x
with the window's stride. On two CPU cores (batch 128, 32×32×16, window 2, jax 0.10) max-pooling and
its gradient take 1.1 ms so; with lax.reduce_window, whose gradient XLA computes by
select-and-scatter, they take 29 ms. Slices may also be differentiated any number of times, in
either mode.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore.checks import floating, wide_dtype
from dlcore.window import (
    Padding,
    Pair,
    Size,
    Sizes,
    images,
    pads,
    pair,
    pool_window,
    sizes,
    spatial_axes,
    taps,
)


def max_pool(
    x: jax.Array,
    window: Size,
    stride: Size | None = None,
    padding: Padding = "VALID",
    *,
    dilation: Size = 1,
) -> jax.Array:
    """The largest value in each window of x [B, H, W, C]; the stride is the window by default.

    A window of three numbers (depth, height, width) pools volumes, x [B, D, H, W, C]; stride,
    padding and dilation are then one number or three. The values of a window lie `dilation` apart.
    Among equal values the first, row by row, receives the gradient. Padding, as in `conv` but less
    than the window, never wins. What "VALID" leaves over at the bottom and the right is cropped.
    PyTorch's `ceil_mode=True` has windows that hang over there instead: the padding
    ((0, s − 1), (0, s − 1)), for a stride s up to the window, whatever the size of the image; with
    PyTorch's padding p, up to window − s, ((p, p + s − 1), (p, p + s − 1)).

    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2).ravel().tolist()
    [5.0, 7.0, 13.0, 15.0]
    """
    x = floating("max_pool", "x", x)
    return _pool("max_pool", x, window, stride, padding, dilation, _larger, -jnp.inf)


def avg_pool(
    x: jax.Array,
    window: Size,
    stride: Size | None = None,
    padding: Padding = "VALID",
    *,
    count_include_pad: bool = True,
) -> jax.Array:
    """The mean of each window of x [B, H, W, C]; the stride is the window by default.

    A window of three numbers pools volumes, as in `max_pool`. Padding, as in `conv` but less than
    the window, counts as zeros, as in Flax and PyTorch; without `count_include_pad` the mean is
    over what is inside x, as in TensorFlow.
    """
    x = floating("avg_pool", "x", x)
    total = functools.partial(
        _pool,
        "avg_pool",
        window=window,
        stride=stride,
        padding=padding,
        dilation=1,
        combine=jnp.add,
        fill=0.0,
    )
    size = math.prod(sizes("avg_pool", "window", window, spatial_axes(window)))
    wide = x.astype(wide_dtype(x.dtype))
    count = size if count_include_pad else total(jnp.ones_like(wide[:1, ..., :1]))
    return (total(wide) / count).astype(x.dtype)


def global_max_pool(x: jax.Array) -> jax.Array:
    """The largest value over all axes between the first and the last: [B, H, W, C] → [B, C]."""
    return jnp.max(x, axis=tuple(range(1, x.ndim - 1)))


def global_avg_pool(x: jax.Array) -> jax.Array:
    """The mean over all axes between the first and the last: [B, H, W, C] → [B, C]."""
    return jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))


def adaptive_max_pool(x: jax.Array, size: Size) -> jax.Array:
    """The largest value in each of size[0] × size[1] windows that share out x [B, H, W, C].

    The i-th of n windows over a length L begins at ⌊i·L/n⌋ and ends before ⌈(i + 1)·L/n⌉. Among
    equal values the first, row by row, receives the gradient. As in PyTorch.
    """
    images("adaptive_max_pool", x)
    x = floating("adaptive_max_pool", "x", x)
    rows, columns = pair("adaptive_max_pool", "size", size)
    for axis, count in ((2, columns), (1, rows)):
        starts, stops = _shares(x.shape[axis], count)
        positions = (
            jnp.take(x, np.minimum(starts + i, stops - 1), axis, mode="clip")
            for i in range(max(stops - starts))
        )
        x = functools.reduce(_larger, positions)
    return x


def adaptive_avg_pool(x: jax.Array, size: Size) -> jax.Array:
    """The mean of each of size[0] × size[1] windows that share out x [B, H, W, C].

    The windows are those of `adaptive_max_pool`. Their means along an axis are a product with a
    matrix that has 1/(window's length) in the window, else 0; so a NaN or an infinity anywhere in
    an image is seen in all of its means.
    """
    images("adaptive_avg_pool", x)
    x = floating("adaptive_avg_pool", "x", x)
    wide = wide_dtype(x.dtype)
    rows, columns = (
        jnp.asarray(_means(length, count), wide)
        for length, count in zip(x.shape[1:3], pair("adaptive_avg_pool", "size", size), strict=True)
    )
    means = jnp.einsum("ih,jw,bhwc->bijc", rows, columns, x.astype(wide), precision="highest")
    return means.astype(x.dtype)


def _shares(length: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the `count` windows that share out a length begin, and where they end."""
    edges = np.arange(count + 1) * length
    return edges[:-1] // count, -(-edges[1:] // count)


def _means(length: int, count: int) -> np.ndarray:
    """The matrix [count, length] whose product with a line is the mean of each window."""
    starts, stops = _shares(length, count)
    position = np.arange(length)
    inside = (starts[:, None] <= position) & (position < stops[:, None])
    return inside / inside.sum(1, keepdims=True)


def _pool(
    function: str,
    x: jax.Array,
    window: Size,
    stride: Size | None,
    padding: Padding,
    dilation: Size,
    combine: Callable[[jax.Array, jax.Array], jax.Array],
    fill: float,
) -> jax.Array:
    axes = spatial_axes(window)
    lengths, steps = pool_window(function, window, stride, padding, dilation, axes)
    gaps = sizes(function, "dilation", dilation, axes)
    around = pads(function, x, lengths, steps, padding, gaps)
    _check_gaps(function, x, around, gaps)
    x = lax.pad(
        x, jnp.asarray(fill, x.dtype), [(0, 0, 0), *((*side, 0) for side in around), (0, 0, 0)]
    )
    for i in reversed(range(axes)):
        x = functools.reduce(combine, taps(x, lengths[i], steps[i], i + 1, gaps[i]))
    return x


def _check_gaps(function: str, x: jax.Array, around: Sequence[Pair], dilation: Sizes) -> None:
    """Refuses a window whose neighbours can lie on either side of x, and hold nothing of it."""
    for length, side, gap in zip(x.shape[1:-1], around, dilation, strict=True):
        if any(side) and gap > length:
            raise ValueError(
                f"{function}: dilation is {gap}, but with padding no more than x {x.shape} is long "
                "is wanted: a window of padding alone has no value"
            )


def _larger(first: jax.Array, second: jax.Array) -> jax.Array:
    """The larger one, the first where they are equal, NaN where either is."""
    return jnp.where((second > first) | jnp.isnan(second), second, first)
