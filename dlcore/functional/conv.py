"""Convolution, its transpose, and convolution without shared weights."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from dlcore.checks import floating, wide_dtype
from dlcore.functional.padding import pad
from dlcore.kernels.convolve import convolve
from dlcore.window import (
    Padding,
    Size,
    channels_first,
    images,
    pads,
    pair,
    places,
    reach,
    size_before,
    taps,
)


def conv(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: Size = 1,
    padding: Padding = "VALID",
    dilation: Size = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
) -> jax.Array:
    """y[b, i, j, o] = Σ_{u, v, c} x[b, s·i + d·u, s·j + d·v, c] · kernel[u, v, c, o].

    s is the stride and d the dilation, each an integer or a pair (vertical, horizontal). x is
    [B, H, W, C], kernel [h, w, C / groups, O], y [B, H′, W′, O]. The kernel is not flipped, so this
    is a cross-correlation, as in every other library. With groups, the g-th part of the output
    channels sees the g-th part of the input channels alone.
    `padding`: "VALID" (none), "SAME", an integer, (vertical, horizontal) or ((top, bottom),
    (left, right)). "SAME" adds an odd row at the bottom, as TensorFlow and Flax do; PyTorch knows
    it for stride 1 only. What is added is zeros, or as `pad` has it: "reflect", "edge", "wrap".
    """
    x = floating("conv", "x", x)
    if kernel.ndim != 4:
        raise ValueError(f"conv: kernel has shape {kernel.shape}, but [h, w, in, out] is wanted")
    stride, dilation = pair("conv", "stride", stride), pair("conv", "dilation", dilation)
    height, width, depth, out = kernel.shape
    images("conv", x)
    if x.shape[-1] != depth * groups or out % groups:
        raise ValueError(
            f"conv: x {x.shape} and kernel {kernel.shape} do not fit with groups={groups}: "
            "x is [B, H, W, C] and the kernel [h, w, C / groups, a multiple of groups]"
            + channels_first(x, depth * groups)
        )
    around = pads("conv", x, (height, width), stride, padding, dilation)
    if padding_mode != "zeros":
        x, around = pad(x, around, padding_mode), ((0, 0), (0, 0))
    return convolve(x, kernel, stride=stride, padding=around, dilation=dilation, groups=groups)


def conv_transpose(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: Size = 1,
    padding: Padding = "VALID",
    dilation: Size = 1,
    groups: int = 1,
) -> jax.Array:
    """The transpose of `conv`: Σ conv(y′, kernel) · x = Σ y′ · conv_transpose(x, kernel), any y′.

    y[b, s·i + d·u − top, s·j + d·v − left, c] is the sum of x[b, i, j, o] · kernel[u, v, c, o] over
    all that falls there: what `conv` gathers is handed back, as in its gradient. The kernel
    [h, w, C / groups, O] is conv's, so x is [B, H, W, O] and y [B, H′, W′, C], where
    H′ = s·(H − 1) + d·(h − 1) + 1 − top − bottom, with "SAME" s·H. Bottom and right may be below 0:
    so many rows and columns of zeros lie beyond what the kernel reaches.

    - PyTorch's ConvTranspose2d(stride=s, padding=p, output_padding=o) has the padding
      ((p, p − o), (p, p − o)) here; its weight is [O, C, h, w], as that of its conv.
    - Flax's ConvTranspose(transpose_kernel=True) has this kernel; without, its kernel is
      kernel[::-1, ::-1] with the last two axes exchanged. "SAME" agrees, and "VALID" where the
      kernel is no smaller than the stride (else Flax's has the padding ((0, h − s), …) here).
      Padding in numbers is another thing there: it is added to x with its s − 1 zeros between
      neighbours.

    Dumoulin and Visin 2016, chapter 4.
    """
    x = floating("conv_transpose", "x", x)
    if kernel.ndim != 4:
        raise ValueError(
            f"conv_transpose: kernel has shape {kernel.shape}, but [h, w, out, in] is wanted"
        )
    height, width, depth, out = kernel.shape
    images("conv_transpose", x)
    if x.shape[-1] != out or out % groups:
        raise ValueError(
            f"conv_transpose: x {x.shape} and kernel {kernel.shape} do not fit with "
            f"groups={groups}: x is [B, H, W, O], O a multiple of groups, and the kernel "
            "[h, w, C / groups, O]" + channels_first(x, out)
        )
    padding, (rows, columns) = reach("conv_transpose", padding)
    size = size_before(
        "conv_transpose",
        x,
        (height, width),
        pair("conv_transpose", "stride", stride),
        padding,
        pair("conv_transpose", "dilation", dilation),
    )
    forward = functools.partial(
        conv, kernel=kernel, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    before = jax.ShapeDtypeStruct((x.shape[0], *size, depth * groups), x.dtype)
    (y,) = jax.linear_transpose(forward, before)(x)
    return pad(y, ((0, rows), (0, columns))) if rows or columns else y


def locally_connected(
    x: jax.Array, kernel: jax.Array, *, stride: Size = 1, padding: Padding = "VALID"
) -> jax.Array:
    """y[b, i, j, o] = Σ_{u, v, c} x[b, s·i + u, s·j + v, c] · kernel[i, j, u, v, c, o].

    A convolution with a kernel of its own at every place: x [B, H, W, C], kernel
    [H′, W′, h, w, C, O], y [B, H′, W′, O]; stride and padding are those of `conv`, and so is y
    where all kernels are equal.
    """
    x = floating("locally_connected", "x", x)
    if kernel.ndim != 6:
        raise ValueError(
            f"locally_connected: kernel has shape {kernel.shape}, but "
            "[rows, columns, h, w, in, out] is wanted"
        )
    stride = pair("locally_connected", "stride", stride)
    height, width = kernel.shape[2:4]
    window = (height, width)
    around = pads("locally_connected", x, window, stride, padding)
    wanted = (*places("locally_connected", x, window, stride, padding), *window, x.shape[-1])
    if kernel.shape[:-1] != wanted:
        raise ValueError(
            f"locally_connected: kernel has shape {kernel.shape}, but [{str(wanted)[1:-1]}, out] "
            f"is wanted for x {x.shape}"
        )
    products = (
        jnp.einsum(
            "bijc,ijco->bijo",
            pixels,
            kernel[:, :, u, v],
            preferred_element_type=wide_dtype(x.dtype),
        )
        for u, rows in enumerate(taps(pad(x, around), height, stride[0], axis=1))
        for v, pixels in enumerate(taps(rows, width, stride[1], axis=2))
    )
    return functools.reduce(jnp.add, products).astype(x.dtype)
