"""Pooling layers. `functional.global_avg_pool` and `global_max_pool` are layers as they are."""

from __future__ import annotations

from dlcore import functional as F
from dlcore.nn.arguments import factory
from dlcore.nn.layer import Layer, from_function
from dlcore.window import Padding, Size, pair, pool_window, spatial_axes


@factory()
def max_pool(
    window: Size,
    *,
    stride: Size | None = None,
    padding: Padding = "VALID",
    dilation: Size = 1,
) -> Layer:
    """The largest value in each window of [B, H, W, C]; the stride is the window by default.

    A window of three numbers pools volumes [B, D, H, W, C]. See `functional.max_pool`.
    """
    pool_window("max_pool", window, stride, padding, dilation, spatial_axes(window))
    return from_function(
        lambda x: F.max_pool(x, window, stride, padding, dilation=dilation),
        max_pool,
        window=window,
        stride=stride,
        padding=padding,
        dilation=dilation,
    )


@factory()
def avg_pool(
    window: Size,
    *,
    stride: Size | None = None,
    padding: Padding = "VALID",
    count_include_pad: bool = True,
) -> Layer:
    """The mean of each window of [B, H, W, C]; the stride is the window by default.

    A window of three numbers pools volumes [B, D, H, W, C]. See `functional.avg_pool`.
    """
    pool_window("avg_pool", window, stride, padding, axes=spatial_axes(window))
    return from_function(
        lambda x: F.avg_pool(x, window, stride, padding, count_include_pad=count_include_pad),
        avg_pool,
        window=window,
        stride=stride,
        padding=padding,
        count_include_pad=count_include_pad,
    )


@factory()
def adaptive_max_pool(size: Size) -> Layer:
    """The largest value in each of size[0] × size[1] windows that share out [B, H, W, C].

    See `functional.adaptive_max_pool`.
    """
    pair("adaptive_max_pool", "size", size)
    return from_function(lambda x: F.adaptive_max_pool(x, size), adaptive_max_pool, size=size)


@factory()
def adaptive_avg_pool(size: Size) -> Layer:
    """The mean of each of size[0] × size[1] windows that share out [B, H, W, C].

    See `functional.adaptive_avg_pool`.
    """
    pair("adaptive_avg_pool", "size", size)
    return from_function(lambda x: F.adaptive_avg_pool(x, size), adaptive_avg_pool, size=size)
