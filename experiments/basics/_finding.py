"""Where the digits are in a picture: strokes that stand out from the paper around them.

The paper at a pixel is the median of a window around it, which follows shadows and the edges of a
sheet and passes over what is thin. A digit is a connected part of what differs from it, on one side
(darker or lighter) and in any colour; frames, lines, specks and the table are told by their shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

WINDOWS = (0.25, 0.5, 1.0)  # of the shorter side: digits are small in a picture, or fill it
LARGEST_WINDOW = 255  # pixels: OpenCV's
CONTRAST = 0.12  # relative to the lighter of ink and paper: less is nothing drawn
DIM = 0.2  # added to that one, since what is dark has large relative differences by noise
INKED = 0.55  # of the ink's usual strength: more is a stroke
CLEAR = 0.15  # a digit's strength, the less what is around it is paper: less is texture
SMALLEST = 14  # pixels of the picture looked at


class Box(NamedTuple):
    """A place in a picture, in pixels; right and bottom are the first ones outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> int:
        """The longer side."""
        return max(self.right - self.left, self.bottom - self.top)


class Part(NamedTuple):
    """A connected part of what differs from the paper: its ink [h, w] in [0, 1], and its shape."""

    box: Box
    ink: np.ndarray
    strength: float  # how much the strokes differ from the paper
    around: float  # how much what is around them does, relative to that
    breadth: float  # of the broadest stroke, relative to the longer side
    aspect: float  # of the least rectangle, turned as need be
    extent: float  # how much of this rectangle the outline fills
    is_blob: bool  # convex and without a hole
    at_border: float  # how much of the longer side lies along the picture's border

    @property
    def weight(self) -> float:
        """How much there is of it."""
        return self.strength * float((self.ink > INKED).sum())


def find(picture: np.ndarray) -> list[Part]:
    """The digits in a picture [H, W, 3] in [0, 1], from left to right; none where there is none."""
    import cv2

    image = cv2.GaussianBlur(np.round(255 * picture).astype(np.uint8), (0, 0), 1.2)
    found: list[Part] = []
    for share in WINDOWS:
        window = min(LARGEST_WINDOW, int(share * min(image.shape[:2])) // 2 * 2 + 1)
        for digits in _on_paper(image, _median(image, window), window):
            if _weight(digits) > 1.2 * _weight(found):  # a smaller window follows the paper better
                found = digits
    return sorted(found, key=lambda part: part.box.left)


def _on_paper(image: np.ndarray, paper: np.ndarray, window: int) -> Iterator[list[Part]]:
    """The digits darker than the paper, then those lighter."""
    colours, paper = image / np.float32(255), paper / np.float32(255)
    difference = (colours - paper) / (np.maximum(colours, paper) + DIM)
    usual = _median((255 * np.abs(difference).max(axis=-1)).astype(np.uint8), window) / np.float32(
        255
    )
    for sign in (-1, 1):
        rise = np.maximum(sign * difference, 0).max(axis=-1)
        yield _digits(list(_parts(rise, np.maximum(CONTRAST, 4 * usual), colours)), rise.shape)


def _parts(rise: np.ndarray, level: np.ndarray, colours: np.ndarray) -> Iterator[Part]:
    """What rises above the level, part by part, but for what is too small for a digit."""
    import cv2

    above = (rise > level).astype(np.uint8)
    count, labels, places, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    for label in range(1, count):
        left, top, width, height, area = places[label].tolist()
        if max(width, height) >= SMALLEST and area >= 2 * SMALLEST:
            corner = max(0, left - 5), max(0, top - 5)
            near = np.s_[corner[1] : top + height + 5, corner[0] : left + width + 5]
            part = _part(rise[near], labels[near] == label, colours[near], corner, rise.shape)
            if part is not None:
                yield part


def _part(
    rise: np.ndarray,
    inside: np.ndarray,
    colours: np.ndarray,
    corner: tuple[int, int],
    whole: tuple[int, ...],
) -> Part | None:
    """The strokes of a part; None where they go on in their own colour: a sheet's corner."""
    strength = float(np.percentile(rise[inside], 75))
    strokes = (inside & (rise > INKED * strength)).astype(np.uint8)
    ring = _grown(strokes, 4) > _grown(strokes, 2)
    if not ring.any():
        return None
    own, other = np.median(colours[strokes > 0], axis=0), colours[ring]
    contrast = (np.abs(other - own) / (np.maximum(other, own) + DIM)).max(axis=-1)
    if np.percentile(contrast, 15) < 0.35 * min(strength, 0.8):
        return None
    around = float(np.minimum(rise[ring] / strength, 1).mean())
    left, top, right, bottom = enclosing(strokes)
    box = Box(left + corner[0], top + corner[1], right + corner[0], bottom + corner[1])
    ink = np.minimum(rise / strength, 1) * _grown(strokes, 2)  # strokes end softly
    return _shaped(box, ink[top:bottom, left:right], strength, around, whole)


def _shaped(
    box: Box, ink: np.ndarray, strength: float, around: float, whole: tuple[int, ...]
) -> Part:
    """A part with what tells a digit from a frame, a line and a sheet."""
    import cv2

    strokes = (ink > INKED).astype(np.uint8)
    padded = np.pad(strokes, 1)
    breadth = 2 * float(np.max(cv2.distanceTransform(padded, cv2.DIST_L2, 3)))
    contours, _ = cv2.findContours(padded, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline: Any = max(contours, key=cv2.contourArea)
    filled, hull = cv2.contourArea(outline), cv2.contourArea(cv2.convexHull(outline))
    area = filled + cv2.arcLength(outline, True) / 2  # an outline runs through pixels' middles
    sides = sorted(side + 1 for side in cv2.minAreaRect(outline)[1])
    borders = (
        strokes[0].sum() * (box.top == 0),
        strokes[-1].sum() * (box.bottom == whole[0]),
        strokes[:, 0].sum() * (box.left == 0),
        strokes[:, -1].sum() * (box.right == whole[1]),
    )
    return Part(
        box,
        ink,
        strength,
        around,
        breadth / box.size,
        sides[1] / sides[0],
        area / (sides[0] * sides[1]),
        bool(filled > 0.9 * max(hull, 1) and strokes.sum() > 0.95 * area),
        float(max(borders)) / box.size,
    )


def _digits(parts: list[Part], whole: tuple[int, ...]) -> list[Part]:
    """Those that are digits, of about one size and strength, with their pieces joined."""
    parts = [one for one in parts if not _is_rectangle(one) and one.around < 0.4]
    parts = [one for one in parts if not any(_encloses(one, other) for other in parts)]
    largest = max((one.box.size for one in parts), default=0)
    parts = _joined([one for one in parts if one.box.size > 0.2 * largest], whole)
    parts = [one for one in parts if _is_digit(one)]
    if not parts:
        return []
    main = max(parts, key=lambda one: one.weight)
    return [
        one
        for one in parts
        if one.strength > 0.5 * main.strength
        and one.box.size > 0.55 * main.box.size
        and not (one.is_blob and one.box.size > 1.3 * main.box.size)  # a frame's side
    ]


def _is_rectangle(part: Part) -> bool:
    """Whether it is a frame, a sheet or a spot: a 1 is narrow, and no other digit is that full."""
    return part.extent > 0.9 and not (part.is_blob and part.aspect > 1.8)


def _is_digit(part: Part) -> bool:
    """Whether its shape is a digit's, on a paper of its own."""
    left, top, right, bottom = part.box
    if part.around > 0.3 or part.strength * (1 - 2 * part.around) < CLEAR or part.at_border > 0.8:
        return False
    if bottom - top < SMALLEST or right - left > 2.5 * (bottom - top):
        return False
    if part.is_blob:
        return 1.25 < part.aspect < 20
    return part.extent < 0.9 and part.breadth < 0.6


def _encloses(frame: Part, digit: Part) -> bool:
    """Whether one is a frame, or a piece of one, round the other."""
    if frame is digit or digit.box.size < 0.25 * frame.box.size:
        return False
    left, top, right, bottom = digit.box
    x, y = (left + right) / 2, (top + bottom) / 2
    has_middle = frame.box.left <= x <= frame.box.right and frame.box.top <= y <= frame.box.bottom
    is_thin = frame.breadth < 0.2 and frame.box.size > 1.25 * digit.box.size
    return (has_middle and is_thin) or _around((frame, digit)) == frame.box


def _joined(parts: list[Part], whole: tuple[int, ...]) -> list[Part]:
    """The parts with those in one that are pieces of a digit, as the bar of a 5."""
    for i, one in enumerate(parts):
        for other in parts[i + 1 :]:
            if _are_pieces(one, other):
                rest = [part for part in parts if part is not one and part is not other]
                return _joined([*rest, _join(one, other, whole)], whole)
    return parts


def _are_pieces(one: Part, other: Part) -> bool:
    size = max(one.box.size, other.box.size)
    x = max(one.box.left, other.box.left) - min(one.box.right, other.box.right)
    y = max(one.box.top, other.box.top) - min(one.box.bottom, other.box.bottom)
    is_near = x < 0.05 * size and y < 0.15 * size
    return (
        is_near and _around((one, other)).size < 1.6 * size and max(one.around, other.around) < 0.3
    )


def _join(one: Part, other: Part, whole: tuple[int, ...]) -> Part:
    box = _around((one, other))
    ink = np.zeros((box.bottom - box.top, box.right - box.left), np.float32)
    for part in (one, other):
        left, top, right, bottom = part.box
        place = np.s_[top - box.top : bottom - box.top, left - box.left : right - box.left]
        ink[place] = np.maximum(ink[place], part.ink)
    strength, around = max(one.strength, other.strength), max(one.around, other.around)
    return _shaped(box, ink, strength, around, whole)._replace(is_blob=False)


def enclosing(ink: np.ndarray, level: float = 0.4) -> Box:
    """The least box that holds what of [H, W] is above the level."""
    rows, columns = (np.flatnonzero((ink > level).any(axis=other)) for other in (1, 0))
    return Box(columns[0].item(), rows[0].item(), columns[-1].item() + 1, rows[-1].item() + 1)


def _around(parts: Sequence[Part]) -> Box:
    left, top, right, bottom = zip(*(part.box for part in parts), strict=True)
    return Box(min(left), min(top), max(right), max(bottom))


def _median(image: np.ndarray, window: int) -> np.ndarray:
    """The median of a window around each pixel, of each channel."""
    import cv2

    if image.ndim == 2:
        return cv2.medianBlur(image, window)
    return np.stack(
        [_median(np.ascontiguousarray(one), window) for one in np.moveaxis(image, -1, 0)], -1
    )


def _grown(strokes: np.ndarray, by: int) -> np.ndarray:
    import cv2

    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by + 1, 2 * by + 1))
    return cv2.dilate(strokes, disk)


def _weight(parts: list[Part]) -> float:
    return sum(part.weight for part in parts)
