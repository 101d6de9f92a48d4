"""Workers who average only now and then need a fraction of the exchanges.

Local SGD: 4 workers make H updates of their own, then average their weights. All see the same
number of examples in the same time, whatever H is; H = 1 is synchronous descent on a batch 4 times
as large. Each H has the best rate of a grid.

    exchanges until the loss is down, H = 1 / H = 8                > 4, 8 at best
    training loss at the end, H = 16 / H = 1                       > 1

Stich 2019: local SGD needs about as many updates as synchronous descent; McMahan et al. 2017, table
2 and figure 3: fewer exchanges, up to an H where the workers part too far. Lecture C: large
networks are trained by clusters, which wait for their network.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import optax

from dlcore import data, models, optim, train
from experiments import claim
from experiments._learning import first
from experiments.choice import at_least, positive
from experiments.descent._curve import curve, reached

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORKERS, BATCH = 4, 16


@dataclasses.dataclass(frozen=True)
class Config:
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
    root: Path | None = None
    """Folder that holds the data set mnist; by default the user's cache."""
    out: Path | None = None
    """Folder for everything written; by default runs/communication."""

    def __post_init__(self) -> None:
        at_least(1, epochs=self.epochs, seeds=self.seeds)
        positive(target=self.target)
        if 8 not in self.periods or self.periods[0] != 1:
            raise ValueError(f"periods begin with 1 and have 8 among them, got {self.periods}")
        at_least(WORKERS * BATCH * max(self.periods), images=self.images)

    @classmethod
    def smoke(cls) -> Config:
        """Seconds."""
        return cls(images=512, epochs=2, periods=(1, 8), rates=(0.2,), target=10.0, seeds=1)


class Arm(NamedTuple):
    """One H at its best rate: the loss after each exchange that ends an epoch."""

    period: int
    rate: float
    exchanges: list[int]
    losses: list[float]
    exchanges_needed: float


@dataclasses.dataclass(frozen=True)
class Result:
    """An arm for each H."""

    arms: list[Arm]
    seconds: float
    claims: list[claim.Claim]
    config: Config

    def __rich__(self) -> Any:
        """A row for each H."""
        from rich.table import Table

        target = f"exchanges to {self.config.target:g}"
        shown = Table("H", "best rate", "exchanges", "training loss", target)
        for arm in self.arms:
            numbers = (arm.period, arm.rate, arm.exchanges[-1], arm.losses[-1])
            shown.add_row(*(f"{n:.4g}" for n in (*numbers, arm.exchanges_needed)))
        return shown


def run(config: Config) -> Result:
    """Trains with each H."""
    began = time.perf_counter()
    examples = first(data.load("mnist", config.root).train, config.images)
    arms = [measure(period, examples, config) for period in config.periods]
    return Result(
        arms=arms, seconds=time.perf_counter() - began, claims=claims(arms), config=config
    )


def plot(result: Result) -> Figure:
    """The loss by epoch, and by exchange."""
    from dlcore import plot

    epochs = range(1, result.config.epochs + 1)
    by_epoch = {f"H = {arm.period}": (epochs, arm.losses) for arm in result.arms}
    by_exchange = {f"H = {arm.period}": (arm.exchanges, arm.losses) for arm in result.arms}
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


def claims(arms: list[Arm]) -> list[claim.Claim]:
    """What H = 8 saves, and what too much of it costs."""
    by_period = {arm.period: arm for arm in arms}
    one, eight = by_period[1], by_period[8]
    return [
        claim.more_than(
            "exchanges until the loss is down, H = 1 / H = 8",
            4,
            one.exchanges_needed / eight.exchanges_needed,
            "Stich 2019; McMahan et al. 2017",
        ),
        claim.more_than(
            f"training loss at the end, H = {arms[-1].period} / H = 1",
            1,
            arms[-1].losses[-1] / one.losses[-1],
            "McMahan et al. 2017",
        ),
    ]
