"""Photographs of digits, drawn here, so that what was put where is known.

A kind is a function (digits, rng, table) -> Scene: what comes between the ink and its reader.
Digits are ink [h, w] in [0, 1], cut out, from left to right; a table is what a sheet lies on.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from experiments.basics._finding import Box, enclosing

BLACK, WHITE = np.full(3, 0.1), np.full(3, 0.95)
GREY = np.array([0.299, 0.587, 0.114])  # what each colour counts in a grey value


class Scene(NamedTuple):
    """A picture [H, W, 3] of red, green and blue in [0, 1], and the ink of each digit [N, H, W]."""

    picture: np.ndarray
    layers: np.ndarray

    @property
    def boxes(self) -> list[Box]:
        """Where each digit is."""
        return [_box(layer) for layer in self.layers]


Table = Callable[[int, int, Generator], np.ndarray]  # a picture [H, W, 3] of that size
Kind = Callable[[Sequence[np.ndarray], Generator, Table], Scene]


# What digits are made of.


def handwritten(image: np.ndarray) -> np.ndarray:
    """The ink of an image [28, 28] of MNIST, as sharp as a pen's."""
    left, top, right, bottom = _box(image)
    fine = _resized(image[top:bottom, left:right], 6 * (right - left), 6 * (bottom - top))
    return np.clip(2.5 * fine - 0.75, 0, 1)


def printed(character: str, font: str) -> np.ndarray:
    """The ink of a character in one of matplotlib's fonts."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("L", (300, 300))
    letters = ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/{font}.ttf", 160)
    ImageDraw.Draw(image).text((70, 50), character, 255, letters)
    left, top, right, bottom = image.getbbox() or (0, 0, 0, 0)
    return np.asarray(image, np.float32)[top:bottom, left:right] / 255


# What a sheet lies on: dark.


def plain(height: int, width: int, rng: Generator) -> np.ndarray:
    """One colour."""
    return np.broadcast_to(rng.uniform(0.05, 0.4, 3), (height, width, 3))


def wood(height: int, width: int, rng: Generator) -> np.ndarray:
    """Wavy rings along the boards."""
    wave = 3 * _clouds(height, width, rng, 60)
    rings = np.sin(np.arange(height)[:, None] / rng.uniform(1.5, 6) + 4 * wave)
    return (
        np.array([0.42, 0.28, 0.16]) * (1 + 0.3 * rings * _clouds(height, width, rng, 4))[..., None]
    )


def cloth(height: int, width: int, rng: Generator) -> np.ndarray:
    """Threads across threads."""
    y, x = (np.sin(np.arange(n) * rng.uniform(0.6, 1.5)) for n in (height, width))
    return rng.uniform(0.1, 0.35, 3) * (1 + 0.5 * y[:, None] * x)[..., None]


def stone(height: int, width: int, rng: Generator) -> np.ndarray:
    """Polished stone: grains of several sizes and shades."""
    grains = np.sum([_clouds(height, width, rng, size) > 1 for size in (1, 3, 8)], axis=0)
    return rng.uniform(0.1, 0.3, 3) * (0.6 + 0.4 * grains)[..., None]


def checked(height: int, width: int, rng: Generator) -> np.ndarray:
    """Printed cloth: bands across bands, each of its colour."""
    y, x = (_bands(n, rng) for n in (height, width))
    ground, across, along = rng.uniform(0.05, 0.5, (3, 3))
    return ground + 0.5 * (y[:, None, None] * across + x[None, :, None] * along)


def keys(height: int, width: int, rng: Generator) -> np.ndarray:
    """Rows of keys, each row shifted, each key a little lighter at its top."""
    size, gap = int(rng.integers(18, 50)), int(rng.integers(2, 6))
    y, x = np.mgrid[:height, :width]
    y, x = y % size, (x + y // size * size * 2 // 5) % size
    inside = np.minimum(np.minimum(y, size - y), np.minimum(x, size - x)) > gap
    shade = rng.uniform(0.15, 0.5) * (1.2 - 0.4 * y / size)
    return np.where(inside, shade, 0.04)[..., None] * rng.uniform(0.8, 1, 3)


def leaves(height: int, width: int, rng: Generator) -> np.ndarray:
    """Leaves upon leaves, each with its vein."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width, height), (20, 30, 15))
    draw = ImageDraw.Draw(image)
    for _ in range(height * width // 400):
        outline = _leaf(rng) + rng.uniform(0, 1, 2) * (width, height)
        points = [tuple(point) for point in outline]
        draw.polygon(points, tuple((rng.uniform(0.5, 1.2) * np.array([60, 100, 30])).astype(int)))
        draw.line([points[0], points[len(points) // 2]], (120, 140, 80), 1)
    return np.asarray(image) / 255


def tiles(height: int, width: int, rng: Generator) -> np.ndarray:
    """Squares of several shades with light joints."""
    size = int(rng.integers(20, 60))
    shades = rng.uniform(0.1, 0.4, (height // size + 1, width // size + 1, 1)) * np.array(
        [1, 0.9, 0.8]
    )
    tiled = shades.repeat(size, axis=0).repeat(size, axis=1)[:height, :width]
    tiled[::size] = tiled[:, ::size] = 0.55
    return tiled


def photograph(name: str, height: int, width: int, rng: Generator) -> np.ndarray:
    """A part of a photograph that comes with scikit-learn, in dim light."""
    from sklearn.datasets import load_sample_image

    whole = _sample(load_sample_image, name)
    top, left = rng.integers(0, 427 - 200), rng.integers(0, 640 - 300)
    part = _resized(whole[top : top + 200, left : left + 300], width, height)
    return rng.uniform(0.4, 0.7) * part


TABLES: dict[str, tuple[Table, ...]] = {
    "known": (plain, wood, cloth, stone, checked, keys, leaves),
    "unseen": (
        tiles,
        functools.partial(photograph, "china.jpg"),
        functools.partial(photograph, "flower.jpg"),
    ),
}
FONTS = {
    "known": ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono-Bold"),
    "unseen": ("STIXGeneral", "STIXGeneralBolIta", "cmr10", "cmss10", "cmtt10"),
}


# The kinds.


def clean(digits: Sequence[np.ndarray], rng: Generator, table: Table) -> Scene:
    """Black ink on white paper."""
    return _painted(_placed(digits, rng))


def sheet(digits: Sequence[np.ndarray], rng: Generator, table: Table) -> Scene:
    """A sheet that lies on a dark table, not quite straight."""
    return _laid(clean(digits, rng, table), rng, table)


def shadow(digits: Sequence[np.ndarray], rng: Generator, table: Table) -> Scene:
    """A shadow across the sheet, its edge sharp or soft, in a light that falls off to one side."""
    scene = clean(digits, rng, table)
    return scene._replace(picture=scene.picture * _light(scene.picture.shape, rng))


def box(digits: Sequence[np.ndarray], rng: Generator, table: Table) -> Scene:
    """A frame round the digits, ruled or drawn by hand."""
    layers = _placed(digits, rng)
    return _painted(layers, drawn=_frame(layers, rng))


def colours(digits: Sequence[np.ndarray], rng: Generator, table: Table) -> Scene:
    """Ink and paper of any two colours, of which every other pair has one grey value."""
    return _painted(_placed(digits, rng), *_two_colours(rng))


def turned(digits: Sequence[np.ndarray], rng: Generator, table: Table) -> Scene:
    """Turned by up to 20°."""
    return _painted(_turned(_placed(digits, rng), rng.uniform(-20, 20)))


def border(digits: Sequence[np.ndarray], rng: Generator, table: Table) -> Scene:
    """The ink reaches one side of the picture, or two."""
    layers = _placed(digits, rng)
    left, top, right, bottom = _box(layers.max(axis=0))
    height, width = layers.shape[1:]
    cut = rng.permutation([True, rng.random() < 0.3, False, False])
    rows = slice(top if cut[0] else 0, bottom if cut[1] else height)
    columns = slice(left if cut[2] else 0, right if cut[3] else width)
    return _painted(layers[:, rows, columns])


def specks(digits: Sequence[np.ndarray], rng: Generator, table: Table) -> Scene:
    """Dust and hairs."""
    layers = _placed(digits, rng)
    return _painted(layers, drawn=_dust(layers.shape[1:], rng))


def noise(digits: Sequence[np.ndarray], rng: Generator, table: Table) -> Scene:
    """The noise of a cheap camera: dead pixels too, and coded as a small JPEG."""
    return _noisy(clean(digits, rng, table), rng)


def together(digits: Sequence[np.ndarray], rng: Generator, table: Table) -> Scene:
    """All of it: coloured, dusty, at times framed, on a table, turned, in a shadow, with noise."""
    layers = _placed(digits, rng)
    drawn = _dust(layers.shape[1:], rng)
    if rng.random() < 0.5:
        drawn = np.maximum(drawn, _frame(layers, rng))
    scene = _laid(_painted(layers, *_two_colours(rng), drawn), rng, table)
    scene = scene._replace(picture=scene.picture * _light(scene.picture.shape, rng))
    return _noisy(scene, rng)


KINDS: dict[str, Kind] = {
    kind.__name__: kind
    for kind in (clean, sheet, shadow, box, colours, turned, border, specks, noise, together)
}


# What they are made of.


def _placed(digits: Sequence[np.ndarray], rng: Generator) -> np.ndarray:
    """Layers [N, H, W]: the digits in a row of about one height, somewhere on a sheet."""
    height = rng.uniform(50, 120)
    inks = [_scaled(one, height * rng.uniform(0.85, 1.15)) for one in digits]
    left, top, right, bottom = height * rng.uniform(0.4, 1.5, 4)
    steps = [ink.shape[1] + height * rng.uniform(0.25, 0.7) for ink in inks]
    x = left + np.cumsum([0, *steps])
    y = top + height * rng.uniform(0, 0.2, len(inks))
    layers = np.zeros((len(inks), int(top + 1.4 * height + bottom), int(x[-1] + right)))
    for layer, ink, row, column in zip(layers, inks, y.astype(int), x.astype(int), strict=False):
        layer[row : row + ink.shape[0], column : column + ink.shape[1]] = ink
    return layers


def _painted(
    layers: np.ndarray, ink: np.ndarray = BLACK, paper: np.ndarray = WHITE, drawn: Any = 0.0
) -> Scene:
    """The digits, and what else was `drawn` [H, W], in ink on paper."""
    covered = np.maximum(layers.max(axis=0, initial=0), drawn)[..., None]
    return Scene(paper + (ink - paper) * covered, layers)


def _laid(scene: Scene, rng: Generator, table: Table) -> Scene:
    """A sheet on a table: turned by up to 10°, with some of the table on every side."""
    degrees = rng.uniform(-10, 10)
    height, width, _ = scene.picture.shape
    opaque = np.concatenate([scene.picture, np.ones((height, width, 1))], axis=-1)
    turned = _turned(np.moveaxis(opaque, -1, 0), degrees)
    margins = (rng.uniform(0.02, 0.4, 4) * min(height, width)).astype(int)
    around = ((0, 0), tuple(margins[:2]), tuple(margins[2:]))
    paper, covered = np.split(np.moveaxis(np.pad(turned, around), 0, -1), [3], axis=-1)
    layers = np.pad(_turned(scene.layers, degrees), around)
    under = table(covered.shape[0], covered.shape[1], rng)
    return Scene(paper + (1 - covered) * under, layers)


def _light(shape: tuple[int, ...], rng: Generator) -> np.ndarray:
    """Light [H, W, 1] in (0, 1] that falls off to one side, a shadow's edge near the middle."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[:2]), indexing="ij")
    slope, edge = (np.cos(a) * x + np.sin(a) * y for a in rng.uniform(0, 2 * np.pi, 2))
    soft = np.exp(rng.uniform(np.log(0.01), np.log(0.3)))
    shaded = (1 + np.tanh((edge - rng.uniform(-0.4, 0.4)) / soft)) / 2
    light = (1 - rng.uniform(0.35, 0.65) * shaded) * (1 - rng.uniform(0, 0.15) * (1 + slope))
    return light[..., None]


def _frame(layers: np.ndarray, rng: Generator) -> np.ndarray:
    """Lines [H, W] round all digits, whose corners a hand does not quite meet."""
    left, top, right, bottom = _box(layers.max(axis=0, initial=0))
    height = bottom - top
    gap, unsteady = height * rng.uniform(0.15, 0.35), height * rng.choice([0, 0.03])
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)
    corners += gap * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    corners += rng.normal(0, 1, (4, 2)) * unsteady
    points = [tuple(corner) for corner in (*corners, *corners[:2])]
    return _lines(layers.shape[1:], [(points, height * rng.uniform(0.02, 0.08))])


def _dust(shape: tuple[int, ...], rng: Generator) -> np.ndarray:
    """Specks and hairs [H, W]."""
    lines = []
    for _ in range(int(rng.integers(10, 50))):
        start = rng.uniform(0, 1, 2) * shape[::-1]
        end = start + rng.normal(0, 1, 2) * rng.choice([1, 4])
        lines.append(([tuple(start), tuple(end)], rng.uniform(1, 3)))
    return _lines(shape, lines)


def _noisy(scene: Scene, rng: Generator) -> Scene:
    from PIL import Image

    picture = scene.picture + rng.normal(0, rng.uniform(0.03, 0.1), scene.picture.shape)
    dead = rng.random(picture.shape[:2]) < rng.uniform(0, 0.02)
    picture[dead] = rng.integers(0, 2, (int(dead.sum()), 1))
    file = io.BytesIO()
    quality = int(rng.integers(30, 80))
    Image.fromarray(eight_bits(picture)).save(file, "JPEG", quality=quality)
    return scene._replace(picture=np.asarray(Image.open(file), np.float32) / 255)


def _two_colours(rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Ink and paper, well apart; in every other pair the grey values agree."""
    alike = rng.random() < 0.5
    while True:
        ink, paper = rng.uniform(0.05, 0.95, (2, 3))
        if np.linalg.norm(ink - paper) > 0.4 and (not alike or abs((ink - paper) @ GREY) < 0.02):
            return ink, paper


def eight_bits(picture: np.ndarray) -> np.ndarray:
    """A picture in [0, 1] as uint8."""
    return np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8)


def _clouds(height: int, width: int, rng: Generator, size: float) -> np.ndarray:
    """Smooth noise [H, W] of unit strength, in clouds of that size."""
    from scipy import ndimage

    noise = ndimage.gaussian_filter(rng.normal(size=(height, width)), size)
    return noise / noise.std()


def _bands(length: int, rng: Generator) -> np.ndarray:
    """Whether each of [N] pixels is in a band."""
    return np.sin(np.arange(length) / rng.uniform(4, 15)) > rng.uniform(-0.7, 0.7)


def _leaf(rng: Generator) -> np.ndarray:
    """The outline [N, 2] of a leaf, from its tip to its stem and back, turned anyhow."""
    along = np.linspace(-1, 1, 12)
    side = np.stack([along, 0.4 * (1 - along**2)], axis=-1)
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    return rng.uniform(10, 30) * np.concatenate([side, side[::-1] * (1, -1)]) @ turn


def _turned(layers: np.ndarray, degrees: float) -> np.ndarray:
    """Layers [N, H, W] turned, on a canvas that holds all of them."""
    from scipy import ndimage

    if not len(layers):
        return layers
    return np.stack([ndimage.rotate(layer, degrees, order=1) for layer in layers])


def _lines(
    shape: tuple[int, ...], lines: list[tuple[list[tuple[float, ...]], float]]
) -> np.ndarray:
    """Lines [H, W] in [0, 1] through points (x, y), each of its breadth."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (shape[1], shape[0]))
    for points, breadth in lines:
        ImageDraw.Draw(image).line(points, 255, max(1, round(breadth)), joint="curve")
    return np.asarray(image) / 255


def _scaled(ink: np.ndarray, size: float) -> np.ndarray:
    """Ink whose longer side is `size`."""
    scale = size / max(ink.shape)
    return _resized(ink, max(1, round(scale * ink.shape[1])), max(1, round(scale * ink.shape[0])))


def _resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    from PIL import Image

    whole = Image.fromarray(eight_bits(image))
    return np.asarray(whole.resize((width, height), Image.Resampling.BICUBIC), np.float32) / 255


@functools.cache
def _sample(load: Callable[[str], Any], name: str) -> np.ndarray:
    return load(name) / np.float32(255)


def _box(ink: np.ndarray) -> Box:
    """The least box that holds the ink; the middle of the sheet where there is none."""
    if (ink > 0.4).any():
        return enclosing(ink)
    height, width = ink.shape
    return Box(width // 4, height // 4, width - width // 4, height - height // 4)
