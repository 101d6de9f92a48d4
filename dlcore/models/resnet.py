"""ResNet: residual networks for images of ImageNet's size."""

from __future__ import annotations

from collections.abc import Sequence

from dlcore import functional as F
from dlcore import nn
from dlcore.checks import one_of
from dlcore.models._inputs import image
from dlcore.models._model import model
from dlcore.nn.init import he_normal

# Table 1: how many blocks each of the four stages has.
BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


@model
def resnet(
    depth: int = 50,
    inputs: Sequence[int] = (224, 224, 3),
    classes: int = 1000,
    *,
    scan: bool | None = None,
) -> nn.Layer:
    """A stem, four stages of residual blocks and a linear layer, for images [B, *inputs].

    |        |         |       |      blocks in a network of depth      |
    | part   | 224×224 | width |  18    |  34    |  50  |  101  |  152  |
    |--------|---------|-------|--------|--------|------|-------|-------|
    | stage1 | 56×56   |    64 |   2    |   3    |   3  |    3  |    3  |
    | stage2 | 28×28   |   128 |   2    |   4    |   4  |    4  |    8  |
    | stage3 | 14×14   |   256 |   2    |   6    |   6  |   23  |   36  |
    | stage4 | 7×7     |   512 |   2    |   3    |   3  |    3  |    3  |
    |        |         |       |    `basic`      |     `bottleneck`     |

    The stem is a convolution 64 @ 7×7 with stride 2, batch norm, relu and max-pooling 3×3 with
    stride 2, the head the mean over the map and a linear layer. From stage2 on the first block
    halves the map. 11,689,512, 21,797,672, 25,557,032, 44,549,160 and 60,192,808 parameters.

    He et al. 2016, table 1, with option B, a projection where the shape changes; kernels start as
    in He et al. 2015, equation 14. Departure: where a bottleneck halves the map, its 3×3
    convolution has the stride, as in torchvision ("v1.5"), and in the paper its first 1×1.

    How the blocks of a stage after its first run, `scan` says as in `nn.repeat`; the parameters are
    the same.

    Raises ValueError for another depth.
    """
    _, _, channels = image("resnet", inputs, 1)
    counts = one_of("resnet", "depth", depth, BLOCKS)
    block, expansion = (basic, 1) if depth < 50 else (bottleneck, 4)
    stem = nn.serial(
        conv(channels, 64, 7, 2),
        nn.batch_norm(64),
        F.relu,
        nn.max_pool(3, stride=2, padding=1),
    )
    stages, features = [], 64
    for i, n in enumerate(counts):
        width = 64 * 2**i
        first = block(features, width, 2 if i else 1)
        features = expansion * width
        stage = nn.repeat(block(features, width), n, first=first, scan=scan)
        stages.append(nn.named(f"stage{i + 1}", stage))
    return nn.serial(
        nn.named("stem", stem),
        *stages,
        nn.global_avg_pool,
        nn.named("head", nn.linear(features, classes)),
    )


def basic(channels: int, width: int, stride: int = 1) -> nn.Layer:
    """relu(body(x) + skip(x)) of two 3×3 convolutions; figure 5, left."""
    body = basic_body(channels, width, stride)
    return nn.residual(body, shortcut(channels, width, stride), activation=F.relu)


def basic_body(channels: int, width: int, stride: int) -> nn.Layer:
    """What `basic` adds to its shortcut."""
    return nn.serial(
        conv(channels, width, 3, stride),
        nn.batch_norm(width),
        F.relu,
        conv(width, width, 3),
        nn.batch_norm(width),
    )


def bottleneck(channels: int, width: int, stride: int = 1) -> nn.Layer:
    """relu(body(x) + skip(x)) of a 3×3 convolution between two 1×1, the last to 4 · width channels;
    figure 5, right.
    """
    features = 4 * width
    body = nn.serial(
        conv(channels, width, 1),
        nn.batch_norm(width),
        F.relu,
        conv(width, width, 3, stride),
        nn.batch_norm(width),
        F.relu,
        conv(width, features, 1),
        nn.batch_norm(features),
    )
    return nn.residual(body, shortcut(channels, features, stride), activation=F.relu)


def shortcut(channels: int, features: int, stride: int) -> nn.Layer | None:
    """Option B: Wₛx (equation 2) with a batch norm where the shape changes, else the identity."""
    if channels == features and stride == 1:
        return None
    return nn.serial(conv(channels, features, 1, stride), nn.batch_norm(features))


def conv(channels: int, features: int, size: int, stride: int = 1) -> nn.Layer:
    """A convolution of odd size, padded to keep the map; the norm behind it has the bias."""
    return nn.conv(
        channels,
        features,
        size,
        stride=stride,
        padding=size // 2,
        bias=False,
        kernel_init=he_normal("fan_out"),
    )
