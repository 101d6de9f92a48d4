"""Momentum and scaled steps learn digits in fewer updates than plain gradient descent.

Every optimizer of `dlcore.optim` trains the same small network on handwritten digits, each at five
learning rates, half a decade apart, from several seeds. The rate is chosen by the mean validation
loss; compared are the training loss and the test accuracy at that rate.

Lectures A, B, C and E. No order among the others is claimed.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from dlcore import data, models, optim, search, train
from experiments._learning import first
from experiments.choice import at_least, one_of
from experiments.descent._rates import at_best_rate, mean_history
from experiments.frame import Claim, DataConfig, Figure, Result, Table

AHEAD = {"momentum": "lectures A, C, E", "RMSProp": "lectures A, E", "Adam": "lectures A, E"}
CLAIMS = (
    *(
        Claim(f"training loss: gradient descent − {name}", "> 0", source)
        for name, source in AHEAD.items()
    ),
    Claim("share of the optimizers with a test accuracy above 0.8", "≥ 1", "dlcore"),
)
# Name, how it is made, and the rate in the middle of its five.
OPTIMIZERS: dict[str, tuple[Any, float]] = {
    "gradient descent": (optim.sgd, 1.0),
    "momentum": (optim.momentum, 0.1),
    "Nesterov": (optim.nesterov, 0.1),
    "Adagrad": (optim.adagrad, 0.1),
    "Adadelta": (optim.adadelta, 10.0),
    "RMSProp": (optim.rmsprop, 0.003),
    "Adam": (optim.adam, 0.01),
    "AMSGrad": (optim.amsgrad, 0.01),
    "NAdam": (optim.nadam, 0.01),
    "AdamW": (optim.adamw, 0.01),
    "Lion": (optim.lion, 0.001),
    "LAMB": (optim.lamb, 0.03),
    "Muon": (optim.muon, 0.03),
}
STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)  # decades from the middle


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    images: int = 4_000
    """Digits of MNIST to learn; as many at most are held out for validation and for the test."""
    epochs: int = 4
    """Passes over them, in batches of 100."""
    width: int = 32
    """Hidden units."""
    seeds: int = 2
    """Runs at each rate; figures are means."""
    optimizers: tuple[str, ...] = tuple(OPTIMIZERS)
    """Which of them, gradient descent always; claims are made of those that are there."""

    def __post_init__(self) -> None:
        at_least(100, images=self.images)
        at_least(1, epochs=self.epochs, width=self.width, seeds=self.seeds)
        for name in self.optimizers:
            one_of("optimizer", name, OPTIMIZERS)


SMOKE = Config(images=100, epochs=1, width=4, seeds=1, optimizers=("Adam",))


class Score(NamedTuple):
    """An optimizer at the rate chosen: training losses by epoch and test accuracy, as means over
    the seeds, and the deviation of that accuracy.
    """

    rate: float
    losses: list[float]
    accuracy: float
    deviation: float


def run(config: Config) -> dict[str, Score]:
    """Trains all of them, a program for each optimizer."""
    digits = data.load("mnist", config.root)
    examples, validation, test = (
        first(part, config.images) for part in (digits.train, digits.validation, digits.test)
    )
    layer = models.mlp(examples["x"].shape[1:], (config.width,), dropout=0.0)
    objective = train.classification(layer)

    def build(arm: dict[str, Any]) -> Any:
        return layer, objective, OPTIMIZERS[arm["optimizer"]][0](arm["learning_rate"])

    asked = {"gradient descent", *config.optimizers}
    names = [name for name in OPTIMIZERS if name in asked]
    arms = [
        {"optimizer": name, "learning_rate": OPTIMIZERS[name][1] * 10**step, "seed": seed}
        for name in names
        for step in STEPS
        for seed in range(config.seeds)
    ]
    found = search.sweep(
        build, arms, examples, epochs=config.epochs, batch_size=100, validation=validation
    )

    def score(name: str) -> Score:
        trials = at_best_rate(found, optimizer=name)
        accuracies = [
            float(train.evaluate(objective, one.state.params, one.state.state, test)["accuracy"])
            for one in trials
            if one.state is not None
        ]
        return Score(
            rate=trials[0].configuration["learning_rate"],
            losses=mean_history(trials, "loss"),
            accuracy=float(np.mean(accuracies)),
            deviation=float(np.std(accuracies)),
        )

    return {name: score(name) for name in names}


def figures(result: Result[dict[str, Score]]) -> list[float | None]:
    """Who is ahead of gradient descent, of those that are there; and whether all learn."""
    scores = result.measured
    plain = scores["gradient descent"].losses[-1]
    learned = [one.accuracy > 0.8 for one in scores.values()]
    return [
        *(plain - scores[name].losses[-1] if name in scores else None for name in AHEAD),
        float(np.mean(learned)),
    ]


def table(result: Result[dict[str, Score]]) -> Table:
    """A line for each optimizer, the least training loss first."""
    yield "optimizer", "rate", "training loss", "test accuracy"
    for name, one in sorted(result.measured.items(), key=lambda item: item[1].losses[-1]):
        accuracy = f"{one.accuracy:.3f} ± {one.deviation:.3f}"
        yield name, f"{one.rate:.2g}", f"{one.losses[-1]:.4f}", accuracy


def plot(result: Result[dict[str, Score]]) -> dict[str, Figure]:
    """The training loss by epoch, of the best half and the others; the test accuracy."""
    from dlcore import plot

    ordered = sorted(result.measured.items(), key=lambda item: item[1].losses[-1])
    half = -(-len(ordered) // 2)

    def panel(title: str, some: list[tuple[str, Score]]) -> Any:
        lines = {name: (range(1, len(one.losses) + 1), one.losses) for name, one in some}
        return plot.Panel(title, "epoch", "training loss", lines, log="y")

    errors = {name: {"error": 1 - one.accuracy} for name, one in ordered}
    return {
        "training": plot.lines(
            panel("The lower half", ordered[:half]), panel("The upper half", ordered[half:])
        ),
        "test": plot.bars(errors, title="Test error", y="error", percent=True),
    }
