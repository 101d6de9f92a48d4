"""Sounds as frequencies over time: the Fourier transforms of short stretches, and mel bands."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.augment._checks import check_samples

_FLOOR = 80  # decibels


def hann(window: int) -> np.ndarray:
    """sin²(πn/window), float32 [window]."""
    return np.sin(np.pi * np.arange(window) / window).astype(np.float32) ** 2


def transforms(samples: jax.Array, starts: jax.Array | np.ndarray, window: int) -> jax.Array:
    """Fourier transforms [N, window // 2 + 1] of the stretches from `starts` [N] on.

    Each is `window` samples long, weighted by `hann`; beyond the sound is silence.
    """
    source = starts[:, None] + np.arange(window)
    inside = (source >= 0) & (source < len(samples))
    stretches = jnp.where(inside, jnp.take(samples, source, mode="clip"), 0)
    return jnp.fft.rfft(stretches * hann(window))


def mel_spectrogram(
    samples: jax.Array, rate: int, bands: int = 40, window: int = 256, hop: int = 64
) -> jax.Array:
    """How loud each band of pitch is at each time: samples [T] to [1 + T // hop, bands] in [0, 1].

    1 + max(10·log₁₀(E / max E), −80) / 80, where E is the energy |X|² of a stretch of `window`
    samples in a triangular band. The bands lie evenly from 0 to rate/2 on the scale
    2595·log₁₀(1 + f/700), as the ear hears them: O'Shaughnessy 1987; HTK. Slower voices need longer
    windows. Silence is 0 everywhere.
    """
    check_samples("mel_spectrogram", samples)
    starts = np.arange(0, len(samples) + 1, hop) - window // 2
    energy = jnp.abs(transforms(samples, starts, window)) ** 2
    loudness = jnp.matmul(energy, mel_bands(rate, bands, window), precision="highest")
    loudest = loudness.max()
    relative = loudness / jnp.where(loudest > 0, loudest, 1)
    return 1 + 10 / _FLOOR * jnp.log10(jnp.maximum(relative, 10 ** (-_FLOOR / 10)))


def mel_bands(rate: int, bands: int, window: int) -> np.ndarray:
    """Weights [window // 2 + 1, bands] of the frequencies in each band, whose middle counts 1."""
    edges = 700 * (10 ** (np.linspace(0, np.log10(1 + rate / 1400), bands + 2)) - 1)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    frequencies = np.fft.rfftfreq(window, 1 / rate)[:, None]
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    weights = np.maximum(0, np.minimum(rising, falling))
    if not weights.any(0).all():
        raise ValueError(
            f"mel_bands: {bands} bands are narrower than the {rate / window:.0f} Hz between the "
            f"frequencies of {window} samples: fewer bands or a longer window"
        )
    return weights.astype(np.float32)
