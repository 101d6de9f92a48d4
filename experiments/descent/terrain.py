"""On steep walls momentum shoots past, in a long valley it swings; scaled steps do neither.

Lecture E's two animations (Radford), with functions, starts and rates written down: Beale's
function from (1, 1.5), where the gradient is 99 long, and the long valley 10y² + (x² − 4)²/64 from
(0.01, 1), almost on its line of symmetry x = 0.

Lecture E: "velocity based techniques shoot off and bounce around", and in the valley gradient
descent stalls, momentum oscillates first, and algorithms that scale their steps (Adagrad, RMSProp,
Adam) break the symmetry.
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
from experiments.frame import BaseConfig, Claim, Result, Table

CLAIMS = (
    Claim("Beale: length of the way / distance, momentum − RMSProp", "> 0", "lecture E"),
    Claim("Beale: least x₂ on the way, RMSProp − momentum", "> 0", "lecture E"),
    Claim("valley: gradient descent's |x| at the end, of 2 (it stalls)", "≤ 0.1", "lecture E"),
    Claim("valley: momentum's swings across before it leaves the line", "≥ 10", "lecture E"),
    Claim("valley: updates until |x| > ½, momentum − slowest scaled", "> 0", "lecture E"),
)
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
class Config(BaseConfig):
    """How long they walk, and how that is shown."""

    updates: int = 200
    """Of each optimizer."""
    frames: int = 60
    """Pictures in each animation."""

    def __post_init__(self) -> None:
        at_least(120, updates=self.updates)
        at_least(2, frames=self.frames)


SMOKE = Config(frames=3)


class Walk(NamedTuple):
    """Where an optimizer went, and what is said of it."""

    length: float  # of the way, over the distance between its ends
    lowest: float  # the least x₂
    end: float  # f there
    leaves: int  # updates until |x₁| > ½, at most all
    swings: int  # changes of sign of x₂ until then
    path: list[list[float]]  # [updates + 1, 2]


Walks = dict[str, dict[str, Walk]]  # by terrain and optimizer


def run(config: Config) -> Walks:
    """Walks over both."""
    return {place: {name: walk(place, name, config) for name in OPTIMIZERS} for place in TERRAINS}


def figures(result: Result[Walks]) -> list[float]:
    """What lecture E says of the two animations."""
    beale, valley = (result.measured[place] for place in TERRAINS)
    return [
        beale["momentum"].length - beale["RMSProp"].length,
        beale["RMSProp"].lowest - beale["momentum"].lowest,
        abs(valley["gradient descent"].path[-1][0]),
        valley["momentum"].swings,
        valley["momentum"].leaves - max(valley[name].leaves for name in SCALED),
    ]


def table(result: Result[Walks]) -> Table:
    """A line for each walk."""
    yield "terrain", "optimizer", "way / distance", "f at the end", "leaves x₁ = 0"
    for place, walks in result.measured.items():
        for name, one in walks.items():
            late = one.leaves > result.config.updates
            leaves = ("never" if late else one.leaves) if place == "long_valley" else None
            yield TITLES[place], name, f"{one.length:.2f}", f"{one.end:.2g}", leaves


def plot(result: Result[Walks]) -> dict[str, Any]:
    """Both terrains as a map with the whole ways, and each as an animation."""
    from dlcore import plot

    shown = {}
    for place, landscape in TERRAINS.items():
        paths = {name: one.path for name, one in result.measured[place].items()}
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


def _lengths(path: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.diff(path, axis=0), axis=1)
