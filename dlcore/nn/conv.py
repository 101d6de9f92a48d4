"""The convolutional layer."""

from __future__ import annotations

from typing import Any

import jax

from dlcore import functional as F
from dlcore import keys
from dlcore.functional.window import Padding, Size, pair
from dlcore.keys import Key
from dlcore.nn import init as initializers
from dlcore.nn.init import Initializer
from dlcore.nn.layer import Layer, Params, State, check_sizes, describe, make


def conv(
    in_channels: int,
    out_channels: int,
    kernel_size: Size,
    *,
    stride: Size = 1,
    padding: Padding = "VALID",
    dilation: Size = 1,
    groups: int = 1,
    bias: bool = True,
    kernel_init: Initializer = initializers.lecun_normal(),
    bias_init: Initializer = initializers.zeros,
) -> Layer:
    """y = x ∗ kernel + bias, for x [B, H, W, in_channels]; see `functional.conv`.

    kernel [h, w, in_channels / groups, out_channels] (PyTorch's is [out, in, h, w]), bias
    [out_channels]. Sizes are integers or pairs (height, width).
    """
    check_sizes("conv", in_channels=in_channels, out_channels=out_channels, groups=groups)
    if in_channels % groups or out_channels % groups:
        raise ValueError(
            f"conv needs channels that groups divides, got in_channels={in_channels}, "
            f"out_channels={out_channels}, groups={groups}"
        )
    height, width = pair("conv", "kernel_size", kernel_size)
    shape = (height, width, in_channels // groups, out_channels)
    window: dict[str, Any] = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
    }

    def init(key: Key) -> tuple[Params, State]:
        params = {"kernel": kernel_init(keys.child(key, "kernel"), shape)}
        if bias:
            params["bias"] = bias_init(keys.child(key, "bias"), (out_channels,))
        return params, ()

    def apply(
        params: Params, state: State, x: jax.Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, State]:
        if x.ndim != 4 or x.shape[-1] != in_channels:
            raise ValueError(f"conv expected [B, H, W, {in_channels}], got {describe(x)}")
        y = F.conv(x, params["kernel"], **window)
        return (y + params["bias"] if bias else y), state

    return make(
        "conv",
        init,
        apply,
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=kernel_size,
        **window,
        bias=bias,
    )
