"""Curvature brings a quadratic convergence; a line search and a convex model keep it downhill.

How fast the error falls towards the minimum of Beale's function (on Rosenbrock's, whose floor is
curved, long and short steps take turns, and no three errors tell the order); on how many starts f
rises under a step size; and, where the Hessian is indefinite, who still points downhill.

Lecture C (Newton's d with its minus, α an argmin); Nocedal and Wright 2006, theorems 3.3, 3.5, 6.6.
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
SLOWEST = ((CONDITION - 1) / (CONDITION + 1)) ** 2
BOOK = "Nocedal and Wright"
CLAIMS = (
    Claim("Newton: iterations on a quadratic", "1 ± 0", "lecture C"),
    Claim("Newton: order p of convergence, eₖ₊₁ ∝ eₖᵖ", "2 ± 0.3", f"{BOOK}, theorem 3.5"),
    Claim("BFGS: eₖ₊₁/eₖ in the end, superlinear", "≤ 0.2", f"{BOOK}, theorem 6.6"),
    Claim("steepest, exact: fₖ₊₁/fₖ", f"{SLOWEST:.4f} ± 0.001", f"{BOOK}, theorem 3.3"),
    Claim("starts where f rises: a constant step", "> 0", "lecture C"),
    Claim("starts where f rises: exact, Armijo, Wolfe", "≤ 0", "lecture C"),
    Claim("places where Newton's direction leads uphill", "> 0", "lecture C"),
    Claim("places where the convexified ones do", "≤ 0", "lecture C"),
    Claim("d = 0, gradient in the negative space: reported", "1 ± 0", "dlcore"),
)
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
class Config(BaseConfig):
    """How much is tried."""

    starts: int = 100
    """Of steepest descent with each step size, and places to ask for a direction."""
    iterations: int = 100
    """Of steepest descent from each start."""

    def __post_init__(self) -> None:
        at_least(10, starts=self.starts)
        at_least(5, iterations=self.iterations)


SMOKE = Config(starts=20, iterations=20)


class Measured(NamedTuple):
    """The errors by direction, and shares: of starts where f rises, of places led uphill."""

    errors: dict[str, list[float]]
    newton_on_quadratic: int
    steepest_ratio: float
    rises: dict[str, float]
    uphill: dict[str, float]
    reported: bool


def run(config: Config) -> Measured:
    """Descends, in float64."""
    with jax.enable_x64(True):
        return Measured(
            errors={name: errors(make()) for name, make in DIRECTIONS.items()},
            newton_on_quadratic=newton_on_quadratic(),
            steepest_ratio=steepest_ratio(),
            rises={name: rises(make(), config) for name, make in STEP_SIZES.items()},
            uphill={rule: uphill(rule, config) for rule in ("none", *CONVEXIFIED)},
            reported=reported(),
        )


def figures(result: Result[Measured]) -> list[float]:
    """What the theorems are about."""
    found = result.measured
    newton, bfgs = (np.log([e for e in found.errors[n] if e > 1e-13]) for n in ("Newton", "BFGS"))
    steps = np.diff(newton)
    return [
        found.newton_on_quadratic,
        steps[-1] / steps[-2],
        np.exp(bfgs[-1] - bfgs[-2]),
        found.steepest_ratio,
        found.rises["constant"],
        max(found.rises[name] for name in ("exact", "Armijo", "Wolfe")),
        found.uphill["none"],
        max(found.uphill[rule] for rule in CONVEXIFIED),
        found.reported,
    ]


def table(result: Result[Measured]) -> Table:
    """A line for each direction, step size and rule."""
    yield "on", "what", "measured"
    for name, errors in result.measured.errors.items():
        yield "Beale", f"{name}: iterations to an error of 1e-8", _until(errors)
    for name, share in result.measured.rises.items():
        yield "Rosenbrock", f"{name}: starts where f rises", f"{share:.0%}"
    for name, share in result.measured.uphill.items():
        yield "Beale", f"Newton, eigenvalues {name}: uphill", f"{share:.0%}"


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """The errors; the shares."""
    from dlcore import plot

    shown = {
        name: (range(len(values[:60])), values[:60])
        for name, values in result.measured.errors.items()
    }
    return {
        "convergence": plot.lines(
            plot.Panel("Beale's function", "iterations", "distance to the minimum", shown, log="y")
        ),
        "step_sizes": plot.bars(
            {name: {"share": share} for name, share in result.measured.rises.items()},
            title="Rosenbrock: f rises on the way",
            y="share of starts",
            percent=True,
        ),
        "directions": plot.bars(
            {rule: {"share": share} for rule, share in result.measured.uphill.items()},
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


def _until(errors: list[float]) -> str:
    low = [k for k, error in enumerate(errors) if error < 1e-8]
    return str(low[0]) if low else f"> {len(errors) - 1}"
