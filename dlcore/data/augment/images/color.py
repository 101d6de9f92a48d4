"""Images in other light: brightness, contrast, saturation, hue, tone, sharpness, noise.

Images are grey or RGB [H, W, C] with values in [0, 1], and stay in that range.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dlcore import keys
from dlcore.data.augment._checks import Number, check_image, check_range, symmetric
from dlcore.keys import Key

_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601


def brightness(image: jax.Array, factor: Number) -> jax.Array:
    """factor·image: 0 is black, 1 the image. As Pillow's and PyTorch's; dm-pix adds instead."""
    return _blend("brightness", jnp.zeros_like(image), image, factor)


def random_brightness(key: Key, image: jax.Array, limit: Number) -> jax.Array:
    """`brightness` by a factor between 1 − limit and 1 + limit."""
    return brightness(image, 1 + symmetric("random_brightness", key, limit, 1))


def contrast(image: jax.Array, factor: Number) -> jax.Array:
    """mean + factor·(image − mean): 0 is the mean grey, 1 the image. As Pillow's and PyTorch's."""
    check_image("contrast", image)
    return _blend("contrast", jnp.mean(_grey("contrast", image)), image, factor)


def random_contrast(key: Key, image: jax.Array, limit: Number) -> jax.Array:
    """`contrast` by a factor between 1 − limit and 1 + limit."""
    return contrast(image, 1 + symmetric("random_contrast", key, limit, 1))


def saturation(image: jax.Array, factor: Number) -> jax.Array:
    """grey + factor·(image − grey): 0 is the grey image, 1 the image. As Pillow's and PyTorch's."""
    check_image("saturation", image)
    return _blend("saturation", _grey("saturation", image), image, factor)


def random_saturation(key: Key, image: jax.Array, limit: Number) -> jax.Array:
    """`saturation` by a factor between 1 − limit and 1 + limit."""
    return saturation(image, 1 + symmetric("random_saturation", key, limit, 1))


def hue(image: jax.Array, turn: Number) -> jax.Array:
    """The image with its hues moved along the circle of colours: ⅓ makes red green, 1 nothing."""
    check_image("hue", image)
    _check_channels("hue", image)
    return image if image.shape[2] == 1 else _from_hsv(_to_hsv(image) + jnp.array([turn, 0.0, 0.0]))


def random_hue(key: Key, image: jax.Array, limit: Number) -> jax.Array:
    """`hue` by between −limit and limit, of at most ½."""
    return hue(image, symmetric("random_hue", key, limit, 0.5))


def random_noise(key: Key, image: jax.Array, std: Number) -> jax.Array:
    """image + std·z, cut off at 0 and 1; z is drawn from N(0, 1) for every value."""
    check_image("random_noise", image)
    check_range("random_noise", "std", std, 0)
    return jnp.clip(
        image + std * jax.random.normal(keys.check(key), image.shape, jnp.float32), 0, 1
    )


def sharpness(image: jax.Array, factor: Number) -> jax.Array:
    """smooth + factor·(image − smooth): 0 is blurred, 1 the image, 2 sharpened.

    `smooth` is a weighted mean of 3 × 3 pixels, 5 for the middle to 1 for each other, and on the
    frame the image itself. As Pillow's and PyTorch's.
    """
    check_image("sharpness", image)
    height, width, _ = image.shape
    if min(height, width) < 3:
        return image
    rows = [image[i : height - 2 + i] for i in range(3)]
    squares = sum(row[:, j : width - 2 + j] for row in rows for j in range(3))
    inside = (squares + 4 * image[1:-1, 1:-1]) / 13
    return _blend("sharpness", image.at[1:-1, 1:-1].set(inside), image, factor)


def autocontrast(image: jax.Array) -> jax.Array:
    """Every channel stretched to reach from 0 to 1; a constant one stays. As Pillow's."""
    check_image("autocontrast", image)
    low, high = image.min((0, 1)), image.max((0, 1))
    span = jnp.where(high > low, high - low, 1)
    return jnp.where(high > low, (image - low) / span, image)


def equalize(image: jax.Array) -> jax.Array:
    """Every channel so that all its 256 levels occur about equally often. As Pillow's.

    An image of fewer than 256 pixels stays.
    """
    check_image("equalize", image)

    def channel(levels: jax.Array) -> jax.Array:
        counts = jnp.bincount(levels.ravel(), length=256)
        step = (levels.size - counts[levels.max()]) // 255
        before = jnp.cumsum(counts) - counts
        table = jnp.minimum((before + step // 2) // jnp.maximum(step, 1), 255)
        return jnp.where(step > 0, table[levels], levels)

    return _of_levels(jax.vmap(channel, 2, 2)(_levels(image)))


def posterize(image: jax.Array, bits: int | jax.Array) -> jax.Array:
    """The image in 8 bits, of which the first `bits` are kept, 1 … 8. As Pillow's."""
    check_image("posterize", image)
    check_range("posterize", "bits", bits, 1, 8)
    lost = 8 - jnp.asarray(bits, jnp.int32)
    return _of_levels(_levels(image) >> lost << lost)


def solarize(image: jax.Array, threshold: Number) -> jax.Array:
    """1 − image where the image is above the threshold, as on overexposed film."""
    check_image("solarize", image)
    return jnp.where(image > threshold, 1 - image, image)


def _blend(function: str, base: jax.Array, image: jax.Array, factor: Number) -> jax.Array:
    check_image(function, image)
    check_range(function, "factor", factor, 0)
    # As two products: with a factor of 1 the image comes back exactly.
    return jnp.clip((1 - factor) * base + factor * image, 0, 1)


def _grey(function: str, image: jax.Array) -> jax.Array:
    """The luma [H, W, 1]."""
    _check_channels(function, image)
    if image.shape[2] == 1:
        return image
    return jnp.sum(image * jnp.array(_LUMA, jnp.float32), axis=2, keepdims=True)


def _check_channels(function: str, image: jax.Array) -> None:
    if image.shape[2] not in (1, 3):
        raise ValueError(
            f"{function}: image is {list(image.shape)}, but 1 or 3 channels are wanted"
        )


def _to_hsv(image: jax.Array) -> jax.Array:
    """Hue, saturation, value, each in [0, 1], of RGB; a grey has hue 0. Smith 1978."""
    red, green, blue = jnp.moveaxis(image, 2, 0)
    value = image.max(2)
    chroma = value - image.min(2)
    span = jnp.where(chroma > 0, chroma, 1)
    sixths = jnp.where(
        value == red,
        (green - blue) / span,
        jnp.where(value == green, 2 + (blue - red) / span, 4 + (red - green) / span),
    )
    saturation = chroma / jnp.where(value > 0, value, 1)
    return jnp.stack([jnp.where(chroma > 0, _fraction(sixths / 6), 0), saturation, value], 2)


def _from_hsv(image: jax.Array) -> jax.Array:
    """RGB: of each channel value·(1 − saturation·max(0, min(k, 4 − k, 1))), k = n + 6·hue mod 6."""
    hue, saturation, value = jnp.moveaxis(image, 2, 0)[..., None]
    k = 6 * _fraction(jnp.array([5.0, 3.0, 1.0]) / 6 + hue)
    return value * (1 - saturation * jnp.clip(jnp.minimum(k, 4 - k), 0, 1))


def _fraction(x: jax.Array) -> jax.Array:
    """x mod 1; the operator % is several times as slow on CPU."""
    return x - jnp.floor(x)


def _levels(image: jax.Array) -> jax.Array:
    return jnp.round(255 * image).astype(jnp.int32)


def _of_levels(levels: jax.Array) -> jax.Array:
    return levels.astype(jnp.float32) / 255
