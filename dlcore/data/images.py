"""Images [N, H, W, C] as numpy arrays: their size, place and colours."""

from __future__ import annotations

import numpy as np

from dlcore.data import forms
from dlcore.data.dataset import check_count


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """Images [N, H, W, C] resized to float32 [N, size, size, C], bilinearly.

    Pixel centres are at half integers; when shrinking, the triangle is widened by the factor, so
    that nothing aliases. As jax.image.resize(..., "bilinear").
    """
    images = _images("resize", images)
    size = check_count("size", size, 1)
    rows, columns = (_bilinear(length, size) for length in images.shape[1:3])
    # In float64, so that what lies in [0, 1] stays there.
    return np.einsum("nhwc,hi,wj->nijc", images, rows, columns, optimize=True).astype(np.float32)


def rgb(images: np.ndarray) -> np.ndarray:
    """Grey images [N, H, W, 1] in colour [N, H, W, 3]: red, green and blue are the grey."""
    images = _images("rgb", images)
    if images.shape[3] != 1:
        raise ValueError(f"rgb: the images have {images.shape[3]} channels, but one is wanted")
    return np.repeat(images, 3, axis=3)


def canvas(images: np.ndarray, size: int, fill: float = 0.0) -> np.ndarray:
    """Images [N, H, W, C] in the middle of a canvas [N, size, size, C], of value `fill` elsewhere.

    Where the margin is odd, the larger half is below or to the right.
    """
    images = _images("canvas", images)
    size = check_count("size", size, max(images.shape[1:3]))
    margins = [((size - length) // 2, (size - length + 1) // 2) for length in images.shape[1:3]]
    return np.pad(images, [(0, 0), *margins, (0, 0)], constant_values=fill)


def shift(
    images: np.ndarray, dy: int | np.ndarray, dx: int | np.ndarray, fill: float = 0.0
) -> np.ndarray:
    """Images [N, H, W, C] moved down by `dy` and right by `dx` pixels: integers, or one each [N].

    What leaves the frame is lost, what enters it is `fill`. Digits anywhere on a larger canvas:

    >>> digits = np.ones((5, 28, 28, 1), np.float32)
    >>> dy, dx = np.random.default_rng(0).integers(-6, 7, (2, 5))
    >>> shift(canvas(digits, 40), dy, dx).shape
    (5, 40, 40, 1)
    """
    images = _images("shift", images)
    count, height, width, _ = images.shape
    rows, is_row = _origin("dy", dy, height, count)
    columns, is_column = _origin("dx", dx, width, count)
    moved = images[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    moved[~(is_row[:, :, None] & is_column[:, None, :])] = fill
    return moved


def _images(function: str, images: np.ndarray) -> np.ndarray:
    """The images as an array, refused where they are not [N, H, W, C]."""
    images = forms.array(images, f"{function}: images")
    if np.ndim(images) != 4:
        raise ValueError(
            f"{function}: images is {list(np.shape(images))}, but images [N, H, W, C] are wanted: "
            "images[..., None]"
        )
    return images


def _bilinear(length: int, size: int) -> np.ndarray:
    """Weights [length, size] of the old pixels in each of the new ones; every column sums to 1."""
    scale = length / size
    centres = (np.arange(size) + 0.5) * scale - 0.5
    distance = np.abs(centres - np.arange(length)[:, None])
    weights = np.maximum(0, 1 - distance / max(scale, 1))
    return weights / weights.sum(axis=0)


def _origin(
    name: str, move: int | np.ndarray, length: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of a moved line comes from, and whether that is inside: [N, length]."""
    moves = np.asarray(move)
    if moves.shape not in ((), (count,)) or not np.issubdtype(moves.dtype, np.integer):
        raise ValueError(
            f"shift: {name} is {moves.dtype}{list(moves.shape)}, "
            f"but an integer or integers [{count}] are wanted"
        )
    origin = np.arange(length) - np.broadcast_to(moves, count)[:, None]
    return origin.clip(0, length - 1), (origin >= 0) & (origin < length)
