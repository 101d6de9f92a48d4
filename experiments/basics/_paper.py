"""The sheets of paper in a picture, and what differs from their paper: ink, frames, dust.

A sheet is a large smooth area but for what is drawn on it, and about convex, whatever it lies on; a
view or a pattern falls into small areas or ragged ones. A sharp shadow parts a sheet in two, of one
colour in two lights. Under the ink the paper has the colour of the paper near by.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

DIM = 0.2  # added to the lighter of two colours that are compared: noise is large in the dark
CALM = 7  # pixels of a median that takes off noise, and the lines of squared paper
NEIGHBOURHOOD = 5  # pixels, whose colours are one where it is smooth
STEP = 0.05  # relative difference in a neighbourhood: less is smooth in any picture
NOISE = 2.5  # times the difference of the smoothest fifth: less is smooth in a noisy one
LARGE = 0.05  # of the picture: a smaller area is no sheet
PIECE = 0.0125  # of the picture: a smaller one is no piece of a sheet either
CONVEX = 0.65  # of the hull: digits at the border cut much out of a sheet
HUE = 1.12  # a shadow changes a colour's channels by no more, relative to each other
SHADOW = 0.25  # of the light is left in the darkest
WINDOWS = (255, 127, 63, 31, 15, 7)  # pixels, in which the paper's colour is averaged
EDGE = 9  # pixels: the light at a shadow's edge is any light within


class Sheet(NamedTuple):
    """By how much a picture [H, W, 3] is lighter than a sheet's paper, and where the sheet is.

    Relative to the lighter of the two, DIM added. noise: the usual size of that where no ink is.
    """

    difference: np.ndarray
    inside: np.ndarray
    noise: float


class _Area(NamedTuple):
    """A connected smooth area [H, W], its outer outline and its usual colour."""

    inside: np.ndarray
    outline: Any
    colour: np.ndarray


def sheets(image: np.ndarray) -> Iterator[Sheet]:
    """The sheets in an image [H, W, 3] of bytes, the largest first: each may be one, or a table."""
    import cv2

    calm = cv2.medianBlur(image, CALM)
    areas = [area for area in _areas(calm) if _convexity(area) > CONVEX]
    areas.sort(key=lambda area: -area.inside.sum())
    while areas and areas[0].inside.mean() > LARGE:
        pieces, areas = _one_sheet(areas[:1], areas[1:])
        yield _sheet(image, calm, np.any([piece.inside for piece in pieces], axis=0))


def contrast(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """By how much a colour [..., 3] in [0, 1] is lighter than another, relative to the lighter."""
    return (one - other) / (np.maximum(one, other) + DIM)


def _sheet(image: np.ndarray, calm: np.ndarray, smooth: np.ndarray) -> Sheet:
    """What is drawn on the sheet of these smooth pixels [H, W]."""
    import cv2

    colours, square = image / np.float32(255), np.ones((EDGE, EDGE), np.uint8)
    paper = _spread(calm / np.float32(255), smooth)
    paper = np.clip(colours, cv2.erode(paper, square), cv2.dilate(paper, square))
    difference, inside = contrast(colours, paper), _hull(smooth)
    noise = float(np.median(np.abs(difference[smooth]).max(axis=-1)))
    return Sheet(np.where(inside[..., None], difference, 0), inside, noise)


def _one_sheet(pieces: list[_Area], others: list[_Area]) -> tuple[list[_Area], list[_Area]]:
    """A sheet's pieces with those in which it goes on in another light, and the other areas."""
    for i, area in enumerate(others):
        if _are_one_paper(area, pieces[0]) and _convexity(*pieces, area) > CONVEX:
            return _one_sheet([*pieces, area], others[:i] + others[i + 1 :])
    return pieces, others


def _areas(image: np.ndarray) -> list[_Area]:
    """The smooth areas that are not small."""
    import cv2

    smooth = _smooth(image).astype(np.uint8)
    count, labels, places, _ = cv2.connectedComponentsWithStats(smooth, connectivity=4)
    areas = []
    for label in range(1, count):
        if places[label, cv2.CC_STAT_AREA] > PIECE * smooth.size:
            inside = labels == label
            outline = max(_outlines(inside), key=cv2.contourArea)
            areas.append(_Area(inside, outline, np.median(image[inside], axis=0)))
    return areas


def _smooth(image: np.ndarray) -> np.ndarray:
    """Where an image has one colour near by [H, W]."""
    import cv2

    colours, square = image / np.float32(255), np.ones((NEIGHBOURHOOD, NEIGHBOURHOOD), np.uint8)
    apart = contrast(cv2.dilate(colours, square), cv2.erode(colours, square)).max(axis=-1)
    return apart < max(STEP, NOISE * float(np.percentile(apart, 20)))


def _are_one_paper(one: _Area, other: _Area) -> bool:
    """Whether two colours are one in two lights."""
    ratio = (one.colour + 10) / (other.colour + 10)  # black has no hue
    return bool(ratio.max() < HUE * ratio.min() and SHADOW < ratio.mean() < 1 / SHADOW)


def _convexity(*areas: _Area) -> float:
    """How much of their convex hull areas fill, with what they enclose."""
    import cv2

    hull = cv2.convexHull(np.concatenate([area.outline for area in areas]))
    return sum(cv2.contourArea(area.outline) for area in areas) / max(cv2.contourArea(hull), 1)


def _hull(sheet: np.ndarray) -> np.ndarray:
    """The convex hull [H, W] of a sheet, with the picture's corners whose both sides it reaches."""
    import cv2

    height, width = sheet.shape
    top, bottom, left, right = sheet[:3], sheet[-3:], sheet[:, :3], sheet[:, -3:]
    corners = [
        [[x, y]]
        for x, side in ((0, left), (width - 1, right))
        for y, edge in ((0, top), (height - 1, bottom))
        if side.any() and edge.any()
    ]
    points = [*_outlines(sheet), np.array(corners, np.int32).reshape(-1, 1, 2)]
    filled = np.zeros(sheet.shape, np.uint8)
    cv2.fillConvexPoly(filled, cv2.convexHull(np.concatenate(points)), 1)
    return filled > 0


def _outlines(area: np.ndarray) -> Any:
    import cv2

    return cv2.findContours(area.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]


def _spread(colours: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Colours [H, W, 3], averaged near by where they are known, and farther away where not."""
    import cv2

    weight = known[..., None].astype(np.float32)
    spread = colours[known].mean(axis=0)
    for window in WINDOWS:
        near = cv2.blur(weight, (window, window))[..., None]
        spread = (cv2.blur(weight * colours, (window, window)) + 0.02 * spread) / (near + 0.02)
    return spread
