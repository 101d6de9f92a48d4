"""What dense models of images share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from dlcore import nn
from dlcore.nn.layer import with_info


def dense(widths: Sequence[int], activation: Callable[[Any], Any] | nn.Layer, **how: Any) -> list:
    """linear and activation from each of `widths` to the next."""
    pairs = itertools.pairwise(widths)
    layers = [(nn.linear(before, after, **how), activation) for before, after in pairs]
    return list(itertools.chain(*layers))


def taking(inputs: int | Sequence[int], layer: nn.Layer) -> nn.Layer:
    """`layer`, which says that x is [B, *inputs]: how it flattens an image, torch's names need."""
    return with_info(layer, config={"inputs": inputs})


def check_widths(model: str, **widths: Any) -> None:
    """Refuses what is no sequence of widths, naming it."""
    for name, given in widths.items():
        if not isinstance(given, Sequence) or isinstance(given, str):
            raise TypeError(
                f"{model}: {name} is {given!r}, but the width of each layer is wanted: "
                f"{name}=({given},)"
            )
