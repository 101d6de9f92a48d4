"""Processors that share their weights without locks do no harm where the examples are sparse.

Logistic regression on drawn rows, each of 10 features out of D with planted weights. P processors
take rows in turn and never wait: while one works, the other P − 1 write into the weights that it
has read. How often do they meet (write what another one has read), and what is the loss after as
many updates as a single processor makes, at the same rate?

Two rows share a feature with p = 1 − C(D − 10, 10) / C(D, 10); so a share 1 − (1 − p)^(P − 1) of
the updates is expected to meet another.

Niu et al. 2011 (Hogwild!), proposition 4.1 and section 5: near-optimal as long as few rows share
features, and then P processors do P times the work. Lecture C: asynchronous descent.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import functional as F
from dlcore import optim
from dlcore.data import batching
from experiments.choice import at_least, positive, rising
from experiments.frame import BaseConfig, Claim, Figure, Result, Table

CLAIMS = (
    Claim("loss of most processors / of one, where D is largest", "1 ± 0.01", "Niu et al. 2011"),
    Claim("the same where D is smallest", "> 1.01", "Niu et al. 2011"),
    Claim("updates that met another: largest difference to expected", "≤ 0.02", "combinatorics"),
)
FEATURES = 10  # of a row


@dataclasses.dataclass(frozen=True)
class Config(BaseConfig):
    """The rows, and who works on them."""

    rows: int = 5_000
    """Drawn for each seed."""
    epochs: int = 4
    """Passes over them."""
    sizes: tuple[int, ...] = (50, 500, 5_000, 50_000)
    """The D that are tried."""
    processors: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    """The P that are tried, the first of them 1."""
    learning_rate: float = 0.2
    """Of every update."""
    seeds: int = 3
    """Draws of the rows; figures are means."""

    def __post_init__(self) -> None:
        at_least(1, rows=self.rows, epochs=self.epochs, seeds=self.seeds)
        positive(learning_rate=self.learning_rate)
        at_least(2 * FEATURES, sizes=min(self.sizes, default=0))
        if len(self.processors) < 2 or self.processors[0] != 1:
            raise ValueError(f"processors are 1 and more, got {self.processors}")
        rising(processors=self.processors, sizes=self.sizes)


SMOKE = Config(rows=200, epochs=1, sizes=(50, 5_000), processors=(1, 8), seeds=1)


class Arm(NamedTuple):
    """So many features: the loss, and the share of updates that met another, by processors."""

    size: int
    losses: list[float]
    conflicts: list[float]
    expected: list[float]


def run(config: Config) -> list[Arm]:
    """Every number of processors on every kind of rows."""
    return [measure(size, config) for size in config.sizes]


def figures(result: Result[list[Arm]]) -> list[float]:
    """Sparse rows do no harm, dense ones do."""
    arms = result.measured
    dense, sparse = (arm.losses[-1] / arm.losses[0] for arm in (arms[0], arms[-1]))
    worst = max(
        abs(a - b) for arm in arms for a, b in zip(arm.conflicts, arm.expected, strict=True)
    )
    return [sparse, dense, worst]


def table(result: Result[list[Arm]]) -> Table:
    """A line for each D, of the most processors."""
    yield "D", "loss of one", "loss of all", "met another", "expected"
    for arm in result.measured:
        yield arm.size, arm.losses[0], arm.losses[-1], arm.conflicts[-1], arm.expected[-1]


def plot(result: Result[list[Arm]]) -> Figure:
    """Loss and conflicts against the number of processors."""
    from dlcore import plot

    processors = result.config.processors
    losses = {
        f"D = {arm.size:,}": (processors, np.divide(arm.losses, arm.losses[0]))
        for arm in result.measured
    }
    conflicts = {f"D = {arm.size:,}": (processors, arm.conflicts) for arm in result.measured}
    return plot.lines(
        plot.Panel("Loss without locks", "processors", "loss / loss of one", losses, log="x"),
        plot.Panel(
            "Updates that met another",
            "processors",
            "share of the updates",
            conflicts,
            log="x",
            percent=True,
        ),
    )


def measure(size: int, config: Config) -> Arm:
    """Rows of `size` features, given to each number of processors."""
    runs = np.array(
        [
            [descend(draw(size, seed, config), size, seed, p, config) for p in config.processors]
            for seed in range(config.seeds)
        ]
    )
    losses, conflicts = runs.mean(0).T.tolist()
    apart = math.comb(size - FEATURES, FEATURES) / math.comb(size, FEATURES)
    expected = [1 - apart ** (p - 1) for p in config.processors]
    return Arm(size, losses, conflicts, expected)


def draw(size: int, seed: int, config: Config) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(index [N, 10], values and labels −1 or 1) of rows with a planted answer."""
    rng = np.random.default_rng(seed)
    index = np.array([rng.choice(size, FEATURES, replace=False) for _ in range(config.rows)])
    values = rng.normal(size=index.shape).astype(np.float32)
    logits = (values * rng.normal(size=size)[index]).sum(1)
    y = np.where(rng.random(config.rows) < 1 / (1 + np.exp(-logits)), 1.0, -1.0)
    return index, {"values": values, "y": y.astype(np.float32)}


def logistic(weights: jax.Array, row: Any) -> jax.Array:
    """−ln σ(y w·x)"""
    return F.softplus(-row["y"] * jnp.vdot(weights, row["values"]))


def descend(
    drawn: tuple[np.ndarray, dict[str, np.ndarray]],
    size: int,
    seed: int,
    processors: int,
    config: Config,
) -> tuple[float, float]:
    """(mean loss over the rows at the end, share of the updates that met another)."""
    index, rows = drawn
    order = np.concatenate(
        [batching.order(config.rows, seed, epoch) for epoch in range(config.epochs)]
    )
    end = optim.hogwild(
        logistic,
        jnp.zeros(size),
        index[order],
        {name: leaf[order] for name, leaf in rows.items()},
        config.learning_rate,
        processors - 1,
    )
    losses = jax.vmap(logistic)(end.x[index], rows)
    return float(losses.mean()), float(end.conflicts.mean())
