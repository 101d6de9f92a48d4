"""Layers that change nothing but the shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax

from dlcore.nn.arguments import factory
from dlcore.nn.describing import describe
from dlcore.nn.layer import Layer, check_sizes, from_function


def flatten(x: jax.Array, axis: int = 1) -> jax.Array:
    """[B, ...] → [B, the product of the rest]; a layer as it is.

    From another axis on as functools.partial(flatten, axis=2): [B, T, H, W, C] → [B, T, H·W·C].
    """
    if not -x.ndim <= axis <= x.ndim:
        raise ValueError(f"flatten: axis is {axis}, but x {x.shape} has {x.ndim} axes")
    return x.reshape(*x.shape[:axis], math.prod(x.shape[axis:]))


@factory()
def unflatten(shape: int | Sequence[int]) -> Layer:
    """[B, N] → [B, *shape], where N is the product of the shape: an image of a vector.

    PyTorch's Unflatten(1, (C, H, W)) of an image is unflatten((H, W, C)).
    """
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    check_sizes("unflatten", **{f"shape[{i}]": size for i, size in enumerate(sizes)})

    def apply(x: jax.Array) -> jax.Array:
        if x.ndim != 2 or x.shape[1] != math.prod(sizes):
            raise ValueError(f"unflatten expected [B, {math.prod(sizes)}], got {describe(x)}")
        return x.reshape(x.shape[0], *sizes)

    return from_function(apply, unflatten, shape=sizes)
