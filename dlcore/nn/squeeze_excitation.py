"""Squeeze and excitation: a channel is weighed by what all channels hold."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from dlcore import functional as F
from dlcore.nn.arguments import factory
from dlcore.nn.combinators import Parts, wire
from dlcore.nn.describing import describe
from dlcore.nn.layer import Layer, check_sizes
from dlcore.nn.linear import linear


@factory()
def squeeze_excitation(channels: int, ratio: int = 16) -> Layer:
    """y = x · s for x [B, H, W, channels], with s = sigmoid(expand(relu(reduce(z)))) [B, channels].

    z [B, channels] is the mean of x over H and W. The children reduce and expand are linear layers
    to channels / ratio features and back, without bias. Hu et al. 2018, equations 2 to 4;
    torchvision's SqueezeExcitation has biases.
    """
    check_sizes("squeeze_excitation", channels=channels, ratio=ratio)
    if channels % ratio:
        raise ValueError(
            "squeeze_excitation needs channels that ratio divides, "
            f"got channels={channels}, ratio={ratio}"
        )

    def forward(parts: Parts, x: jax.Array, *, key: Any, train: bool) -> jax.Array:
        if x.ndim != 4 or x.shape[-1] != channels:
            raise ValueError(
                f"squeeze_excitation expected [B, H, W, {channels}], got {describe(x)}"
            )
        z = F.global_avg_pool(x)
        s = F.sigmoid(parts.expand(F.relu(parts.reduce(z))))
        return x * s[:, None, None, :]

    features = channels // ratio
    layer = wire(
        forward,
        reduce=linear(channels, features, bias=False),
        expand=linear(features, channels, bias=False),
    )
    config = {"channels": channels, "ratio": ratio}
    info = dataclasses.replace(layer.info, kind="squeeze_excitation", config=config)
    return layer._replace(info=info)
