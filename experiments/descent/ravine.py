"""In a ravine the gradient points across it; momentum and scaled steps go along it.

f = ½(u² + κv²), κ = 100, from (u, v) = (√κ, 1), where the gradient leads farthest astray. Each
optimizer has the best rate of a grid: how many updates until f stays below a hundredth of its
start? Then the same ravine turned by 45°, where no coordinate is steep by itself.

Lectures A and E: the ravine; momentum is A's average of gradients. Lecture A calls the batch
gradient the optimal direction: it is the steepest, and here it is not the best.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import optim
from dlcore.optim import landscapes
from experiments.choice import at_least
from experiments.frame import BaseConfig, Claim, Figure, Result, Table

CONDITION = 100.0
ASTRAY = np.degrees(np.arccos(2 * CONDITION**0.5 / (CONDITION + 1)))
SWINGS = 50  # updates in which swings are counted
FASTER = ("momentum", "RMSProp", "Adam")
CLAIMS = (
    *(Claim(f"updates: gradient descent / {name}", "> 1", "lectures A, E") for name in FASTER),
    Claim(
        "angle between −∇f and the way to the minimum, in degrees",
        f"{ASTRAY:.4f} ± 0.1",
        "Kantorovich 1948: arccos 2√κ/(κ + 1)",
    ),
    Claim(f"swings across in {SWINGS} updates at 1.9/λmax: descent − momentum", "> 0", "lecture A"),
    Claim("RMSProp's updates, turned by 45° / straight", "> 1", "dlcore"),
)
OPTIMIZERS: dict[str, Any] = {
    "gradient descent": optim.sgd,
    "momentum": optim.momentum,
    "Nesterov": optim.nesterov,
    "RMSProp": optim.rmsprop,
    "Adam": optim.adam,
}
ANGLES = {"straight": 0.0, "turned by 45°": np.pi / 4}
SHOWN = 60  # updates in the picture


@dataclasses.dataclass(frozen=True)
class Config(BaseConfig):
    """How finely rates are tried, and for how long."""

    rates: int = 61
    """Learning rates from 1e-4 to 100, evenly on a logarithmic axis."""
    updates: int = 1000
    """At most so many."""

    def __post_init__(self) -> None:
        at_least(2, rates=self.rates)
        at_least(SWINGS, updates=self.updates)


SMOKE = Config(rates=13, updates=300)


class Walk(NamedTuple):
    """An optimizer at its best rate: updates until f is low for good, and where it went."""

    rate: float
    updates: int
    path: list[list[float]]  # the first places


class Measured(NamedTuple):
    """A walk of each optimizer in each ravine; the gradient's angle, in degrees, and the swings."""

    walks: dict[str, dict[str, Walk]]  # by ravine and optimizer
    astray: float
    swings: dict[str, int]


def run(config: Config) -> Measured:
    """Walks through both ravines."""
    walks = {
        name: {optimizer: walk(angle, optimizer, config) for optimizer in OPTIMIZERS}
        for name, angle in ANGLES.items()
    }
    return Measured(walks, astray(), swings())


def figures(result: Result[Measured]) -> list[float]:
    """Who is slow in a ravine, and why."""
    walks, astray, swings = result.measured
    straight, turned = (walks[angle] for angle in ANGLES)
    plain = straight["gradient descent"].updates
    return [
        *(plain / straight[name].updates for name in FASTER),
        astray,
        swings["gradient descent"] - swings["momentum"],
        turned["RMSProp"].updates / straight["RMSProp"].updates,
    ]


def table(result: Result[Measured]) -> dict[str, Table]:
    """A line for each optimizer."""
    walks = result.measured.walks
    lines = [(name, *(walks[angle][name].updates for angle in ANGLES)) for name in OPTIMIZERS]
    return {"Updates until f stays below 1 % of its start": [("optimizer", *ANGLES), *lines]}


def plot(result: Result[Measured]) -> Figure:
    """The first steps of each walk, on the map of each ravine."""
    from dlcore import plot

    reach = 1.3 * CONDITION**0.5
    terrains = []
    for name, angle in ANGLES.items():
        paths = {optimizer: one.path for optimizer, one in result.measured.walks[name].items()}
        window = ((-reach, reach), (-reach, reach) if angle else (-2.5, 2.5))
        ravine = landscapes.ravine(CONDITION, angle)
        title = f"Ravine, {name}: {SHOWN} updates"
        terrains.append(plot.Terrain(title, ravine.f, window, paths, ravine.minima))
    return plot.contours(*terrains)


def start(angle: float) -> jax.Array:
    """The place (u, v) = (√κ, 1), turned."""
    cos, sin, u = np.cos(angle), np.sin(angle), CONDITION**0.5
    return jnp.asarray([u * cos - sin, u * sin + cos], jnp.float32)


def walk(angle: float, optimizer: str, config: Config) -> Walk:
    """The walk at the rate that needs the fewest updates."""
    f, x0 = landscapes.ravine(CONDITION, angle).f, start(angle)
    rates = jnp.logspace(-4, 2, config.rates)

    def go(rate: jax.Array) -> optim.Path:
        return optim.path(f, x0, OPTIMIZERS[optimizer](rate), config.updates)

    paths = jax.jit(jax.vmap(go))(rates)
    low = np.asarray(paths.value) < 0.01 * float(f(x0))
    # The first place from which on all are low: that many updates.
    needed = low.shape[1] - np.cumprod(low[:, ::-1], axis=1).sum(axis=1)
    best = int(needed.argmin())
    return Walk(float(rates[best]), int(needed[best]), paths.record[best, : SHOWN + 1].tolist())


def astray() -> float:
    """The angle in degrees between −∇f and the way to the minimum, at the start."""
    x = start(0.0)
    g = jax.grad(landscapes.ravine(CONDITION).f)(x)
    cosine = jnp.vdot(g, x) / jnp.linalg.norm(g) / jnp.linalg.norm(x)
    return float(jnp.degrees(jnp.arccos(cosine)))


def swings() -> dict[str, int]:
    """How often each changes sides, at a rate that is just stable for gradient descent."""
    rate = 1.9 / CONDITION
    average = optim.momentum(rate, form="average")
    counts = {}
    for name, optimizer in {"gradient descent": optim.sgd(rate), "momentum": average}.items():
        path = optim.path(landscapes.ravine(CONDITION).f, start(0.0), optimizer, SWINGS)
        counts[name] = int((np.diff(np.sign(path.record[:, 1])) != 0).sum())
    return counts
