"""Softmax regression."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dlcore import nn
from dlcore.models._model import model


@model
def linear(inputs: int | Sequence[int] = (28, 28, 1), classes: int = 10) -> nn.Layer:
    """One linear layer on the pixels: logits = flatten(x) · kernel + bias, for x [B, *inputs].

    7,850 parameters for 28×28 pixels and 10 classes. LeCun et al. 1998, section III.C.1, whose
    linear classifier errs on 12 % of MNIST; with the softmax in the loss, as here, it is about 8 %.

    Raises ValueError for sizes and classes below 1.
    """
    return nn.serial(nn.flatten, nn.linear(size(inputs), classes))


def size(inputs: int | Sequence[int]) -> int:
    """How many numbers one input holds, which is a vector [inputs] or an array of that shape."""
    return inputs if isinstance(inputs, int) else math.prod(inputs)
