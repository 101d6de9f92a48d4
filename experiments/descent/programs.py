"""A linear or convex program has one least value; a nonlinear one has several, by the start.

Three programs of two numbers, each minimised from many starts at once:

    linear     −x − 2y               x + y ≤ 4, x − y ≤ 1, 0 ≤ x, y ≤ 3
    convex     (x − 3)² + (y − 2)²   x² + y² ≤ 4, x = 2y
    nonlinear  the ripples of        x² + y² ≤ 9, xy ≥ 1
               `landscapes`

Lecture C: the optimisation program, minimise f(x) subject to g(x) ≤ 0 and h(x) = 0, linear, convex
and nonlinear. Values count as one where they differ by less than 1e-3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import optim
from dlcore.optim import landscapes
from experiments.choice import at_least
from experiments.frame import BaseConfig, Claim, Figure, Result, Table

CLAIMS = (
    Claim("linear: values that the starts end in", "1 ± 0", "lecture C"),
    Claim("convex: values that the starts end in", "1 ± 0", "lecture C"),
    Claim("nonlinear: values that the starts end in", "≥ 2", "lecture C"),
    Claim("linear and convex: value − scipy's, largest", "≤ 1e-4", "scipy, SLSQP"),
    Claim("starts that end where the constraints hold, least share", "≥ 1", "dlcore"),
)

Function = Callable[[jax.Array], jax.Array]


class Program(NamedTuple):
    """Minimise f subject to g ≤ 0, h = 0 and a box."""

    f: Function
    inequality: Function
    equality: Function | None = None
    box: tuple[float, float] | None = None


def _sides(*values: jax.Array) -> jax.Array:
    return jnp.stack(values, axis=-1)


PROGRAMS = {
    "linear": Program(
        f=lambda x: -x[..., 0] - 2 * x[..., 1],
        inequality=lambda x: _sides(x[..., 0] + x[..., 1] - 4, x[..., 0] - x[..., 1] - 1),
        box=(0.0, 3.0),
    ),
    "convex": Program(
        f=lambda x: (x[..., 0] - 3) ** 2 + (x[..., 1] - 2) ** 2,
        inequality=lambda x: _sides(x[..., 0] ** 2 + x[..., 1] ** 2 - 4),
        equality=lambda x: x[..., 0] - 2 * x[..., 1],
    ),
    "nonlinear": Program(
        f=landscapes.ripples.f,
        inequality=lambda x: _sides(x[..., 0] ** 2 + x[..., 1] ** 2 - 9, 1 - x[..., 0] * x[..., 1]),
    ),
}
WINDOW = ((-4.0, 4.0), (-4.0, 4.0))


@dataclasses.dataclass(frozen=True)
class Config(BaseConfig):
    """How many starts."""

    starts: int = 200
    """Evenly from [−4, 4]², of each program."""

    def __post_init__(self) -> None:
        at_least(5, starts=self.starts)


SMOKE = Config(starts=20)


class Ends(NamedTuple):
    """Where the starts of one program end: the places, the different values, the share that met
    the constraints and came to rest, and scipy's value.
    """

    places: list[list[float]]
    values: list[float]
    solved: float
    scipy: float


def run(config: Config) -> dict[str, Ends]:
    """Solves each from everywhere."""
    with jax.enable_x64(True):
        return {name: solve(program, config) for name, program in PROGRAMS.items()}


def figures(result: Result[dict[str, Ends]]) -> list[float]:
    """One value, one value, several."""
    ends = result.measured
    return [
        *(len(ends[name].values) for name in ("linear", "convex", "nonlinear")),
        max(abs(ends[name].values[0] - ends[name].scipy) for name in ("linear", "convex")),
        min(one.solved for one in ends.values()),
    ]


def table(result: Result[dict[str, Ends]]) -> Table:
    """A line for each program."""
    yield "program", "values", "least", "greatest", "scipy"
    for name, one in result.measured.items():
        row = (one.values[0], one.values[-1], one.scipy)
        yield name, len(one.values), *(f"{value:.4f}" for value in row)


def plot(result: Result[dict[str, Ends]]) -> Figure:
    """The map of each program where its inequalities hold, and the ends."""
    from dlcore import plot

    def shown(program: Program) -> Function:
        def f(x: jax.Array) -> jax.Array:
            holds = (program.inequality(x) <= 0).all(axis=-1)
            if program.box is not None:
                holds &= ((x >= program.box[0]) & (x <= program.box[1])).all(axis=-1)
            return jnp.where(holds, program.f(x), jnp.nan)

        return f

    terrains = []
    for name, program in PROGRAMS.items():
        one = result.measured[name]
        values = f"{len(one.values)} value{'s' if len(one.values) > 1 else ''}"
        terrains.append(
            plot.Terrain(
                f"{name.capitalize()}: ends in {values}",
                shown(program),
                WINDOW,
                minima=[(x, y) for x, y in one.places],
            )
        )
    return plot.contours(*terrains)


def solve(program: Program, config: Config) -> Ends:
    """All starts of one program."""

    def end(x0: jax.Array) -> Any:
        found = optim.minimize(
            program.f,
            x0,
            box=program.box,
            inequality=program.inequality,
            equality=program.equality,
            tolerance=1e-6,
            max_iterations=200,
        )
        return found.x, found.value, found.converged

    starts = np.random.default_rng(0).uniform(-4, 4, (config.starts, 2))
    places, values, converged = map(np.asarray, jax.jit(jax.vmap(end))(jnp.asarray(starts)))
    ordered = np.sort(values[converged])
    if not len(ordered):
        raise FloatingPointError("no start came to an end where the constraints hold")
    first_of_each = np.diff(ordered, prepend=-np.inf) > 1e-3
    return Ends(
        places=np.unique(places[converged].round(3), axis=0).tolist(),
        values=ordered[first_of_each].tolist(),
        solved=float(converged.mean()),
        scipy=by_scipy(program, starts[0]),
    )


def by_scipy(program: Program, start: np.ndarray) -> float:
    """The value that scipy's SLSQP finds from one start."""
    from scipy.optimize import minimize

    def constraint(kind: str, function: Function, sign: float) -> dict[str, Any]:
        return {"type": kind, "fun": lambda x: sign * np.asarray(function(jnp.asarray(x)))}

    constraints = [constraint("ineq", program.inequality, -1.0)]
    if program.equality is not None:
        constraints.append(constraint("eq", program.equality, 1.0))
    box = None if program.box is None else [program.box] * 2
    found = minimize(
        lambda x: float(program.f(jnp.asarray(x))), start, bounds=box, constraints=constraints
    )
    return float(found.fun)
