"""Digits are found and read in bad photographs, nearly as often as on clean paper.

A network learns MNIST and reads its test digits, and printed ones, in photographs that are drawn
here (`_scenes`): on a table, in a shadow, framed, coloured, turned, cut by the border, in dust, in
noise; and all of it together. The reader is that of `predict`. A digit is right where it is found
and its class is right; what is found beside the digits counts as wrong. Claimed is the share right,
relative to the same network's of the clean kind; of all disturbances together nothing is claimed.

The reader was tuned on validation digits, other tables, other pictures and other fonts, none of
which is seen here.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from dlcore import data
from experiments.basics import _scenes, classify, predict
from experiments.basics._finding import Box
from experiments.choice import at_least, one_of
from experiments.frame import Claim, DataConfig, Figure, Result, Table

SEVERAL, NONE, PRINTED = "several", "none", "printed"
KINDS = (*_scenes.KINDS, SEVERAL, NONE)
CLEAN = "clean"
CLAIMED = tuple(kind for kind in KINDS if kind not in (CLEAN, "together", NONE))
EMPTY = (CLEAN, "sheet", "shadow", "box", "noise")  # kinds in which there is no digit
MATERIALS = ("handwritten", PRINTED)
CLAIMS = (
    *(
        Claim(f"{material}, {kind}: share right, relative to clean", "≥ 0.95", "dlcore")
        for material in MATERIALS
        for kind in CLAIMED
    ),
    Claim("pictures of no digit: share in which none is found", "≥ 0.95", "dlcore"),
)
MATCH = 0.5  # of two boxes' union is their intersection: they are of one digit


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """What is learned and what is read."""

    data: str = "mnist"
    """What the network learns and whose digits are read: mnist or digits."""
    model: str = "lenet5"
    """lenet5, mlp or linear."""
    epochs: int = 6
    """Passes over the training images."""
    pictures: int = 200
    """Pictures of each kind."""
    kinds: tuple[str, ...] = KINDS
    """Which kinds are read."""
    tables: str = "unseen"
    """Tables and fonts: unseen, or known, those on which the reader was tuned."""
    split: str = "test"
    """Whose digits are read: test, or validation."""
    seed: int = 0
    """Of the network and of the pictures."""

    def __post_init__(self) -> None:
        one_of("data set", self.data, ("mnist", "digits"))
        one_of("model", self.model, classify.SMOOTHING)
        one_of("choice of tables", self.tables, _scenes.TABLES)
        one_of("split", self.split, ("test", "validation"))
        at_least(1, epochs=self.epochs, pictures=self.pictures, kinds=len(self.kinds))
        at_least(0, seed=self.seed)
        for kind in self.kinds:
            one_of("kind", kind, KINDS)


SMOKE = Config(data="digits", model="mlp", epochs=2, pictures=2, kinds=("clean", "shadow", NONE))


class Picture(NamedTuple):
    """A photograph and what is on it."""

    scene: _scenes.Scene
    labels: list[int]


class Score(NamedTuple):
    """The share of digits that are right, and that are found, of one material in one kind."""

    material: str
    kind: str
    right: float
    found: float


@dataclasses.dataclass(frozen=True)
class Measured:
    """The scores, and a photograph of each kind."""

    scores: list[Score]
    examples: dict[str, np.ndarray] = dataclasses.field(repr=False)

    def right(self, material: str, kind: str) -> float | None:
        """The share right, where it was measured."""
        shares = {(one.material, one.kind): one.right for one in self.scores}
        return shares.get((material, kind))


def run(config: Config) -> Measured:
    """Trains the network and has it read every kind."""
    with tempfile.TemporaryDirectory() as folder:
        learned = classify.Config(
            config.data,
            config.model,
            epochs=config.epochs,
            seed=config.seed,
            root=config.root,
            out=Path(folder),
        )
        classify.run(learned)
        network = predict.read_network(Path(folder) / "weights.safetensors")
    split = getattr(data.load(config.data, config.root), config.split)
    scores: list[Score] = []
    examples: dict[str, np.ndarray] = {}
    for kind in config.kinds:
        for material in MATERIALS:
            pictures = [
                photograph(kind, material, split, config, i) for i in range(config.pictures)
            ]
            scores.append(Score(material, kind, *score(pictures, network)))
            examples.setdefault(kind, pictures[0].scene.picture)
    return Measured(scores, examples)


def figures(result: Result[Measured]) -> list[float | None]:
    """Shares relative to clean ones."""
    found = result.measured
    shares: list[float | None] = []
    for material in MATERIALS:
        clean = found.right(material, CLEAN)
        for kind in CLAIMED:
            right = found.right(material, kind)
            shares.append(right / clean if clean and right is not None else None)
    nothing = [one.right for one in found.scores if one.kind == NONE]
    return [*shares, float(np.mean(nothing)) if nothing else None]


def table(result: Result[Measured]) -> dict[str, Table]:
    """A line for each material in each kind."""
    found = result.measured
    lines = []
    for one in found.scores:
        clean = found.right(one.material, CLEAN)
        relative = f"{one.right / clean:.3f}" if clean and one.kind != NONE else None
        lines.append((one.material, one.kind, f"{one.right:.1%}", f"{one.found:.1%}", relative))
    headings = ("ink", "kind", "right", "found", "relative to clean")
    return {f"{result.config.pictures:,} pictures of each kind": [headings, *lines]}


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """The shares, and a photograph of each kind."""
    from dlcore import plot

    shares: dict[str, dict[str, float]] = {material: {} for material in MATERIALS}
    for one in result.measured.scores:
        shares[one.material][one.kind] = one.right
    examples = result.measured.examples
    squares = np.stack([_square(picture) for picture in examples.values()])
    return {
        "shares": plot.bars(shares, title="Photographs", y="share right", percent=True),
        "examples": plot.image_grid(squares, list(examples)),
    }


def photograph(
    kind: str, material: str, split: dict[str, np.ndarray], config: Config, number: int
) -> Picture:
    """A photograph of that kind; of several, 2 to 5 digits, and of none, nothing in any kind."""
    rng = np.random.default_rng([config.seed, KINDS.index(kind), MATERIALS.index(material), number])
    count = {SEVERAL: int(rng.integers(2, 6)), NONE: 0}.get(kind, 1)
    labels, inks = digits(count, material, split, config.tables, rng)
    tables = _scenes.TABLES[config.tables]
    bare = str(rng.choice(EMPTY))
    name = {SEVERAL: CLEAN, NONE: bare}.get(kind, kind)
    return Picture(_scenes.KINDS[name](inks, rng, tables[rng.integers(len(tables))]), labels)


def digits(
    count: int, material: str, split: dict[str, np.ndarray], fonts: str, rng: Generator
) -> tuple[list[int], list[np.ndarray]]:
    """Labels and ink of digits, handwritten or printed."""
    if material == PRINTED:
        font = str(rng.choice(_scenes.FONTS[fonts]))
        labels = rng.integers(0, 10, count).tolist()
        return labels, [_scenes.printed(str(label), font) for label in labels]
    chosen = rng.integers(0, len(split["y"]), count)
    return split["y"][chosen].tolist(), [
        _scenes.handwritten(image[..., 0]) for image in split["x"][chosen]
    ]


def score(pictures: Sequence[Picture], network: predict.Network) -> tuple[float, float]:
    """The mean shares of digits that are right, and that are found.

    Of no digits, both are 1 where nothing is found.
    """
    seen = [look(picture.scene.picture, network.description) for picture in pictures]
    shares = []
    for picture, found in zip(pictures, predict.recognise(network, seen), strict=True):
        said = [(one.seen.place, int(np.argmax(one.probabilities))) for one in found]
        most = max(len(said), len(picture.labels))
        matched = _matched(picture, said)
        right = sum(label == other for label, other in matched)
        shares.append((right / most, len(matched) / most) if most else (1.0, 1.0))
    right, placed = np.mean(shares, axis=0).tolist()
    return right, placed


def look(picture: np.ndarray, description: dict) -> list[predict.Seen]:
    """What `predict` sees of a picture [H, W, 3]."""
    pixels = _scenes.eight_bits(picture) / np.float32(255)
    opaque = np.concatenate([pixels, np.ones_like(pixels[..., :1])], axis=-1)
    return predict.look(predict.Picture(opaque, 1.0), description)


def _matched(picture: Picture, said: list[tuple[Box | None, int]]) -> list[tuple[int, int]]:
    """The label and the class said, of each digit that was found where it is."""
    pairs = []
    for place, label in zip(picture.scene.boxes, picture.labels, strict=True):
        pairs += [(label, name) for box, name in said if box and _overlap(place, box) > MATCH][:1]
    return pairs


def _overlap(one: Box, other: Box) -> float:
    """The intersection of two boxes as a share of their union."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    common = max(0, width) * max(0, height)
    areas = ((box.right - box.left) * (box.bottom - box.top) for box in (one, other))
    return common / (sum(areas) - common)


def _square(picture: np.ndarray) -> np.ndarray:
    """A picture in the middle of a grey square."""
    size = max(picture.shape[:2])
    square = data.canvas(picture[None], size, fill=0.5)
    return data.resize(square, 160)[0]
