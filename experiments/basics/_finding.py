"""Where the digits are in a picture: strokes on paper.

A digit is a connected part of what differs from a sheet's paper (`_paper`), on one side (darker or
lighter) and in any colour; frames, lines, specks and other sheets are told by their shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.basics import _paper

CONTRAST = 0.12  # relative to the lighter of ink and paper: less is nothing drawn
INKED = 0.5  # of the ink's usual strength: more is a stroke
CLEAR = 0.15  # a digit's strength, the less what is around it is paper: less is texture
BROAD = 0.6  # of a digit's size: what is broader is no stroke
SMALLEST = 14  # pixels of the picture looked at
ROOM = 5  # pixels around a part that are looked at


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

    @property
    def pixels(self) -> tuple[slice, slice]:
        """The index of its rows and columns."""
        return np.s_[self.top : self.bottom, self.left : self.right]


class _Ground(NamedTuple):
    """Colours [H, W, 3], where the sheet is, and what rises above it.

    rise: relative to the lighter of ink and paper, as an eye sees it. cover: relative to the paper,
    linear in the light, so that the half of it is where ink ends.
    """

    colours: np.ndarray
    inside: np.ndarray
    rise: np.ndarray
    cover: np.ndarray

    def at(self, box: Box) -> _Ground:
        """A part of it."""
        return _Ground(*(whole[box.pixels] for whole in self))


class _Usual(NamedTuple):
    """The rise and the cover of most of a part's ink."""

    rise: float
    cover: float


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

    @property
    def weight(self) -> float:
        """How much there is of it."""
        return self.strength * float((self.ink > INKED).sum())

    @property
    def likeness(self) -> float:
        """How strong and large it is, the less the broader: a sheet on a table is broad."""
        return (self.strength * self.weight) ** 0.5 * max(1 - self.breadth / BROAD, 0) ** 3


def find(picture: np.ndarray) -> list[Part]:
    """The digits in a picture [H, W, 3] in [0, 1], as they are read; none where there is none.

    They lie on one sheet: that on which what is most like a digit is.
    """
    import cv2

    image = cv2.GaussianBlur(np.round(255 * picture).astype(np.uint8), (0, 0), 1.2)
    written = [digits for sheet in _paper.sheets(image) for digits in _written(image, sheet)]
    return _in_reading_order(max(written, key=_likeness, default=[]))


def _written(image: np.ndarray, sheet: _paper.Sheet) -> Iterator[list[Part]]:
    """The digits darker than the paper, then those lighter."""
    level = max(CONTRAST, 4 * sheet.noise)
    for sign in (-1, 1):
        rise = np.maximum(sign * sheet.difference, 0).max(axis=-1)
        cover = rise if sign < 0 else rise / (1 - rise)
        ground = _Ground(image / np.float32(255), sheet.inside, rise, cover)
        yield _digits(list(_parts(ground, level)))


def _in_reading_order(digits: list[Part]) -> list[Part]:
    """Line by line, and in each from left to right."""
    lines: list[list[Part]] = []
    for digit in sorted(digits, key=_middle):
        height = digit.box.bottom - digit.box.top
        if lines and _middle(digit) - _middle(lines[-1][-1]) < 0.5 * height:
            lines[-1].append(digit)
        else:
            lines.append([digit])
    return [digit for line in lines for digit in sorted(line, key=lambda one: one.box.left)]


def _parts(ground: _Ground, level: float) -> Iterator[Part]:
    """What rises above the level, part by part; strokes are parted from paler lines under them."""
    for around, region in _regions(ground.rise > level):
        near = ground.at(around)
        usual = _Usual(*(float(np.percentile(one[region], 85)) for one in (near.rise, near.cover)))
        for box, strokes in _regions(region & (near.cover > INKED * usual.cover)):
            part = _part(strokes.astype(np.uint8), usual, near.at(box))
            if part is not None:
                corner = around.left + box.left, around.top + box.top
                yield part._replace(box=_moved(part.box, *corner))


def _regions(mask: np.ndarray) -> Iterator[tuple[Box, np.ndarray]]:
    """The connected parts of a mask, each in its place, but for what is too small for a digit."""
    import cv2

    count, labels, places, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    for label in range(1, count):
        left, top, width, height, area = places[label].tolist()
        if max(width, height) >= SMALLEST and area >= 2 * SMALLEST:
            corner = max(0, left - ROOM), max(0, top - ROOM)
            box = Box(*corner, left + width + ROOM, top + height + ROOM)
            yield box, labels[box.pixels] == label


def _part(strokes: np.ndarray, usual: _Usual, ground: _Ground) -> Part | None:
    """Strokes and their soft ends; None where they leave the sheet, or go on in their colour.

    What lies along the picture's border goes on beyond it.
    """
    edges = strokes[0], strokes[-1], strokes[:, 0], strokes[:, -1]  # others have room around
    if max(edge.sum() for edge in edges) > 0.8 * enclosing(strokes).size:
        return None
    ring = _grown(strokes, 4) > _grown(strokes, 2)
    if not ring.any() or (_grown(strokes, 1) > ground.inside).any():
        return None
    own, other = np.median(ground.colours[strokes > 0], axis=0), ground.colours[ring]
    apart = np.abs(_paper.contrast(other, own)).max(axis=-1)
    if np.percentile(apart, 15) < 0.35 * min(usual.rise, 0.8):
        return None
    cover, box = np.minimum(ground.cover / usual.cover, 1), enclosing(strokes)
    ink = cover * _grown(strokes, 2)
    return _shaped(box, ink[box.pixels], usual.rise, float(cover[ring].mean()))


def _shaped(box: Box, ink: np.ndarray, strength: float, around: float) -> Part:
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
    return Part(
        box,
        ink,
        strength,
        around,
        breadth / box.size,
        sides[1] / sides[0],
        area / (sides[0] * sides[1]),
        bool(filled > 0.9 * max(hull, 1) and strokes.sum() > 0.95 * area),
    )


def _digits(parts: list[Part]) -> list[Part]:
    """Those that are digits, of about one size and strength, with their pieces joined."""
    parts = [one for one in parts if one.around < 0.4]
    parts = [one for one in parts if not _is_rectangle(one) and not _is_bracket(one)]
    parts = _like_the_main(parts, strength=0.4, size=0.2)
    parts = [one for one in parts if not any(_encloses(one, other) for other in parts)]
    parts = [one for one in _joined(parts) if _is_digit(one)]
    return _like_the_main(parts, strength=0.5, size=0.55)


def _like_the_main(parts: list[Part], strength: float, size: float) -> list[Part]:
    """Those about as strong and large as the main one; a bar far larger is a frame's side."""
    if not parts:
        return []
    main = max(parts, key=lambda one: one.weight)
    return [
        one
        for one in parts
        if one.strength > strength * main.strength
        and one.box.size > size * main.box.size
        and not (one.is_blob and one.box.size > 1.3 * main.box.size)
    ]


def _is_rectangle(part: Part) -> bool:
    """Whether it is a frame, a sheet or a spot: a 1 is narrow, and no other digit is that full."""
    return part.extent > 0.9 and not (part.is_blob and part.aspect > 3)


def _is_bracket(part: Part) -> bool:
    """Whether it is a frame that the picture's border cuts: thin, with ink in every corner."""
    height, width = (-(-side // 8) for side in part.ink.shape)
    rows, columns = (slice(height), slice(-height, None)), (slice(width), slice(-width, None))
    corners = [part.ink[row, column] for row in rows for column in columns]
    return part.breadth < 0.1 and all((corner > INKED).any() for corner in corners)


def _is_digit(part: Part) -> bool:
    """Whether its shape is a digit's, on a paper of its own."""
    left, top, right, bottom = part.box
    if part.around > 0.3 or part.strength * (1 - 2 * part.around) < CLEAR:
        return False
    if bottom - top < SMALLEST or right - left > 2.5 * (bottom - top):
        return False
    if part.is_blob:
        return 1.25 < part.aspect < 20
    return part.extent < 0.9 and part.breadth < BROAD


def _encloses(frame: Part, digit: Part) -> bool:
    """Whether one is a frame, or a piece of one, round the other."""
    if frame is digit or digit.box.size < 0.25 * frame.box.size:
        return False
    left, top, right, bottom = digit.box
    x, y = (left + right) / 2, (top + bottom) / 2
    has_middle = frame.box.left <= x <= frame.box.right and frame.box.top <= y <= frame.box.bottom
    is_thin = frame.breadth < 0.2 and frame.box.size > 1.25 * digit.box.size
    return (has_middle and is_thin) or _around((frame, digit)) == frame.box


def _joined(parts: list[Part]) -> list[Part]:
    """The parts with those in one that are pieces of a digit, as the bar of a 5."""
    whole: list[Part] = []
    for part in parts:
        while (i := _index_of_piece(part, whole)) is not None:
            part = _join(part, whole.pop(i))
        whole.append(part)
    return whole


def _index_of_piece(part: Part, others: list[Part]) -> int | None:
    return next((i for i, other in enumerate(others) if _are_pieces(part, other)), None)


def _are_pieces(one: Part, other: Part) -> bool:
    size = max(one.box.size, other.box.size)
    x = max(one.box.left, other.box.left) - min(one.box.right, other.box.right)
    y = max(one.box.top, other.box.top) - min(one.box.bottom, other.box.bottom)
    is_near = x < 0.05 * size and y < 0.15 * size
    return (
        is_near and _around((one, other)).size < 1.6 * size and max(one.around, other.around) < 0.3
    )


def _join(one: Part, other: Part) -> Part:
    box = _around((one, other))
    ink = np.zeros((box.bottom - box.top, box.right - box.left), np.float32)
    for part in (one, other):
        place = _moved(part.box, -box.left, -box.top).pixels
        ink[place] = np.maximum(ink[place], part.ink)
    strength, around = max(one.strength, other.strength), max(one.around, other.around)
    return _shaped(box, ink, strength, around)._replace(is_blob=False)


def _moved(box: Box, right: int, down: int) -> Box:
    return Box(box.left + right, box.top + down, box.right + right, box.bottom + down)


def enclosing(ink: np.ndarray, level: float = 0.4) -> Box:
    """The least box that holds what of [H, W] is above the level."""
    rows, columns = (np.flatnonzero((ink > level).any(axis=other)) for other in (1, 0))
    return Box(columns[0].item(), rows[0].item(), columns[-1].item() + 1, rows[-1].item() + 1)


def _around(parts: Sequence[Part]) -> Box:
    left, top, right, bottom = zip(*(part.box for part in parts), strict=True)
    return Box(min(left), min(top), max(right), max(bottom))


def _grown(strokes: np.ndarray, by: int) -> np.ndarray:
    import cv2

    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by + 1, 2 * by + 1))
    return cv2.dilate(strokes, disk)


def _middle(part: Part) -> float:
    return (part.box.top + part.box.bottom) / 2


def _likeness(digits: list[Part]) -> float:
    return max((digit.likeness for digit in digits), default=0.0)
