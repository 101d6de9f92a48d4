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
        ({"window": 2, "padding": "same"}, 'padding is \'same\', but "VALID", "SAME"'),
        ({"window": 2, "padding": 5}, "padding is 5, but less than the window 2×2 is wanted"),
    ],
)
def test_refuses(make, settings, message):
    with pytest.raises(ValueError, match=f"^{make.__name__}: {message}"):
        make(**settings)
