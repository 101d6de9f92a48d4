"""A picture of digits goes in, what they are and where comes out, with probabilities.

    python -m experiments predict seven.png photo.jpg

The network, its classes and how its images were made are data in the weights' file. Digits may be
of any colour on any other, drawn or photographed, anywhere in their picture, and several: they are
told line by line, each with its place in pixels, and what the network saw is drawn.

A digit is strokes on a sheet of paper (`_finding`); letters are taken for digits, too.

A picture that cannot be read costs a line, and the exit status is 2; the others are answered.

Weights of mnist, 60,000 digits, read a stranger's handwriting. Those of digits, 1,257 images of 8×8
pixels by 43 writers, know these writers better: of MNIST's images they tell 7 in 10.
"""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NoReturn

import numpy as np
import tyro

from dlcore import data, models, nn, train
from dlcore import functional as F
from dlcore.interop import weights
from dlcore.nn.layer import gather
from experiments.basics import _finding, _framing, classify
from experiments.basics._finding import Box
from experiments.choice import BadInput, at_least
from experiments.frame import Figure, Result, Table

CLAIMS = ()
PIXELS = 50_000_000  # more is not a digit, but an attack on the memory
WORKING = (200, 640)  # pixels: the longer side that is looked at, at least and at most
BATCH = 64  # images, of which the last are empty: one shape is compiled
NOTHING = "no digit"
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")


@dataclasses.dataclass(frozen=True)
class Config:
    """Which pictures, and the weights that look at them."""

    images: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """PNG, JPEG, WebP or BMP files, with digits in each."""
    weights: Path = Path("runs/classify/weights.safetensors")
    """What `python -m experiments classify` wrote."""
    top: int = 3
    """How many classes are told for each digit."""
    seen: Path = Path("runs/predict.png")
    """Where what the network saw is drawn."""

    def __post_init__(self) -> None:
        if not self.images:
            raise BadInput("there is no picture: write predict seven.png")
        at_least(1, top=self.top)


class Prediction(NamedTuple):
    """A digit's place in a picture, its most probable classes, the first the most, and by how much.

    No class where there is no digit. The place is None where the network sees the whole picture.
    """

    image: str
    place: Box | None
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Measured:
    """A prediction for each digit, what could not be read, what the network saw [N, H, W, C]."""

    predictions: list[Prediction]
    unread: list[BadInput]
    seen: np.ndarray = dataclasses.field(repr=False)
    drawn: str = ""  # where that is drawn, or why not


def run(config: Config) -> Measured:
    """Reads the weights, then the pictures, looks at them and draws what was seen."""
    network = read_network(config.weights)
    paths, seen, unread = [], [], []
    for path in config.images:
        try:
            seen.append(look(read(path), network.description))
        except BadInput as error:
            unread.append(error)
        else:
            paths.append(path)
    if not paths:
        _refuse(unread)
    predictions, images = [], []
    for path, digits in zip(paths, recognise(network, seen), strict=True):
        predictions += [_prediction(path, digit, network, config.top) for digit in digits]
        images += [digit.seen.image for digit in digits]
        if not digits:
            predictions.append(Prediction(str(path), None, (), ()))
            images.append(np.zeros(network.description["arguments"]["inputs"]))
    measured = Measured(predictions, unread, np.stack(images).astype(np.float32))
    return dataclasses.replace(measured, drawn=_drawn(measured, config.seen))


def figures(result: Result[Measured]) -> tuple[()]:
    """None: what is asked is not claimed."""
    return ()


def errors(result: Result[Measured]) -> list[BadInput]:
    """The pictures that could not be read."""
    return result.measured.unread


def table(result: Result[Measured]) -> dict[str, Table]:
    """A line for each digit."""
    return {result.measured.drawn: _lines(result.measured.predictions)}


def plot(result: Result[Measured]) -> Figure:
    """The digits as the network saw them."""
    return _figure(result.measured)


class Network(NamedTuple):
    """A network, and the description of its classes and of how its images were made."""

    layer: nn.Layer
    params: Any
    state: Any
    description: dict[str, Any]


def read_network(path: Path) -> Network:
    """The network in a file that `classify` writes."""
    body, params, state = models.load(path)
    _, description = weights.load(path)
    if not _is_described(description):
        raise BadInput(f"{path}: not the weights of a classifier of images, as classify writes")
    layer = classify.network(body, description)
    return Network(layer, gather({"body": params}), gather({"body": state}), description)


class Picture(NamedTuple):
    """Red, green, blue and opacity [H, W, 4] in [0, 1]; the file's is `scale` times as large."""

    pixels: np.ndarray
    scale: float


def read(path: Path) -> Picture:
    """The picture in a file, upright; a large one is reduced, a small one enlarged."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            with path.open("rb") as file, Image.open(file, formats=FORMATS) as opened:
                if opened.width * opened.height > PIXELS:
                    raise BadInput(f"{opened.width}×{opened.height} is too large")
                picture = ImageOps.exif_transpose(_eight_bits(opened)).convert("RGBA")
        except UnidentifiedImageError:
            raise BadInput(f"{path}: not a picture: neither PNG, JPEG, WebP nor BMP") from None
        except OSError as error:
            raise BadInput(f"{path}: {error.strerror or error}") from error
        except Exception as error:  # a damaged file may raise anything, anywhere in the decoder
            raise BadInput(f"{path}: cannot be read as a picture: {error}") from error
    longest = max(picture.size)
    size = min(max(longest, WORKING[0]), WORKING[1])
    width, height = (max(1, round(side * size / longest)) for side in picture.size)
    if size != longest:
        picture = picture.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2)
    return Picture(np.asarray(picture, np.float32) / 255, longest / size)


class Seen(NamedTuple):
    """What a network sees: an image [size, size, C] as it was trained on, and its place."""

    place: Box | None
    image: np.ndarray


class Digit(NamedTuple):
    """What was seen, and the probability of each class."""

    seen: Seen
    probabilities: np.ndarray


def recognise(network: Network, seen: Sequence[list[Seen]]) -> list[list[Digit]]:
    """The digits in each picture, as the network tells them."""
    layer, params, state, _ = network
    images = [one.image for found in seen for one in found]
    if not images:
        return [[] for _ in seen]
    filled = np.zeros((-len(images) % BATCH, *images[0].shape), np.float32)
    x = np.concatenate([np.stack(images), filled]).astype(np.float32)
    rows = iter(np.asarray(F.softmax(train.predict(layer, params, state, {"x": x}))))
    return [[Digit(one, next(rows)) for one in found] for found in seen]


def look(picture: Picture, description: dict[str, Any]) -> list[Seen]:
    """What of a picture the network sees.

    Where the description has no framing (it was trained on something else than digits), it is the
    whole picture, resized and no more.
    """
    size, _, channels = description["arguments"]["inputs"]
    colours = _framing.opaque(picture.pixels)
    if description["framing"] is None:
        planes = [_framing.resized(one, size, size) for one in np.moveaxis(colours, -1, 0)]
        image = np.stack(planes, axis=-1)
        return [Seen(None, image if channels == 3 else image.mean(axis=-1, keepdims=True))]
    framing = _framing.Framing(**description["framing"])
    found = []
    for digit in _finding.find(colours):
        image = _framing.frame(digit.ink, framing)
        place = Box(*(round(picture.scale * side) for side in digit.box))
        found.append(Seen(place, data.resize(image[None, ..., None], size)[0]))
    return found


def _is_described(description: dict[str, Any]) -> bool:
    """Whether a description, in which a file may say anything, is of a classifier of images."""
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


def _prediction(path: Path, digit: Digit, network: Network, top: int) -> Prediction:
    ranked = np.argsort(-digit.probabilities, kind="stable")[:top].tolist()
    names = tuple(network.description["classes"][index] for index in ranked)
    probabilities = tuple(digit.probabilities[ranked].tolist())
    return Prediction(str(path), digit.seen.place, names, probabilities)


def _refuse(unread: list[BadInput]) -> NoReturn:
    """A line for each picture that could not be read: the last ends the command."""
    *others, last = unread
    for error in others:
        print(error, file=sys.stderr)
    raise last


def _drawn(measured: Measured, path: Path) -> str:
    """Draws what the network saw. Returns where, or why not: that costs no answer."""
    try:
        from dlcore import plot

        path.parent.mkdir(parents=True, exist_ok=True)
        plot.save(_figure(measured), path)
    except (ModuleNotFoundError, OSError) as error:
        return f"What the network saw is not drawn: {error}"
    return f"What the network saw: {path}"


def _figure(measured: Measured) -> Figure:
    from dlcore import plot

    captions = [
        f"{one.classes[0]}  ({_percent(one.probabilities[0])})" if one.classes else NOTHING
        for one in measured.predictions
    ]
    return plot.image_grid(measured.seen, captions)


def _lines(predictions: list[Prediction]) -> Table:
    yield "picture", "is", "probability", "else", "left, top, right, bottom"
    for one in predictions:
        told = list(zip(one.classes, map(_percent, one.probabilities), strict=True))
        (name, probability), *rest = told or [(NOTHING, "")]
        others = ", ".join(f"{other} ({percent})" for other, percent in rest)
        place = ", ".join(map(str, one.place)) if one.place else None
        yield one.image, name, probability, others, place


def _eight_bits(picture: Any) -> Any:
    """A picture of 16 bits a pixel, or 12 of them, in 8: Pillow would cut it off at 255."""
    from PIL import Image

    if not picture.mode.startswith("I"):
        return picture
    pixels = np.asarray(picture, np.float32)
    return Image.fromarray((pixels / max(pixels.max() / 255, 1)).astype(np.uint8))


def _percent(share: float) -> str:
    return f"{share:.1%}"
