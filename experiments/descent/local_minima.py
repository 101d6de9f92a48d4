"""Gradient descent ends in the nearest hole and halts on a plateau; momentum and noise go on.

From many starts at once: on ripples (a bowl full of local minima), on a plateau with one hole, and
with networks 2-H-1 that learn XOR on all four examples. Noise is that of a stochastic gradient, of
a standard deviation that is given; all rates fall to 0 along a straight line.

Lecture A: momentum "can also help to avoid getting stuck in certain local minima"; lecture C: it is
a trick to escape plateaus and local minima; lecture E: noise helps to escape them. Lecture A says
that gradient descent is "easily" stuck and then that saddles are worse: XOR tells how easily.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import functional as F
from dlcore import nn, optim, train
from dlcore.optim import landscapes
from experiments.choice import at_least
from experiments.frame import BaseConfig, Claim, Figure, Result, Table

ESCAPES = {"momentum": "lectures A, C", "noise": "lecture E"}
CLAIMS = (
    *(
        Claim(f"ripples: f in the end, gradient descent − {name}", "> 0", source)
        for name, source in ESCAPES.items()
    ),
    *(
        Claim(f"plateau: share that arrive, {name} − gradient descent", "> 0", source)
        for name, source in ESCAPES.items()
    ),
    Claim("XOR: share of starts left above a loss of 0.1, H = 2 − H = 8", "> 0", "lecture A"),
)
# Of each method: γ of the momentum, and how much of the noise there is.
METHODS = {"gradient descent": (0.0, 0.0), "momentum": (0.9, 0.0), "noise": (0.0, 1.0)}
# Of each landscape: the rate, below 2/λmax for gradient descent, and the deviation of the noise.
TERRAINS = {"ripples": (0.02, 10.0), "plateau": (0.5, 0.3)}
LANDSCAPES = {"ripples": landscapes.ripples, "plateau": landscapes.plain}
WIDTHS = (2, 4, 8)  # H
SHOWN = 300  # ways in the picture: their ends


@dataclasses.dataclass(frozen=True)
class Config(BaseConfig):
    """How many starts, for how long."""

    starts: int = 1000
    """On each landscape, evenly over the window, and of each network."""
    updates: int = 500
    """Of each way on a landscape."""
    xor_updates: int = 2000
    """Of each network."""

    def __post_init__(self) -> None:
        at_least(10, starts=self.starts)
        at_least(1, updates=self.updates, xor_updates=self.xor_updates)


SMOKE = Config(starts=50, updates=200, xor_updates=200)


class Ends(NamedTuple):
    """Where the ways end: the share near the minimum, the mean of f, the places."""

    arrived: float
    value: float
    places: list[list[float]]


class Measured(NamedTuple):
    """The ends by landscape and method; the share of networks left unlearned, by width."""

    ends: dict[str, dict[str, Ends]]
    stuck: dict[int, float]


def run(config: Config) -> Measured:
    """Starts everywhere."""
    return Measured(
        ends={terrain: descend(terrain, config) for terrain in TERRAINS},
        stuck={width: unlearned(width, config) for width in WIDTHS},
    )


def figures(result: Result[Measured]) -> list[float]:
    """What momentum, noise and width bring."""
    ends, stuck = result.measured
    ripples, plateau = ends["ripples"], ends["plateau"]
    plain = "gradient descent"
    return [
        *(ripples[plain].value - ripples[name].value for name in ESCAPES),
        *(plateau[name].arrived - plateau[plain].arrived for name in ESCAPES),
        stuck[WIDTHS[0]] - stuck[WIDTHS[-1]],
    ]


def table(result: Result[Measured]) -> Table:
    """A line for each method and width."""
    yield "terrain", "method", "arrived", "mean f in the end"
    for terrain, methods in result.measured.ends.items():
        for method, one in methods.items():
            yield terrain, method, f"{one.arrived:.1%}", f"{one.value:.3f}"
    for width, share in result.measured.stuck.items():
        yield "XOR", f"gradient descent, {width} units", f"{1 - share:.1%}", None


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """Where the ways over the ripples end; who arrives; XOR by width."""
    from dlcore import plot

    ends = {
        method: ([x for x, _ in one.places], [y for _, y in one.places])
        for method, one in result.measured.ends["ripples"].items()
    }
    arrived = {
        terrain: {method: one.arrived for method, one in methods.items()}
        for terrain, methods in result.measured.ends.items()
    }
    xor = {"XOR": {f"{width} units": share for width, share in result.measured.stuck.items()}}
    return {
        "ends": plot.lines(
            *(
                plot.Panel(f"Ripples: ends of {name}", "x₁", "x₂", {name: places}, lines=False)
                for name, places in ends.items()
            )
        ),
        "arrived": plot.bars(
            arrived, title="Ends at the least value", y="share of starts", percent=True
        ),
        "xor": plot.bars(xor, title="XOR not learned", y="share of starts", percent=True),
    }


def descend(terrain: str, config: Config) -> dict[str, Ends]:
    """Ways from all over the window, by each method."""
    landscape = LANDSCAPES[terrain]
    rate, deviation = TERRAINS[terrain]

    def end(method: tuple[jax.Array, jax.Array], key: jax.Array) -> jax.Array:
        decay, noise = method
        optimizer = optim.momentum(optim.linear(rate, 0.0, config.updates), decay)

        def f(x: jax.Array, key: jax.Array) -> jax.Array:
            return landscape.f(x) + noise * deviation * jnp.vdot(jax.random.normal(key, (2,)), x)

        low, high = jnp.asarray(landscape.window).T
        x0 = jax.random.uniform(jax.random.fold_in(key, 0), (2,), minval=low, maxval=high)
        way = jax.random.fold_in(key, 1)
        return optim.path(f, x0, optimizer, config.updates, key=way, record=lambda x: ()).x

    ends = jax.jit(jax.vmap(jax.vmap(end, (None, 0)), (0, None)))
    places = ends(tuple(jnp.asarray([*METHODS.values()]).T), keys(config.starts))
    near = jnp.linalg.norm(places - jnp.asarray(landscape.minima[0]), axis=-1) < 0.3
    return {
        method: Ends(
            arrived=float(near[k].mean()),
            value=float(landscape.f(places[k]).mean()),
            places=places[k, :SHOWN].tolist(),
        )
        for k, method in enumerate(METHODS)
    }


def unlearned(width: int, config: Config) -> float:
    """The share of networks 2-`width`-1 that gradient descent leaves with a loss above 0.1."""
    layer = nn.serial(nn.linear(2, width), F.tanh, nn.linear(width, 1))
    objective = train.binary_classification(layer)
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    batch = {"x": corners, "y": np.array([0, 1, 1, 0], np.int32)}

    def loss(params: Any) -> jax.Array:
        return objective(params, (), batch)[0]

    def end(key: jax.Array) -> jax.Array:
        params = layer.init(key)[0]
        way = optim.path(loss, params, optim.sgd(0.5), config.xor_updates, record=lambda x: ())
        return way.value[-1]

    return float((jax.jit(jax.vmap(end))(keys(config.starts)) > 0.1).mean())


def keys(count: int) -> jax.Array:
    """One for each start."""
    return jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(jnp.arange(count))
