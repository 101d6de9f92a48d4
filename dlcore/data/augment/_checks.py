"""What augmentations check alike, and the numbers that most of them draw."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from dlcore import keys
from dlcore.keys import Key

Number = float | jax.Array


def check_image(function: str, image: jax.Array) -> None:
    """Refuses what is no image float32 [H, W, C]."""
    _check(function, "image", image, 3, "one image [H, W, C]", "image.astype(jnp.float32) / 255")


def check_samples(function: str, samples: jax.Array) -> None:
    """Refuses what is no sound float32 [T]."""
    _check(function, "samples", samples, 1, "one sound [T]", "samples.astype(jnp.float32) / 2**15")


def check_range(function: str, name: str, value: Any, low: float, high: float = math.inf) -> None:
    """Refuses a concrete number outside low … high; a traced one passes."""
    if not isinstance(value, jax.core.Tracer) and not low <= value <= high:
        raise ValueError(f"{function}: {name} is {value}, but {low} ≤ {name} ≤ {high} is wanted")


def check_positive(function: str, name: str, value: Any) -> None:
    """Refuses a concrete number that is not above 0; a traced one passes."""
    if not isinstance(value, jax.core.Tracer) and not 0 < value < math.inf:
        raise ValueError(f"{function}: {name} is {value}, but must be positive")


def symmetric(function: str, key: Key, limit: Number, high: float = math.inf) -> jax.Array:
    """A number drawn evenly from −limit … limit, where 0 ≤ limit ≤ high."""
    check_range(function, "limit", limit, 0, high)
    return limit * jax.random.uniform(keys.check(key), (), jnp.float32, -1, 1)


def random_factor(function: str, key: Key, limit: Number) -> jax.Array:
    """(1 + limit)^u, u drawn evenly from −1 … 1: as often halved as doubled."""
    check_range(function, "limit", limit, 0)
    return (1 + limit) ** symmetric(function, key, 1)


def _check(function: str, name: str, x: Any, axes: int, wanted: str, fix: str) -> None:
    shape, dtype = jnp.shape(x), jnp.asarray(x).dtype
    if len(shape) != axes:
        raise ValueError(
            f"{function}: {name} is {list(shape)}, but {wanted} is wanted: each(…) takes a batch"
        )
    if dtype != jnp.float32:
        raise TypeError(f"{function}: {name} is {dtype}, but float32 is wanted: {fix}")
