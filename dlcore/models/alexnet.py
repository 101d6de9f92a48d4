"""AlexNet, in one column (2014) and in two groups (2012)."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from dlcore import functional as F
from dlcore import nn
from dlcore.models._inputs import image
from dlcore.models._model import model
from dlcore.nn.init import he_normal


@model
def alexnet(inputs: Sequence[int] = (224, 224, 3), classes: int = 1000) -> nn.Layer:
    """Five convolutions and three linear layers in one column, for images [B, *inputs].

    | layer                                   | 224×224×3 | parameters |
    |-----------------------------------------|-----------|------------|
    | conv 64 @ 11×11, stride 4, relu         | 55×55×64  |     23,296 |
    | max-pool 3×3, stride 2                  | 27×27×64  |            |
    | conv 192 @ 5×5, relu                    | 27×27×192 |    307,392 |
    | max-pool 3×3, stride 2                  | 13×13×192 |            |
    | conv 384 @ 3×3, relu                    | 13×13×384 |    663,936 |
    | conv 256 @ 3×3, relu                    | 13×13×256 |    884,992 |
    | conv 256 @ 3×3, relu                    | 13×13×256 |    590,080 |
    | max-pool 3×3, stride 2                  | 6×6×256   |            |
    | flatten, dropout ½, linear 4096, relu   | 4096      | 37,752,832 |
    | dropout ½, linear 4096, relu            | 4096      | 16,781,312 |
    | linear 1000                             | 1000      |  4,097,000 |

    61,100,840 parameters. Krizhevsky 2014, "One weird trick for parallelizing convolutional neural
    networks", as torchvision distributes it. Where the last map is larger than 6×6 it is averaged
    to that, also as there; of smaller images (63×63 at least) it is as small as it is, and so is
    the first linear layer.

    Raises ValueError for images below 63×63.
    """
    *sides, channels = image("alexnet", inputs, 63)
    rows, columns = (min(6, last_side(side)) for side in sides)
    # He's start, for what a relu follows.
    conv = functools.partial(nn.conv, kernel_init=he_normal())
    linear = functools.partial(nn.linear, kernel_init=he_normal())
    features = nn.serial(
        conv(channels, 64, 11, stride=4, padding=2),
        F.relu,
        nn.max_pool(3, stride=2),
        conv(64, 192, 5, padding=2),
        F.relu,
        nn.max_pool(3, stride=2),
        conv(192, 384, 3, padding=1),
        F.relu,
        conv(384, 256, 3, padding=1),
        F.relu,
        conv(256, 256, 3, padding=1),
        F.relu,
        nn.max_pool(3, stride=2),
    )
    classifier = nn.serial(
        nn.dropout(0.5),
        linear(rows * columns * 256, 4096),
        F.relu,
        nn.dropout(0.5),
        linear(4096, 4096),
        F.relu,
        nn.linear(4096, classes),
    )
    return nn.serial(
        nn.named("features", features),
        nn.adaptive_avg_pool((rows, columns)),
        nn.flatten,
        nn.named("classifier", classifier),
    )


@model
def alexnet_2012(inputs: Sequence[int] = (224, 224, 3), classes: int = 1000) -> nn.Layer:
    """The network that won ImageNet 2012, of which two GPUs held one group each.

    | layer                                         | 224×224×3 | parameters |
    |-----------------------------------------------|-----------|------------|
    | conv 96 @ 11×11, stride 4, relu, lrn          | 55×55×96  |     34,944 |
    | max-pool 3×3, stride 2                        | 27×27×96  |            |
    | conv 256 @ 5×5 in two groups, relu, lrn       | 27×27×256 |    307,456 |
    | max-pool 3×3, stride 2                        | 13×13×256 |            |
    | conv 384 @ 3×3, relu                          | 13×13×384 |    885,120 |
    | conv 384 @ 3×3 in two groups, relu            | 13×13×384 |    663,936 |
    | conv 256 @ 3×3 in two groups, relu            | 13×13×256 |    442,624 |
    | max-pool 3×3, stride 2                        | 6×6×256   |            |
    | flatten, linear 4096, relu, dropout ½         | 4096      | 37,752,832 |
    | linear 4096, relu, dropout ½                  | 4096      | 16,781,312 |
    | linear 1000                                   | 1000      |  4,097,000 |

    60,965,224 parameters; lrn is local response normalisation. Krizhevsky et al. 2012, figure 2 and
    section 3.5. Images of 224×224 are padded by 2, since without padding they would not give the
    paper's 55×55. The paper draws kernels from N(0, 0.01²) and starts most biases at 1; here it is
    He's start, with 0.

    Raises ValueError for images below 63×63.
    """
    *sides, channels = image("alexnet_2012", inputs, 63)
    rows, columns = map(last_side, sides)
    # He's start, for what a relu follows.
    conv = functools.partial(nn.conv, kernel_init=he_normal())
    linear = functools.partial(nn.linear, kernel_init=he_normal())
    features = nn.serial(
        conv(channels, 96, 11, stride=4, padding=2),
        F.relu,
        nn.local_response_norm(),
        nn.max_pool(3, stride=2),
        conv(96, 256, 5, padding=2, groups=2),
        F.relu,
        nn.local_response_norm(),
        nn.max_pool(3, stride=2),
        conv(256, 384, 3, padding=1),
        F.relu,
        conv(384, 384, 3, padding=1, groups=2),
        F.relu,
        conv(384, 256, 3, padding=1, groups=2),
        F.relu,
        nn.max_pool(3, stride=2),
    )
    classifier = nn.serial(
        linear(rows * columns * 256, 4096),
        F.relu,
        nn.dropout(0.5),
        linear(4096, 4096),
        F.relu,
        nn.dropout(0.5),
        nn.linear(4096, classes),
    )
    return nn.serial(nn.named("features", features), nn.flatten, nn.named("classifier", classifier))


def last_side(side: int) -> int:
    """How many rows (columns) the last map of an image with that many has: 6 of 224."""
    return (side - 31) // 32
