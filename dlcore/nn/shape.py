"""Layers that change nothing but the shape."""

from __future__ import annotations

import math

import jax


def flatten(x: jax.Array, axis: int = 1) -> jax.Array:
    """[B, ...] → [B, the product of the rest]; a layer as it is.

    From another axis on as functools.partial(flatten, axis=2): [B, T, H, W, C] → [B, T, H·W·C].
    """
    if not -x.ndim <= axis <= x.ndim:
        raise ValueError(f"flatten: axis is {axis}, but x {x.shape} has {x.ndim} axes")
    return x.reshape(*x.shape[:axis], math.prod(x.shape[axis:]))
