"""Curvature brings a quadratic convergence; a line search and a convex model keep it downhill.

How fast the error falls towards the minimum of Beale's function (on Rosenbrock's, whose floor is
curved, long and short steps take turns, and no three errors tell the order); on how many starts f
rises under a step size; and, where the Hessian is indefinite, who still points downhill.

    Newton: iterations on a quadratic                                1
    Newton: order p of convergence, eₖ₊₁ ∝ eₖᵖ                       2, within 0.3
    BFGS: eₖ₊₁/eₖ in the end                                         ≤ 0.2, superlinear
    steepest descent, exact, on a ravine: fₖ₊₁/fₖ                    ((κ − 1)/(κ + 1))²
    starts on which f ever rises: a constant step                    > 0
    starts on which f ever rises: exact, Armijo, Wolfe               0
    places where Newton's direction leads uphill                     > 0
    places where the convexified ones do                             0
    gradient in the negative space alone, eigenvalues to 0           d = 0, reported

Lecture C (Newton's d with its minus, α an argmin); Nocedal and Wright 2006, theorems 3.3, 3.5, 6.6.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
START = (2.0, 0.2)  # on Beale's function, where its Hessian is positive definite
DIRECTIONS: dict[str, Any] = {
    "steepest": optim.steepest,
    "L-BFGS": optim.l_bfgs,
    "BFGS": optim.bfgs,
    "Newton": optim.newton,
}
STEP_SIZES: dict[str, Any] = {
    "constant": lambda: 2e-3,
    "diminishing, 0.01/k": lambda: optim.diminishing(0.01),
    "exact": optim.exact,
    "Armijo": optim.armijo,
    "Wolfe": optim.wolfe,
}
CONVEXIFIED = ("zero", "floor", "absolute")


@dataclasses.dataclass(frozen=True)
class Config:
    """How much is tried."""

    starts: int = 100
    """Of steepest descent with each step size, and places to ask for a direction."""
    iterations: int = 100
    """Of steepest descent from each start."""
    out: Path | None = None
    """Folder for everything written; by default runs/second_order."""

    def __post_init__(self) -> None:
        at_least(10, starts=self.starts)
        at_least(5, iterations=self.iterations)

    @classmethod
    def smoke(cls) -> Config:
        """Seconds."""
        return cls(starts=20, iterations=20)


@dataclasses.dataclass(frozen=True)
class Result:
    """The errors by direction, and shares: of starts where f rises, of places led uphill."""

    errors: dict[str, list[float]]
    newton_on_quadratic: int
    steepest_ratio: float
    rises: dict[str, float]
    uphill: dict[str, float]
    reported: bool
    seconds: float
    claims: list[claim.Claim]
    config: Config

    def __rich__(self) -> Any:
        """A row for each direction, step size and rule."""
        from rich.table import Table

        shown = Table("on", "what", "measured")
        for name, errors in self.errors.items():
            shown.add_row("Beale", f"{name}: iterations to an error of 1e-8", _until(errors))
        for name, share in self.rises.items():
            shown.add_row("Rosenbrock", f"{name}: starts where f rises", f"{share:.0%}")
        for name, share in self.uphill.items():
            shown.add_row("Beale", f"Newton, eigenvalues {name}: uphill", f"{share:.0%}")
        return shown


def run(config: Config) -> Result:
    """Descends, in float64."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        measured: dict[str, Any] = {
            "errors": {name: errors(make()) for name, make in DIRECTIONS.items()},
            "newton_on_quadratic": newton_on_quadratic(),
            "steepest_ratio": steepest_ratio(),
            "rises": {name: rises(make(), config) for name, make in STEP_SIZES.items()},
            "uphill": {rule: uphill(rule, config) for rule in ("none", *CONVEXIFIED)},
            "reported": reported(),
        }
    return Result(
        **measured,
        seconds=time.perf_counter() - began,
        claims=claims(**measured),
        config=config,
    )


def plot(result: Result) -> dict[str, Figure]:
    """The errors; the shares."""
    from dlcore import plot

    shown = {name: (range(len(values[:60])), values[:60]) for name, values in result.errors.items()}
    return {
        "convergence": plot.lines(
            plot.Panel("Beale's function", "iterations", "distance to the minimum", shown, log="y")
        ),
        "step_sizes": plot.bars(
            {name: {"share": share} for name, share in result.rises.items()},
            title="Rosenbrock: f rises on the way",
            y="share of starts",
            percent=True,
        ),
        "directions": plot.bars(
            {rule: {"share": share} for rule, share in result.uphill.items()},
            title="Beale: Newton leads uphill, by its rule for negative eigenvalues",
            y="share of places",
            percent=True,
        ),
    }


def errors(direction: optim.Direction) -> list[float]:
    """‖xₖ − x*‖ on Beale's function."""
    landscape = landscapes.beale
    found = optim.minimize(
        landscape.f,
        jnp.asarray(START),
        direction=direction,
        step_size=optim.wolfe(),
        tolerance=1e-12,
        max_iterations=200,
        record=lambda x: jnp.linalg.norm(x - jnp.asarray(landscape.minima[0])),
    )
    return found.history.record[: int(found.iterations) + 1].tolist()


def newton_on_quadratic() -> int:
    """Iterations of Newton's method at the step 1."""
    ravine = landscapes.ravine(CONDITION, 0.5)
    found = optim.minimize(
        ravine.f, jnp.asarray(ravine.start), direction=optim.newton(), step_size=1.0, tolerance=1e-9
    )
    return int(found.iterations)


def steepest_ratio() -> float:
    """The mean fₖ₊₁/fₖ of steepest descent from where it is slowest."""
    ravine = landscapes.ravine(CONDITION)
    found = optim.minimize(
        ravine.f,
        jnp.asarray(ravine.start),
        direction=optim.steepest(),
        step_size=optim.exact(),
        max_iterations=20,
    )
    return float((found.history.value[-1] / found.history.value[0]) ** (1 / 20))


def rises(step_size: Any, config: Config) -> float:
    """The share of starts where f is ever higher than before, or not finite."""

    def values(x0: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = optim.minimize(
            landscapes.rosenbrock.f,
            x0,
            direction=optim.steepest(),
            step_size=step_size,
            max_iterations=config.iterations,
        )
        return found.history.value, found.status

    starts = places(landscapes.rosenbrock, config)
    history, status = jax.jit(jax.vmap(values))(starts)
    rose = (np.diff(np.asarray(history), axis=1) > 0).any(axis=1)
    lost = np.asarray(status) == optim.Status.NOT_FINITE
    return float((rose | lost).mean())


def uphill(rule: str, config: Config) -> float:
    """Of the places where the Hessian is indefinite: the share with g·d > 0."""
    f, direction = landscapes.beale.f, optim.newton(rule)

    def ask(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        g = jax.grad(f)(x)
        d, _ = direction.next(f, x, g, ())  # type: ignore[arg-type]
        return jnp.vdot(g, d), jnp.linalg.eigvalsh(jax.hessian(f)(x))[0]

    slope, least = map(np.asarray, jax.jit(jax.vmap(ask))(places(landscapes.beale, config)))
    return float((slope[least < 0] > 0).mean())


def reported() -> bool:
    """Whether `minimize` says that there is no direction, on the saddle's line x = 0."""
    found = optim.minimize(
        landscapes.saddle.f, jnp.asarray([0.0, 0.1]), direction=optim.newton("zero")
    )
    return int(found.status) == optim.Status.NO_DIRECTION


def places(landscape: landscapes.Landscape, config: Config) -> jax.Array:
    """Evenly over the window."""
    low, high = np.array(landscape.window).T
    return jnp.asarray(np.random.default_rng(0).uniform(low, high, (config.starts, 2)))


def claims(
    errors: dict[str, list[float]],
    newton_on_quadratic: int,
    steepest_ratio: float,
    rises: dict[str, float],
    uphill: dict[str, float],
    reported: bool,
) -> list[claim.Claim]:
    """The theorems."""
    book = "Nocedal, Wright"
    newton, bfgs = (np.log([e for e in errors[name] if e > 1e-13]) for name in ("Newton", "BFGS"))
    steps = np.diff(newton)
    expected = ((CONDITION - 1) / (CONDITION + 1)) ** 2
    return [
        claim.near("Newton: iterations on a quadratic", 1, 0, newton_on_quadratic, "lecture C"),
        claim.near("Newton: order of convergence", 2, 0.3, float(steps[-1] / steps[-2]), book),
        claim.at_most("BFGS: eₖ₊₁/eₖ in the end", 0.2, float(np.exp(bfgs[-1] - bfgs[-2])), book),
        claim.near("steepest: fₖ₊₁/fₖ on a ravine", expected, 1e-3, steepest_ratio, book),
        claim.more_than("f rises: constant step", 0, rises["constant"], "lecture C"),
        claim.at_most(
            "f rises: exact, Armijo, Wolfe",
            0,
            max(rises[name] for name in ("exact", "Armijo", "Wolfe")),
            "lecture C",
        ),
        claim.more_than("uphill: Newton", 0, uphill["none"], "lecture C"),
        claim.at_most(
            "uphill: convexified", 0, max(uphill[rule] for rule in CONVEXIFIED), "lecture C"
        ),
        claim.near("no direction is reported", 1, 0, float(reported), "our own"),
    ]


def _until(errors: list[float]) -> str:
    low = [k for k, error in enumerate(errors) if error < 1e-8]
    return str(low[0]) if low else f"> {len(errors) - 1}"
