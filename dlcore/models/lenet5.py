"""LeNet-5, as it is built today."""

from __future__ import annotations

from collections.abc import Sequence

from dlcore import functional as F
from dlcore import nn
from dlcore.models._inputs import image
from dlcore.models._model import model
from dlcore.nn.init import he_normal


@model
def lenet5(inputs: Sequence[int] = (28, 28, 1), classes: int = 10) -> nn.Layer:
    """Two convolutions and three linear layers, for images [B, *inputs].

    | layer                          | 28×28×1   | parameters |
    |--------------------------------|-----------|------------|
    | conv 6 @ 5×5 SAME, relu        | 28×28×6   |        156 |
    | max-pool 2×2                   | 14×14×6   |            |
    | conv 16 @ 5×5, relu            | 10×10×16  |      2,416 |
    | max-pool 2×2                   | 5×5×16    |            |
    | flatten, linear 120, relu      | 120       |     48,120 |
    | linear 84, relu                | 84        |     10,164 |
    | linear 10                      | 10        |        850 |

    61,706 parameters. After LeCun et al. 1998, section II.B, whose own form is `lenet5_1998`.

    Raises ValueError for images below 12×12.
    """
    height, width, channels = image("lenet5", inputs, 12)
    rows, columns = ((length // 2 - 4) // 2 for length in (height, width))
    return nn.serial(
        nn.conv(channels, 6, 5, padding="SAME", kernel_init=he_normal()),
        F.relu,
        nn.max_pool(2),
        nn.conv(6, 16, 5, kernel_init=he_normal()),
        F.relu,
        nn.max_pool(2),
        nn.flatten,
        nn.linear(16 * rows * columns, 120, kernel_init=he_normal()),
        F.relu,
        nn.linear(120, 84, kernel_init=he_normal()),
        F.relu,
        nn.linear(84, classes),
    )
