"""Finite differences cost O(W²), backpropagation O(W): a parabola against a straight line.

The gradient of the squared error of networks H-H-H of growing width, W weights, on 16 examples:
the arithmetic counted in the traced programs, the seconds measured, and how far the two differ.

    growth of the work with W, log-log: central differences     2, within 0.1
    growth of the work with W, log-log: backpropagation         1, within 0.1
    work of backpropagation / of one value, widest network      ≤ 4
    largest difference of the gradients, float64                ≤ 1e-6 of the largest

Lecture C: O(W) for each partial derivative, O(W²) in total, O(W) by backpropagation. `backprop` is
by hand; `jax.grad` gives the same.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import flops, tree
from dlcore.functional import backprop, finite_differences
from experiments import claim
from experiments.choice import at_least

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Config:
    """Which networks."""

    widths: tuple[int, ...] = (4, 8, 16, 32, 64)
    """H, growing."""
    repeats: int = 5
    """Calls that are timed, of which the quickest counts."""
    out: Path | None = None
    """Folder for everything written; by default runs/finite_differences."""

    def __post_init__(self) -> None:
        at_least(1, repeats=self.repeats)
        if len(self.widths) < 2 or list(self.widths) != sorted(set(self.widths)):
            raise ValueError(f"widths are at least two that grow, got {self.widths}")

    @classmethod
    def smoke(cls) -> Config:
        """Seconds."""
        return cls(widths=(8, 16), repeats=1)


class Cost(NamedTuple):
    """Of one network: weights, operations and seconds of each way, and how far they differ."""

    weights: int
    value: int  # operations of the loss alone
    operations: dict[str, int]
    seconds: dict[str, float]
    difference: float


@dataclasses.dataclass(frozen=True)
class Result:
    """The cost of each width."""

    costs: list[Cost]
    seconds: float
    claims: list[claim.Claim]
    config: Config

    def __rich__(self) -> Any:
        """A row for each width."""
        from rich.table import Table

        ways = list(self.costs[0].operations)
        shown = Table(
            "weights", *(f"{way}, {unit}" for unit in ("operations", "ms") for way in ways)
        )
        for one in self.costs:
            work = [f"{one.operations[way]:,}" for way in ways]
            shown.add_row(
                f"{one.weights:,}", *work, *(f"{1e3 * one.seconds[way]:.3f}" for way in ways)
            )
        return shown


def run(config: Config) -> Result:
    """Both gradients of each network, in float64."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        costs = [cost(width, config.repeats) for width in config.widths]
    return Result(
        costs=costs, seconds=time.perf_counter() - began, claims=claims(costs), config=config
    )


def plot(result: Result) -> Figure:
    """Operations and seconds against W."""
    from dlcore import plot

    weights = [one.weights for one in result.costs]

    def panel(title: str, unit: str, of: str) -> Any:
        lines = {
            way: (weights, [getattr(one, of)[way] for one in result.costs])
            for way in result.costs[0].operations
        }
        return plot.Panel(title, "weights W", unit, lines, log="xy")

    return plot.lines(
        panel("Work of a gradient, counted", "operations", "operations"),
        panel("Time of a gradient, measured", "seconds", "seconds"),
    )


def cost(width: int, repeats: int) -> Cost:
    """Of a network of two layers."""
    rng = np.random.default_rng(width)
    network = backprop.serial(backprop.linear, backprop.tanh, backprop.linear)
    x, targets = (jnp.asarray(rng.normal(size=(16, width))) for _ in range(2))

    def layer() -> dict[str, jax.Array]:
        kernel = rng.normal(size=(width, width)) / width**0.5
        return {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(width)}

    params = (layer(), (), layer())

    def value(params: Any) -> jax.Array:
        return backprop.half_squared_error(network.forward(params, x)[0], targets)[0]

    ways = {
        "finite differences": lambda params: finite_differences.gradient(value, params),
        "backpropagation": lambda params: backprop.value_and_gradient(
            network, backprop.half_squared_error, params, x, targets
        )[1],
    }
    compiled = {name: jax.jit(way) for name, way in ways.items()}
    differences, exact = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(way(params))])
        for way in compiled.values()
    )
    return Cost(
        weights=tree.count(params),
        value=flops.count(value, params),
        operations={name: flops.count(way, params) for name, way in ways.items()},
        seconds={name: quickest(way, params, repeats) for name, way in compiled.items()},
        difference=float(np.abs(differences - exact).max() / np.abs(exact).max()),
    )


def quickest(way: Any, params: Any, repeats: int) -> float:
    """Seconds of a call, compiled before."""
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(way(params))
        took.append(time.perf_counter() - began)
    return min(took)


def claims(costs: list[Cost]) -> list[claim.Claim]:
    """The two slopes."""
    weights = np.log([one.weights for one in costs])

    def growth(way: str) -> float:
        return float(np.polyfit(weights, np.log([one.operations[way] for one in costs]), 1)[0])

    widest = costs[-1]
    lecture = "lecture C"
    return [
        claim.near("growth, finite differences", 2, 0.1, growth("finite differences"), lecture),
        claim.near("growth, backpropagation", 1, 0.1, growth("backpropagation"), lecture),
        claim.at_most(
            "work, backpropagation / one value",
            4,
            widest.operations["backpropagation"] / widest.value,
            lecture,
        ),
        claim.at_most(
            "largest difference, relative", 1e-6, max(one.difference for one in costs), lecture
        ),
    ]
