"""Sounds changed sample by sample: volume, place, noise, speed.

Samples are float32 [T] in [−1, 1]; they keep their number and their range. What moves out of the
T samples is lost, silence moves in: pad a sound that is to keep its end when it gets longer.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dlcore import keys
from dlcore.data.augment._checks import (
    Number,
    check_positive,
    check_range,
    check_samples,
    random_factor,
    symmetric,
)
from dlcore.keys import Key

_REACH = 32  # samples to either side that a sample between them is made of


def volume(samples: jax.Array, decibels: Number) -> jax.Array:
    """10^(decibels/20)·samples, cut off at ±1: 6 is about twice the amplitude."""
    check_samples("volume", samples)
    return jnp.clip(10 ** (jnp.asarray(decibels, jnp.float32) / 20) * samples, -1, 1)


def random_volume(key: Key, samples: jax.Array, limit: Number) -> jax.Array:
    """`volume` by between −limit and limit decibels."""
    return volume(samples, symmetric("random_volume", key, limit))


def time_shift(samples: jax.Array, shift: int | jax.Array) -> jax.Array:
    """The sound `shift` samples later, or earlier where it is negative."""
    check_samples("time_shift", samples)
    source = jnp.arange(len(samples)) - shift
    inside = (source >= 0) & (source < len(samples))
    return jnp.where(inside, jnp.take(samples, source, mode="clip"), 0)


def random_time_shift(key: Key, samples: jax.Array, limit: int) -> jax.Array:
    """`time_shift` by between −limit and limit samples."""
    check_range("random_time_shift", "limit", limit, 0)
    shift = jax.random.randint(keys.check(key), (), -limit, limit + 1)
    return time_shift(samples, shift)


def add_noise(samples: jax.Array, noise: jax.Array, snr: Number) -> jax.Array:
    """samples + c·noise, cut off at ±1, so that the signal-to-noise ratio is `snr` decibels.

    It is 10·log₁₀(mean of samples² / mean of (c·noise)²), for a noise [T]: of a street, of a crowd.
    """
    check_samples("add_noise", samples)
    check_samples("add_noise", noise)
    if len(noise) != len(samples):
        raise ValueError(f"add_noise: noise is [{len(noise)}], but [{len(samples)}] is wanted")
    power = jnp.mean(noise**2)
    ratio = jnp.mean(samples**2) / jnp.where(power > 0, power, 1)
    gain = jnp.sqrt(ratio * 10 ** (-jnp.asarray(snr, jnp.float32) / 10))
    return jnp.clip(samples + gain * noise, -1, 1)


def random_noise(key: Key, samples: jax.Array, snr: Number) -> jax.Array:
    """`add_noise` that is white: every sample drawn from the same normal distribution."""
    return add_noise(samples, jax.random.normal(keys.check(key), samples.shape, jnp.float32), snr)


def speed(samples: jax.Array, factor: Number) -> jax.Array:
    """The sound `factor` times as fast, as from a tape: its frequencies rise by the same factor."""
    check_samples("speed", samples)
    check_positive("speed", "factor", factor)
    return resample(samples, factor * jnp.arange(len(samples), dtype=jnp.float32), factor)


def random_speed(key: Key, samples: jax.Array, limit: Number) -> jax.Array:
    """`speed` by a factor between 1 / (1 + limit) and 1 + limit, its logarithm drawn evenly."""
    return speed(samples, random_factor("random_speed", key, limit))


def resample(samples: jax.Array, places: jax.Array, factor: Number) -> jax.Array:
    """The sound between its samples, at `places` [N] that lie `factor` apart: [N].

    Σₖ samples[k]·h(place − k) with h(d) = c·sinc(c·d)·(1 − d²/R²)² for |d| < R = 32, and
    c = min(1, 1/factor), which takes out the frequencies that `places` so far apart would fold.
    In float32 a place beyond 2¹⁷ is known to 1/128 of a sample.
    """
    cutoff = 1 / jnp.maximum(jnp.asarray(factor, jnp.float32), 1)
    nearest = jnp.round(places)
    offset = places - nearest
    taps = jnp.arange(-_REACH, _REACH + 1)
    source = nearest.astype(jnp.int32)[:, None] + taps
    inside = (source >= 0) & (source < len(samples))
    values = jnp.where(inside, jnp.take(samples, source, mode="clip"), 0)

    taps = taps.astype(jnp.float32)
    distance = offset[:, None] - taps
    window = jnp.maximum(0, 1 - (distance / _REACH) ** 2) ** 2
    over_distance = jnp.where(distance == 0, 0, 1 / jnp.where(distance == 0, 1, jnp.pi * distance))
    # sin(πc(offset − tap)) taken apart: a product of matrices instead of a sine for every pair,
    # which is three times as fast on two cores.
    waves = jnp.stack([jnp.cos(jnp.pi * cutoff * taps), jnp.sin(jnp.pi * cutoff * taps)], 1)
    cos, sin = jnp.matmul(window * values * over_distance, waves, precision="highest").T
    phase = jnp.pi * cutoff * offset
    between = jnp.sin(phase) * cos - jnp.cos(phase) * sin
    at_sample = jnp.where(offset == 0, cutoff * values[:, _REACH], 0)
    return jnp.clip(between + at_sample, -1, 1)
