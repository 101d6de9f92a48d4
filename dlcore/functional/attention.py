"""Attention."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dlcore.checks import floating, wide_dtype
from dlcore.functional.activations import softmax


def attention(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: ArrayLike | None = None
) -> jax.Array:
    """y = softmax(query · keyᵀ / √D) · value, for query [..., T, D], key [..., S, D].

    value is [..., S, E], y [..., T, E]. Each query receives a mean of the values, weighted by how
    well their keys fit it. Leading axes (batch, heads) broadcast. `mask` is boolean and broadcasts
    to [..., T, S]: the t-th query may attend to the s-th key where it is True. A query that may
    attend to nothing receives 0, as in PyTorch; Flax and JAX give it the mean of all values. The
    softmax is in float32 or wider. Vaswani et al. 2017, equation 1.
    """
    query = floating("attention", "query", query)
    fits = key.shape[-1] == query.shape[-1] and value.shape[-2] == key.shape[-2]
    if not fits or not _broadcast(query.shape[:-2], key.shape[:-2], value.shape[:-2]):
        raise ValueError(
            f"attention: query {query.shape}, key {key.shape} and value {value.shape} do not fit: "
            "[..., T, D], [..., S, D] and [..., S, E] are wanted, with leading axes that broadcast"
        )
    wide = wide_dtype(query.dtype)
    scores = jnp.einsum("...td,...sd->...ts", query, key, preferred_element_type=wide)
    scores = scores / math.sqrt(query.shape[-1])
    if mask is None:
        weights = softmax(scores)
    else:
        mask = _mask(mask, scores.shape)
        # The lowest finite number and not −∞, which would make NaN of a row without a True.
        weights = softmax(jnp.where(mask, scores, jnp.finfo(wide).min))
        weights = jnp.where(mask, weights, 0)
    return jnp.einsum("...ts,...se->...te", weights.astype(value.dtype), value)


def _broadcast(*shapes: tuple[int, ...]) -> bool:
    try:
        jnp.broadcast_shapes(*shapes)
    except ValueError:
        return False
    return True


def _mask(mask: ArrayLike, shape: tuple[int, ...]) -> jax.Array:
    mask = jnp.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(
            f"attention: mask is {mask.dtype}, but True (may attend) and False are wanted"
        )
    if mask.ndim > len(shape) or any(
        length not in (1, wanted)
        for length, wanted in zip(mask.shape[::-1], shape[::-1], strict=False)
    ):
        raise ValueError(
            f"attention: mask {mask.shape} does not broadcast to the scores' [..., T, S], {shape}"
        )
    return jnp.broadcast_to(mask, shape)
