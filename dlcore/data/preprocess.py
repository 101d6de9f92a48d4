"""Pure functions of arrays, done once before training."""

from __future__ import annotations

import numpy as np

from dlcore.data.dataset import check_count

_CHUNK = 4_096  # examples at a time in float64


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """Images [N, H, W, C] resized to float32 [N, size, size, C], bilinearly.

    Pixel centres are at half integers; when shrinking, the triangle is widened by the factor, so
    that nothing aliases. As jax.image.resize(..., "bilinear").
    """
    if np.ndim(images) != 4:
        raise ValueError(
            f"expected images [N, H, W, C], got {list(np.shape(images))}: images[..., None]"
        )
    size = check_count("size", size, 1)
    rows, columns = (_bilinear(length, size) for length in images.shape[1:3])
    # In float64, so that what lies in [0, 1] stays there.
    return np.einsum("nhwc,hi,wj->nijc", images, rows, columns, optimize=True).astype(np.float32)


def mean_and_std(x: np.ndarray, per_channel: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of x [N, ..., C], float32 [C] or, not `per_channel`, float32 [].

    Fit them on the training split only, and standardise every split as (x − mean) / std. The
    deviation is the population's (÷ N); where it is 0 it is given as 1, so that a constant
    channel becomes 0 rather than NaN.
    """
    if np.ndim(x) < 2 or not x.size:
        raise ValueError(f"expected x [N, ..., C] with examples, got {list(np.shape(x))}")
    axes = tuple(range(np.ndim(x) - 1)) if per_channel else None
    chunks = [x[first : first + _CHUNK] for first in range(0, len(x), _CHUNK)]
    count = x.size // x.shape[-1] if per_channel else x.size
    mean = np.sum([chunk.sum(axes, dtype=np.float64) for chunk in chunks], axis=0) / count
    var = np.sum([np.square(chunk - mean).sum(axes) for chunk in chunks], axis=0) / count
    std = np.sqrt(np.where(var > 0, var, 1))
    return np.asarray(mean, np.float32), np.asarray(std, np.float32)


def _bilinear(length: int, size: int) -> np.ndarray:
    """Weights [length, size] of the old pixels in each of the new ones; every column sums to 1."""
    scale = length / size
    centres = (np.arange(size) + 0.5) * scale - 0.5
    distance = np.abs(centres - np.arange(length)[:, None])
    weights = np.maximum(0, 1 - distance / max(scale, 1))
    return weights / weights.sum(axis=0)
