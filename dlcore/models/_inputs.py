"""The size of a model's images."""

from __future__ import annotations

from collections.abc import Sequence


def image(model: str, inputs: Sequence[int], least: int) -> tuple[int, int, int]:
    """`inputs` as (height, width, channels), where both sides are `least` pixels or more."""
    if not isinstance(inputs, Sequence) or len(inputs) != 3 or min(inputs[:2]) < least:
        raise ValueError(
            f"{model} needs inputs (height, width, channels) of {least}×{least} at least, "
            f"got inputs={inputs!r}"
        )
    height, width, channels = inputs
    return height, width, channels
