"""Gradient clipping: transformations to chain before an optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dlcore.names import arguments
from dlcore.optim._checks import Scalar, check_numbers
from dlcore.optim._parts import like
from dlcore.tree import scaled_norm, scaled_norms


@arguments()
def clip(max_delta: Scalar) -> optax.GradientTransformationExtraArgs:
    """Clip every entry: g ← min(max(g, −δ), δ).

    Args:
        max_delta: δ ≥ 0.

    Raises:
        TypeError, ValueError: for δ that is no number, negative or not finite.

    Equals `optax.clip`. Pascanu et al. 2013 discuss it; it changes the gradient's direction.
    """
    check_numbers(max_delta=max_delta)

    def bound(g: jax.Array) -> jax.Array:
        delta = like(max_delta, g)
        return jnp.clip(g, -delta, delta)

    return _stateless(lambda updates: jax.tree.map(bound, updates))


@arguments()
def clip_by_global_norm(max_norm: Scalar) -> optax.GradientTransformationExtraArgs:
    """Shrink a long gradient to the length c: g ← g · min(1, c/‖g‖₂), the norm over all leaves.

    Args:
        max_norm: c ≥ 0.

    Raises:
        TypeError, ValueError: for c that is no number, negative or not finite.

    Pascanu et al. 2013. Equals `optax.clip_by_global_norm`, but the squares are summed in float32
    where the leaves are narrower (in float16 a gradient of 300 already overflows), and may lie
    beyond its range: a gradient of 1e30 has its direction, in optax it becomes 0. A NaN anywhere
    makes the norm, and so every leaf, NaN.
    """
    check_numbers(max_norm=max_norm)

    def shrink(updates: Any) -> Any:
        norm, unit = scaled_norm(updates)
        return jax.tree.map(lambda g: _shortened(g, norm, unit, max_norm), updates)

    return _stateless(shrink)


@arguments()
def clip_by_block_rms(threshold: Scalar) -> optax.GradientTransformationExtraArgs:
    """Shrink each long leaf to the root mean square c: g ← g · min(1, c/√mean(g²)), leaf by leaf.

    Args:
        threshold: c ≥ 0.

    Raises:
        TypeError, ValueError: for c that is no number, negative or not finite.

    Equals `optax.clip_by_block_rms`, but that the squares are averaged in float32 where the leaf is
    narrower, and as in `clip_by_global_norm` may lie beyond its range. It turns the whole gradient,
    but no leaf of it; a leaf with a NaN becomes NaN alone.
    """
    check_numbers(threshold=threshold)

    def shrink(g: jax.Array, norm: jax.Array, unit: jax.Array) -> jax.Array:
        return _shortened(g, norm, unit, like(threshold, norm) * max(1, g.size) ** 0.5)

    return _stateless(lambda updates: jax.tree.map(shrink, updates, *scaled_norms(updates)))


def _shortened(g: jax.Array, norm: jax.Array, unit: jax.Array, length: Scalar) -> jax.Array:
    """g · min(1, length/n), where n = norm/unit may itself be beyond the range."""
    limit = like(length, norm)
    is_short = norm / unit <= limit
    factor = jnp.where(is_short, 1, limit) / jnp.where(is_short, 1, norm)
    return like(like(g, norm) * jnp.where(is_short, 1, unit) * factor, g)


def _stateless(f: Callable[[Any], Any]) -> optax.GradientTransformationExtraArgs:
    return optax.with_extra_args_support(optax.stateless(lambda updates, params: f(updates)))
