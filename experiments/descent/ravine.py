"""In a ravine the gradient points across it; momentum and scaled steps go along it.

f = ½(u² + κv²), κ = 100, from (u, v) = (√κ, 1), where the gradient leads farthest astray. Each
optimizer has the best rate of a grid: how many updates until f stays below a hundredth of its
start? Then the same ravine turned by 45°, where no coordinate is steep by itself.

    updates: gradient descent / momentum, RMSProp, Adam           > 1
    angle between −∇f and the way to the minimum                  78.6°, arccos 2√κ/(κ + 1)
    swings across in 50 updates at 1.9/λmax: descent − momentum   > 0
    turned by 45°, RMSProp's updates / those before               > 1

Lectures A and E: the ravine; momentum is A's average of gradients. Lecture A calls the batch
gradient the optimal direction: it is the steepest, and here it is not the best.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import optim
from dlcore.functional import landscapes
from experiments import claim
from experiments.choice import at_least

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONDITION = 100.0
OPTIMIZERS: dict[str, Any] = {
    "gradient descent": optim.sgd,
    "momentum": optim.momentum,
    "Nesterov": optim.nesterov,
    "RMSProp": optim.rmsprop,
    "Adam": optim.adam,
}
ANGLES = {"straight": 0.0, "turned by 45°": np.pi / 4}
SWINGS = 50  # updates in which swings are counted
SHOWN = 60  # updates in the picture


@dataclasses.dataclass(frozen=True)
class Config:
    """How finely rates are tried, and for how long."""

    rates: int = 61
    """Learning rates from 1e-4 to 100, evenly on a logarithmic axis."""
    updates: int = 1000
    """At most so many."""
    out: Path | None = None
    """Folder for everything written; by default runs/ravine."""

    def __post_init__(self) -> None:
        at_least(2, rates=self.rates)
        at_least(SWINGS, updates=self.updates)

    @classmethod
    def smoke(cls) -> Config:
        """Seconds."""
        return cls(rates=13, updates=300)


class Walk(NamedTuple):
    """An optimizer at its best rate: updates until f is low for good, and where it went."""

    rate: float
    updates: int
    path: list[list[float]]  # the first places


@dataclasses.dataclass(frozen=True)
class Result:
    """A walk of each optimizer in each ravine."""

    walks: dict[str, dict[str, Walk]]  # by ravine and optimizer
    astray: float
    swings: dict[str, int]
    seconds: float
    claims: list[claim.Claim]
    config: Config

    def __rich__(self) -> Any:
        """A row for each optimizer."""
        from rich.table import Table

        shown = Table("optimizer", *ANGLES, title="Updates until f stays below 1 % of its start")
        for name in OPTIMIZERS:
            shown.add_row(name, *(str(self.walks[angle][name].updates) for angle in ANGLES))
        return shown


def run(config: Config) -> Result:
    """Walks through both ravines."""
    began = time.perf_counter()
    walks = {
        name: {optimizer: walk(angle, optimizer, config) for optimizer in OPTIMIZERS}
        for name, angle in ANGLES.items()
    }
    lost, swung = astray(), swings()
    return Result(
        walks=walks,
        astray=lost,
        swings=swung,
        seconds=time.perf_counter() - began,
        claims=claims(walks, lost, swung),
        config=config,
    )


def plot(result: Result) -> Figure:
    """The first steps of each walk, on the map of each ravine."""
    from dlcore import plot

    reach = 1.3 * CONDITION**0.5
    terrains = []
    for name, angle in ANGLES.items():
        paths = {optimizer: one.path for optimizer, one in result.walks[name].items()}
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


def claims(
    walks: dict[str, dict[str, Walk]], astray: float, swings: dict[str, int]
) -> list[claim.Claim]:
    """Who is slow in a ravine, and why."""
    straight, turned = (walks[angle] for angle in ANGLES)
    plain = straight["gradient descent"].updates
    gains = {name: plain / straight[name].updates for name in ("momentum", "RMSProp", "Adam")}
    expected = float(np.degrees(np.arccos(2 * CONDITION**0.5 / (CONDITION + 1))))
    across = swings["gradient descent"] - swings["momentum"]
    return [
        *(
            claim.more_than(f"updates: gradient descent / {name}", 1, gain, "lectures A, E")
            for name, gain in gains.items()
        ),
        claim.near(
            "angle of −∇f to the way to the minimum", expected, 0.1, astray, "Kantorovich 1948"
        ),
        claim.more_than("swings across: descent − momentum", 0, across, "lecture A"),
        claim.more_than(
            "RMSProp's updates, turned / straight",
            1,
            turned["RMSProp"].updates / straight["RMSProp"].updates,
            "our own",
        ),
    ]
