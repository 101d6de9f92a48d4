"""Depth and width are hard to tune: each wants a rate of its own, and deeper is not better.

Networks of every depth with every width, each at several learning rates and from several seeds, on
small digits, by gradient descent with momentum: one compiled program for each structure.

Lectures A, C and E: "the network structure itself … is a very hard hyperparameter to tune". By
validation accuracy, means over the seeds and the widths; what is best is tested once.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np

from dlcore import data, models, nn, optim, search, train
from dlcore.search import space
from experiments.choice import at_least, positive
from experiments.frame import BaseConfig, Claim, Figure, Result, Table

CLAIMS = (
    Claim("best rate, shallowest / deepest (mean over the widths)", "> 1", "lecture E"),
    Claim("accuracy lost by the deepest at the shallowest one's rate", "> 0", "lecture E"),
    Claim("accuracy at the own best rate, shallowest − deepest", "> 0", "lecture A"),
)


@dataclasses.dataclass(frozen=True)
class Config(BaseConfig):
    """Which structures, at which rates."""

    depths: tuple[int, ...] = (1, 2, 4, 8)
    """Hidden layers, rising."""
    widths: tuple[int, ...] = (8, 16, 32, 64)
    """Units of each, rising."""
    rates: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
    """Learning rates that are tried with each."""
    seeds: int = 3
    """Of each."""
    epochs: int = 15
    """Passes over 1,257 digits of 8×8 pixels, in batches of 32."""

    def __post_init__(self) -> None:
        at_least(2, depths=len(self.depths), rates=len(self.rates))
        at_least(1, widths=len(self.widths), seeds=self.seeds, epochs=self.epochs)
        positive(rates=self.rates)
        for name, sizes in (("depths", self.depths), ("widths", self.widths)):
            if list(sizes) != sorted(set(sizes)) or sizes[0] < 1:
                raise ValueError(f"{name} are rising numbers of at least 1, got {sizes}")


SMOKE = Config(depths=(1, 2), widths=(4,), rates=(0.01, 0.1), seeds=1, epochs=1)


class Measured(NamedTuple):
    """Validation accuracies [depths, widths, rates], means over the seeds; what was chosen."""

    accuracies: np.ndarray
    chosen: dict[str, Any]
    test_accuracy: float


def run(config: Config) -> Measured:
    """Sweeps over structures, rates and seeds."""
    digits = data.load("digits")
    configurations = space.grid(
        depth=config.depths,
        width=config.widths,
        learning_rate=config.rates,
        seed=range(config.seeds),
    )
    swept = search.sweep(
        build,
        configurations,
        digits.train,
        epochs=config.epochs,
        batch_size=32,
        validation=digits.validation,
        monitor="validation_accuracy",
        mode="max",
    )
    # A run that was stopped guesses.
    scores = np.nan_to_num([swept.score(trial) for trial in swept.trials], nan=0.1)
    shape = (len(config.depths), len(config.widths), len(config.rates), config.seeds)
    best = swept.best
    layer = network(best.configuration["depth"], best.configuration["width"])
    logits = train.predict(layer, best.state.params, best.state.state, digits.test)
    return Measured(
        accuracies=scores.reshape(shape).mean(axis=-1),
        chosen=best.configuration,
        test_accuracy=float((logits.argmax(-1) == digits.test["y"]).mean()),
    )


def figures(result: Result[Measured]) -> list[float]:
    """How structure and rate depend on each other."""
    accuracies = result.measured.accuracies
    own = accuracies.max(axis=-1)
    logs = np.log(result.config.rates)[accuracies.argmax(axis=-1)].mean(axis=-1)  # by depth
    deep, shallow = accuracies[-1], accuracies[0]
    borrowed = np.take_along_axis(deep, shallow.argmax(axis=-1)[:, None], axis=-1)[:, 0]
    return [np.exp(logs[0] - logs[-1]), (own[-1] - borrowed).mean(), (own[0] - own[-1]).mean()]


def table(result: Result[Measured]) -> dict[str, Table]:
    """Each structure at its best rate."""
    config, chosen = result.config, result.measured.chosen
    headings = ("depth", *(f"width {width}" for width in config.widths))
    lines = [
        (depth, *(f"{row[k, i]:.3f} at {config.rates[i]:g}" for k, i in enumerate(row.argmax(-1))))
        for depth, row in zip(config.depths, result.measured.accuracies, strict=True)
    ]
    title = (
        f"Chosen: depth {chosen['depth']}, width {chosen['width']}, rate "
        f"{chosen['learning_rate']:g}; test accuracy {result.measured.test_accuracy:.3f}"
    )
    return {title: [headings, *lines]}


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """Accuracy against the rate by depth, and each structure at its best rate."""
    from dlcore import plot

    config = result.config
    lines = {
        f"depth {depth}": (config.rates, row[-1])
        for depth, row in zip(config.depths, result.measured.accuracies, strict=True)
    }
    return {
        "rates": plot.lines(
            plot.Panel(
                f"Width {config.widths[-1]}",
                "learning rate",
                "validation accuracy",
                lines,
                log="x",
                percent=True,
            )
        ),
        "structures": plot.heat_map(
            result.measured.accuracies.max(axis=-1),
            config.depths,
            config.widths,
            title="Validation accuracy at the best rate, %",
            x="width",
            y="depth",
            label="accuracy",
            percent=True,
        ),
    }


def build(h: dict[str, Any]) -> Any:
    """A structure, at the rate that is tried."""
    layer = network(h["depth"], h["width"])
    return layer, train.classification(layer), optim.momentum(h["learning_rate"])


@functools.cache
def network(depth: int, width: int) -> nn.Layer:
    return models.mlp((8, 8, 1), (width,) * depth, 10, dropout=0.0)
