"""What pooling refuses when it is made; what it computes is in tests/functional."""

from __future__ import annotations

import pytest

from dlcore import nn


@pytest.mark.parametrize("make", [nn.max_pool, nn.avg_pool])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 0}, "window is 0, but a positive integer"),
        ({"window": 2, "stride": (1, 0)}, r"stride is \(1, 0\)"),
        ({"window": 2, "padding": "same"}, "padding is 'same': write padding=\"SAME\""),
        ({"window": 2, "padding": 5}, "padding is 5, but less than the window 2×2 is wanted"),
    ],
)
def test_refuses(make, settings, message):
    with pytest.raises(ValueError, match=f"^{make.__name__}: {message}"):
        make(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": (2, 2, 2), "stride": (1, 2)}, r"stride is \(1, 2\), but a .* or three of them"),
        ({"window": (2, 2, 0)}, r"window is \(2, 2, 0\)"),
        ({"window": (2, 2, 2), "padding": (1, 1)}, r"padding is \(1, 1\), .* three \(depth, vert"),
        ({"window": 2, "dilation": (1, 2, 1)}, r"dilation is \(1, 2, 1\), but .* a pair of them"),
        ({"window": 2, "dilation": 2, "padding": 3}, "padding is 3, but less than the window 3×3"),
    ],
)
def test_refuses_other_volumes_and_gaps(settings, message):
    with pytest.raises(ValueError, match=f"^max_pool: {message}"):
        nn.max_pool(**settings)
