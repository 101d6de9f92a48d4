"""Padding of images."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from dlcore.checks import is_concrete, one_of
from dlcore.window import Around, Padding, images, sides

# By our names, numpy's.
MODES = {"zeros": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def pad(
    x: jax.Array, padding: Padding, mode: str = "zeros", *, value: ArrayLike | None = None
) -> jax.Array:
    """x [B, H, W, C] with rows and columns around it: [B, top + H + bottom, left + W + right, C].

    `padding` is an integer, (vertical, horizontal) or ((top, bottom), (left, right)). A row abcd
    goes on as 0·abcd·0 ("zeros"), b·abcd·c ("reflect", the edge itself is not repeated),
    a·abcd·d ("edge", PyTorch's "replicate") or d·abcd·a ("wrap", PyTorch's "circular"). With
    `value` it is that number, in the dtype of x, in the place of zeros.

    >>> pad(jnp.arange(4.0).reshape(1, 1, 4, 1), (0, 2), "reflect").ravel().tolist()
    [2.0, 1.0, 0.0, 1.0, 2.0, 3.0, 2.0, 1.0]
    """
    images("pad", x)
    around = sides("pad", padding)
    numpys = one_of("pad", "mode", mode, MODES)
    if value is not None and mode != "zeros":
        raise ValueError(
            f"pad: value is {value}, but {mode!r} adds what is in x: pad(x, padding, value=…)"
        )
    height, width = x.shape[1:3]
    if mode == "reflect" and (max(around[0]) >= height or max(around[1]) >= width):
        raise ValueError(
            f"pad: padding {around} is more than x {x.shape} can reflect: at most H − 1 = "
            f"{height - 1} rows and W − 1 = {width - 1} columns"
        )
    if value is not None:
        return _filled(x, around, value)
    return jnp.pad(x, ((0, 0), *around, (0, 0)), numpys)


def _filled(x: jax.Array, around: Around, value: ArrayLike) -> jax.Array:
    """x on a ground of `value`, in the dtype of x, which must hold it where it is of integers."""
    whole = not jnp.issubdtype(x.dtype, jnp.inexact) and is_concrete(value)
    if jnp.ndim(value) or (whole and np.asarray(value).astype(x.dtype) != value):
        raise ValueError(f"pad: value is {value}, but one number of {x.dtype} is wanted, x's dtype")
    (top, bottom), (left, right) = around
    batch, height, width, channels = x.shape
    shape = (batch, top + height + bottom, left + width + right, channels)
    return lax.dynamic_update_slice(jnp.full(shape, value, x.dtype), x, (0, top, left, 0))
