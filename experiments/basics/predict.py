"""A picture of a digit goes in, what it is comes out, with probabilities.

    python -m experiments predict seven.png photo.png

The network, its classes and how its images were made are data in the weights' file. A digit may be
light on dark or dark on light, drawn or photographed, anywhere in its picture.

Weights of mnist, 60,000 digits, read a stranger's handwriting. Those of digits, 1,257 images of 8×8
pixels by 43 writers, know these writers better: of MNIST's images they tell 7 in 10.
"""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import tyro

from dlcore import data, models, nn, train
from dlcore import functional as F
from dlcore.interop import weights
from dlcore.nn.layer import gather
from experiments.basics import classify
from experiments.choice import BadInput, at_least
from experiments.frame import Figure, Result, Table

CLAIMS = ()
PIXELS = 50_000_000  # more is not a digit, but an attack on the memory
WORKING = 512  # pixels: the longest side that is looked at


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
            raise BadInput("there is no picture: write predict seven.png")
        at_least(1, top=self.top)


class Prediction(NamedTuple):
    """A picture's most probable classes, the first the most, and their probabilities."""

    image: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Measured:
    """A prediction for each picture, and the pictures as the network saw them, [N, H, W, C]."""

    predictions: list[Prediction]
    seen: np.ndarray = dataclasses.field(repr=False)


def run(config: Config) -> Measured:
    """Reads the weights, then the pictures, and looks at them."""
    layer, params, state, description = read_network(config.weights)
    seen = np.stack([_prepared(path, description) for path in config.images])
    probabilities = np.asarray(F.softmax(train.predict(layer, params, state, {"x": seen})))
    predictions = []
    for path, row in zip(config.images, probabilities, strict=True):
        ranked = np.argsort(-row, kind="stable")[: config.top].tolist()
        names = tuple(description["classes"][index] for index in ranked)
        predictions.append(Prediction(str(path), names, tuple(row[ranked].tolist())))
    return Measured(predictions, seen)


def figures(result: Result[Measured]) -> tuple[()]:
    """None: what is asked is not claimed."""
    return ()


def table(result: Result[Measured]) -> Table:
    """A line for each picture."""
    yield "picture", "is", "probability", "else"
    for one in result.measured.predictions:
        told = list(zip(one.classes, map(_percent, one.probabilities), strict=True))
        yield one.image, *told[0], ", ".join(f"{name} ({percent})" for name, percent in told[1:])


def plot(result: Result[Measured]) -> Figure:
    """The pictures as the network saw them."""
    from dlcore import plot

    captions = [
        f"{one.classes[0]}  ({_percent(one.probabilities[0])})"
        for one in result.measured.predictions
    ]
    return plot.image_grid(result.measured.seen, captions)


def read_network(path: Path) -> tuple[nn.Layer, Any, Any, dict[str, Any]]:
    """(layer, params, state, description) from the file that `classify` writes."""
    body, params, state = models.load(path)
    _, description = weights.load(path)
    if not _is_described(description):
        raise BadInput(f"{path}: not the weights of a classifier of images, as classify writes")
    layer = classify.network(body, description)
    return layer, gather({"body": params}), gather({"body": state}), description


def read(path: Path) -> np.ndarray:
    """A picture [H, W, 4] of red, green, blue and opacity in [0, 1]; a large one is reduced."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            opened = Image.open(file, formats=("PNG", "JPEG"))
            if opened.width * opened.height > PIXELS:
                raise BadInput(f"{opened.width}×{opened.height} is too large")
            picture = ImageOps.exif_transpose(_eight_bits(opened)).convert("RGBA")
            picture.thumbnail((WORKING, WORKING))
        except UnidentifiedImageError:
            raise BadInput(f"{path}: neither PNG nor JPEG") from None
        except Exception as error:  # a damaged file may raise anything, anywhere in the decoder
            raise BadInput(f"{path}: cannot be read as a picture: {error}") from error
    return np.asarray(picture, np.float32) / 255


def prepare(picture: np.ndarray, description: dict[str, Any]) -> np.ndarray:
    """A picture [H, W, 4] as an image [size, size, C] such as the network was trained on.

    Where the description has no framing (it was trained on something else than digits), the
    picture is resized and no more.
    """
    from experiments.basics import _framing

    size, _, channels = description["arguments"]["inputs"]
    if description["framing"] is None:
        colors = np.moveaxis(picture[..., :3] * picture[..., 3:], -1, 0)
        image = np.stack([_framing.resized(color, size, size) for color in colors], axis=-1)
        return image if channels == 3 else image.mean(axis=-1, keepdims=True)
    framing = _framing.Framing(**description["framing"])
    digit = _framing.frame(_framing.ink(_framing.gray(picture)), framing)
    return data.resize(digit[None, ..., None], size)[0]


def _is_described(description: dict[str, Any]) -> bool:
    """Whether a description, in which a file may say anything, is of a classifier of images."""
    from experiments.basics import _framing

    match description:
        case {
            "arguments": {"inputs": [_, _, channels], "classes": count},
            "classes": [*classes],
            "mean": [*mean],
            "std": [*std],
            "framing": framing,
        }:
            return (
                len(classes) == count
                and len(mean) == len(std) == channels
                and all(isinstance(one, int | float) for one in (*mean, *std))
                and all(one > 0 for one in std)
                and (framing is None or _framing.is_framing(framing))
            )
    return False


def _prepared(path: Path, description: dict[str, Any]) -> np.ndarray:
    picture = read(path)
    try:
        return prepare(picture, description)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error


def _eight_bits(picture: Any) -> Any:
    """A picture of 16 bits a pixel in 8: Pillow would cut it off at 255."""
    from PIL import Image

    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.asarray(picture) // 256).astype(np.uint8))


def _percent(share: float) -> str:
    return f"{share:.1%}"
