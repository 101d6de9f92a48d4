"""Finite differences cost O(W²), backpropagation O(W): a parabola against a straight line.

The gradient of the squared error of networks H-H-H of growing width, W weights, on 16 examples:
the arithmetic counted in the traced programs, the seconds measured, and how far the two differ.

Lecture C: O(W) for each partial derivative, O(W²) in total, O(W) by backpropagation. `backprop` is
by hand; `jax.grad` gives the same.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import flops, tree
from dlcore.derivatives import backprop, finite_differences
from experiments.choice import at_least
from experiments.frame import BaseConfig, Claim, Figure, Result, Table

CLAIMS = (
    Claim("growth of the work with W, log-log: central differences", "2 ± 0.1", "lecture C"),
    Claim("growth of the work with W, log-log: backpropagation", "1 ± 0.1", "lecture C"),
    Claim("work of backpropagation / of one value, widest network", "≤ 4", "lecture C"),
    Claim("largest difference of the gradients / the largest of them", "≤ 1e-6", "lecture C"),
)


@dataclasses.dataclass(frozen=True)
class Config(BaseConfig):
    """Which networks."""

    widths: tuple[int, ...] = (4, 8, 16, 32, 64)
    """H, growing."""
    repeats: int = 9
    """Rounds over all the widths in which each call is timed; its median counts."""

    def __post_init__(self) -> None:
        at_least(1, repeats=self.repeats)
        if len(self.widths) < 2 or list(self.widths) != sorted(set(self.widths)):
            raise ValueError(f"widths are at least two that grow, got {self.widths}")


SMOKE = Config(widths=(8, 16), repeats=1)


class Problem(NamedTuple):
    """A network's loss, its weights, and both ways to the gradient, compiled."""

    value: Any
    params: Any
    ways: dict[str, Any]


class Cost(NamedTuple):
    """Of one network: weights, operations and seconds of each way, and how far they differ."""

    weights: int
    value: int  # operations of the loss alone
    operations: dict[str, int]
    seconds: dict[str, float]
    difference: float


def run(config: Config) -> list[Cost]:
    """Both gradients of each network, in float64."""
    with jax.enable_x64(True):
        problems = [problem(width) for width in config.widths]
        times = medians(problems, config.repeats)
        return [cost(*both) for both in zip(problems, times, strict=True)]


def figures(result: Result[list[Cost]]) -> list[float]:
    """The two slopes, what a gradient costs, and how exact it is."""
    costs, widest = result.measured, result.measured[-1]
    weights = np.log([one.weights for one in costs])

    def growth(way: str) -> float:
        return float(np.polyfit(weights, np.log([one.operations[way] for one in costs]), 1)[0])

    return [
        growth("finite differences"),
        growth("backpropagation"),
        widest.operations["backpropagation"] / widest.value,
        max(one.difference for one in costs),
    ]


def table(result: Result[list[Cost]]) -> Table:
    """A line for each width."""
    ways = list(result.measured[0].operations)
    yield "weights", *(f"{way}, {unit}" for unit in ("operations", "ms") for way in ways)
    for one in result.measured:
        milliseconds = (f"{1e3 * one.seconds[way]:.3f}" for way in ways)
        yield one.weights, *one.operations.values(), *milliseconds


def plot(result: Result[list[Cost]]) -> Figure:
    """Operations and seconds against W."""
    from dlcore import plot

    weights = [one.weights for one in result.measured]

    def panel(title: str, unit: str, of: str) -> Any:
        lines = {
            way: (weights, [getattr(one, of)[way] for one in result.measured])
            for way in result.measured[0].operations
        }
        return plot.Panel(title, "weights W", unit, lines, log="xy")

    return plot.lines(
        panel("Work of a gradient, counted", "operations", "operations"),
        panel("Time of a gradient, measured", "seconds", "seconds"),
    )


def problem(width: int) -> Problem:
    """A network of two layers."""
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
    return Problem(value, params, {name: jax.jit(way) for name, way in ways.items()})


def cost(problem: Problem, seconds: dict[str, float]) -> Cost:
    """Counted, and compared."""
    value, params, ways = problem
    differences, exact = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(way(params))])
        for way in ways.values()
    )
    return Cost(
        weights=tree.count(params),
        value=flops.count(value, params),
        operations={name: flops.count(way, params) for name, way in ways.items()},
        seconds=seconds,
        difference=float(np.abs(differences - exact).max() / np.abs(exact).max()),
    )


def medians(problems: list[Problem], repeats: int) -> list[dict[str, float]]:
    """Seconds of each way on each problem, in rounds over all."""
    took = [
        [[seconds(way, one.params) for way in one.ways.values()] for one in problems]
        for _ in range(repeats)
    ]
    middle = np.median(took, axis=0).tolist()
    return [
        dict(zip(one.ways, row, strict=True)) for one, row in zip(problems, middle, strict=True)
    ]


def seconds(way: Any, params: Any) -> float:
    """Of the second of two calls: the first one compiles, and fills the caches."""
    jax.block_until_ready(way(params))
    began = time.perf_counter()
    jax.block_until_ready(way(params))
    return time.perf_counter() - began
