"""Images with a hole."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dlcore import keys
from dlcore.data.augment._checks import check_image, check_range
from dlcore.keys import Key


def cutout(
    image: jax.Array, y: int | jax.Array, x: int | jax.Array, size: int, fill: float = 0.0
) -> jax.Array:
    """`fill` in the square of size × size pixels whose middle is (y, x), as far as it is inside."""
    check_image("cutout", image)
    check_range("cutout", "size", size, 0)
    height, width, _ = image.shape
    top, left = y - size // 2, x - size // 2
    rows, columns = jnp.arange(height)[:, None, None], jnp.arange(width)[:, None]
    inside = (rows >= top) & (rows < top + size) & (columns >= left) & (columns < left + size)
    return jnp.where(inside, fill, image)


def random_cutout(key: Key, image: jax.Array, size: int, fill: float = 0.0) -> jax.Array:
    """`cutout` about any pixel, so that part of the square may lie outside.

    DeVries and Taylor 2017, section 3.2, who find that this helps. Their 0 is the mean of the data,
    which they have subtracted. On CIFAR-10 their size is 16.
    """
    check_image("random_cutout", image)
    height, width, _ = image.shape
    y = jax.random.randint(keys.child(key, "y"), (), 0, height)
    x = jax.random.randint(keys.child(key, "x"), (), 0, width)
    return cutout(image, y, x, size, fill)
