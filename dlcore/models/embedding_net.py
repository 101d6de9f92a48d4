"""FaceNet in small: a network whose outputs are places on a sphere."""

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
    """Three convolutions and a linear layer, for images [B, *inputs]: embeddings of length 1.

    | layer                                   | 48×48×1  | parameters |
    |-----------------------------------------|----------|------------|
    | conv 16 @ 3×3, batch norm, relu         | 48×48×16 |        176 |
    | max-pool 2×2                            | 24×24×16 |            |
    | conv 32 @ 3×3, batch norm, relu         | 24×24×32 |      4,672 |
    | max-pool 2×2                            | 12×12×32 |            |
    | conv 64 @ 3×3, batch norm, relu         | 12×12×64 |     18,560 |
    | max-pool 2×2                            | 6×6×64   |            |
    | flatten, linear 64, to the unit sphere  | 64       |    147,520 |

    170,928 parameters. So squared distances lie in [0, 4], and one margin suits them all. The form
    is that of Schroff et al. 2015, section 3 (x ↦ f(x), ‖f(x)‖ = 1), whose networks have 22 layers
    and 128 features; `width` is that of the first convolution. Trained by `train.metric_learning`.

    Raises ValueError for images below 8×8.
    """
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
        F.unit_length,
    )
