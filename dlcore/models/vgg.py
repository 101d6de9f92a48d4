"""VGG: depth of 3×3 convolutions alone."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from dlcore import functional as F
from dlcore import nn
from dlcore.checks import one_of
from dlcore.models._inputs import image
from dlcore.models._model import model
from dlcore.nn.init import he_normal

# Table 1, columns A, B, D and E: how many convolutions each of the five stages has.
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


@model
def vgg(
    depth: int = 16,
    inputs: Sequence[int] = (224, 224, 3),
    classes: int = 1000,
    *,
    batch_norm: bool = False,
    width: int = 64,
) -> nn.Layer:
    """Five stages of 3×3 convolutions and three linear layers, for images [B, *inputs].

    | layer, of depth 16                    | 224×224×3   |  parameters |
    |---------------------------------------|-------------|-------------|
    | 2 × conv 64, relu; max-pool 2×2       | 112×112×64  |      38,720 |
    | 2 × conv 128, relu; max-pool 2×2      | 56×56×128   |     221,440 |
    | 3 × conv 256, relu; max-pool 2×2      | 28×28×256   |   1,475,328 |
    | 3 × conv 512, relu; max-pool 2×2      | 14×14×512   |   5,899,776 |
    | 3 × conv 512, relu; max-pool 2×2      | 7×7×512     |   7,079,424 |
    | flatten, linear 4096, relu, dropout ½ | 4096        | 102,764,544 |
    | linear 4096, relu, dropout ½          | 4096        |  16,781,312 |
    | linear 1000                           | 1000        |   4,097,000 |

    138,357,544 parameters; 132,863,336 of depth 11, 133,047,848 of 13, 143,667,240 of 19. Simonyan
    and Zisserman 2014, table 1, columns D, A, B and E. `batch_norm` puts one after each
    convolution, as torchvision does. `width` is that of the first stage; the others and the hidden
    linear layers (64·width) follow it.

    Where the last map is larger than 7×7 it is averaged to that, as in torchvision; of smaller
    images (32×32 at least) it is as small as it is, and so is the first linear layer: 512 → 4096
    for 32×32.

    Raises ValueError for another depth and for images below 32×32.
    """
    *sides, channels = image("vgg", inputs, 32)
    stages = one_of("vgg", "depth", depth, CONVOLUTIONS)
    # He's start, for what a relu follows.
    conv = functools.partial(nn.conv, kernel_init=he_normal())
    linear = functools.partial(nn.linear, kernel_init=he_normal())
    layers: list[Any] = []
    for stage, convolutions in enumerate(stages):
        features = width * min(2**stage, 8)
        for _ in range(convolutions):
            layers.append(conv(channels, features, 3, padding=1))
            layers += [nn.batch_norm(features)] if batch_norm else []
            layers.append(F.relu)
            channels = features
        layers.append(nn.max_pool(2))
    rows, columns = (min(7, side // 32) for side in sides)
    hidden = 64 * width
    classifier = nn.serial(
        linear(rows * columns * channels, hidden),
        F.relu,
        nn.dropout(0.5),
        linear(hidden, hidden),
        F.relu,
        nn.dropout(0.5),
        nn.linear(hidden, classes),
    )
    return nn.serial(
        nn.named("features", nn.serial(*layers)),
        nn.adaptive_avg_pool((rows, columns)),
        nn.flatten,
        nn.named("classifier", classifier),
    )
