"""From the ink of a digit to an image such as a network was trained on.

It is cut out, scaled and centred as the digits of the data set were.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

INKED = 0.4  # of the ink's usual strength: more is a stroke


class Framing(NamedTuple):
    """How the digits of a data set were cut out: scaled into a `box` on a square `canvas`.

    squeeze: whether a digit too wide for the box is made narrower, rather than smaller.
    by_mass: whether its centre of mass is in the middle of the canvas, rather than its box.
    stroke: the breadth of its strokes, as a share of its size.
    """

    canvas: int
    box: tuple[int, int]  # height, width
    squeeze: bool
    by_mass: bool
    stroke: float


# MNIST: LeCun et al. 1998, section III.A. digits: NIST's programs fill 32×32 in height, of which
# 4×4 pixels are counted into one; width and strokes as measured.
FRAMINGS = {
    "digits": Framing(8, (8, 6), squeeze=True, by_mass=False, stroke=0.2),
    "mnist": Framing(28, (20, 20), squeeze=False, by_mass=True, stroke=0.12),
}


def is_framing(plain: Any) -> bool:
    """Whether a framing can be made of what JSON holds of one, in which a file may say anything."""
    match plain:
        case {
            "canvas": int(canvas),
            "box": [int(height), int(width)],
            "squeeze": bool(),
            "by_mass": bool(),
            "stroke": float(stroke),
        }:
            return len(plain) == 5 and 0 < height <= canvas and 0 < width <= canvas and stroke > 0
    return False


def opaque(picture: np.ndarray) -> np.ndarray:
    """The colours [H, W, 3] of a picture [H, W, 4]; what is transparent is unlike the rest."""
    colours, opacity = picture[..., :3], picture[..., 3:]
    behind = float((opacity * (colours - 0.5)).sum() < 0)
    return opacity * colours + (1 - opacity) * behind


def frame(ink: np.ndarray, framing: Framing) -> np.ndarray:
    """The ink [H, W] as an image [canvas, canvas] in [0, 1]; strokes too thin are made broader."""
    ink = _broadened(_cut_out(ink), framing.stroke)
    y = framing.box[0] / ink.shape[0]
    x = min(y, framing.box[1] / ink.shape[1])
    y = y if framing.squeeze else x
    digit = resized(ink, max(1, round(y * ink.shape[0])), max(1, round(x * ink.shape[1])))
    digit = digit / digit.max()
    image = np.zeros((framing.canvas, framing.canvas), np.float32)
    top, left = (_begin(digit.sum(axis=other), framing.canvas, framing.by_mass) for other in (1, 0))
    image[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return image


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image [H, W] resized: averaged over areas where it shrinks, else interpolated."""
    from PIL import Image

    how = Image.Resampling.BOX if height < image.shape[0] else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(image.astype(np.float32)).resize((width, height), how))


def _cut_out(ink: np.ndarray) -> np.ndarray:
    """The least rectangle that holds every stroke."""
    rows, columns = (np.flatnonzero((ink > INKED).any(axis=other)) for other in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _broadened(ink: np.ndarray, stroke: float) -> np.ndarray:
    """The ink with strokes at least `stroke` of its longer side broad."""
    from scipy import ndimage

    strokes = np.pad(ink > INKED, 1)
    outline = strokes & ~ndimage.binary_erosion(strokes)
    breadth = 2 * strokes.sum() / outline.sum()  # the area over half of the outline
    margin = round((stroke * max(ink.shape) - breadth) / 2)
    if margin < 1:
        return ink
    y, x = np.ogrid[-margin : margin + 1, -margin : margin + 1]
    return ndimage.grey_dilation(np.pad(ink, margin), footprint=x * x + y * y <= margin * margin)


def _begin(profile: np.ndarray, canvas: int, by_mass: bool) -> int:
    """Where on the canvas a profile of the digit begins, so that its middle is the canvas's.

    In MNIST the centre of mass is that of pixel 14 of 0 … 27, half a pixel beyond the middle.
    """
    if by_mass:
        begin = canvas // 2 - np.average(np.arange(len(profile)), weights=profile)
    else:
        begin = (canvas - len(profile)) / 2
    return int(np.clip(round(begin), 0, canvas - len(profile)))
