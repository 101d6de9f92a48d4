"""Parameters that many places share."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dlcore.checks import wide_dtype


def broadcast(parameter: ArrayLike, x: jax.Array) -> jax.Array:
    """`parameter` in the shape and dtype of x, its gradient being summed in float32 or wider.

    In x + parameter it is summed in the dtype of x, on the CPU one number after another: of 65,536
    numbers like ½ in bfloat16 the sum is 512, from where on the next changes nothing (jax 0.12).
    """
    wide = jnp.asarray(parameter, wide_dtype(x.dtype))
    return jnp.broadcast_to(wide, x.shape).astype(x.dtype)
