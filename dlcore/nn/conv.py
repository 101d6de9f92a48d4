"""Convolutional layers: with one kernel for all places, transposed, and with one for each place."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dlcore import functional as F
from dlcore import keys
from dlcore.checks import one_of
from dlcore.functional.broadcast import broadcast
from dlcore.functional.padding import MODES
from dlcore.keys import Key
from dlcore.nn import init as initializers
from dlcore.nn.arguments import factory
from dlcore.nn.describing import describe
from dlcore.nn.init import Initializer
from dlcore.nn.layer import Layer, Params, State, check_sizes, make
from dlcore.window import Padding, Size, channels_first, fixed, pair, places, reach


@factory()
def conv(
    in_channels: int,
    out_channels: int,
    kernel_size: Size,
    *,
    stride: Size = 1,
    padding: Padding = "VALID",
    dilation: Size = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    bias: bool = True,
    kernel_init: Initializer = initializers.lecun_normal(),
    bias_init: Initializer = initializers.zeros,
) -> Layer:
    """y = x ∗ kernel + bias, for x [B, H, W, in_channels]; see `functional.conv`.

    kernel [h, w, in_channels / groups, out_channels] (PyTorch's is [out, in, h, w]), bias
    [out_channels]. Sizes are integers or pairs (height, width).
    """
    _check_channels("conv", in_channels, out_channels, groups)
    one_of("conv", "padding_mode", padding_mode, MODES)
    _check_window("conv", stride, padding, dilation)
    height, width = pair("conv", "kernel_size", kernel_size)
    shape = (height, width, in_channels // groups, out_channels)
    window: dict[str, Any] = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "padding_mode": padding_mode,
    }
    return _product(
        conv,
        functools.partial(F.conv, **window),
        lambda key: kernel_init(key, shape),
        lambda key: bias_init(key, (out_channels,)),
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=kernel_size,
        **window,
        bias=bias,
    )


@factory()
def depthwise(
    channels: int,
    kernel_size: Size,
    *,
    multiplier: int = 1,
    stride: Size = 1,
    padding: Padding = "VALID",
    dilation: Size = 1,
    padding_mode: str = "zeros",
    bias: bool = True,
    kernel_init: Initializer = initializers.lecun_normal(),
    bias_init: Initializer = initializers.zeros,
) -> Layer:
    """Each channel of x [B, H, W, channels] convolved alone: a `conv` with groups=channels.

    kernel [h, w, 1, channels · multiplier], of which channel c has `multiplier` in a row, from
    c · multiplier on; bias [channels · multiplier].
    """
    check_sizes("depthwise", channels=channels, multiplier=multiplier)
    return conv(
        channels,
        channels * multiplier,
        kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=channels,
        padding_mode=padding_mode,
        bias=bias,
        kernel_init=kernel_init,
        bias_init=bias_init,
    )


@factory()
def conv_transpose(
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
    """The transpose of a convolution, plus bias, for x [B, H, W, in_channels]: it enlarges images.

    See `functional.conv_transpose`, also for what PyTorch and Flax call the same.
    kernel [h, w, out_channels / groups, in_channels] is that of the convolution from y to x, but
    drawn by the fans of one from x to y; bias [out_channels].
    """
    _check_channels("conv_transpose", in_channels, out_channels, groups)
    _check_window("conv_transpose", stride, padding, dilation, reach)
    height, width = pair("conv_transpose", "kernel_size", kernel_size)
    shape = (height, width, in_channels // groups, out_channels)
    window: dict[str, Any] = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
    }

    def draw(key: Key) -> jax.Array:
        """A convolution's kernel, turned group by group: the one from y to x."""
        kernel = kernel_init(key, shape).reshape(*shape[:3], groups, -1)
        return kernel.transpose(0, 1, 4, 3, 2).reshape(height, width, -1, in_channels)

    return _product(
        conv_transpose,
        functools.partial(F.conv_transpose, **window),
        draw,
        lambda key: bias_init(key, (out_channels,)),
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=kernel_size,
        **window,
        bias=bias,
    )


@factory()
def locally_connected(
    in_channels: int,
    out_channels: int,
    kernel_size: Size,
    *,
    size: Size,
    stride: Size = 1,
    padding: Padding = "VALID",
    bias: bool = True,
    kernel_init: Initializer = initializers.lecun_normal(),
    bias_init: Initializer = initializers.zeros,
) -> Layer:
    """A convolution that shares no weights, for x [B, *size, in_channels].

    kernel [H′, W′, h, w, in_channels, out_channels] and bias [H′, W′, out_channels]: one for each
    of the H′·W′ places, drawn as a convolution's. See `functional.locally_connected`.
    """
    check_sizes("locally_connected", in_channels=in_channels, out_channels=out_channels)
    window: dict[str, Any] = {"stride": stride, "padding": padding}
    height, width = pair("locally_connected", "kernel_size", kernel_size)
    x = jax.ShapeDtypeStruct((1, *pair("locally_connected", "size", size), in_channels), float)
    step = pair("locally_connected", "stride", stride)
    rows, columns = places("locally_connected", x, (height, width), step, padding)

    def draw(initializer: Initializer, shape: Sequence[int], key: Key) -> jax.Array:
        place = jnp.arange(rows * columns, dtype=jnp.uint32)
        drawn = jax.vmap(lambda i: initializer(jax.random.fold_in(key, i), shape))(place)
        return drawn.reshape(rows, columns, *shape)

    return _product(
        locally_connected,
        functools.partial(F.locally_connected, **window),
        functools.partial(draw, kernel_init, (height, width, in_channels, out_channels)),
        functools.partial(draw, bias_init, (out_channels,)),
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=kernel_size,
        size=size,
        **window,
        bias=bias,
    )


def _check_channels(kind: str, in_channels: int, out_channels: int, groups: int) -> None:
    check_sizes(kind, in_channels=in_channels, out_channels=out_channels, groups=groups)
    if in_channels % groups or out_channels % groups:
        raise ValueError(
            f"{kind} needs channels that groups divides, got in_channels={in_channels}, "
            f"out_channels={out_channels}, groups={groups}"
        )


def _check_window(
    kind: str,
    stride: Size,
    padding: Padding,
    dilation: Size,
    check: Callable[[str, Padding], Any] = fixed,
) -> None:
    pair(kind, "stride", stride)
    check(kind, padding)
    pair(kind, "dilation", dilation)


def _product(
    kind: Callable[..., Layer],
    product: Callable[[jax.Array, jax.Array], jax.Array],
    draw_kernel: Callable[[Key], jax.Array],
    draw_bias: Callable[[Key], jax.Array],
    *,
    in_channels: int,
    bias: bool,
    **config: Any,
) -> Layer:
    """y = product(x, kernel) + bias, for x [B, H, W, in_channels]."""

    def init(key: Key) -> tuple[Params, State]:
        params = {"kernel": draw_kernel(keys.child(key, "kernel"))}
        if bias:
            params["bias"] = draw_bias(keys.child(key, "bias"))
        return params, ()

    def apply(
        params: Params, state: State, x: jax.Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, State]:
        if x.ndim != 4 or x.shape[-1] != in_channels:
            raise ValueError(
                f"{kind.__name__} expected [B, H, W, {in_channels}], got {describe(x)}"
                + channels_first(x, in_channels)
            )
        y = product(x, params["kernel"])
        return (y + broadcast(params["bias"], y) if bias else y), state

    return make(kind, init, apply, in_channels=in_channels, **config, bias=bias)
