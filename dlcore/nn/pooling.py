"""Pooling layers. `functional.global_avg_pool` and `global_max_pool` are layers as they are."""

from __future__ import annotations

from dlcore import functional as F
from dlcore.functional.window import Padding, Size, pair
from dlcore.nn.layer import Layer, from_function


def max_pool(window: Size, *, stride: Size | None = None, padding: Padding = "VALID") -> Layer:
    """The largest value in each window of [B, H, W, C]; the stride is the window by default.

    See `functional.max_pool`.
    """
    _check("max_pool", window, stride)
    return from_function(
        lambda x: F.max_pool(x, window, stride, padding),
        "max_pool",
        window=window,
        stride=stride,
        padding=padding,
    )


def avg_pool(
    window: Size,
    *,
    stride: Size | None = None,
    padding: Padding = "VALID",
    count_include_pad: bool = True,
) -> Layer:
    """The mean of each window of [B, H, W, C]; the stride is the window by default.

    See `functional.avg_pool`.
    """
    _check("avg_pool", window, stride)
    return from_function(
        lambda x: F.avg_pool(x, window, stride, padding, count_include_pad=count_include_pad),
        "avg_pool",
        window=window,
        stride=stride,
        padding=padding,
        count_include_pad=count_include_pad,
    )


def _check(kind: str, window: Size, stride: Size | None) -> None:
    pair(kind, "window", window)
    if stride is not None:
        pair(kind, "stride", stride)
