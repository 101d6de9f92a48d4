"""The multilayer perceptron."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from dlcore import functional as F
from dlcore import nn
from dlcore.checks import is_concrete
from dlcore.models._model import model
from dlcore.models.linear import size
from dlcore.nn.init import Initializer, he_normal


@model
def mlp(
    inputs: int | Sequence[int] = (28, 28, 1),
    hidden: Sequence[int] = (512, 512),
    classes: int = 10,
    *,
    activation: Callable[[Any], Any] | nn.Layer = F.relu,
    dropout: float = 0.2,
    kernel_init: Initializer = he_normal(),
) -> nn.Layer:
    """flatten, then linear, activation and dropout for each width in `hidden`, then linear.

    x is [B, *inputs], the result logits [B, classes]. 669,706 parameters by default
    (784-512-512-10), the network of Keras's mnist_mlp example. `kernel_init` is that of the hidden
    layers, He's for relu; `dropout` is the probability of dropping a hidden unit, and 0 leaves the
    layer out.

    Raises ValueError for sizes and classes below 1 and a dropout outside [0, 1).
    """
    if not isinstance(hidden, Sequence) or isinstance(hidden, str):
        raise TypeError(
            f"mlp: hidden is {hidden!r}, but the width of each hidden layer is wanted: "
            f"hidden=({hidden},)"
        )
    widths = [size(inputs), *hidden]
    layers: list[Any] = [nn.flatten]
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [nn.linear(fan_in, fan_out, kernel_init=kernel_init), activation]
        layers += [] if is_concrete(dropout) and dropout == 0 else [nn.dropout(dropout)]
    return nn.serial(*layers, nn.linear(widths[-1], classes))
