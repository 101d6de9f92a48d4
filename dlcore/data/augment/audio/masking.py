"""Spectrograms with times or frequencies taken out."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dlcore import keys
from dlcore.data.augment._checks import check_range
from dlcore.keys import Key


def mask(
    spectrogram: jax.Array,
    axis: int,
    start: int | jax.Array,
    width: int | jax.Array,
    fill: float = 0.0,
) -> jax.Array:
    """`fill` in the `width` rows of the axis from `start` on; the shape is any."""
    place = jnp.arange(spectrogram.shape[axis])
    inside = (place >= start) & (place < start + width)
    inside = jnp.moveaxis(inside[(..., *[None] * (spectrogram.ndim - 1))], 0, axis)
    return jnp.where(inside, jnp.asarray(fill, spectrogram.dtype), spectrogram)


def random_mask(
    key: Key, spectrogram: jax.Array, axis: int, limit: int, fill: float = 0.0
) -> jax.Array:
    """`mask` of 0 … limit neighbouring times or frequencies, whichever the axis is, inside of it.

    Park et al. 2019 (SpecAugment), section 2; its policy LB is one of 27 of 80 mel bands and one of
    100 times, LD two of each. The fill there is the mean of the data, which has been subtracted.
    """
    length = spectrogram.shape[axis]
    check_range("random_mask", "limit", limit, 0, length)
    width = jax.random.randint(keys.child(key, "width"), (), 0, limit + 1)
    start = jax.random.randint(keys.child(key, "start"), (), 0, length - width + 1)
    return mask(spectrogram, axis, start, width, fill)
