"""What convolution and pooling share: the geometry of a window that slides over [B, H, W, C], and
in pooling over volumes [B, D, H, W, C].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax
from jax import lax

Pair = tuple[int, int]
Sizes = tuple[int, ...]  # a number for each spatial axis
Around = tuple[Pair, ...]  # what lies before and behind x along each spatial axis
Size = int | Sequence[int]
Padding = str | int | Sequence[int] | Sequence[Sequence[int]]

_SHAPES = {2: "[B, H, W, C]", 3: "[B, D, H, W, C]"}
_TUPLES = {2: "a pair of them", 3: "three of them"}
_PADDINGS = {
    2: "a pair (vertical, horizontal) or ((top, bottom), (left, right))",
    3: "three (depth, vertical, horizontal) or ((front, back), (top, bottom), (left, right))",
}


def pair(function: str, name: str, value: Size) -> Pair:
    """One positive integer as (value, value), or two of them, for height and width."""
    height, width = sizes(function, name, value, 2)
    return height, width


def sizes(function: str, name: str, value: Size, axes: int) -> Sizes:
    """One positive integer for all of so many spatial axes, or one for each."""
    each = _each(value, axes)
    if each is None or min(each) < 1:
        raise ValueError(
            f"{function}: {name} is {value!r}, but a positive integer or {_TUPLES[axes]} is wanted"
        )
    return each


def pads(
    function: str,
    x: jax.Array,
    window: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes | None = None,
) -> Around:
    """((top, bottom), (left, right)) for x [B, H, W, C], whose window must fit into the padded x.

    `padding` is "VALID" (none), "SAME" (H/stride rows come out, rounded up, and an odd row is
    added at the bottom), an integer for all four sides, a pair (vertical, horizontal), or the
    four: ((top, bottom), (left, right)). For a window of three numbers x is [B, D, H, W, C].
    """
    images(function, x, len(window))
    size, extents = x.shape[1:-1], _extents(window, dilation)
    around = fixed(function, padding, len(window))
    around = around or tuple(lax.padtype_to_pads(size, extents, stride, "SAME"))
    for length, (low, high), extent in zip(size, around, extents, strict=True):
        if length + low + high < extent:
            raise ValueError(
                f"{function}: a window of {written(extents)} does not fit into x {x.shape} "
                f"with padding {padding!r}"
            )
    return around


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


def reach(function: str, padding: Padding) -> tuple[Padding, Pair]:
    """The padding of a transposed convolution as it is the convolution's, and how many rows and
    columns lie beyond what its windows reach: a bottom or a right below 0.
    """
    if padding == "SAME":
        return padding, (0, 0)
    (top, bottom), (left, right) = sides(function, padding, '"SAME", ', beyond=True)
    if min(bottom, right) >= 0:
        return padding, (0, 0)
    return ((top, max(bottom, 0)), (left, max(right, 0))), (max(-bottom, 0), max(-right, 0))


def taps(
    x: jax.Array, window: int, stride: int, axis: int, dilation: int = 1
) -> Iterator[jax.Array]:
    """What each element of a window meets along one axis, at all its places: slices of x."""
    extent = (window - 1) * dilation + 1
    last = (x.shape[axis] - extent) // stride * stride
    for start in range(0, extent, dilation):
        yield lax.slice_in_dim(x, start, start + last + 1, stride, axis)


def channels_first(x: jax.Array, channels: int) -> str:
    """What to write where x [B, C, H, W] is in PyTorch's order; nothing where it is not."""
    if x.ndim == 4 and x.shape[1] == channels != x.shape[-1]:
        return "; of PyTorch's order make x.transpose(0, 2, 3, 1)"
    return ""


def images(function: str, x: jax.Array, axes: int = 2) -> None:
    """Refuses what is not [B, H, W, C], or [B, D, H, W, C] with three spatial axes."""
    if x.ndim != axes + 2:
        raise ValueError(f"{function}: x has shape {x.shape}, but {_SHAPES[axes]} is wanted")


def pool_window(
    function: str,
    window: Size,
    stride: Size | None,
    padding: Padding,
    dilation: Size = 1,
    axes: int = 2,
) -> tuple[Any, Any]:
    """(window, stride) of pooling, a number for each of so many axes; the stride is the window by
    default.

    Padding as large as the window is refused: a window in it would hold nothing of x. (PyTorch
    refuses more than half.)
    """
    window = sizes(function, "window", window, axes)
    stride = window if stride is None else sizes(function, "stride", stride, axes)
    extents = _extents(window, sizes(function, "dilation", dilation, axes))
    around = fixed(function, padding, axes) or ()
    if any(max(side) >= extent for side, extent in zip(around, extents, strict=False)):
        raise ValueError(
            f"{function}: padding is {padding!r}, but less than the window {written(extents)} "
            "is wanted: a window of padding alone has no value"
        )
    return window, stride


def spatial_axes(window: Size) -> int:
    """3 for a window of three numbers, which pools volumes; else 2."""
    return 3 if isinstance(window, tuple | list) and len(window) == 3 else 2


def fixed(function: str, padding: Padding, axes: int = 2) -> Around | None:
    """((top, bottom), (left, right)) of any padding; None of "SAME", which depends on x."""
    return None if padding == "SAME" else sides(function, padding, '"SAME", ', axes)


def sides(
    function: str, padding: Any, also: str = "", axes: int = 2, *, beyond: bool = False
) -> Around:
    """((top, bottom), (left, right)) of any padding but "SAME", which needs a window.

    `also` is what the caller takes besides; with `beyond` the second of each pair may be negative.
    """
    given: Any = 0 if padding == "VALID" else padding
    same = _each(given, axes)
    each = [(size, size) for size in same] if same else given
    around = [_each(side, 2) for side in each] if _is_sequence(each) else []
    pairs = [(side[0], side[1]) for side in around if side]
    least = min((low if beyond else min(low, high) for low, high in pairs), default=0)
    if len(pairs) == len(around) == axes and least >= 0:
        return tuple(pairs)
    name = padding.upper() if isinstance(padding, str) else ""
    if name == "VALID" or (name == "SAME" and also):
        raise ValueError(f'{function}: padding is {padding!r}: write padding="{name}"')
    more = ", bottom and right also below 0," if beyond else ""
    raise ValueError(
        f'{function}: padding is {padding!r}, but "VALID", {also}an integer ≥ 0, '
        f"{_PADDINGS[axes]}{more} is wanted"
    )


def written(extents: Sizes) -> str:
    """3×3."""
    return "×".join(map(str, extents))


def _extents(window: Sizes, dilation: Sizes | None) -> Sizes:
    """How far a window reaches along each axis, gaps included."""
    gaps = dilation or (1,) * len(window)
    return tuple((w - 1) * d + 1 for w, d in zip(window, gaps, strict=True))


def _each(value: Any, count: int) -> tuple[int, ...] | None:
    """So many integers: one for all, or each."""
    numbers = tuple(value) if _is_sequence(value) else (value,) * count
    fits = len(numbers) == count and all(isinstance(number, int) for number in numbers)
    return numbers if fits else None


def _is_sequence(value: Any) -> bool:
    return isinstance(value, tuple | list)
