"""A linear or convex program has one least value; a nonlinear one has several, by the start.

Three programs of two numbers, each minimised from many starts at once:

    linear     −x − 2y               x + y ≤ 4, x − y ≤ 1, 0 ≤ x, y ≤ 3
    convex     (x − 3)² + (y − 2)²   x² + y² ≤ 4, x = 2y
    nonlinear  the ripples of        x² + y² ≤ 9, xy ≥ 1
               `landscapes`

    values that the starts end in, linear and convex             1
    values that the starts end in, nonlinear                     ≥ 2
    the linear and the convex value less scipy's, largest        ≤ 1e-4
    starts that end where the constraints hold                   all

Lecture C: the optimisation program, minimise f(x) subject to g(x) ≤ 0 and h(x) = 0, linear, convex
and nonlinear. Values count as one where they differ by less than 1e-3.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
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
class Config:
    """How many starts."""

    starts: int = 200
    """Evenly from [−4, 4]², of each program."""
    out: Path | None = None
    """Folder for everything written; by default runs/programs."""

    def __post_init__(self) -> None:
        at_least(5, starts=self.starts)

    @classmethod
    def smoke(cls) -> Config:
        """Seconds."""
        return cls(starts=20)


class Ends(NamedTuple):
    """Where the starts of one program end: the places, the different values, the share that met
    the constraints and came to rest, and scipy's value.
    """

    places: list[list[float]]
    values: list[float]
    solved: float
    scipy: float


@dataclasses.dataclass(frozen=True)
class Result:
    """The ends of each program."""

    ends: dict[str, Ends]
    seconds: float
    claims: list[claim.Claim]
    config: Config

    def __rich__(self) -> Any:
        """A row for each program."""
        from rich.table import Table

        shown = Table("program", "values", "least", "greatest", "scipy")
        for name, one in self.ends.items():
            row = (one.values[0], one.values[-1], one.scipy)
            shown.add_row(name, str(len(one.values)), *(f"{value:.4f}" for value in row))
        return shown


def run(config: Config) -> Result:
    """Solves each from everywhere."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        ends = {name: solve(program, config) for name, program in PROGRAMS.items()}
    return Result(
        ends=ends, seconds=time.perf_counter() - began, claims=claims(ends), config=config
    )


def plot(result: Result) -> Figure:
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
        one = result.ends[name]
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


def claims(ends: dict[str, Ends]) -> list[claim.Claim]:
    """One value, one value, several."""
    convex = [ends["linear"], ends["convex"]]
    lecture = "lecture C"
    return [
        *(
            claim.near(f"{name}: values", 1, 0, len(ends[name].values), lecture)
            for name in ("linear", "convex")
        ),
        claim.at_least("nonlinear: values", 2, len(ends["nonlinear"].values), lecture),
        claim.at_most(
            "linear, convex: value − scipy's",
            1e-4,
            max(abs(one.values[0] - one.scipy) for one in convex),
            "scipy, SLSQP",
        ),
        claim.at_least(
            "solved: least share of the starts",
            1,
            min(one.solved for one in ends.values()),
            "our own",
        ),
    ]
