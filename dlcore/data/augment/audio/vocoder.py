"""The phase vocoder: a sound's length changed without its pitch, and its pitch without its length.

Samples are as in `waveform`. `window` is the number of samples whose frequencies are told apart: as
long as the lowest tone needs for some periods, 512 at 8 or 16 kHz.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore.data.augment._checks import (
    Number,
    check_positive,
    check_range,
    check_samples,
    random_factor,
    symmetric,
)
from dlcore.data.augment.audio.spectrum import hann, transforms
from dlcore.data.augment.audio.waveform import resample
from dlcore.keys import Key

_OVERLAP = 4  # stretches that cover a sample
_OCTAVE = 12  # semitones


def time_stretch(samples: jax.Array, factor: Number, window: int = 512) -> jax.Array:
    """The sound `factor` times as fast, at its own pitch.

    The sound is taken apart into overlapping stretches, and those into frequencies. The new stretch
    at time t is the old one at factor·t, X. A tone in it would not go on from where the last new
    stretch, Y, had left it, as it does in the old sound between X and P, one hop before X. So each
    peak of X, and the frequencies about it, are turned by Y·P̄ / |Y·P̄| there. This is
    the vocoder with "identity phase locking" of Laroche and Dolson 1999.
    """
    check_samples("time_stretch", samples)
    check_positive("time_stretch", "factor", factor)
    return _stretched(samples, factor, len(samples), window)


def random_time_stretch(
    key: Key, samples: jax.Array, limit: Number, window: int = 512
) -> jax.Array:
    """`time_stretch` by a factor drawn as that of `random_speed`."""
    return time_stretch(samples, random_factor("random_time_stretch", key, limit), window)


def pitch_shift(samples: jax.Array, semitones: Number, window: int = 512) -> jax.Array:
    """The sound with its frequencies times 2^(semitones/12), of the same length.

    At most an octave up or down. It is stretched by that factor, then played as much faster.
    """
    check_samples("pitch_shift", samples)
    check_range("pitch_shift", "semitones", semitones, -_OCTAVE, _OCTAVE)
    factor = 2 ** (jnp.asarray(semitones, jnp.float32) / _OCTAVE)
    longer = _stretched(samples, 1 / factor, 2 * len(samples), window)
    return resample(longer, factor * jnp.arange(len(samples), dtype=jnp.float32), factor)


def random_pitch_shift(key: Key, samples: jax.Array, limit: Number, window: int = 512) -> jax.Array:
    """`pitch_shift` by between −limit and limit semitones, in fractions too."""
    return pitch_shift(samples, symmetric("random_pitch_shift", key, limit, _OCTAVE), window)


def _stretched(samples: jax.Array, factor: Number, length: int, window: int) -> jax.Array:
    """The first `length` samples of the sound `factor` times as fast."""
    if window < 2 * _OVERLAP or window % _OVERLAP:
        raise ValueError(f"vocoder: window is {window}, but 8, 12, 16, … samples are wanted")
    hop = window // _OVERLAP
    starts = np.arange(hop - window, length, hop)
    middles = jnp.asarray(starts + window / 2, jnp.float32)
    old_starts = jnp.round(factor * middles).astype(jnp.int32) - window // 2
    now = transforms(samples, old_starts, window)
    before = transforms(samples, old_starts - hop, window)

    def follow(last: jax.Array, old: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        now, before, peak = old
        turn = jnp.sign(last * jnp.conj(before))
        new = now * jnp.where(turn == 0, 1, turn)[peak]  # 0 where there was silence
        return new, new

    _, new = lax.scan(follow, before[0], (now, before, _nearest_peaks(jnp.abs(now))))
    stretches = jnp.fft.irfft(new, window) * hann(window)
    # The j-th quarter of a stretch falls on the first one of the j-th stretch after it.
    quarters = stretches.reshape(-1, _OVERLAP, hop)
    moved = [jnp.pad(quarters[:, j], ((j, _OVERLAP - 1 - j), (0, 0))) for j in range(_OVERLAP)]
    # Squared, Hann's windows add up to 3/8 of their number.
    sound = sum(moved[1:], moved[0]).ravel()[window - hop :][:length] / (3 / 8 * _OVERLAP)
    return jnp.clip(sound, -1, 1)


def _nearest_peaks(magnitudes: jax.Array) -> jax.Array:
    """For each frequency of magnitudes [N, K] the nearest that no other within two exceeds."""
    count = magnitudes.shape[1]
    around = jnp.pad(magnitudes, ((0, 0), (2, 2)))
    highest = functools.reduce(jnp.maximum, (around[:, i : i + count] for i in range(5)))
    is_peak, place = magnitudes >= highest, jnp.arange(count)
    below = lax.cummax(jnp.where(is_peak, place, -count), axis=1)
    above = lax.cummin(jnp.where(is_peak, place, 2 * count), axis=1, reverse=True)
    return jnp.where(place - below <= above - place, below, above)
