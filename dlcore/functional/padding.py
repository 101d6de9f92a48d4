"""Padding of images."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dlcore.checks import one_of
from dlcore.window import Padding, images, sides

# By our names, numpy's.
MODES = {"zeros": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def pad(x: jax.Array, padding: Padding, mode: str = "zeros") -> jax.Array:
    """x [B, H, W, C] with rows and columns around it: [B, top + H + bottom, left + W + right, C].

    `padding` is an integer, (vertical, horizontal) or ((top, bottom), (left, right)). A row abcd
    goes on as 0·abcd·0 ("zeros"), b·abcd·c ("reflect", the edge itself is not repeated),
    a·abcd·d ("edge", PyTorch's "replicate") or d·abcd·a ("wrap", PyTorch's "circular").

    >>> pad(jnp.arange(4.0).reshape(1, 1, 4, 1), (0, 2), "reflect").ravel().tolist()
    [2.0, 1.0, 0.0, 1.0, 2.0, 3.0, 2.0, 1.0]
    """
    images("pad", x)
    around = sides("pad", padding)
    numpys = one_of("pad", "mode", mode, MODES)
    height, width = x.shape[1:3]
    if mode == "reflect" and (max(around[0]) >= height or max(around[1]) >= width):
        raise ValueError(
            f"pad: padding {around} is more than x {x.shape} can reflect: at most H − 1 = "
            f"{height - 1} rows and W − 1 = {width - 1} columns"
        )
    return jnp.pad(x, ((0, 0), *around, (0, 0)), numpys)
