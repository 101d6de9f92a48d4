"""Layers that change nothing but the shape."""

from __future__ import annotations

import math

import jax


def flatten(x: jax.Array) -> jax.Array:
    """[B, ...] → [B, the product of the rest]; a layer as it is."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))
