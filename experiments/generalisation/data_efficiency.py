"""With few labels good features win, with many a large network on pixels: a grid of both.

Softmax regression on raw pixels and on features made by hand, and networks with one hidden layer of
32, of 128, and two of 512 units, learn 100 … 10,000 digits of MNIST, each with as many updates. The
features are histograms of oriented gradients, of images made upright first: what a person knows of
strokes, and nothing learned.

Lecture C: data efficiency; A: the trade between feature engineering and depth. Dalal and Triggs
2005 for the histograms, here without overlapping blocks; LeCun et al. 1998, section III, for
deslanting.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from dlcore import data, models, nn, optim
from experiments._learning import accuracy, first, learn
from experiments.choice import at_least, one_of, rising
from experiments.frame import Claim, DataConfig, Figure, Result, Table

CLAIMS = (
    Claim("test accuracy, fewest labels: features − large network", "> 0", "lecture A"),
    Claim("test accuracy, most labels: large network − features", "> 0", "lecture A"),
    Claim("large network − softmax, pixels: most − fewest labels", "> 0", "lecture C"),
    Claim("accuracy, most − fewest labels, the least of all models", "> 0", "lecture C"),
)
CELL, BINS = 7, 9
PIXELS, FEATURES = "softmax, pixels", "softmax, features"
HIDDEN = {"small network": [32], "medium network": [128], "large network": [512, 512]}


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    labels: tuple[int, ...] = (100, 300, 1_000, 3_000, 10_000)
    """So many digits of MNIST are learned, each set a part of the next."""
    test_images: int = 10_000
    """Digits to test on."""
    updates: int = 1_000
    """Updates of every model, with batches of 100."""
    networks: tuple[str, ...] = tuple(HIDDEN)
    """Which of them learn, the large network always."""

    def __post_init__(self) -> None:
        at_least(2, labels=len(self.labels))
        rising(labels=self.labels)
        at_least(10, least_labels=min(self.labels), test_images=self.test_images)
        at_least(1, updates=self.updates)
        for name in self.networks:
            one_of("network", name, HIDDEN)


SMOKE = Config(labels=(10, 50), test_images=20, updates=2, networks=())


def run(config: Config) -> dict[str, list[float]]:
    """The test accuracy of each model with each number of labels."""
    digits = data.load("mnist", config.root)
    raw = first(digits.train, max(config.labels)), first(digits.test, config.test_images)
    made = tuple({**part, "x": features(part["x"])} for part in raw)
    normalisation = data.mean_and_std(made[0]["x"][: min(config.labels)], "all")
    made = tuple({**part, "x": data.normalize(normalisation, part["x"])} for part in made)
    return {
        PIXELS: measure(models.linear(), raw, config),
        FEATURES: measure(models.linear(made[0]["x"].shape[1:]), made, config),
        **{
            name: measure(models.mlp(hidden=hidden, dropout=0), raw, config)
            for name, hidden in HIDDEN.items()
            if name in ("large network", *config.networks)
        },
    }


def figures(result: Result[dict[str, list[float]]]) -> list[float]:
    """Features where labels are few, capacity where they are many."""
    accuracies = result.measured
    pixels, made, large = (accuracies[name] for name in (PIXELS, FEATURES, "large network"))
    gains = [large[i] - pixels[i] for i in (0, -1)]
    return [
        made[0] - large[0],
        large[-1] - made[-1],
        gains[1] - gains[0],
        min(grown[-1] - grown[0] for grown in accuracies.values()),
    ]


def table(result: Result[dict[str, list[float]]]) -> dict[str, Table]:
    """A line for each model."""
    headings = ("model", *(f"{labels:,} labels" for labels in result.config.labels))
    lines = [(name, *(f"{one:.3f}" for one in each)) for name, each in result.measured.items()]
    return {"Test accuracy": [headings, *lines]}


def plot(result: Result[dict[str, list[float]]]) -> Figure:
    """Accuracy against the number of labels."""
    from dlcore import plot

    labels = result.config.labels
    series = {name: (labels, accuracies) for name, accuracies in result.measured.items()}
    return plot.lines(
        plot.Panel("Data efficiency", "labels", "test accuracy", series, log="x", percent=True)
    )


def features(images: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients [N, H/CELL, W/CELL, BINS] of upright images [N, H, W, 1].

    In each cell of CELL × CELL pixels the lengths of the gradients are added by their direction,
    which is one of BINS between 0 and 180°; each image's histograms have the norm 1 together.
    """
    y, x = np.gradient(upright(images)[..., 0], axis=(1, 2))
    length, angle = np.hypot(y, x), np.arctan2(y, x) % np.pi
    direction = np.minimum((angle * BINS / np.pi).astype(int), BINS - 1)
    by_direction = length[..., None] * (direction[..., None] == np.arange(BINS))
    count, height, width = length.shape
    cells = by_direction.reshape(count, height // CELL, CELL, width // CELL, CELL, BINS)
    histograms = cells.sum((2, 4))
    norms = np.sqrt(np.square(histograms).sum((1, 2, 3), keepdims=True))
    return (histograms / np.maximum(norms, 1e-6)).astype(np.float32)


def upright(images: np.ndarray) -> np.ndarray:
    """Each image sheared so that its ink has no slant: the covariance of x and y becomes 0.

    Rows are moved by whole pixels, by −slant times the distance to the middle of the ink.
    """
    count, height, width, _ = images.shape
    ink = images[..., 0] / np.maximum(images.sum((1, 2, 3))[:, None, None], 1e-6)
    y, x = np.arange(height)[:, None], np.arange(width)
    middle_y, middle_x = (ink * y).sum((1, 2)), (ink * x).sum((1, 2))
    dy, dx = y - middle_y[:, None, None], x - middle_x[:, None, None]
    slant = (ink * dy * dx).sum((1, 2)) / np.maximum((ink * dy**2).sum((1, 2)), 1e-6)
    shift = np.rint(slant[:, None] * dy[..., 0]).astype(int)  # [N, H]
    source = x + shift[..., None]
    rows = np.arange(count)[:, None, None], y
    moved = images[..., 0][(*rows, np.clip(source, 0, width - 1))]
    return np.where((source >= 0) & (source < width), moved, 0)[..., None]


def measure(layer: nn.Layer, parts: Any, config: Config) -> list[float]:
    """The test accuracies of one model; labels are repeated up to the most, for one compilation."""
    examples, test = parts
    optimizer = optim.adam(
        optim.warmup_cosine(1e-3, config.updates, warmup_steps=config.updates // 20)
    )
    accuracies = []
    for labels in config.labels:
        rows = np.arange(max(config.labels)) % labels
        repeated = {name: leaf[rows] for name, leaf in examples.items()}
        trained = learn(layer, repeated, optimizer, config.updates, batch_size=100, seed=0)
        accuracies.append(accuracy(layer, trained, test))
    return accuracies
