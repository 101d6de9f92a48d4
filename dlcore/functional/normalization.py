"""Statistics of activations, and normalisation with them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from dlcore.functional.checks import floating, wide_dtype


def moments(
    x: jax.Array,
    axis: int | Sequence[int],
    *,
    keepdims: bool = False,
    axis_name: Hashable | None = None,
) -> tuple[jax.Array, jax.Array]:
    """μ = mean(x) and σ² = mean((x − μ)²) over the given axes, in float32 or wider.

    With `axis_name` also over that named axis, of vmap or of devices (shard_map, pmap), whose
    members hold equally many numbers: μ is the mean of all of them before σ² is taken about it.

    The variance is the biased one (divided by n), and in two passes, so that a large mean costs
    no digits: E[x²] − μ² in float32 gives 0 or worse for a mean of 1e4 and a deviation of 0.1.
    """
    x = floating("moments", "x", x)
    x = x.astype(wide_dtype(x.dtype))
    mean = _mean(x, axis, True, axis_name)
    var = _mean(jnp.square(x - mean), axis, keepdims, axis_name)
    return (mean if keepdims else jnp.squeeze(mean, axis)), var


def _mean(
    x: jax.Array, axis: int | Sequence[int], keepdims: bool, axis_name: Hashable | None
) -> jax.Array:
    mean = jnp.mean(x, axis, keepdims=keepdims)
    return mean if axis_name is None else lax.pmean(mean, axis_name)


def normalize(
    x: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    scale: jax.Array | None = None,
    offset: jax.Array | None = None,
    *,
    epsilon: float = 1e-5,
) -> jax.Array:
    """y = (x − mean) / √(var + epsilon) · scale + offset.

    Computed in float32 or wider, and returned in the dtype of x. A feature of zero variance gives
    `offset`.
    """
    wide = wide_dtype(jnp.result_type(x))
    factor = lax.rsqrt(var.astype(wide) + epsilon)
    if scale is not None:
        factor = factor * scale.astype(wide)
    y = (x.astype(wide) - mean.astype(wide)) * factor
    if offset is not None:
        y = y + offset.astype(wide)
    return y.astype(x.dtype)
