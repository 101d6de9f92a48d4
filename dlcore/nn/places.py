"""Where in its sequence each step stands, whether it is read at once, in windows or padded."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dlcore.nn.describing import describe


def places(x: jax.Array, mask: jax.Array | None, at: jax.Array | None) -> jax.Array:
    """The places int32 [B, T] of x [B, T, …], before which `at` [B] real ones were seen, or none.

    Steps where the mask is False are none: they have the place of the real one before them (that
    before the first of all is −1). Where all rows are alike there is one, [1, T].
    """
    if mask is None:
        where = jnp.arange(x.shape[1], dtype=jnp.int32)[None]
    else:
        where = jnp.cumsum(mask, axis=1, dtype=jnp.int32) - 1
    return where if at is None else at[:, None] + where


def after(x: jax.Array, mask: jax.Array | None, at: jax.Array) -> jax.Array:
    """How many real steps [B] came before what follows x."""
    real = x.shape[1] if mask is None else jnp.sum(mask, axis=1, dtype=jnp.int32)
    return at + jnp.int32(real)


def cleaned(kind: str, x: jax.Array, mask: jax.Array | None, name: str = "mask") -> jax.Array:
    """x with 0 where the mask [B, T] is False: what is not finite there stays there."""
    if mask is None:
        return x
    if mask.shape != x.shape[:2]:
        raise ValueError(f"{kind} expected {name} [B, T] of x {describe(x)}, got {describe(mask)}")
    if mask.dtype != bool:
        raise TypeError(
            f"{kind} expected a {name} of True (a real step) and False, got {mask.dtype}"
        )
    return jnp.where(mask.reshape(*mask.shape, *[1] * (x.ndim - 2)), x, jnp.zeros((), x.dtype))
