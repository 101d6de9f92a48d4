"""What convolution and pooling share: the geometry of a window that slides over [B, H, W, C]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax import lax

Pair = tuple[int, int]
Size = int | Sequence[int]
Padding = str | int | Sequence[int] | Sequence[Sequence[int]]


def pair(function: str, name: str, value: Size) -> Pair:
    """One positive integer as (value, value), or two of them, for height and width."""
    sizes = _pair(value)
    if sizes is None or min(sizes) < 1:
        raise ValueError(
            f"{function}: {name} is {value!r}, but a positive integer or a pair of them is wanted"
        )
    return sizes


def pads(
    function: str,
    x: jax.Array,
    window: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair = (1, 1),
) -> tuple[Pair, Pair]:
    """((top, bottom), (left, right)) for x [B, H, W, C], whose window must fit into the padded x.

    `padding` is "VALID" (none), "SAME" (H/stride rows come out, rounded up, and an odd row is
    added at the bottom), an integer for all four sides, a pair (vertical, horizontal), or the
    four: ((top, bottom), (left, right)).
    """
    if x.ndim != 4:
        raise ValueError(f"{function}: x has shape {x.shape}, but [B, H, W, C] is wanted")
    size = x.shape[1:3]
    reach = tuple((w - 1) * d + 1 for w, d in zip(window, dilation, strict=True))
    if padding in ("VALID", "SAME"):
        top_bottom, left_right = lax.padtype_to_pads(size, reach, stride, str(padding))
    else:
        top_bottom, left_right = _sides(function, padding)
    for length, (low, high), extent in zip(size, (top_bottom, left_right), reach, strict=True):
        if length + low + high < extent:
            raise ValueError(
                f"{function}: a window of {reach[0]}×{reach[1]} does not fit into x {x.shape} "
                f"with padding {padding!r}"
            )
    return top_bottom, left_right


def _sides(function: str, padding: Any) -> tuple[Pair, Pair]:
    around = _pair(padding)
    sides = [(size, size) for size in around] if around else padding
    match [_pair(side) for side in sides] if _is_sequence(sides) else ():
        case [(top, bottom), (left, right)] if min(top, bottom, left, right) >= 0:
            return (top, bottom), (left, right)
    raise ValueError(
        f'{function}: padding is {padding!r}, but "VALID", "SAME", an integer ≥ 0, a pair '
        "(vertical, horizontal) or ((top, bottom), (left, right)) is wanted"
    )


def _pair(value: Any) -> Pair | None:
    match value if _is_sequence(value) else (value, value):
        case [int(first), int(second)]:
            return first, second
    return None


def _is_sequence(value: Any) -> bool:
    return isinstance(value, tuple | list)
