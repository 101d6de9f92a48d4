"""A VGG for small images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlcore import functional as F
from dlcore import nn
from dlcore.models._inputs import image
from dlcore.models._model import model
from dlcore.nn.init import he_normal


@model
def small_vgg(
    inputs: Sequence[int] = (32, 32, 3), classes: int = 10, *, width: int = 32
) -> nn.Layer:
    """Three stages of two 3×3 convolutions and ONE linear layer, for images [B, *inputs].

    | layer                            | 32×32×3   | parameters |
    |----------------------------------|-----------|------------|
    | 2 × conv 32, relu; max-pool 2×2  | 16×16×32  |     10,144 |
    | 2 × conv 64, relu; max-pool 2×2  | 8×8×64    |     55,424 |
    | 2 × conv 128, relu; max-pool 2×2 | 4×4×128   |    221,440 |
    | flatten, linear 10               | 10        |     20,490 |

    307,498 parameters. The example of CS231n (Stanford), lecture C. `width` is that of the first
    stage; as in `vgg` it doubles from stage to stage.

    Raises ValueError for images below 8×8.
    """
    height, breadth, channels = image("small_vgg", inputs, 8)
    layers: list[Any] = []
    for features in (width, 2 * width, 4 * width):
        for _ in range(2):
            layers += [
                nn.conv(channels, features, 3, padding=1, kernel_init=he_normal()),
                F.relu,
            ]
            channels = features
        layers.append(nn.max_pool(2))
    return nn.serial(
        *layers, nn.flatten, nn.linear((height // 8) * (breadth // 8) * channels, classes)
    )
