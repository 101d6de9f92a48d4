"""Positions as waves: added to a sequence, or turning its queries and keys."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dlcore.checks import floating, wide_dtype


def sinusoidal(places: ArrayLike, features: int, *, base: float = 10_000.0) -> jax.Array:
    """y₂ᵢ = sin(p · base^(−2i / features)) and y₂ᵢ₊₁ the cosine, for the places p [...].

    float32 [..., features]; `features` is even. Vaswani et al. 2017, section 3.5.
    """
    angles = _angles("sinusoidal", places, features, base)
    waves = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return waves.reshape(*angles.shape[:-1], features)


def rotary(x: jax.Array, places: ArrayLike, *, base: float = 10_000.0) -> jax.Array:
    """Each pair (xᵢ, xᵢ₊D/₂) of x [..., T, D], turned by the angle p · base^(−2i / D).

    p are the places [..., T], broadcast to x's. The product of a query and a key turned so depends
    on p − p′ alone. Su et al. 2021, equation 34, where neighbours are the pairs; as in GPT-NeoX and
    Llama they are halves here, another order of the features of the same model.
    """
    x = floating("rotary", "x", x)
    angles = _angles("rotary", places, x.shape[-1], base)
    if x.ndim < 2 or not _broadcasts(angles.shape[:-1], x.shape[:-1]):
        raise ValueError(
            f"rotary: the places {angles.shape[:-1]} of x {x.shape} are not its [..., T]: "
            f"jnp.arange({x.shape[-2] if x.ndim > 1 else 'T'})"
        )
    one, other = jnp.split(x.astype(wide_dtype(x.dtype)), 2, axis=-1)
    cos, sin = (wave(angles).astype(one.dtype) for wave in (jnp.cos, jnp.sin))
    turned = jnp.concatenate([one * cos - other * sin, other * cos + one * sin], axis=-1)
    return turned.astype(x.dtype)


def _angles(name: str, places: ArrayLike, features: int, base: float) -> jax.Array:
    if features < 2 or features % 2:
        raise ValueError(
            f"{name} turns pairs of features, but there are {features}: even is wanted"
        )
    if not 1 < base < math.inf:
        raise ValueError(f"{name}: base is {base}, but above 1 is wanted: 10_000")
    rates = base ** (-jnp.arange(0, features, 2, dtype=jnp.float32) / features)
    return jnp.asarray(places, jnp.float32)[..., None] * rates


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether one shape broadcasts to the other."""
    try:
        return jnp.broadcast_shapes(shape, to) == to
    except ValueError:
        return False
