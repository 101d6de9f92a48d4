"""Functions of few numbers to watch a descent on, with their minima and where to start.

    landscapes.beale.f(jnp.array([3.0, 0.5]))    # 0
    landscapes.ravine(100.0).start               # (100.0, 1.0)

Each f takes x [..., 2] and gives [...], so that a grid for contours is one call. The lectures show
Beale's function and the long valley as animations without formulas; the valley's formula and the
starting points are our own, chosen to show what is said there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlcore.fields import documented


@documented
class Landscape(NamedTuple):
    """A function of two numbers, and what is known of it.

    f: of points [..., 2], gives [...].
    minima: the places of its global minima.
    value: f there.
    start: where descents usually begin.
    window: what a picture should show, ((x from, x to), (y from, y to)).
    """

    f: Callable[[jax.Array], jax.Array]
    minima: tuple[tuple[float, float], ...]
    value: float
    start: tuple[float, float]
    window: tuple[tuple[float, float], tuple[float, float]]


def _beale(x: jax.Array) -> jax.Array:
    """(1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)²."""
    x, y = x[..., 0], x[..., 1]
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def _long_valley(x: jax.Array) -> jax.Array:
    """10y² + (x² − 4)²/64."""
    x, y = x[..., 0], x[..., 1]
    return 10 * y**2 + (x**2 - 4) ** 2 / 64


def _rosenbrock(x: jax.Array) -> jax.Array:
    """Σᵢ 100(xᵢ₊₁ − xᵢ²)² + (1 − xᵢ)²."""
    last, following = x[..., :-1], x[..., 1:]
    return jnp.sum(100 * (following - last**2) ** 2 + (1 - last) ** 2, axis=-1)


def _saddle(x: jax.Array) -> jax.Array:
    """x² − y² + y⁴/4."""
    x, y = x[..., 0], x[..., 1]
    return x**2 - y**2 + y**4 / 4


def _ripples(x: jax.Array) -> jax.Array:
    """Σᵢ xᵢ²/4 + 1 − cos 2πxᵢ."""
    return jnp.sum(x**2 / 4 + 1 - jnp.cos(2 * jnp.pi * x), axis=-1)


def _plain(x: jax.Array) -> jax.Array:
    """1 − e^(−‖x‖²/2)."""
    return -jnp.expm1(-jnp.sum(x**2, axis=-1) / 2)


# A narrow curved floor between steep walls, and flat far away. From the start, on a wall, the
# gradient is 99 long: a velocity gathered there shoots across the floor (lecture E).
beale = Landscape(
    f=_beale,
    minima=((3.0, 0.5),),
    value=0.0,
    start=(1.0, 1.5),
    window=((-0.5, 4.5), (-1.5, 2.0)),
)

# Steep walls, and a floor that falls away to both sides of the line x = 0. The start, high on a
# wall, is almost on that line, where the slope along the floor is 1/8000 of that down the wall: who
# moves in proportion to the gradient stays, or swings from wall to wall (lecture E).
long_valley = Landscape(
    f=_long_valley,
    minima=((-2.0, 0.0), (2.0, 0.0)),
    value=0.0,
    start=(0.01, 1.0),
    window=((-2.5, 2.5), (-1.2, 1.2)),
)

# A curved ravine: its floor, y = x², is found at once, and the way along it is long. For x [..., n]
# with n > 2 it is the sum over neighbours, least at (1, …, 1). Rosenbrock 1960.
rosenbrock = Landscape(
    f=_rosenbrock,
    minima=((1.0, 1.0),),
    value=0.0,
    start=(-1.2, 1.0),
    window=((-1.8, 1.8), (-0.8, 2.2)),
)

# At the origin the gradient is 0 and f = x² − y² to second order. The start is near the line y = 0,
# which leads into the saddle.
saddle = Landscape(
    f=_saddle,
    minima=((0.0, -math.sqrt(2)), (0.0, math.sqrt(2))),
    value=-1.0,
    start=(1.0, 1e-3),
    window=((-1.5, 1.5), (-2.0, 2.0)),
)


# A bowl with a local minimum near every pair of whole numbers that is not far out, and walls of a
# height of 2 between neighbours. The start is in the hole of (2, −1). After Rastrigin 1974.
ripples = Landscape(
    f=_ripples,
    minima=((0.0, 0.0),),
    value=0.0,
    start=(2.2, -1.1),
    window=((-4.5, 4.5), (-4.5, 4.5)),
)

# A plateau with one hole: at a distance r from its middle the slope is re^(−r²/2), 0.001 at r = 4.
plain = Landscape(
    f=_plain,
    minima=((0.0, 0.0),),
    value=0.0,
    start=(3.0, 2.0),
    window=((-4.5, 4.5), (-4.5, 4.5)),
)


def ravine(condition: float = 100.0, angle: float = 0.0) -> Landscape:
    """½(u² + κv²), where κ = condition ≥ 1 and (u, v) are x turned back by `angle` (radians).

    Its Hessian has the eigenvalues 1 and κ. Steepest descent with exact line search is slowest from
    u/v = ±κ, where it starts: there f shrinks by exactly ((κ − 1)/(κ + 1))² at each step. An angle
    of 0 suits methods that scale each coordinate by itself, π/4 does not.
    """
    if not condition >= 1:
        raise ValueError(f"ravine: condition is {condition}, but at least 1 is wanted")
    cos, sin = math.cos(angle), math.sin(angle)

    def f(x: jax.Array) -> jax.Array:
        x, y = x[..., 0], x[..., 1]
        return ((cos * x + sin * y) ** 2 + condition * (cos * y - sin * x) ** 2) / 2

    reach = 1.2 * condition
    start = (cos * condition - sin, sin * condition + cos)
    return Landscape(f, ((0.0, 0.0),), 0.0, start, ((-reach, reach), (-reach, reach)))
