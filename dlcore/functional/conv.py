"""Convolution."""

from __future__ import annotations

import jax
from jax import lax

from dlcore.functional.window import Padding, Size, pads, pair


def conv(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: Size = 1,
    padding: Padding = "VALID",
    dilation: Size = 1,
    groups: int = 1,
) -> jax.Array:
    """y[b, i, j, o] = Σ_{u, v, c} x[b, s·i + d·u, s·j + d·v, c] · kernel[u, v, c, o].

    s is the stride and d the dilation, each an integer or a pair (vertical, horizontal). x is
    [B, H, W, C], kernel [h, w, C / groups, O], y [B, H′, W′, O]. The kernel is not flipped, so this
    is a cross-correlation, as in every other library. With groups, the g-th part of the output
    channels sees the g-th part of the input channels alone.
    `padding`: "VALID" (none), "SAME", an integer, (vertical, horizontal) or ((top, bottom),
    (left, right)) zeros. "SAME" adds an odd row at the bottom, as TensorFlow and Flax do;
    PyTorch knows it for stride 1 only.
    """
    if kernel.ndim != 4:
        raise ValueError(f"conv: kernel has shape {kernel.shape}, but [h, w, in, out] is wanted")
    stride, dilation = pair("conv", "stride", stride), pair("conv", "dilation", dilation)
    height, width, depth, out = kernel.shape
    sides = pads("conv", x, (height, width), stride, padding, dilation)
    if x.shape[-1] != depth * groups or out % groups:
        raise ValueError(
            f"conv: x {x.shape} and kernel {kernel.shape} do not fit with groups={groups}: "
            "x is [B, H, W, C] and the kernel [h, w, C / groups, a multiple of groups]"
        )
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=stride,
        padding=sides,
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
