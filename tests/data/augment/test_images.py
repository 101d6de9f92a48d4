"""Images beside scipy, Pillow, matplotlib and dm-pix."""

from __future__ import annotations

import colorsys
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from dlcore.data.augment import images
from dlcore.data.augment.images import geometry

GENERATOR = np.random.default_rng(0)
LEVELS = GENERATOR.integers(0, 256, (13, 16, 3)).astype(np.uint8)
LEVELS[:6, :7] = 40 + LEVELS[:6, :7] // 16
IMAGE = jnp.asarray(LEVELS.astype(np.float32) / 255)

# Compiled once, for all their settings.
rotate, scale, stretch = jax.jit(images.rotate), jax.jit(images.scale), jax.jit(images.stretch)
shear, translate, hue = jax.jit(images.shear), jax.jit(images.translate), jax.jit(images.hue)


@pytest.fixture
def pillow():
    pytest.importorskip("PIL", reason="needs Pillow")
    from PIL import Image, ImageEnhance, ImageOps

    return Image.fromarray(LEVELS), ImageEnhance, ImageOps


@pytest.fixture
def pix():
    reason = "dm-pix is not installed"
    return pytest.importorskip("dm_pix", reason=reason)


def close_to_levels(image, levels, off=1.0):
    np.testing.assert_allclose(255 * np.asarray(image), np.asarray(levels), atol=off)


# Moved


@pytest.mark.parametrize("fill", [0.0, 0.7])
def test_sample_is_scipys_interpolation(fill):
    y, x = GENERATOR.uniform(-3, 18, (2, 9, 11)).astype(np.float32)
    expected = [
        ndimage.map_coordinates(channel, (y, x), order=1, mode="grid-constant", cval=fill)
        for channel in np.moveaxis(np.asarray(IMAGE), 2, 0)
    ]
    found = jax.jit(images.sample)(IMAGE, y, x, fill)
    np.testing.assert_allclose(found, np.stack(expected, 2), atol=1e-5)


def test_affine_is_scipys_about_the_middle():
    matrix, shift = ((0.8, 0.3), (-0.4, 1.2)), (1.5, -2.25)
    middle = (np.array(IMAGE.shape[:2]) - 1) / 2
    expected = [
        ndimage.affine_transform(
            channel, matrix, middle - matrix @ middle + shift, order=1, mode="grid-constant"
        )
        for channel in np.moveaxis(np.asarray(IMAGE), 2, 0)
    ]
    np.testing.assert_allclose(
        jax.jit(images.affine)(IMAGE, matrix, shift), np.stack(expected, 2), atol=1e-5
    )


@pytest.mark.parametrize("quarters", [0, 1, 2, 3, -1])
def test_quarter_turns_are_numpys(quarters):
    square = IMAGE[:13, :13]
    np.testing.assert_allclose(
        rotate(square, 90.0 * quarters), np.rot90(square, quarters), atol=1e-5
    )


@pytest.mark.slow
def test_a_turn_is_scipys_and_dm_pixs(pix):
    turned = rotate(IMAGE, 25.0, 0.3)
    settings = {"order": 1, "cval": 0.3}
    scipys = ndimage.rotate(IMAGE, 25.0, reshape=False, mode="grid-constant", **settings)
    np.testing.assert_allclose(turned, scipys, atol=1e-5)
    with jax.numpy_dtype_promotion("standard"):
        pixs = pix.rotate(IMAGE, math.radians(25.0), mode="constant", **settings)
    inside = (slice(4, 9), slice(4, 12))  # dm-pix does not blend with what is outside the frame
    np.testing.assert_allclose(turned[inside], pixs[inside], atol=1e-5)


@pytest.mark.parametrize(
    ("move", "back"),
    [
        (partial(rotate, angle=20.0), partial(rotate, angle=-20.0)),
        (partial(scale, factor=1.25), partial(scale, factor=0.8)),
        (partial(stretch, y=1.25, x=0.8), partial(stretch, y=0.8, x=1.25)),
        (partial(shear, y=0.0, x=0.3), partial(shear, y=0.0, x=-0.3)),
        (partial(translate, y=2.5, x=-1.25), partial(translate, y=-2.5, x=1.25)),
    ],
    ids=["rotate", "scale", "stretch", "shear", "translate"],
)
def test_what_was_moved_moves_back(move, back):
    y, x = np.mgrid[:24, :24] / 24
    smooth = np.stack([y, x, y * x], 2).astype(np.float32)
    moved = np.asarray(move(smooth))
    assert np.abs(moved - smooth)[8:16, 8:16].max() > 0.02
    there_and_back = np.asarray(back(moved))
    np.testing.assert_allclose(there_and_back[8:16, 8:16], smooth[8:16, 8:16], atol=2e-3)


def test_each_way_is_the_one_its_name_says():
    dot = np.zeros((11, 11, 1), np.float32)
    dot[3, 7] = 1  # 2 above the middle, 2 to the right of it
    places = {
        "rotate": (rotate(dot, 90.0), (3, 3)),
        "scale": (scale(dot, 2.0), (1, 9)),
        "stretch": (stretch(dot, 2.0, 1.0), (1, 7)),
        "shear": (shear(dot, 0.0, 1.0), (3, 5)),
        "shear_down": (shear(dot, 1.0, 0.0), (5, 7)),
        "translate": (translate(dot, 1.0, -2.0), (4, 5)),
        "flip": (images.flip(dot), (3, 3)),
        "flip_down": (images.flip(dot, 0), (7, 7)),
    }
    for name, (moved, place) in places.items():
        brightest = np.unravel_index(np.argmax(moved), (11, 11))
        assert brightest == place, name
        assert moved.max() == pytest.approx(1, abs=1e-5)


def test_whole_shifts_are_exact():
    moved = np.asarray(translate(IMAGE, 2.0, -3.0))
    np.testing.assert_array_equal(moved[2:, :-3], np.asarray(IMAGE)[:-2, 3:])
    np.testing.assert_array_equal(scale(IMAGE, 1.0), IMAGE)


def test_a_random_crop_is_a_window_of_the_padded_image():
    padded = np.pad(IMAGE, ((2, 2), (2, 2), (0, 0)), constant_values=0.5)
    windows = {padded[y : y + 13, x : x + 16].tobytes(): (y, x) for y in range(5) for x in range(5)}
    crop = jax.jit(partial(images.random_crop, padding=2, fill=0.5))
    found = {windows[np.asarray(crop(jax.random.key(i), IMAGE)).tobytes()] for i in range(300)}
    assert found == set(windows.values())


def test_a_crop_is_a_window():
    np.testing.assert_array_equal(images.crop(IMAGE, 2, 5, (4, 6)), IMAGE[2:6, 5:11])


@pytest.mark.parametrize("sigma", [0.7, 2.0, 4.0])
def test_blur_is_scipys(sigma):
    field = GENERATOR.uniform(-1, 1, (20, 25)).astype(np.float32)
    expected = ndimage.gaussian_filter(field, sigma, mode="constant", truncate=8)
    found = geometry.blur(jnp.asarray(field), sigma)
    np.testing.assert_allclose(found, expected, atol=3e-4 if sigma < 1 else 1e-6)


def test_elastic_displacement_is_as_large_as_stated():
    """An image of its own coordinates shows where each pixel came from."""
    size, alpha, sigma = 64, 34.0, 4.0
    y, x = np.mgrid[:size, :size] / size
    ramp = np.stack([y, x], 2).astype(np.float32)
    bent = jax.jit(images.random_elastic)(jax.random.key(0), ramp, alpha, sigma)
    moved = size * (np.asarray(bent) - ramp)[16:48, 16:48]
    assert moved.std() == pytest.approx(alpha / (2 * sigma * math.sqrt(3 * math.pi)), rel=0.15)
    neighbours = np.corrcoef(moved[:, :-1].ravel(), moved[:, 1:].ravel())[0, 1]
    assert neighbours == pytest.approx(math.exp(-1 / (4 * sigma**2)), abs=0.01)


def test_cutout_is_a_square_cut_by_the_frame():
    for (y, x), (rows, columns) in {
        (6, 8): (slice(4, 8), slice(6, 10)),
        (0, 15): (slice(0, 2), slice(13, 16)),
    }.items():
        expected = np.array(IMAGE)
        expected[rows, columns] = 0.5
        np.testing.assert_array_equal(images.cutout(IMAGE, y, x, 4, 0.5), expected)
    np.testing.assert_array_equal(images.cutout(IMAGE, 3, 3, 0), IMAGE)


# In other light


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (images.brightness, "Brightness"),
        (images.contrast, "Contrast"),
        (images.saturation, "Color"),
        (images.sharpness, "Sharpness"),
    ],
)
def test_enhancement_is_pillows(ours, theirs, factor, pillow):
    image, enhance, _ = pillow
    expected = getattr(enhance, theirs)(image).enhance(factor)
    close_to_levels(jax.jit(ours)(IMAGE, factor), expected, off=1 + abs(1 - factor))


def test_autocontrast_is_pillows(pillow):
    image, _, ops = pillow
    expected = ops.autocontrast(image.crop((0, 0, 7, 6)))  # of narrow range
    close_to_levels(images.autocontrast(IMAGE[:6, :7]), expected)


@pytest.mark.parametrize("size", [(13, 16), (60, 70)])
def test_equalize_is_pillows(size, pillow):
    """Which leaves images of fewer than 256 pixels alone."""
    levels = np.minimum(255, GENERATOR.gamma(2, 30, (*size, 3))).astype(np.uint8)
    expected = pillow[2].equalize(pytest.importorskip("PIL.Image").fromarray(levels))
    assert np.array_equal(expected, levels) == (size == (13, 16))
    equal = jax.jit(images.equalize)(levels.astype(np.float32) / 255)
    close_to_levels(equal, expected, off=1e-3)


@pytest.mark.parametrize("bits", [1, 4, 7, 8])
def test_posterize_is_pillows(bits, pillow):
    image, _, ops = pillow
    close_to_levels(images.posterize(IMAGE, bits), ops.posterize(image, bits), off=1e-3)


def test_solarize_is_pillows_and_dm_pixs(pillow, pix):
    image, _, ops = pillow
    ours = images.solarize(IMAGE, 99.5 / 255)
    close_to_levels(ours, ops.solarize(image, 100), off=1e-3)
    np.testing.assert_allclose(ours, pix.solarize(IMAGE, 99.5 / 255), atol=1e-6)
    np.testing.assert_array_equal(images.solarize(IMAGE, 1.0), IMAGE)


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.2, 1.0])
def test_hue_is_pythons(turn):
    expected = np.array(
        [
            colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
            for hue, saturation, value in (
                colorsys.rgb_to_hsv(*pixel) for pixel in np.asarray(IMAGE).reshape(-1, 3).tolist()
            )
        ]
    ).reshape(IMAGE.shape)
    np.testing.assert_allclose(hue(IMAGE, turn), expected, atol=1e-5)


def test_hue_is_dm_pixs(pix):
    with jax.numpy_dtype_promotion("standard"):
        np.testing.assert_allclose(hue(IMAGE, 0.2), pix.adjust_hue(IMAGE, 0.2), atol=1e-5)


def test_constant_images_stay():
    for level in (0.0, 0.5, 1.0):
        constant = np.full(IMAGE.shape, level, np.float32)
        np.testing.assert_array_equal(hue(constant, 0.3), constant)
        np.testing.assert_array_equal(jax.jit(images.autocontrast)(constant), constant)
        np.testing.assert_allclose(images.contrast(jnp.asarray(constant), 1.9), constant, atol=1e-6)


def test_noise_has_its_deviation():
    grey = np.full((60, 60, 3), 0.5, np.float32)
    noise = np.asarray(jax.jit(images.random_noise)(jax.random.key(0), grey, 0.1)) - grey
    assert noise.std() == pytest.approx(0.1, rel=0.02)
    assert abs(noise.mean()) < 0.005


# RandAugment


AUGMENT = jax.jit(partial(images.random_augment, n=1))
PICTURE = GENERATOR.integers(20, 230, (16, 17, 3)).astype(np.float32) / 255


def test_a_magnitude_of_zero_leaves_most_images_alone():
    """Only autocontrast and equalize, two of fourteen, have no strength."""
    changed = [
        not np.allclose(AUGMENT(jax.random.key(i), PICTURE, magnitude=0.0), PICTURE, atol=1e-5)
        for i in range(140)
    ]
    assert sum(changed) == pytest.approx(20, abs=12)  # three deviations


def test_all_fourteen_operations_occur():
    results = {
        np.asarray(AUGMENT(jax.random.key(i), PICTURE, magnitude=5.0)).round(4).tobytes()
        for i in range(300)
    }
    assert len(results) == 5 + 2 * 9  # nine of them in two directions


def test_operations_are_one_after_another():
    two = jax.jit(partial(images.random_augment, n=2, magnitude=5.0))
    ones = [np.asarray(AUGMENT(jax.random.key(i), PICTURE, magnitude=5.0)) for i in range(60)]
    twos = [np.asarray(two(jax.random.key(i), PICTURE)) for i in range(60)]
    same = [np.allclose(a, b, atol=1e-6) for a, b in zip(ones, twos, strict=True)]
    assert 0 < sum(same) < 20  # where the second is nothing, or as good as nothing
    none = images.random_augment(jax.random.key(0), jnp.asarray(PICTURE), n=0)
    np.testing.assert_array_equal(none, PICTURE)


# Refused


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: images.rotate(IMAGE[..., 0], 10.0),
            ValueError,
            r"affine: image is \[13, 16\]",
        ),
        (lambda: images.flip(IMAGE[None]), ValueError, r"flip: image is \[1, 13, 16, 3\].* each\("),
        (
            lambda: images.brightness(jnp.asarray(LEVELS), 1.2),
            TypeError,
            r"brightness: image is uint8, but float32 is wanted: image\.astype\(jnp\.float32\) / 2",
        ),
        (lambda: images.hue(IMAGE[..., :2], 0.1), ValueError, "hue: .* 1 or 3 channels"),
        (lambda: images.crop(IMAGE, 0, 0, (14, 3)), ValueError, r"crop: size is \(14, 3\)"),
        (lambda: images.posterize(IMAGE, 0), ValueError, "posterize: bits is 0, but 1 ≤ bits ≤ 8"),
        (lambda: images.contrast(IMAGE, -1.0), ValueError, "contrast: factor is -1.0, but 0 ≤"),
        (
            lambda: images.random_rotation(jax.random.key(0), IMAGE, -3.0),
            ValueError,
            "random_rotation: limit is -3.0, but 0 ≤ limit ≤ inf is wanted",
        ),
        (
            lambda: images.random_augment(jax.random.key(0), IMAGE, magnitude=30.0),
            ValueError,
            "random_augment: magnitude is 30.0, but 0 ≤ magnitude ≤ 10",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
