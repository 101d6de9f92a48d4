"""The size of a model's images."""

from __future__ import annotations

from collections.abc import Sequence


def image(model: str, inputs: Sequence[int], least: int) -> tuple[int, int, int]:
    """`inputs` as (height, width, channels), where both sides are `least` pixels or more."""
    is_image = isinstance(inputs, Sequence) and [*map(type, inputs)] == [int] * 3
    if not is_image or min(inputs[:2]) < least:
        raise ValueError(
            f"{model} needs inputs (height, width, channels), integers, of {least}×{least} at "
            f"least, got inputs={inputs!r}" + (_turned(inputs, least) if is_image else "")
        )
    height, width, channels = inputs
    return height, width, channels


def _turned(inputs: Sequence[int], least: int) -> str:
    """What to write in the place of PyTorch's (channels, height, width)."""
    channels, height, width = inputs
    if channels <= 4 and min(height, width) >= least:
        return f": write inputs=({height}, {width}, {channels})"
    return ""
