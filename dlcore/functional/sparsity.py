"""What is asked of an autoencoder's code [B, K] beside that the inputs come out of it again."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dlcore.checks import is_concrete, unit_interval, wide_dtype


def sparsity_l1(code: jax.Array) -> jax.Array:
    """Σⱼ |hⱼ| of each example, [B]: many units are 0 at once."""
    size = jnp.abs(code).astype(wide_dtype(code.dtype))
    return jnp.sum(size, axis=tuple(range(1, code.ndim)))


def sparsity_kl(activation: jax.Array, rho: float | jax.Array = 0.05) -> jax.Array:
    """Σⱼ KL(ρ ‖ ρ̂ⱼ) = Σⱼ [ρ log(ρ/ρ̂ⱼ) + (1 − ρ) log((1 − ρ)/(1 − ρ̂ⱼ))], a number.

    activation: ρ̂ⱼ, the mean of unit j over the examples, [K] in [0, 1], as of a sigmoid.
    rho: ρ in (0, 1), the share of the examples for which each unit is to be on.

    At ρ̂ⱼ = 0 and 1 clipped, to stay finite. Ng 2011.
    """
    if is_concrete(rho) and not 0 < rho < 1:
        raise ValueError(f"sparsity_kl: rho is {rho}, but a share between 0 and 1 is wanted")
    if jnp.ndim(activation) != 1:
        raise ValueError(
            f"sparsity_kl: activation has shape {jnp.shape(activation)}, but the mean over the "
            "examples is wanted for each unit, [K]: code.mean(0)"
        )
    on = jnp.clip(unit_interval("sparsity_kl", "activation", activation), 1e-6, 1 - 1e-6)
    return jnp.sum(rho * jnp.log(rho / on) + (1 - rho) * jnp.log((1 - rho) / (1 - on)))


def contraction(
    encode: Callable[[jax.Array], jax.Array], x: jax.Array, key: jax.Array | None = None
) -> jax.Array:
    """‖∂h/∂x‖²_F = Σⱼᵢ (∂hⱼ/∂xᵢ)² of each example, [B], for h = encode(x), [B, …] → [B, K].

    encode treats examples apart: no batch norm in training. That costs a backward pass for each of
    the K units. With a key one pass estimates it, by ‖vᵀ ∂h/∂x‖² with signs v drawn for each
    example, whose mean it is (Hutchinson 1990). Of a code [B, …] all numbers are units. Rifai et
    al. 2011.
    """
    code, back = jax.vjp(lambda x: encode(x).reshape(len(x), -1), x)

    def squares(v: jax.Array) -> jax.Array:
        """‖vᵀ ∂h/∂x‖² of each example; of a 1 among zeros that is one unit's share."""
        (row,) = back(jnp.broadcast_to(v, code.shape))
        return jnp.sum(jnp.square(row), axis=tuple(range(1, row.ndim)))

    if key is not None:
        return squares(jax.random.rademacher(key, code.shape, code.dtype))
    return jnp.sum(jax.lax.map(squares, jnp.eye(code.shape[-1], dtype=code.dtype)), axis=0)
