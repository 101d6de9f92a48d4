"""What convolution and pooling share: the geometry of a window that slides over [B, H, W, C]."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    images(function, x)
    size, extents = x.shape[1:3], _extents(window, dilation)
    around = fixed(function, padding) or lax.padtype_to_pads(size, extents, stride, "SAME")
    top_bottom, left_right = around
    for length, (low, high), extent in zip(size, (top_bottom, left_right), extents, strict=True):
        if length + low + high < extent:
            raise ValueError(
                f"{function}: a window of {extents[0]}×{extents[1]} does not fit into x {x.shape} "
                f"with padding {padding!r}"
            )
    return top_bottom, left_right


def places(function: str, x: Any, window: Pair, stride: Pair, padding: Padding) -> Pair:
    """(H′, W′): in how many places a window lies on x [B, H, W, C]."""
    around = pads(function, x, window, stride, padding)
    height, width = (
        (length + low + high - extent) // step + 1
        for length, (low, high), extent, step in zip(
            x.shape[1:3], around, window, stride, strict=True
        )
    )
    return height, width


def size_before(
    function: str, y: jax.Array, window: Pair, stride: Pair, padding: Padding, dilation: Pair
) -> Pair:
    """(H, W) of an x on which a window lies in the H′·W′ places of y [B, H′, W′, C].

    A stride lets several sizes give the same places: H is the smallest of them, with "SAME" the
    largest, stride · H′.
    """
    images(function, y)
    around = fixed(function, padding)
    if around is None:
        height, width = (length * step for length, step in zip(y.shape[1:3], stride, strict=True))
        return height, width
    height, width = (
        (length - 1) * step + extent - low - high
        for length, step, extent, (low, high) in zip(
            y.shape[1:3], stride, _extents(window, dilation), around, strict=True
        )
    )
    if min(height, width) < 1:
        raise ValueError(f"{function}: padding {padding!r} leaves nothing of x {y.shape}")
    return height, width


def taps(x: jax.Array, window: int, stride: int, axis: int) -> Iterator[jax.Array]:
    """What each element of a window meets along one axis, at all its places: slices of x."""
    last = (x.shape[axis] - window) // stride * stride
    for start in range(window):
        yield lax.slice_in_dim(x, start, start + last + 1, stride, axis)


def images(function: str, x: jax.Array) -> None:
    """Refuses what is not [B, H, W, C]."""
    if x.ndim != 4:
        raise ValueError(f"{function}: x has shape {x.shape}, but [B, H, W, C] is wanted")


def pool_window(
    function: str, window: Size, stride: Size | None, padding: Padding
) -> tuple[Pair, Pair]:
    """(window, stride) of pooling, the stride being the window by default.

    Padding as large as the window is refused: a window in it would hold nothing of x. (PyTorch
    refuses more than half.)
    """
    window = pair(function, "window", window)
    stride = window if stride is None else pair(function, "stride", stride)
    around = fixed(function, padding) or ((0, 0), (0, 0))
    if any(max(side) >= length for side, length in zip(around, window, strict=True)):
        raise ValueError(
            f"{function}: padding is {padding!r}, but less than the window {window[0]}×{window[1]} "
            "is wanted: a window of padding alone has no value"
        )
    return window, stride


def fixed(function: str, padding: Padding) -> tuple[Pair, Pair] | None:
    """((top, bottom), (left, right)) of any padding; None of "SAME", which depends on x."""
    return None if padding == "SAME" else sides(function, padding, also='"SAME", ')


def sides(function: str, padding: Any, also: str = "") -> tuple[Pair, Pair]:
    """((top, bottom), (left, right)) of any padding but "SAME", which needs a window.

    `also` is what the caller takes besides.
    """
    around: Any = 0 if padding == "VALID" else padding
    both = _pair(around)
    four = [(size, size) for size in both] if both else around
    match [_pair(side) for side in four] if _is_sequence(four) else ():
        case [(top, bottom), (left, right)] if min(top, bottom, left, right) >= 0:
            return (top, bottom), (left, right)
    raise ValueError(
        f'{function}: padding is {padding!r}, but "VALID", {also}an integer ≥ 0, a '
        "pair (vertical, horizontal) or ((top, bottom), (left, right)) is wanted"
    )


def _extents(window: Pair, dilation: Pair) -> tuple[int, ...]:
    """How far a window reaches along each axis, gaps included."""
    return tuple((w - 1) * d + 1 for w, d in zip(window, dilation, strict=True))


def _pair(value: Any) -> Pair | None:
    match value if _is_sequence(value) else (value, value):
        case [int(first), int(second)]:
            return first, second
    return None


def _is_sequence(value: Any) -> bool:
    return isinstance(value, tuple | list)
