"""Attention with a derivative of its own.

By JAX's rules a softmax in the middle keeps the scores, their exponentials and the weights, and
reads them more than once. This keeps the exponentials e [..., T, S] and 1/Σ e alone, divides the
products [..., T, E] in place of the weights, and finds the derivative of the sum in y:

    dy = ((e ∘ ds) · value + e · dvalue) / Σ e − y ∘ Σ (e ∘ ds) / Σ e

As a rule for tangents it serves both modes, and higher derivatives.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.checks import wide_dtype


@functools.partial(jax.custom_jvp, nondiff_argnums=(6, 7))
def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    bias: jax.Array | None,
    mask: jax.Array | None,
    keep: jax.Array | None,
    scale: float,
    soft_cap: float | None,
) -> jax.Array:
    """(keep ∘ softmax(cap(scale · query · keyᵀ) + bias)) · value, where `mask` is True."""
    return _attend(query, key, value, bias, mask, keep, scale, soft_cap)[0]


def _attend(
    query: Any,
    key: Any,
    value: Any,
    bias: Any,
    mask: Any,
    keep: Any,
    scale: float,
    soft_cap: float | None,
) -> tuple[Any, ...]:
    """y; e, and e ∘ keep; 1/Σ e; and the slope of the capped scores."""
    scores, slope = scale * _scores(query, key), None
    if soft_cap is not None:
        bent = jnp.tanh(scores / soft_cap)
        scores, slope = soft_cap * bent, 1 - bent * bent
    if bias is not None:
        scores = scores + bias
    # The lowest finite number and not −∞, which would make NaN of a row without a True.
    lowest = jnp.finfo(scores.dtype).min
    if mask is not None:
        scores = jnp.where(mask, scores, lowest)
    e = jnp.exp(scores - jnp.max(scores, -1, keepdims=True, initial=lowest))
    if mask is not None:
        e = jnp.where(mask, e, 0)
    total = jnp.sum(e, -1, keepdims=True)
    inverse = 1 / jnp.where(total == 0, 1, total)
    kept = e if keep is None else e * keep
    y = (_product(kept, value) * inverse).astype(value.dtype)
    return y, e, kept, inverse, slope


@attend.defjvp
def _attend_jvp(scale: float, soft_cap: float | None, values: Any, tangents: Any) -> Any:
    query, key, value, bias, mask, keep = values
    dquery, dkey, dvalue, dbias, *_ = tangents
    y, e, kept, inverse, slope = _attend(query, key, value, bias, mask, keep, scale, soft_cap)
    ds = scale * (_scores(dquery, key) + _scores(query, dkey))
    if slope is not None:
        ds = slope * ds
    if bias is not None:
        ds = ds + dbias
    dy = (_product(kept * ds, value) + _product(kept, dvalue)) * inverse
    dy = dy - y.astype(dy.dtype) * (jnp.sum(e * ds, -1, keepdims=True) * inverse)
    return y, dy.astype(y.dtype)


def _scores(query: jax.Array, key: jax.Array) -> jax.Array:
    wide = wide_dtype(query.dtype)
    return jnp.einsum("...td,...sd->...ts", query, key, preferred_element_type=wide)


def _product(weights: jax.Array, value: jax.Array) -> jax.Array:
    """weights · value, summed in what the weights are, computed in what the value is."""
    wide = weights.dtype
    weights = weights.astype(value.dtype)
    return jnp.einsum("...ts,...se->...te", weights, value, preferred_element_type=wide)
