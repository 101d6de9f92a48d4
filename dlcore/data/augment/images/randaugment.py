"""RandAugment: some of fourteen operations, all equally strong."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from dlcore import keys
from dlcore.data.augment._checks import Number, check_image, check_range
from dlcore.data.augment.images import color, geometry
from dlcore.keys import Key


def random_augment(
    key: Key, image: jax.Array, n: int = 2, magnitude: Number = 9.0, fill: Number = 0.0
) -> jax.Array:
    """RandAugment: `n` of fourteen operations, one after another, each of strength `magnitude`.

    They are drawn evenly, with repetition: nothing, autocontrast, equalize, posterize, solarize;
    rotate by up to 30°, shear by 0.3 and translate by 150/331 of the side, along each axis;
    brightness, contrast, saturation and sharpness by 1 ± 0.9. That is at magnitude 10; at 0 all but
    autocontrast and equalize, which have no strength, leave the image as it is. Where there are two
    directions, one is drawn. Of a grey image the saturation stays.

    Cubuk et al. 2020, section 3, who choose n and magnitude (0 … 10 there) by a grid search, from
    the ranges of AutoAugment (Cubuk et al. 2019). In their code solarize grows weaker with
    the magnitude, and brightness and its like go from darker to brighter.

    Under vmap all fourteen are computed for every image, and one is kept.
    """
    check_image("random_augment", image)
    check_range("random_augment", "n", n, 0)
    check_range("random_augment", "magnitude", magnitude, 0, 10)
    strength = jnp.asarray(magnitude, jnp.float32) / 10
    operations = _operations(fill)
    for i in range(n):
        layer = jax.random.fold_in(keys.check(key), i)
        which = jax.random.randint(keys.child(layer, "operation"), (), 0, len(operations))
        sign = jax.random.rademacher(keys.child(layer, "sign"), (), jnp.float32)
        image = lax.switch(which, operations, image, strength, sign * strength)
    return image


def _operations(fill: Number) -> list[Callable[[jax.Array, jax.Array, jax.Array], jax.Array]]:
    """Functions of an image, a strength in 0 … 1, and the same strength in a direction."""

    def side(image: jax.Array, axis: int) -> float:
        return 150 / 331 * image.shape[axis]

    return [
        lambda image, m, d: image,
        lambda image, m, d: color.autocontrast(image),
        lambda image, m, d: color.equalize(image),
        lambda image, m, d: color.posterize(image, 8 - jnp.round(4 * m).astype(jnp.int32)),
        lambda image, m, d: color.solarize(image, 1 - m),
        lambda image, m, d: color.brightness(image, 1 + 0.9 * d),
        lambda image, m, d: color.contrast(image, 1 + 0.9 * d),
        lambda image, m, d: color.saturation(image, 1 + 0.9 * d),
        lambda image, m, d: color.sharpness(image, 1 + 0.9 * d),
        lambda image, m, d: geometry.rotate(image, 30 * d, fill),
        lambda image, m, d: geometry.shear(image, 0.3 * d, 0, fill),
        lambda image, m, d: geometry.shear(image, 0, 0.3 * d, fill),
        lambda image, m, d: geometry.translate(image, side(image, 0) * d, 0, fill),
        lambda image, m, d: geometry.translate(image, 0, side(image, 1) * d, fill),
    ]
