"""What a conditional network does with the label."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from dlcore import nn
from dlcore.checks import one_hot


def labelled(classes: int) -> nn.Layer:
    """[B, …] and the side input `label` [B] → [B, N + classes]: the numbers, and the label as one
    1 among zeros.
    """

    def beside(x: jax.Array, *, label: jax.Array) -> jax.Array:
        rows = one_hot("labelled", "label", label, classes).astype(x.dtype)
        return jnp.concatenate([x.reshape(len(x), math.prod(x.shape[1:])), rows], axis=1)

    layer: Callable[..., jax.Array] = beside
    return nn.from_function(layer, "labelled", classes=classes)
