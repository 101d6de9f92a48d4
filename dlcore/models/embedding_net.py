"""A network whose outputs are places on a sphere: FaceNet in small."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlcore import functional as F
from dlcore import nn
from dlcore.models._inputs import image
from dlcore.models._model import model
from dlcore.nn.init import he_normal


@model
def embedding_net(
    inputs: Sequence[int] = (48, 48, 1), features: int = 64, *, width: int = 16
) -> nn.Layer:
    """doc"""
    height, breadth, channels = image("embedding_net", inputs, 8)
    layers: list[Any] = []
    for maps in (width, 2 * width, 4 * width):
        layers += [
            nn.conv(channels, maps, 3, padding=1, kernel_init=he_normal(), bias=False),
            nn.batch_norm(maps),
            F.relu,
            nn.max_pool(2),
        ]
        channels = maps
    return nn.serial(
        *layers,
        nn.flatten,
        nn.linear((height // 8) * (breadth // 8) * channels, features),
        nn.from_function(F.unit_length, "unit_length"),
    )
