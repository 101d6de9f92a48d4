"""A picture of a digit goes in, what it is comes out: weights carry all that this takes.

    python -m experiments predict --weights runs/classify/weights.safetensors seven.png photo.png

The network, its classes and how its images were made are data in the weights' file. A digit may be
light on dark or dark on light, drawn or photographed, anywhere in the picture: the background is
estimated from the picture's edge and taken away, and the digit is framed as those trained on were.
"""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import jax
import numpy as np
import tyro

from dlcore import data, nn
from dlcore import functional as F
from dlcore.interop import weights
from experiments.basics import classify

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PIXELS = 50_000_000  # more is not a digit, but an attack on the memory
WORKING = 512  # pixels: the longest side that is looked at
CONTRAST = 0.1  # of black to white: less is nothing drawn


@dataclasses.dataclass(frozen=True)
class Config:
    """Which pictures, and the weights that look at them."""

    images: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """PNG or JPEG files, a digit in each."""
    weights: Path = Path("runs/classify/weights.safetensors")
    """What `python -m experiments classify` wrote."""
    top: int = 3
    """How many classes are told for each picture."""

    def __post_init__(self) -> None:
        if not self.images:
            raise ValueError("predict needs at least one picture: predict seven.png")
        if self.top < 1:
            raise ValueError(f"top must be at least 1, got {self.top}")


class Prediction(NamedTuple):
    """A picture's most probable classes, the first the most, and their probabilities."""

    image: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Result:
    """A prediction for each picture, and the pictures as the network saw them, [N, H, W, C]."""

    predictions: list[Prediction]
    seen: np.ndarray = dataclasses.field(repr=False)

    def __rich__(self) -> Any:
        """A row for each picture."""
        from rich.table import Table
        from rich.text import Text

        shown = Table("picture", "is", "probability", "else")
        for one in self.predictions:
            pairs = list(zip(one.classes, one.probabilities, strict=True))
            others = ", ".join(f"{name} ({_percent(share)})" for name, share in pairs[1:])
            cells = (one.image, pairs[0][0], _percent(pairs[0][1]), others)
            shown.add_row(*map(Text, cells))
        return shown


def run(config: Config) -> Result:
    """Reads the weights, then the pictures, and looks at them."""
    layer, params, state, description = read_network(config.weights)
    seen = np.stack([prepare(read(path), description) for path in config.images])
    probabilities = np.asarray(F.softmax(classify.outputs(layer, params, state, seen)))
    predictions = []
    for path, row in zip(config.images, probabilities, strict=True):
        ranked = np.argsort(-row, kind="stable")[: config.top].tolist()
        names = tuple(description["classes"][index] for index in ranked)
        predictions.append(Prediction(str(path), names, tuple(row[ranked].tolist())))
    return Result(predictions, seen)


def plot(result: Result) -> Figure:
    """The pictures as the network saw them."""
    from dlcore import plot

    captions = [
        f"{one.classes[0]}  ({_percent(one.probabilities[0])})" for one in result.predictions
    ]
    return plot.image_grid(result.seen, captions)


def read_network(path: Path) -> tuple[nn.Layer, Any, Any, dict[str, Any]]:
    """(layer, params, state, description) from the file that `classify` writes."""
    _, description = weights.load(path)
    try:
        layer = classify.network(description)
        description["classes"], description["framing"]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: these are not the weights of a classifier ({error}): give the "
            "weights.safetensors that classify wrote"
        ) from error
    params, state = jax.eval_shape(layer.init, jax.random.key(0))
    tree, _ = weights.load(path, {"params": params, "state": state})
    return layer, tree["params"], tree["state"], description


def read(path: Path) -> np.ndarray:
    """A picture [H, W, 4] of red, green, blue and opacity in [0, 1]; large ones are reduced."""
    from PIL import Image, ImageOps

    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            picture = Image.open(file, formats=("PNG", "JPEG"))
            if picture.width * picture.height > PIXELS:
                raise ValueError(f"{picture.width}×{picture.height} is too large")
            if picture.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
                picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
            picture = ImageOps.exif_transpose(picture).convert("RGBA")
            picture.thumbnail((WORKING, WORKING))
        except Exception as error:  # of every kind: a damaged file ends up anywhere in a decoder
            reason = "it is neither PNG nor JPEG" if "identify" in str(error) else error
            raise ValueError(f"{path}: not a picture that can be read: {reason}") from error
    return np.asarray(picture, np.float32) / 255


def prepare(picture: np.ndarray, description: dict[str, Any]) -> np.ndarray:
    """A picture [H, W, 4] as an image [size, size, C] such as the network was trained on.

    Where the description has no framing (the data were no digits), it is resized and no more.
    """
    size, _, channels = description["arguments"]["inputs"]
    framing = description["framing"]
    if framing is None:
        opaque = picture[..., :3] * picture[..., 3:]
        image = _resized(opaque, size, size)
        return image if channels == 3 else image.mean(axis=-1, keepdims=True)
    image = frame(ink(gray(picture)), **framing)
    return data.resize(image[None, ..., None], size)[0]


def gray(picture: np.ndarray) -> np.ndarray:
    """Brightness [H, W] of a picture [H, W, 4]; what is transparent is the opposite of the rest."""
    brightness, opacity = picture[..., :3] @ np.float32([0.299, 0.587, 0.114]), picture[..., 3]
    behind = (opacity * (brightness - 0.5)).sum() < 0
    return opacity * brightness + (1 - opacity) * behind


def ink(brightness: np.ndarray) -> np.ndarray:
    """How much ink there is at each pixel [H, W], in [0, 1], whether it is lighter or darker.

    The paper, as it is lit at the edge, is taken away; on which side of it the rest lies is the
    colour of the ink, whose usual strength becomes 1. Specks are left out.
    """
    from scipy import ndimage

    difference = brightness - _paper(brightness)
    if (np.minimum(difference, 0) ** 2).sum() > (np.maximum(difference, 0) ** 2).sum():
        difference = -difference
    peak = difference.max()
    noise = np.median(np.abs(_edge(difference)))
    if peak < max(CONTRAST, 8 * noise):
        raise ValueError("nothing is drawn on it: a digit differs from its paper")
    strength = np.median(difference[difference > peak / 2])
    shade = np.clip(difference / strength, 0, 1)
    parts, count = ndimage.label(shade > 0.4, np.ones((3, 3)))
    areas = ndimage.sum_labels(np.ones_like(shade), parts, range(1, count + 1))
    large = np.isin(parts, 1 + np.flatnonzero(areas >= areas.max() / 10))
    return shade * ndimage.binary_dilation(large, np.ones((3, 3)), 2)


def frame(ink: np.ndarray, canvas: int, box: tuple[int, int], stroke: float, by_mass: bool) -> np.ndarray:
    """The ink [H, W] as an image [canvas, canvas] of the digits trained on.

    It is scaled to the height of the `box`, (height, width); what is then too wide is made narrower,
    or where digits are centred `by_mass`, smaller. Strokes thinner than `stroke` heights of the box
    are made broader.
    """
    from scipy import ndimage

    mask = ink > 0.4
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    y, x = box[0] / ink.shape[0], box[1] / ink.shape[1]
    x = min(x, y)
    y = x if by_mass else y
    missing = stroke * box[0] / y - _stroke(ink)
    if missing > 1:
        margin = round(missing / 2)
        ink = ndimage.grey_dilation(np.pad(ink, margin), footprint=_disc(margin))
        x, y = (scale * (1 - 2 * margin / length) for scale, length in ((x, ink.shape[1]), (y, ink.shape[0])))
    small = _resized(ink[..., None], max(1, round(y * ink.shape[0])), max(1, round(x * ink.shape[1])))[..., 0]
    small = small / small.max()
    image = np.zeros((canvas, canvas), np.float32)
    top, left = (_begin(small.sum(axis=axis), canvas, by_mass) for axis in (1, 0))
    image[top : top + small.shape[0], left : left + small.shape[1]] = small
    return image


def _stroke(ink: np.ndarray) -> float:
    """The mean breadth of the strokes: their area over half of their outline."""
    from scipy import ndimage

    mask = np.pad(ink > 0.5, 1)
    outline = mask & ~ndimage.binary_erosion(mask)
    return 2 * mask.sum() / outline.sum()


def _disc(radius: int) -> np.ndarray:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return x * x + y * y <= radius * radius


def _begin(profile: np.ndarray, canvas: int, by_mass: bool) -> int:
    """Where on the canvas a profile of the ink begins, so that its middle is the canvas's."""
    places = np.arange(len(profile)) + 0.5
    middle = (profile * places).sum() / profile.sum() if by_mass else len(profile) / 2
    return int(np.clip(round(canvas / 2 - middle), 0, canvas - len(profile)))


def _paper(brightness: np.ndarray) -> np.ndarray:
    """The quadratic a + bx + cy + dx² + exy + fy² nearest to most of the edge.

    That is by least absolute deviations, so that ink which reaches the edge counts for little.
    """
    at_edge = _edge(brightness)
    middle = np.median(at_edge)
    if np.median(np.abs(at_edge - middle)) < 0.01:
        return np.full_like(brightness, middle)
    height, width = brightness.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    at_edge, values = _edge(terms), _edge(brightness)
    weight = np.ones(len(values))
    for _ in range(20):  # iteratively reweighted least squares
        root = np.sqrt(weight)
        fitted, *_ = np.linalg.lstsq(at_edge * root[:, None], values * root, rcond=None)
        weight = 1 / np.maximum(np.abs(values - at_edge @ fitted), 1e-3)
    return terms @ fitted


def _edge(image: np.ndarray) -> np.ndarray:
    """The pixels along the edge, a row for each."""
    width = max(1, min(image.shape[:2]) // 25)
    inside = np.zeros(image.shape[:2], bool)
    inside[width:-width, width:-width] = True
    return image[~inside]


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image [H, W, C] resized without aliasing."""
    from PIL import Image

    channels = [
        Image.fromarray(np.ascontiguousarray(image[..., c], np.float32)).resize(
            (width, height), Image.Resampling.BOX if height < image.shape[0] else Image.Resampling.BILINEAR
        )
        for c in range(image.shape[-1])
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def _percent(share: float) -> str:
    return f"{share:.1%}"
