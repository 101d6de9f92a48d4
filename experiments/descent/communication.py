"""Workers who average only now and then need a fraction of the exchanges.

Local SGD: 4 workers make H updates of their own, then average their weights. All see the same
number of examples in the same time, whatever H is; H = 1 is synchronous descent on a batch 4 times
as large. Each H has the best rate of a grid.

Stich 2019: local SGD needs about as many updates as synchronous descent; McMahan et al. 2017, table
2 and figure 3: fewer exchanges, up to an H where the workers part too far. Lecture C: large
networks are trained by clusters, which wait for their network.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import optax

from dlcore import data, models, optim, train
from experiments._learning import first
from experiments.choice import at_least, positive, rising
from experiments.descent._curve import curve, reached
from experiments.frame import Claim, DataConfig, Figure, Result, Table

CLAIMS = (
    Claim("exchanges until the loss is down, H = 1 / H = 8 (8 at best)", "> 4", "Stich 2019"),
    Claim("training loss at the end, largest H / H = 1", "> 1", "McMahan et al. 2017"),
)
WORKERS, BATCH = 4, 16


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """What is trained."""

    images: int = 4096
    """Digits of MNIST to learn."""
    epochs: int = 10
    """Passes over them, by all the workers together."""
    periods: tuple[int, ...] = (1, 2, 4, 8, 16)
    """The H that are tried, the first of them 1."""
    rates: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8)
    """Learning rates of plain descent."""
    target: float = 0.2
    """The training loss whose exchanges are counted."""
    seeds: int = 2
    """Runs of each setting; the loss is their mean."""

    def __post_init__(self) -> None:
        at_least(1, epochs=self.epochs, seeds=self.seeds)
        positive(rates=self.rates, target=self.target)
        if 8 not in self.periods or self.periods[0] != 1:
            raise ValueError(f"periods begin with 1 and have 8 among them, got {self.periods}")
        rising(periods=self.periods)
        at_least(WORKERS * BATCH * max(self.periods), images=self.images)


SMOKE = Config(images=512, epochs=2, periods=(1, 8), rates=(0.2,), target=10.0, seeds=1)


class Arm(NamedTuple):
    """One H at its best rate: the loss after each exchange that ends an epoch."""

    period: int
    rate: float
    exchanges: list[int]
    losses: list[float]
    exchanges_needed: float


def run(config: Config) -> list[Arm]:
    """Trains with each H."""
    examples = first(data.load("mnist", config.root).train, config.images)
    return [measure(period, examples, config) for period in config.periods]


def figures(result: Result[list[Arm]]) -> list[float]:
    """What H = 8 saves, and what too much of it costs."""
    needed = {arm.period: arm.exchanges_needed for arm in result.measured}
    fewest, *_, most = result.measured
    return [needed[1] / needed[8], most.losses[-1] / fewest.losses[-1]]


def table(result: Result[list[Arm]]) -> Table:
    """A line for each H."""
    target = f"exchanges to {result.config.target:g}"
    yield "H", "best rate", "exchanges", "training loss", target
    for arm in result.measured:
        yield arm.period, arm.rate, arm.exchanges[-1], arm.losses[-1], arm.exchanges_needed


def plot(result: Result[list[Arm]]) -> Figure:
    """The loss by epoch, and by exchange."""
    from dlcore import plot

    epochs = range(1, result.config.epochs + 1)
    by_epoch = {f"H = {arm.period}": (epochs, arm.losses) for arm in result.measured}
    by_exchange = {f"H = {arm.period}": (arm.exchanges, arm.losses) for arm in result.measured}
    return plot.lines(
        plot.Panel("The same examples …", "epoch", "training loss", by_epoch, log="y"),
        plot.Panel("… and fewer exchanges", "exchanges", "training loss", by_exchange, log="xy"),
    )


def measure(period: int, examples: dict[str, np.ndarray], config: Config) -> Arm:
    """One H, at the rate whose loss is the least at the end."""
    layer = models.mlp(hidden=(32,), dropout=0)
    optimizer = optax.inject_hyperparams(optim.sgd)
    step = train.make_step(train.classification(layer), optimizer(0.0))
    local = train.local_sgd(step, workers=WORKERS, period=period)
    round_size = WORKERS * BATCH * period

    def mean_curve(rate: float) -> np.ndarray:
        starts = [
            train.train_state(layer, optimizer(rate), seed=seed) for seed in range(config.seeds)
        ]
        runs = [curve(local, start, examples, config.epochs, round_size)[0] for start in starts]
        return np.mean(runs, axis=0)

    curves = {rate: mean_curve(rate) for rate in config.rates}
    rate = min(curves, key=lambda one: float(curves[one][-1]))
    exchanges = np.arange(1, config.epochs + 1) * (config.images // round_size)
    return Arm(
        period=period,
        rate=rate,
        exchanges=exchanges.tolist(),
        losses=curves[rate].tolist(),
        exchanges_needed=reached(exchanges, curves[rate], config.target),
    )
