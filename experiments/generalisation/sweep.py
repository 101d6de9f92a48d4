"""Sixty-four small networks train in one program, 8 times as fast as one after another.

Graduate student descent: try rates and sizes, keep what validates best. First the price of trying:
64 configurations of a playground network 2-8-8-1 in one sweep against 64 runs of `fit`, and
784-128-10 on 10,000 digits, where arithmetic bounds a step and a sweep runs one after another. Then
the descent itself: rates and hidden layers on small digits, the winner of validation tested once.

Lecture C: search, "graduate student descent"; the figures on speed are this library's own. Both are
medians of runs that take turns; "compiled anew" counts what a person waits who starts from nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore import data, models, nn, optim, search, train
from dlcore import functional as F
from dlcore.search import space
from experiments._learning import first
from experiments.choice import at_least, positive
from experiments.frame import Claim, DataConfig, Figure, Result, Table

CLAIMS = (
    Claim("2-8-8-1: fits / one sweep, compiled before", "≥ 8", "dlcore"),
    Claim("784-128-10: fits / one sweep (no slower, but for a clock's noise)", "≥ 0.9", "dlcore"),
    Claim("validation losses: a sweep's first trial less its fit, at most", "≤ 1e-4", "dlcore"),
    Claim("test accuracy: the chosen one − the median configuration", "> 0", "lecture C"),
)


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """What is raced, how often, and what is searched."""

    configurations: int = 64
    """Of the playground network, each with a rate and a momentum of its own."""
    epochs: int = 50
    """Of the playground network, on 400 points in batches of 32."""
    digits: int = 10_000
    """Images of MNIST for 784-128-10, in batches of 128, one epoch."""
    repeats: int = 5
    """Timings of each, of which the median counts."""
    hidden: tuple[tuple[int, ...], ...] = ((16,), (64,), (16, 16), (64, 64))
    """Widths of the hidden layers that are tried on small digits."""
    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    """Learning rates that are tried on small digits."""
    seeds: int = 3
    """Each is trained from so many seeds."""
    search_epochs: int = 20
    """Of each trial of the search."""

    def __post_init__(self) -> None:
        at_least(1, epochs=self.epochs, repeats=self.repeats, search_epochs=self.search_epochs)
        at_least(1, rates=len(self.rates), seeds=self.seeds, hidden=len(self.hidden))
        at_least(2, configurations=self.configurations)
        at_least(128, digits=self.digits)
        positive(rates=self.rates)


SMOKE = Config(
    configurations=8,
    epochs=1,
    digits=128,
    repeats=1,
    hidden=((4,),),
    rates=(0.03, 0.3),
    seeds=1,
    search_epochs=1,
)


class Race(NamedTuple):
    """Seconds of a sweep and of one fit, compiled before and compiled anew, and how they differ."""

    network: str
    configurations: int
    sweep: float
    fit: float
    sweep_anew: float
    fit_anew: float
    difference: float  # of the validation losses

    @property
    def ratio(self) -> float:
        """So many times as long take all fits, compiled before."""
        return self.configurations * self.fit / self.sweep

    @property
    def ratio_anew(self) -> float:
        """The same where everything is compiled on the way: a fit's step is another each time."""
        return self.configurations * self.fit_anew / self.sweep_anew


class Measured(NamedTuple):
    """The races, and the search: accuracies [hidden layers, rates], means over the seeds."""

    races: list[Race]
    hidden: list[str]
    rates: list[float]
    accuracies: np.ndarray
    chosen: dict[str, Any]
    test_accuracy: float
    median_test_accuracy: float


def run(config: Config) -> Measured:
    """Races, then searches."""
    points = data.load("spiral")
    rates = np.geomspace(0.01, 0.3, -(-config.configurations // 2))
    playground = space.grid(learning_rate=rates, momentum=[0.5, 0.9])[: config.configurations]
    images = data.load("mnist", config.root)
    few = first(images.train, config.digits), first(images.validation, 1000)
    wide = space.grid(learning_rate=[0.02, 0.05, 0.1, 0.2], momentum=[0.9])
    races = [
        race(
            "2-8-8-1", small, playground, points.train, points.validation, config.epochs, 32, config
        ),
        race("784-128-10", large, wide, *few, 1, 128, config),
    ]
    found, digits = swept(config), data.load("digits")
    tested = [accuracy(trial, digits.test) for trial in found.trials]
    hidden, tried, accuracies = found.means("hidden", "learning_rate", "validation_accuracy")
    return Measured(
        races=races,
        hidden=["-".join(map(str, widths)) for widths in hidden],
        rates=tried,
        accuracies=accuracies,
        chosen=found.best.configuration,
        test_accuracy=tested[found.order[0]],
        median_test_accuracy=statistics.median(tested),
    )


def figures(result: Result[Measured]) -> list[float]:
    """What a sweep costs and brings."""
    found = result.measured
    return [
        *(one.ratio for one in found.races),
        max(one.difference for one in found.races),
        found.test_accuracy - found.median_test_accuracy,
    ]


def table(result: Result[Measured]) -> dict[str, Table]:
    """A line for each race, and what was chosen."""
    found = result.measured
    headings = "network", "runs", "sweep, s", "fits, s", "fits / sweep", "compiled anew"
    races = [
        (
            one.network,
            one.configurations,
            f"{one.sweep:.3f}",
            f"{one.configurations * one.fit:.3f}",
            f"{one.ratio:.2f}",
            f"{one.ratio_anew:.1f}",
        )
        for one in found.races
    ]
    chosen = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in found.chosen.items()
    )
    text = f"Chosen by validation: {chosen}; test accuracy {found.test_accuracy:.3f}, "
    text += f"median of all {found.median_test_accuracy:.3f}"
    return {"": [headings, *races], text: []}


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """How well each rate and network validates, and how much faster a sweep is."""
    from dlcore import plot

    ratios = {
        one.network: {"compiled before": one.ratio, "compiled anew": one.ratio_anew}
        for one in result.measured.races
    }
    return {
        "descent": plot.heat_map(
            result.measured.accuracies,
            result.measured.hidden,
            result.measured.rates,
            title="Validation accuracy on digits, %",
            x="learning rate",
            y="hidden layers",
            label="accuracy",
            percent=True,
        ),
        "speed": plot.bars(ratios, title="Fits one after another / one sweep", y="times as long"),
    }


def small(h: dict[str, Any]) -> Any:
    """The playground's network."""
    layer = models.mlp(2, (8, 8), 1, activation=F.tanh, dropout=0.0)
    return layer, train.binary_classification(layer), optimizer(h)


def large(h: dict[str, Any]) -> Any:
    """One hidden layer of 128 units over a digit of MNIST."""
    layer = models.mlp((28, 28, 1), (128,), 10, dropout=0.0)
    return layer, train.classification(layer), optimizer(h)


def searched(h: dict[str, Any]) -> Any:
    """A network on small digits."""
    layer = network(h["hidden"])
    return layer, train.classification(layer), optim.momentum(h["learning_rate"])


@functools.cache
def network(hidden: tuple[int, ...]) -> nn.Layer:
    return models.mlp((8, 8, 1), hidden, 10, dropout=0.0)


def optimizer(h: dict[str, Any]) -> Any:
    return optim.momentum(h["learning_rate"], h["momentum"])


def race(
    network: str,
    build: Any,
    configurations: list[dict[str, Any]],
    examples: dict[str, np.ndarray],
    validation: dict[str, np.ndarray],
    epochs: int,
    batch_size: int,
    config: Config,
) -> Race:
    """Times a sweep and up to four of its fits in turn: compiled anew, then `repeats` times."""
    parts = build(configurations[0])
    step, state = train.make_step(*parts[1:]), train.train_state(parts[0], parts[2])
    options: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "validation": validation}
    examples, options["validation"] = jax.tree.map(jax.numpy.asarray, (examples, validation))

    def one() -> list[Any]:
        records = train.fit(step, state, examples, **options)
        return [(record.validation or {})["loss"] for record in records if record.metrics]

    def all_at_once() -> search.Sweep:
        return search.sweep(build, configurations, examples, **options)

    fit_anew, losses = timed(one)
    sweep_anew, swept = timed(all_at_once)
    few = min(4, len(configurations))
    pairs = [
        (timed(all_at_once)[0], timed(lambda: [one() for _ in range(few)])[0] / few)
        for _ in range(config.repeats)
    ]
    swept_losses = [row["validation_loss"] for row in swept.trials[0].history]
    sweep, fit = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
    difference = float(np.abs(np.subtract(losses, swept_losses)).max())
    return Race(network, len(configurations), sweep, fit, sweep_anew, fit_anew, difference)


def timed(function: Any) -> tuple[float, Any]:
    """(seconds, result) of a call."""
    began = time.perf_counter()
    result = function()
    return time.perf_counter() - began, result


def swept(config: Config) -> search.Sweep:
    """Every rate with every network on small digits, by validation accuracy."""
    digits = data.load("digits")
    configurations = space.grid(
        hidden=config.hidden,
        learning_rate=config.rates,
        seed=range(config.seeds),
    )
    return search.sweep(
        searched,
        configurations,
        digits.train,
        epochs=config.search_epochs,
        batch_size=32,
        validation=digits.validation,
        monitor="validation_accuracy",
        mode="max",
    )


def accuracy(trial: search.Trial, examples: dict[str, np.ndarray]) -> float:
    """Of a trained trial; one that was stopped counts as it then was."""
    layer = network(trial.configuration["hidden"])
    logits = train.predict(layer, trial.state.params, trial.state.state, examples)
    return float((logits.argmax(-1) == examples["y"]).mean())
