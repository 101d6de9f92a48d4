"""On steep walls momentum shoots past, in a long valley it swings; scaled steps do neither.

Lecture E's two animations (Radford), with functions, starts and rates written down: Beale's
function from (1, 1.5), where the gradient is 99 long, and the long valley 10y² + (x² − 4)²/64 from
(0.01, 1), almost on its line of symmetry x = 0.

    Beale: length of the way / distance, momentum − RMSProp           > 0
    Beale: farthest below the valley's floor, momentum − RMSProp      > 0
    valley: gradient descent's |x| at the end, of 2                   ≤ 0.1, it stalls
    valley: momentum's swings across before it leaves the line        ≥ 10
    valley: updates to leave (|x| > ½), momentum less the slowest
        of Adagrad, RMSProp and Adam                                  > 0

Lecture E: "velocity based techniques shoot off and bounce around", and in the valley gradient
descent stalls, momentum oscillates first, and algorithms that scale their steps break the symmetry.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import optim
from dlcore.functional import landscapes
from experiments import claim
from experiments.choice import at_least

TERRAINS = {"beale": landscapes.beale, "long_valley": landscapes.long_valley}
TITLES = {"beale": "Beale's function", "long_valley": "The long valley"}
OPTIMIZERS: dict[str, Any] = {
    "gradient descent": optim.sgd,
    "momentum": optim.momentum,
    "Nesterov": optim.nesterov,
    "Adagrad": optim.adagrad,
    "RMSProp": optim.rmsprop,
    "Adam": optim.adam,
}
# Those that follow the gradient itself share a rate, so that nothing but the velocity differs.
RATES = {
    "beale": dict(zip(OPTIMIZERS, (1e-3, 1e-3, 1e-3, 0.1, 0.01, 0.05), strict=True)),
    "long_valley": dict(zip(OPTIMIZERS, (0.02, 0.02, 0.02, 0.1, 0.02, 0.02), strict=True)),
}
SCALED = ("Adagrad", "RMSProp", "Adam")
AWAY = 0.5  # |x| where the line of symmetry is left


@dataclasses.dataclass(frozen=True)
class Config:
    """How long they walk, and how that is shown."""

    updates: int = 200
    """Of each optimizer."""
    frames: int = 60
    """Pictures in each animation."""
    out: Path | None = None
    """Folder for everything written; by default runs/terrain."""

    def __post_init__(self) -> None:
        at_least(120, updates=self.updates)
        at_least(2, frames=self.frames)

    @classmethod
    def smoke(cls) -> Config:
        """Seconds."""
        return cls(frames=3)


class Walk(NamedTuple):
    """Where an optimizer went, and what is said of it."""

    length: float  # of the way, over the distance between its ends
    lowest: float  # the least x₂
    end: float  # f there
    leaves: int  # updates until |x₁| > ½, at most all
    swings: int  # changes of sign of x₂ until then
    path: list[list[float]]  # [updates + 1, 2]


@dataclasses.dataclass(frozen=True)
class Result:
    """A walk of each optimizer on each terrain."""

    walks: dict[str, dict[str, Walk]]  # by terrain and optimizer
    seconds: float
    claims: list[claim.Claim]
    config: Config

    def __rich__(self) -> Any:
        """A row for each walk."""
        from rich.table import Table

        shown = Table("terrain", "optimizer", "way / distance", "f at the end", "leaves x₁ = 0")
        for place, walks in self.walks.items():
            for name, one in walks.items():
                late = one.leaves > self.config.updates
                leaves = ("never" if late else str(one.leaves)) if place == "long_valley" else ""
                row = (TITLES[place], name, f"{one.length:.2f}", f"{one.end:.2g}", leaves)
                shown.add_row(*row)
        return shown


def run(config: Config) -> Result:
    """Walks over both."""
    began = time.perf_counter()
    walks = {place: {name: walk(place, name, config) for name in OPTIMIZERS} for place in TERRAINS}
    return Result(
        walks=walks, seconds=time.perf_counter() - began, claims=claims(walks), config=config
    )


def plot(result: Result) -> dict[str, Any]:
    """Both terrains as a map with the whole ways, and each as an animation."""
    from dlcore import plot

    shown = {}
    for place, landscape in TERRAINS.items():
        paths = {name: one.path for name, one in result.walks[place].items()}
        shown[place] = plot.Terrain(
            TITLES[place], landscape.f, landscape.window, paths, landscape.minima
        )
    moving = {
        f"{place}_walked": plot.animation(terrain, frames=result.config.frames)
        for place, terrain in shown.items()
    }
    return {"terrain": plot.contours(*shown.values()), **moving}


def walk(place: str, optimizer: str, config: Config) -> Walk:
    """One walk, and its measures."""
    landscape = TERRAINS[place]
    rate = RATES[place][optimizer]
    x0 = jnp.asarray(landscape.start, jnp.float32)
    make = OPTIMIZERS[optimizer]
    walked = jax.jit(lambda x: optim.path(landscape.f, x, make(rate), config.updates))(x0)
    path = np.asarray(walked.record)
    away = np.flatnonzero(np.abs(path[:, 0]) > AWAY)
    leaves = int(away[0]) if len(away) else len(path)
    return Walk(
        length=float(_lengths(path).sum() / np.linalg.norm(path[-1] - path[0])),
        lowest=float(path[:, 1].min()),
        end=float(walked.value[-1]),
        leaves=leaves,
        swings=int((np.diff(np.sign(path[:leaves, 1])) != 0).sum()),
        path=path.tolist(),
    )


def claims(walks: dict[str, dict[str, Walk]]) -> list[claim.Claim]:
    """What lecture E says of the two animations."""
    beale, valley = (walks[place] for place in TERRAINS)
    fast, scaled = beale["momentum"], beale["RMSProp"]
    stalled = float(abs(valley["gradient descent"].path[-1][0]))
    slowest = max(valley[name].leaves for name in SCALED)
    lecture = "lecture E"
    return [
        claim.more_than(
            "Beale: way / distance, momentum − RMSProp", 0, fast.length - scaled.length, lecture
        ),
        claim.more_than(
            "Beale: overshoot, momentum − RMSProp", 0, scaled.lowest - fast.lowest, lecture
        ),
        claim.at_most("valley: descent's |x| at the end, of 2", 0.1, stalled, lecture),
        claim.at_least(
            "valley: momentum's swings before it leaves", 10, valley["momentum"].swings, lecture
        ),
        claim.more_than(
            "valley: updates to leave, momentum − slowest scaled",
            0,
            valley["momentum"].leaves - slowest,
            lecture,
        ),
    ]


def _lengths(path: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.diff(path, axis=0), axis=1)
