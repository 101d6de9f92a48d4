"""Images moved: mirrored, cropped, turned, stretched, bent.

All but mirrors and crops say for each pixel of the new image where in the old one it comes from,
and `sample` looks there. Angles are degrees, lengths are pixels; y runs down, x to the right.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dlcore import keys
from dlcore.data.augment._checks import Number, check_image, check_range, random_factor, symmetric
from dlcore.keys import Key

Matrix = tuple[tuple[Number, Number], tuple[Number, Number]]


def flip(image: jax.Array, axis: int = 1) -> jax.Array:
    """The image mirrored, left for right; with axis 0 top for bottom."""
    check_image("flip", image)
    return jnp.flip(image, axis)


def random_flip(key: Key, image: jax.Array, axis: int = 1) -> jax.Array:
    """`flip` of every second image."""
    return jnp.where(jax.random.bernoulli(keys.check(key)), flip(image, axis), image)


def crop(image: jax.Array, y: int | jax.Array, x: int | jax.Array, size: tuple[int, int]) -> Any:
    """The size[0] × size[1] pixels below and to the right of (y, x).

    A window that would hang over the frame is moved back into it.
    """
    check_image("crop", image)
    if not all(1 <= new <= old for new, old in zip(size, image.shape, strict=False)):
        raise ValueError(f"crop: size is {size}, but the image is {list(image.shape)}")
    return lax.dynamic_slice(image, (y, x, 0), (*size, image.shape[2]))


def random_crop(key: Key, image: jax.Array, padding: int, fill: float = 0.0) -> jax.Array:
    """A window of the image's own size, out of the image with `padding` pixels more on all sides.

    So it is moved by up to `padding` whole pixels. He et al. 2016, section 4.2, with 4.
    """
    check_image("random_crop", image)
    check_range("random_crop", "padding", padding, 0)
    height, width, _ = image.shape
    sides = ((padding, padding), (padding, padding), (0, 0))
    y, x = jax.random.randint(keys.check(key), (2,), 0, 2 * padding + 1)
    return crop(jnp.pad(image, sides, constant_values=fill), y, x, (height, width))


def sample(image: jax.Array, y: jax.Array, x: jax.Array, fill: Number = 0.0) -> jax.Array:
    """The image at the places (y, x) [H', W']: [H', W', C].

    Bilinear between the four pixels around a place; outside the frame every pixel is `fill`. As
    scipy.ndimage.map_coordinates with order=1 and mode="grid-constant".
    """
    check_image("sample", image)
    height, width, channels = image.shape
    padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)), constant_values=fill)
    y, x = jnp.clip(y + 1, 0, height + 1), jnp.clip(x + 1, 0, width + 1)
    top, left = jnp.minimum(jnp.floor(y), height), jnp.minimum(jnp.floor(x), width)
    down, right = (y - top)[..., None], (x - left)[..., None]
    pixels = padded.reshape(-1, channels)  # one index is gathered faster than two
    corner = top.astype(jnp.int32) * (width + 2) + left.astype(jnp.int32)

    def between(first: jax.Array) -> jax.Array:
        one, other = (jnp.take(pixels, first + i, axis=0, mode="clip") for i in range(2))
        return (1 - right) * one + right * other

    values = (1 - down) * between(corner) + down * between(corner + width + 2)
    # A mean of four values lies among them, but for its rounding.
    return jnp.clip(values, padded.min(), padded.max())


def affine(
    image: jax.Array, matrix: Matrix, shift: tuple[Number, Number] = (0, 0), fill: Number = 0.0
) -> jax.Array:
    """new[p] = image[matrix·p + shift], where p = (y, x) is measured from the image's middle.

    So `matrix` and `shift` lead from the new image back to the old one, as those of
    scipy.ndimage.affine_transform, which measures from the corner.
    """
    check_image("affine", image)
    (a, b), (c, d) = matrix
    middle_y, middle_x = ((length - 1) / 2 for length in image.shape[:2])
    y = jnp.arange(image.shape[0], dtype=jnp.float32)[:, None] - middle_y
    x = jnp.arange(image.shape[1], dtype=jnp.float32)[None, :] - middle_x
    return sample(
        image, a * y + b * x + shift[0] + middle_y, c * y + d * x + shift[1] + middle_x, fill
    )


def translate(image: jax.Array, y: Number, x: Number, fill: Number = 0.0) -> jax.Array:
    """The image moved down by y and right by x pixels, whole or not."""
    return affine(image, ((1, 0), (0, 1)), (-y, -x), fill)


def rotate(image: jax.Array, angle: Number, fill: Number = 0.0) -> jax.Array:
    """The image turned counterclockwise about its middle, by degrees."""
    cos, sin = jnp.cos(jnp.deg2rad(angle)), jnp.sin(jnp.deg2rad(angle))
    return affine(image, ((cos, sin), (-sin, cos)), fill=fill)


def random_rotation(key: Key, image: jax.Array, limit: Number, fill: Number = 0.0) -> jax.Array:
    """`rotate` by an angle between −limit and limit."""
    return rotate(image, symmetric("random_rotation", key, limit), fill)


def stretch(image: jax.Array, y: Number, x: Number, fill: Number = 0.0) -> jax.Array:
    """The image about its middle y times as high and x times as wide, in the same frame."""
    return affine(image, ((1 / y, 0), (0, 1 / x)), fill=fill)


def random_stretch(key: Key, image: jax.Array, limit: Number, fill: Number = 0.0) -> jax.Array:
    """`stretch` by two factors, each as `random_scale` draws its one."""
    y, x = (random_factor("random_stretch", keys.child(key, axis), limit) for axis in ("y", "x"))
    return stretch(image, y, x, fill)


def scale(image: jax.Array, factor: Number, fill: Number = 0.0) -> jax.Array:
    """The image about its middle `factor` times as large, in the same frame."""
    return stretch(image, factor, factor, fill)


def random_scale(key: Key, image: jax.Array, limit: Number, fill: Number = 0.0) -> jax.Array:
    """`scale` by a factor between 1 / (1 + limit) and 1 + limit, its logarithm drawn evenly."""
    return scale(image, random_factor("random_scale", key, limit), fill)


def shear(image: jax.Array, y: Number, x: Number, fill: Number = 0.0) -> jax.Array:
    """What lies d to the right of the middle moves down by y·d, what lies d below it right by x·d.

    With neither 0, that is the way back: new[p] = image[p − (y·p[1], x·p[0])].
    """
    return affine(image, ((1, -y), (-x, 1)), fill=fill)


def random_shear(key: Key, image: jax.Array, limit: Number, fill: Number = 0.0) -> jax.Array:
    """`shear` along x, as handwriting slants, by between −limit and limit."""
    return shear(image, 0, symmetric("random_shear", key, limit), fill)


def displace(image: jax.Array, y: jax.Array, x: jax.Array, fill: Number = 0.0) -> jax.Array:
    """new[i, j] = image[i + y[i, j], j + x[i, j]], for fields y and x [H, W]."""
    height, width, _ = image.shape
    rows, columns = jnp.arange(height, dtype=jnp.float32), jnp.arange(width, dtype=jnp.float32)
    return sample(image, rows[:, None] + y, columns + x, fill)


def random_elastic(
    key: Key, image: jax.Array, alpha: Number, sigma: Number, fill: Number = 0.0
) -> jax.Array:
    """Elastic deformation: `displace` by α times a smooth field.

    Each of the two fields is drawn evenly from −1 … 1 pixel by pixel, then blurred by a Gaussian of
    deviation σ pixels, beyond the frame 0. What is left of it deviates by α/(2σ√(3π)) pixels: 1.4
    for the α = 34 and σ = 4 of the paper, for digits of 29 × 29. Simard et al. 2003, section 2.
    """
    check_image("random_elastic", image)
    check_range("random_elastic", "alpha", alpha, 0)
    check_range("random_elastic", "sigma", sigma, 0.5)
    height, width, _ = image.shape
    field = jax.random.uniform(keys.check(key), (2, height, width), jnp.float32, -1, 1)
    y, x = alpha * blur(field, sigma)
    return displace(image, y, x, fill)


def blur(field: jax.Array, sigma: Number) -> jax.Array:
    """field [..., H, W] convolved with exp(−d²/2σ²) / 2πσ², beyond the frame 0; σ of at least ½."""

    def gaussian(length: int) -> jax.Array:
        place = jnp.arange(length, dtype=jnp.float32)
        distance = (place[:, None] - place) / sigma
        return jnp.exp(-(distance**2) / 2) / (sigma * math.sqrt(2 * math.pi))

    rows, columns = (gaussian(length) for length in field.shape[-2:])
    return jnp.einsum("ij,...jk,kl->...il", rows, field, columns, precision="highest")
