"""Asynchronous workers are faster in time, though every update's gradient is late.

A parameter server and W workers, simulated: a worker reads the weights, takes some time for the
gradient of its batch, and delivers it into weights that others have moved τ times since. First τ is
held constant, over a grid of rates. Then workers take times drawn from a lognormal distribution, τ
follows from who finishes when, and we ask after how many simulated seconds the training loss is
down, each number of workers at its best rate. A synchronous round waits for its slowest worker.

Lecture C: asynchronous descent; Dean et al. 2012, section 4.1 and figure 4 (Downpour SGD, faster in
time than one machine, with no theory why the late gradients do no harm).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import optax

from dlcore import data, models, optim, train
from experiments._learning import first
from experiments.choice import at_least, at_most, positive
from experiments.descent._curve import curve, reached
from experiments.frame import Claim, DataConfig, Figure, Result, Table

SPEED = "lecture C; Dean et al. 2012"
CLAIMS = (
    Claim("τ = 0: largest difference to the losses of plain descent", "≤ 0", "definition"),
    Claim("best rate, τ = 0 / the largest τ", "> 1", "stability of late gradients"),
    Claim("loss at the best rate of τ = 0: largest τ / τ = 0", "> 1", "Dean et al. 2012"),
    Claim("simulated time to the loss, 1 / most workers", "> 2", SPEED),
    Claim("simulated time, synchronous / asynchronous, most workers", "> 1", SPEED),
)
BATCH = 32


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """What is trained, and which workers there are."""

    images: int = 4096
    """Digits of MNIST to learn, in batches of 32."""
    epochs: int = 8
    """Passes over them."""
    staleness: tuple[int, ...] = (0, 1, 2, 4, 8, 16, 32)
    """The constant τ that are tried, the first of them 0."""
    workers: tuple[int, ...] = (1, 2, 4, 8)
    """The numbers of workers, the first of them 1."""
    spread: float = 0.5
    """Deviation of the logarithm of the seconds that a gradient takes; the median is 1."""
    rates: tuple[float, ...] = (0.0125, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8)
    """Learning rates of plain descent."""
    target: float = 0.25
    """The training loss whose time is taken."""
    seeds: int = 2
    """Runs of each setting; the loss is their mean."""

    def __post_init__(self) -> None:
        at_least(max(self.workers, default=1) * BATCH, images=self.images)
        at_least(1, epochs=self.epochs, seeds=self.seeds)
        positive(spread=self.spread, rates=self.rates, target=self.target)
        at_most(10, spread=self.spread)
        for name, values, start in (("staleness", self.staleness, 0), ("workers", self.workers, 1)):
            if len(values) < 2 or values[0] != start or list(values) != sorted(set(values)):
                raise ValueError(f"{name} are rising numbers from {start} on, got {values}")


SMOKE = Config(
    images=128, epochs=2, staleness=(0, 2), workers=(1, 2), rates=(0.1,), target=10.0, seeds=1
)


class Fleet(NamedTuple):
    """So many workers, at their best rate: simulated seconds until the loss is down."""

    workers: int
    mean_staleness: float
    rate: float
    seconds: float
    synchronous_rate: float
    synchronous_seconds: float


class Measured(NamedTuple):
    """Losses at the end, by τ and by rate, how far those of τ = 0 are from plain descent's, and
    the fleets.
    """

    losses: list[list[float]]
    difference: float
    fleets: list[Fleet]


def run(config: Config) -> Measured:
    """Trains with each τ at each rate, then with each number of workers."""
    examples = first(data.load("mnist", config.root).train, config.images)
    layer = models.mlp(hidden=(32,), dropout=0)
    objective = train.classification(layer)
    updates = config.epochs * (config.images // BATCH)
    took = [
        np.random.default_rng(workers).lognormal(0, config.spread, (workers, updates))
        for workers in config.workers
    ]
    came = [optim.arrivals(one, updates) for one in took]
    longest = max(*config.staleness, *(int(one.staleness.max()) for one in came))
    learn = functools.partial(curves, layer, examples, config)

    # The rate and the staleness are in the optimizer's state: one program for them all.
    def plain(rate: float) -> Any:
        return optax.inject_hyperparams(optim.sgd)(rate)

    def late(staleness: np.ndarray) -> Callable[[float], Any]:
        return lambda rate: optim.delayed(plain(rate), staleness, longest)

    synchronous = train.make_step(objective, plain(0.0))
    asynchronous = train.make_step(objective, late(came[0].staleness)(0.0))
    constant = np.array(
        [learn(asynchronous, late(np.full(updates, tau)), BATCH) for tau in config.staleness]
    )
    apart = [learn(asynchronous, late(one.staleness), BATCH) for one in came]
    together = [learn(synchronous, plain, BATCH * workers) for workers in config.workers]
    fleets = []
    for k, workers in enumerate(config.workers):
        rounds = np.cumsum(took[k].max(axis=0))[: updates // workers]  # waits for the slowest
        times = fastest(apart[k], came[k].seconds, config), fastest(together[k], rounds, config)
        fleets.append(Fleet(workers, float(came[k].staleness.mean()), *times[0], *times[1]))
    difference = float(abs(constant[0] - together[0]).max())
    return Measured(constant[..., -1].tolist(), difference, fleets)


def figures(result: Result[Measured]) -> list[float]:
    """What lateness costs, and what it buys."""
    losses, difference, fleets = result.measured
    rates, one, many = result.config.rates, fleets[0], fleets[-1]
    prompt, late = int(np.argmin(losses[0])), int(np.argmin(losses[-1]))
    return [
        difference,
        rates[prompt] / rates[late],
        losses[-1][prompt] / losses[0][prompt],
        one.seconds / many.seconds,
        many.synchronous_seconds / many.seconds,
    ]


def table(result: Result[Measured]) -> Table:
    """A line for each number of workers."""
    yield "workers", "mean τ", "best rate", "s to the loss", "synchronous: rate", "s"
    yield from result.measured.fleets


def plot(result: Result[Measured]) -> Figure:
    """The loss against the rate for each τ, and the speed-up."""
    from dlcore import plot

    config, fleets = result.config, result.measured.fleets
    one = fleets[0]
    by_rate = {
        f"τ = {tau}": (config.rates, losses)
        for tau, losses in zip(config.staleness, result.measured.losses, strict=True)
    }
    speed = {
        "ideal": (config.workers, config.workers),
        "asynchronous": (config.workers, [one.seconds / f.seconds for f in fleets]),
        "synchronous": (
            config.workers,
            [one.synchronous_seconds / f.synchronous_seconds for f in fleets],
        ),
    }
    return plot.lines(
        plot.Panel("Late gradients", "learning rate", "training loss", by_rate, log="xy"),
        plot.Panel(
            f"Simulated time to a loss of {config.target}",
            "workers",
            "times as fast as one worker",
            speed,
        ),
    )


def curves(
    layer: Any,
    examples: Any,
    config: Config,
    step: Any,
    optimizer: Callable[[float], Any],
    batch_size: int,
) -> np.ndarray:
    """The mean training loss over the seeds [rates, epochs]."""

    def one(rate: float, seed: int) -> np.ndarray:
        state = train.train_state(layer, optimizer(rate), seed=seed)
        return curve(step, state, examples, config.epochs, batch_size)[0]

    seeds = range(config.seeds)
    return np.mean([[one(rate, seed) for rate in config.rates] for seed in seeds], axis=0)


def fastest(losses: np.ndarray, seconds: np.ndarray, config: Config) -> tuple[float, float]:
    """The rate whose loss [rates, epochs] is down first, where updates come at `seconds`."""
    per_epoch = len(seconds) // config.epochs
    ends = seconds[per_epoch - 1 :: per_epoch][: config.epochs]
    times = [reached(ends, one, config.target) for one in losses]
    best = int(np.argmin(times))
    return config.rates[best], times[best]
