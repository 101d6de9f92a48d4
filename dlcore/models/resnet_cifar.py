"""ResNet for images of CIFAR's size, and the plain networks that it is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from dlcore import functional as F
from dlcore import nn
from dlcore.models._inputs import image
from dlcore.models._model import model
from dlcore.models.resnet import basic_body, conv, shortcut


@model
def resnet_cifar(
    depth: int = 20,
    inputs: Sequence[int] = (32, 32, 3),
    classes: int = 10,
    *,
    option: str | None = "A",
    scan: bool | None = None,
) -> nn.Layer:
    """Three stages of n blocks of two 3×3 convolutions, depth = 6n + 2, for images [B, *inputs].

    | part   | 32×32×3  | of 20, 32, 44, 56, 110 layers      |
    |--------|----------|------------------------------------|
    | stem   | 32×32×16 | conv 16 @ 3×3, batch norm, relu    |
    | stage1 | 32×32×16 | n = 3, 5, 7, 9, 18 blocks          |
    | stage2 | 16×16×32 | as many, the first with stride 2   |
    | stage3 | 8×8×64   | as many, the first with stride 2   |
    | head   | 10       | mean over the map, linear          |

    269,722 parameters of 20 layers, 464,154 of 32, 658,586 of 44, 853,018 of 56, 1,727,962 of 110.
    He et al. 2016, section 4.2, whose deepest has 1202 layers; kernels start as in `resnet`, which
    also says what `scan` does.

    `option` is the shortcut where the shape changes. "A" is the identity, strided, with zeros for
    the new channels: half of them before the old ones and half after, of which the paper says
    nothing and PyTorch's common weights are. "B" is a 1×1 convolution with batch norm. None leaves
    out every shortcut, which is the paper's plain network; its blocks have the same paths.

    Raises ValueError for another depth or option.
    """
    _, _, channels = image("resnet_cifar", inputs, 1)
    if not isinstance(depth, int) or depth not in range(8, 1203, 6):
        raise ValueError(
            f"resnet_cifar has depths 6n + 2 (8, 14, 20, …, 1202), got depth={depth!r}"
        )
    if option not in ("A", "B", None):
        raise ValueError(f'resnet_cifar: option is {option!r}, but "A", "B" or None is wanted')
    n = (depth - 2) // 6
    stages, features = [], 16
    for i, width in enumerate((16, 32, 64)):
        first = block(features, width, 2 if i else 1, option)
        stage = nn.repeat(block(width, width, 1, option), n, first=first, scan=scan)
        stages.append(nn.named(f"stage{i + 1}", stage))
        features = width
    return nn.serial(
        nn.named("stem", nn.serial(conv(channels, 16, 3), nn.batch_norm(16), F.relu)),
        *stages,
        nn.global_avg_pool,
        nn.named("head", nn.linear(features, classes)),
    )


def block(channels: int, width: int, stride: int, option: str | None) -> nn.Layer:
    """relu(body(x) + skip(x)), or relu(body(x)) without shortcuts."""
    body = basic_body(channels, width, stride)
    if option is None:
        return nn.serial(nn.named("body", body), F.relu)
    if option == "B" or (channels == width and stride == 1):
        skip = shortcut(channels, width, stride)
    else:
        skip = padded_identity(channels, width, stride)
    return nn.residual(body, skip, activation=F.relu)


def padded_identity(channels: int, features: int, stride: int) -> nn.Layer:
    """Every stride-th pixel of x [B, H, W, channels], with zeros up to `features` channels."""
    before = (features - channels) // 2
    after = features - channels - before

    def pad(x: jax.Array) -> jax.Array:
        pixels = F.max_pool(x, 1, stride)  # x[:, ::stride, ::stride], also exported for any size
        return jnp.pad(pixels, ((0, 0), (0, 0), (0, 0), (before, after)))

    return nn.from_function(
        pad, "padded_identity", channels=channels, features=features, stride=stride
    )
