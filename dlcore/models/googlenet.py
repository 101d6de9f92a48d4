"""GoogLeNet: inception blocks, and heads halfway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from dlcore import functional as F
from dlcore import nn
from dlcore.keys import Key
from dlcore.models._inputs import image
from dlcore.models._model import model
from dlcore.nn.init import he_normal

# Table 1, from the column #1×1 to pool proj. In torchvision's form the 5×5 are 3×3.
INCEPTION = {
    #               1×1   →3×3  3×3   →5×5  5×5  pool
    "inception3a": (64,   96,   128,  16,   32,  32),
    "inception3b": (128,  128,  192,  32,   96,  64),
    "inception4a": (192,  96,   208,  16,   48,  64),
    "inception4b": (160,  112,  224,  24,   64,  64),
    "inception4c": (128,  128,  256,  24,   64,  64),
    "inception4d": (112,  144,  288,  32,   64,  64),
    "inception4e": (256,  160,  320,  32,   128, 128),
    "inception5a": (256,  160,  320,  32,   128, 128),
    "inception5b": (384,  192,  384,  48,   128, 128),
}  # fmt: skip
HEADS = {"inception4a": "aux1", "inception4d": "aux2"}  # what an auxiliary head looks at


@model
def googlenet(
    inputs: Sequence[int] = (224, 224, 3),
    classes: int = 1000,
    *,
    batch_norm: bool = True,
    auxiliary: bool = False,
    small: bool = False,
    width: int = 64,
) -> nn.Layer:
    """A stem, nine inception blocks and ONE linear layer, for images [B, *inputs].

    | layer                                       | 224×224×3   |
    |---------------------------------------------|-------------|
    | conv 64 @ 7×7, stride 2; max-pool           | 56×56×64    |
    | conv 64 @ 1×1; conv 192 @ 3×3; max-pool     | 28×28×192   |
    | inception 3a, 3b; max-pool                  | 14×14×480   |
    | inception 4a, 4b, 4c, 4d, 4e; max-pool      | 7×7×832     |
    | inception 5a, 5b                            | 7×7×1024    |
    | global mean, dropout, linear 1000           | 1000        |

    Szegedy et al. 2014, table 1, which `INCEPTION` repeats. A max-pool is 3×3 with stride 2.

    - `batch_norm=True` is torchvision's form: one after each convolution, 3×3 in the place of the
      5×5, the last max-pool 2×2, dropout 0.2. 6,624,904 parameters, 13,004,888 with auxiliary
      heads. (Its pretrained weights want images in [−1, 1].)
    - `batch_norm=False` is the paper's: 5×5, local response normalisation in the stem, dropout 0.4.
      6,998,552 and 13,378,280 parameters. The paper gives neither the constants of that norm, which
      are AlexNet's here, nor a start, which is He's here.

    `auxiliary` adds two classifiers, on 4a and 4d. In training the output is then the logits of all
    three, (main, aux1, aux2), for a loss of main + 0.3·(aux1 + aux2) (section 5); in evaluation it
    is the main ones, and the heads are not computed. Paths are the same with and without.

    `small` is a stem for images as small as 32×32: conv 64 @ 3×3 with stride 1 first, and no
    max-pool after it. `width` is that of the first convolution; all others are in proportion.

    Raises ValueError for a width below 4 and for images of which nothing would be left: 15×15
    are enough by default.
    """
    if not isinstance(width, int) or width < 4:
        raise ValueError(
            "googlenet needs width ≥ 4, an integer, since its narrowest convolutions have a "
            f"quarter of it, got width={width!r}"
        )
    # What 4a must be given: a row for its pooling, two for a 3×3 one, five for the paper's heads.
    need = 1 if batch_norm else 5 if auxiliary else 2
    *sides, channels = image("googlenet", inputs, 4 * need if small else 16 * need - 1)
    trunk = {"stem": stem(channels, batch_norm, small, width)}
    heads = {}
    channels = 3 * width
    for name, row in INCEPTION.items():
        scaled = [number * width // 64 for number in row]
        trunk[name] = inception(channels, *scaled, batch_norm=batch_norm)
        channels = sum(scaled[branch] for branch in (0, 2, 4, 5))
        if auxiliary and name in HEADS:
            at = [side // 4 if small else (side + 1) // 16 for side in sides]
            heads[HEADS[name]] = auxiliary_head(channels, at, classes, batch_norm, width)
        if name == "inception3b":
            trunk["pool3"] = halve()
        if name == "inception4e":
            trunk["pool4"] = halve(2 if batch_norm else 3)
    trunk["pool5"] = nn.as_layer(nn.global_avg_pool)
    trunk["dropout"] = nn.dropout(0.2 if batch_norm else 0.4)
    trunk["head"] = nn.linear(channels, classes)
    if not auxiliary:
        return nn.serial(*(nn.named(name, layer) for name, layer in trunk.items()))

    def forward(parts: Any, x: jax.Array, *, key: Key | None, train: bool) -> Any:
        logits = []
        for name in trunk:
            x = parts[name](x)
            if train and name in HEADS:
                logits.append(parts[HEADS[name]](x))
        return (x, *logits) if train else x

    return nn.wire(forward, **trunk, **heads)


def inception(
    channels: int,
    one: int,
    reduce3: int,
    three: int,
    reduce5: int,
    five: int,
    pool: int,
    *,
    batch_norm: bool = True,
) -> nn.Layer:
    """Four branches side by side, joined: [B, H, W, channels] → [B, H, W, one+three+five+pool].

    1×1; 1×1 then 3×3; 1×1 then 5×5 (3×3 with `batch_norm`); 3×3 max-pool then 1×1. Szegedy et
    al. 2014, figure 2b.
    """
    last = 3 if batch_norm else 5
    return nn.concat(
        nn.named("branch1", nn.serial(*unit(channels, one, 1, batch_norm))),
        nn.named(
            "branch2",
            nn.serial(
                *unit(channels, reduce3, 1, batch_norm), *unit(reduce3, three, 3, batch_norm)
            ),
        ),
        nn.named(
            "branch3",
            nn.serial(
                *unit(channels, reduce5, 1, batch_norm), *unit(reduce5, five, last, batch_norm)
            ),
        ),
        nn.named(
            "branch4",
            nn.serial(
                nn.max_pool(3, stride=1, padding=1),
                *unit(channels, pool, 1, batch_norm),
            ),
        ),
    )


def stem(channels: int, batch_norm: bool, small: bool, width: int) -> nn.Layer:
    """All before the first inception block; H becomes H/8, of small images H/2."""
    norm = [] if batch_norm else [nn.local_response_norm()]
    first = (
        unit(channels, width, 3, batch_norm)
        if small
        else [*unit(channels, width, 7, batch_norm, stride=2), halve()]
    )
    return nn.serial(
        *first,
        *norm,
        *unit(width, width, 1, batch_norm),
        *unit(width, 3 * width, 3, batch_norm),
        *norm,
        halve(),
    )


def auxiliary_head(
    channels: int, sides: Sequence[int], classes: int, batch_norm: bool, width: int
) -> nn.Layer:
    """A classifier on a map [B, *sides, channels] in the middle, which is pooled to 4×4 of 14×14.

    Section 5; with `batch_norm` torchvision's, which pools maps of every size to 4×4.
    """
    pool = nn.adaptive_avg_pool(4) if batch_norm else nn.avg_pool(5, stride=3)
    rows, columns = (4 if batch_norm else (side - 2) // 3 for side in sides)
    return nn.serial(
        pool,
        *unit(channels, 2 * width, 1, batch_norm),
        nn.flatten,
        nn.linear(rows * columns * 2 * width, 16 * width, kernel_init=he_normal()),
        F.relu,
        nn.dropout(0.7),
        nn.linear(16 * width, classes),
    )


def unit(
    channels: int, features: int, kernel_size: int, batch_norm: bool, stride: int = 1
) -> list[Any]:
    """A convolution that keeps the size, or halves it with stride 2, its norm, and relu."""
    conv = nn.conv(
        channels,
        features,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        bias=not batch_norm,
        kernel_init=he_normal(),
    )
    return [conv, *([nn.batch_norm(features, eps=1e-3)] if batch_norm else []), F.relu]


def halve(window: int = 3) -> nn.Layer:
    """Max-pooling with stride 2; a window may reach over the last row (ceil_mode in PyTorch)."""
    return nn.max_pool(window, stride=2, padding=((0, 1), (0, 1)))
