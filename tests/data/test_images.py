from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import ndimage

from dlcore import data


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 28), (5, 11), (1, 3), (40, 17)])
@pytest.mark.parametrize("size", [1, 8, 28])
def test_resize_is_jaxs_bilinear(height, width, size):
    images = np.random.default_rng(0).random((3, height, width, 2), np.float32)
    resized = data.resize(images, size)
    assert resized.dtype == np.float32
    expected = jax.image.resize(images, (3, size, size, 2), "bilinear")
    np.testing.assert_allclose(resized, expected, atol=2e-6)


def test_resize_keeps_a_constant_and_the_range():
    ones = np.ones((1, 7, 9, 1), np.float32)
    np.testing.assert_array_equal(data.resize(ones, 28), np.ones((1, 28, 28, 1)))
    images = (np.random.default_rng(0).random((50, 8, 8, 1)) > 0.2).astype(np.float32)
    assert data.resize(images, 27).max() <= 1


def test_rgb_is_pillows():
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    grey = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 1), np.uint8)
    colored = data.rgb(grey)
    assert colored.dtype == np.uint8
    for ours, pixels in zip(colored, grey, strict=True):
        np.testing.assert_array_equal(ours, image.fromarray(pixels[..., 0]).convert("RGB"))


@pytest.mark.parametrize(("size", "margins"), [(6, (1, 1, 0, 1)), (9, (2, 3, 2, 2)), (5, None)])
def test_canvas(size, margins):
    images = np.random.default_rng(0).random((3, 4, 5, 2), np.float32) + 1
    framed = data.canvas(images, size, fill=0.5)
    top, bottom, left, right = margins or (0, 1, 0, 0)
    assert framed.shape == (3, size, size, 2)
    assert framed.dtype == np.float32
    np.testing.assert_array_equal(framed[:, top : size - bottom, left : size - right], images)
    assert np.sum(framed == 0.5) == framed.size - images.size


@pytest.mark.parametrize("fill", [0.0, 0.25])
@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (2, 0), (0, -3), (-1, 4), (7, 1), (-20, 20)])
def test_shift_is_scipys(dy, dx, fill):
    images = np.random.default_rng(0).random((3, 7, 6, 2), np.float32)
    expected = ndimage.shift(images, (0, dy, dx, 0), order=0, cval=fill)
    moved = data.shift(images, dy, dx, fill)
    np.testing.assert_array_equal(moved, expected)
    assert moved.dtype == np.float32


def test_each_image_has_its_own_shift():
    rng = np.random.default_rng(0)
    images = rng.random((50, 8, 8, 1), np.float32)
    before = images.copy()
    dy, dx = rng.integers(-5, 6, (2, 50))
    moved = data.shift(images, dy, dx)
    for i in range(50):
        np.testing.assert_array_equal(moved[i], data.shift(images[i : i + 1], dy[i], dx[i])[0])
    np.testing.assert_array_equal(images, before)
    rows = data.shift(images, dy, 0)
    np.testing.assert_array_equal(data.shift(rows, 0, dx), moved)


def test_a_shift_within_the_margin_loses_nothing():
    digits = data.load("digits").test["x"]
    dy, dx = np.random.default_rng(0).integers(-2, 3, (2, len(digits)))
    moved = data.shift(data.canvas(digits, 12), dy, dx)
    np.testing.assert_array_equal(
        np.sort(moved.reshape(360, -1))[:, -64:], np.sort(digits.reshape(360, -1))
    )
    back = data.shift(moved, -dy, -dx)
    np.testing.assert_array_equal(back[:, 2:10, 2:10], digits)


IMAGES = np.zeros((3, 4, 5, 2), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.resize(IMAGES[0, ..., 0], 28), r"resize: images is \[4, 5\], but images \[N"),
        (lambda: data.rgb(IMAGES[..., 0]), r"rgb: images is \[3, 4, 5\]"),
        (lambda: data.rgb(IMAGES), "rgb: the images have 2 channels, but one is wanted"),
        (lambda: data.canvas(IMAGES, 4), "size=4: give a whole number at least 5"),
        (lambda: data.shift(IMAGES[0], 1, 1), r"shift: images is \[4, 5, 2\]"),
        (lambda: data.shift(IMAGES, 0.5, 0), r"shift: dy is float64\[\], but an integer"),
        (
            lambda: data.shift(IMAGES, 0, np.zeros(2, int)),
            r"dx is int64\[2\], but .* integers \[3\]",
        ),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
