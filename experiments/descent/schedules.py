"""A rate that falls ends lower than one that stays; and it must not fall so fast as to stop short.

Momentum trains the same small network on handwritten digits under each schedule, with four highest
rates; that with the least validation loss counts. Then gradient descent on ½x² with the rates α₀/k
and α₀/k², whose steps are known: xₙ/x₀ → 0 as n^(−α₀)/Γ(1 − α₀), and sin(π√α₀)/(π√α₀) > 0.

Lecture E: α₀e^(−kt) and α₀/(1 + kt); lecture C: α₀/k with Σα = ∞, and the drop by x % (a factor of
1 − x/100) on a plateau of the validation loss. The others are those of `dlcore.optim`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore import data, models, optim, search, train
from experiments._learning import first
from experiments.choice import at_least, one_of
from experiments.descent._rates import at_best_rate, mean_history
from experiments.frame import Claim, DataConfig, Figure, Result, Table

CLAIMS = (
    Claim("training loss: constant − mean of the falling schedules", "> 0", "lectures C, E"),
    Claim("training loss: constant − plateau drop", "> 0", "lecture C"),
    Claim("xₙ/x₀ with α₀/k, of what the theory gives", "1 ± 0.01", "lecture C"),
    Claim("xₙ/x₀ with α₀/k², of what the theory gives", "1 ± 0.01", "lecture C"),
)
RATES = (0.03, 0.1, 0.2, 0.4)
# Of the highest rate η and the number of updates n. What falls comes to about a hundredth of η.
SCHEDULES: dict[str, Any] = {
    "constant": lambda rate, n: optim.constant(rate),
    "steps": lambda rate, n: optim.step_decay(rate, max(1, n // 4), 0.3),
    "exponential": lambda rate, n: optim.exponential(rate, math.log(100) / n),
    "1/t": lambda rate, n: optim.inverse_time(rate, 99 / n),
    "polynomial": lambda rate, n: optim.polynomial(rate, 0.0, 2.0, n),
    "cosine": lambda rate, n: optim.cosine(rate, n),
    "warm-up, cosine": lambda rate, n: optim.warmup_cosine(rate, n, warmup_steps=n // 10),
    "one cycle": lambda rate, n: optim.one_cycle(n, rate),
    "cyclic": lambda rate, n: optim.cyclic(0.0, rate, max(1, n // 6), 0.5),
    "plateau": lambda rate, n: optim.constant(rate),
}
FALLING = ("steps", "exponential", "1/t", "polynomial", "cosine")
DROP = 70  # per cent, on a plateau
ALPHA = 0.5  # α₀ of α₀/k and α₀/k²


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    images: int = 4_000
    """Digits of MNIST to learn; as many at most are held out for validation and for the test."""
    epochs: int = 6
    """Passes over them, in batches of 50."""
    seeds: int = 2
    """Runs at each rate; figures are means."""
    schedules: tuple[str, ...] = tuple(SCHEDULES)
    """Which of them, constant, cosine and plateau always."""
    updates: int = 100_000
    """On ½x²."""

    def __post_init__(self) -> None:
        at_least(50, images=self.images)
        at_least(1, epochs=self.epochs, seeds=self.seeds)
        at_least(1000, updates=self.updates)
        for name in self.schedules:
            one_of("schedule", name, SCHEDULES)


SMOKE = Config(images=100, epochs=2, seeds=1, schedules=(), updates=1000)


class Score(NamedTuple):
    """A schedule with the rate chosen: losses by epoch, and the test accuracy, as means."""

    rate: float
    losses: list[float]
    accuracy: float


class Measured(NamedTuple):
    """The score of each schedule, and xₙ/x₀ by the power of k, measured and expected."""

    scores: dict[str, Score]
    left: dict[str, tuple[float, float]]


def run(config: Config) -> Measured:
    """Learns under each schedule, and goes down the parabola."""
    return Measured(
        scores=learn(config),
        left={"1/k": remaining(1, config.updates), "1/k²": remaining(2, config.updates)},
    )


def figures(result: Result[Measured]) -> list[float]:
    """What falling brings, and how it may fall."""
    last = {name: one.losses[-1] for name, one in result.measured.scores.items()}
    falling = float(np.mean([last[name] for name in FALLING if name in last]))
    return [
        last["constant"] - falling,
        last["constant"] - last["plateau"],
        *(got / expected for got, expected in result.measured.left.values()),
    ]


def table(result: Result[Measured]) -> Table:
    """A line for each schedule."""
    yield "schedule", "highest rate", "training loss", "test accuracy"
    scores = result.measured.scores
    for name, one in sorted(scores.items(), key=lambda item: item[1].losses[-1]):
        yield name, f"{one.rate:.2g}", f"{one.losses[-1]:.4f}", f"{one.accuracy:.3f}"


def plot(result: Result[Measured]) -> Figure:
    """The schedules; the training loss under each."""
    from dlcore import plot

    n = 1000
    times = np.arange(0, n, 10)
    rates = {
        name: (times / n, over(schedule(1.0, n), times))
        for name, schedule in SCHEDULES.items()
        if name != "plateau"
    }
    losses = {
        name: (range(1, len(one.losses) + 1), one.losses)
        for name, one in result.measured.scores.items()
    }
    return plot.lines(
        plot.Panel("Schedules", "share of the updates", "rate / highest rate", rates),
        plot.Panel("Digits", "epoch", "training loss", losses, log="y"),
    )


def over(schedule: optax.Schedule, times: np.ndarray) -> list[float]:
    """The rate at each time."""
    rate = jax.jit(jax.vmap(lambda t: jnp.asarray(schedule(t), float)))
    return rate(times).tolist()


def learn(config: Config) -> dict[str, Score]:
    """All schedules and rates, a program for each schedule."""
    digits = data.load("mnist", config.root)
    examples, validation, test = (
        first(part, config.images) for part in (digits.train, digits.validation, digits.test)
    )
    updates = config.epochs * data.batches_per_epoch(len(examples["y"]), 50)
    layer = models.mlp(examples["x"].shape[1:], (32,), dropout=0.0)
    objective = train.classification(layer)

    def build(arm: dict[str, Any]) -> Any:
        rate = SCHEDULES[arm["schedule"]](arm["learning_rate"], updates)
        optimizer = optim.momentum(rate)
        if arm["schedule"] == "plateau":
            drop = optim.reduce_on_plateau(1 - DROP / 100, patience=1, rtol=0.01)
            optimizer = optax.chain(optimizer, drop)
        return layer, objective, optimizer

    asked = {"constant", "cosine", "plateau", *config.schedules}
    names = [name for name in SCHEDULES if name in asked]
    arms = search.space.grid(schedule=names, learning_rate=RATES, seed=range(config.seeds))
    found = search.sweep(
        build, arms, examples, epochs=config.epochs, batch_size=50, validation=validation
    )
    scores = {}
    for name in names:
        trials = at_best_rate(found, schedule=name)
        accuracies = [
            float(train.evaluate(objective, one.state.params, one.state.state, test)["accuracy"])
            for one in trials
            if one.state is not None
        ]
        scores[name] = Score(
            rate=trials[0].configuration["learning_rate"],
            losses=mean_history(trials, "loss"),
            accuracy=float(np.mean(accuracies)),
        )
    return scores


def remaining(power: int, updates: int) -> tuple[float, float]:
    """xₙ/x₀ after so many updates with α₀/kᵖ, and what the theory gives."""
    way = optim.path(
        lambda x: x**2 / 2,
        jnp.ones(()),
        optim.sgd(optim.diminishing(ALPHA, power)),
        updates,
        record=lambda x: (),
    )
    root = math.pi * ALPHA**0.5
    arriving = updates**-ALPHA / math.gamma(1 - ALPHA)
    return float(jax.device_get(way.x)), arriving if power == 1 else math.sin(root) / root
