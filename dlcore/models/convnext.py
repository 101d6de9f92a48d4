"""ConvNeXt: a convolutional network with what vision transformers brought."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from dlcore import functional as F
from dlcore import nn
from dlcore.models._inputs import image
from dlcore.models._model import model
from dlcore.nn.init import normal

STAGES = ((96, 3), (192, 3), (384, 9), (768, 3))  # channels and blocks of each


@model
def convnext_tiny(
    inputs: Sequence[int] = (224, 224, 3),
    classes: int = 1000,
    *,
    stochastic_depth: float = 0.1,
) -> nn.Layer:
    """Four stages of depthwise convolutions, for images [B, *inputs].

    | part        | 224×224×3 |                                           | parameters |
    |-------------|-----------|-------------------------------------------|------------|
    | stem        | 56×56×96  | conv 96 @ 4×4, stride 4; layer norm       |      4,896 |
    | stage1      | 56×56×96  | 3 blocks                                  |    237,888 |
    | downsample2 | 28×28×192 | layer norm; conv 192 @ 2×2, stride 2      |     74,112 |
    | stage2      | 28×28×192 | 3 blocks                                  |    918,144 |
    | downsample3 | 14×14×384 | layer norm; conv 384 @ 2×2, stride 2      |    295,680 |
    | stage3      | 14×14×384 | 9 blocks                                  | 10,817,280 |
    | downsample4 | 7×7×768   | layer norm; conv 768 @ 2×2, stride 2      |  1,181,184 |
    | stage4      | 7×7×768   | 3 blocks                                  | 14,289,408 |
    | norm, head  | 1000      | mean over the map, layer norm, linear     |    770,536 |

    28,589,128 parameters. Liu et al. 2022, tables 5 and 9. In training the i-th of the 18 blocks,
    from i = 0 on, is left out with probability stochastic_depth · i / 17; 0.1 is the paper's.
    Kernels start as N(0, 0.02²): the paper and torchvision truncate that at ±2, which cuts nothing.

    Raises ValueError for images below 32×32.
    """
    _, _, channels = image("convnext_tiny", inputs, 32)
    last = sum(n for _, n in STAGES) - 1
    rates = (stochastic_depth * i / last for i in itertools.count())
    parts = []
    for number, (features, n) in enumerate(STAGES, start=1):
        if number == 1:
            stem = nn.serial(conv(channels, features, 4), norm(features))
            parts.append(nn.named("stem", stem))
        else:
            downsample = nn.serial(norm(channels), conv(channels, features, 2))
            parts.append(nn.named(f"downsample{number}", downsample))
        blocks = [nn.named(str(i), block(features, next(rates))) for i in range(n)]
        parts.append(nn.named(f"stage{number}", nn.serial(*blocks)))
        channels = features
    return nn.serial(
        *parts,
        nn.global_avg_pool,
        nn.named("norm", norm(channels)),
        nn.named("head", nn.linear(channels, classes, kernel_init=normal(0.02))),
    )


def block(features: int, rate: float) -> nn.Layer:
    """x + scale · linear(gelu(linear(norm(depthwise(x))))), 4 · features wide; figure 4."""
    return nn.residual(
        nn.serial(
            nn.depthwise(features, 7, padding=3, kernel_init=normal(0.02)),
            norm(features),
            nn.linear(features, 4 * features, kernel_init=normal(0.02)),
            F.gelu,
            nn.linear(4 * features, features, kernel_init=normal(0.02)),
            nn.layer_scale(features, 1e-6),
            nn.stochastic_depth(rate),
        )
    )


def conv(channels: int, features: int, size: int) -> nn.Layer:
    """A convolution of patches that touch and do not overlap."""
    return nn.conv(channels, features, size, stride=size, kernel_init=normal(0.02))


def norm(features: int) -> nn.Layer:
    """Layer norm over the channels of each pixel."""
    return nn.layer_norm(features, eps=1e-6)
