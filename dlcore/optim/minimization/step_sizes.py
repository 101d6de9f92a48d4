"""How far along the ray: φ(α) = f(x + αd), with φ'(0) = ∇f·d < 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from dlcore.fields import documented
from dlcore.names import arguments
from dlcore.optim._checks import check_numbers, check_positive, check_whole
from dlcore.optim._parts import like


@documented
class Point(NamedTuple):
    """A place on the ray.

    alpha: α.
    value: φ(α) = f(x + αd).
    slope: φ'(α) = ∇f(x + αd)·d.
    gradient: ∇f(x + αd).
    """

    alpha: jax.Array
    value: jax.Array
    slope: jax.Array
    gradient: jax.Array


@documented
class Ray(NamedTuple):
    """The ray x + αd.

    start: the point at α = 0.
    value: φ alone, at an α.
    at: all that there is at an α, a Point.
    """

    start: Point
    value: Callable[[jax.Array], jax.Array]
    at: Callable[[jax.Array], Point]


@documented
class LineSearch(NamedTuple):
    """How a step is chosen.

    search: search(ray, k) -> (point, found), at iteration k = 0, 1, …
    longest: the largest α that it may try.
    """

    search: Callable[[Ray, jax.Array], tuple[Point, jax.Array]]
    longest: float


def scheduled(schedule: optax.Schedule) -> LineSearch:
    """αₖ = schedule(k), whatever f does there."""

    def search(ray: Ray, count: jax.Array) -> tuple[Point, jax.Array]:
        alpha = schedule(count)
        if isinstance(alpha, LineSearch):
            raise TypeError("minimize: step_size was not called: step_size=optim.wolfe()")
        return ray.at(like(alpha, ray.start.alpha)), jnp.ones((), bool)

    return LineSearch(search, 1.0)


@arguments()
def armijo(
    initial: float = 1.0, decrease: float = 1e-4, shrink: float = 0.5, max_trials: int = 60
) -> LineSearch:
    """Backtracking: the first of α = initial, initial·shrink, initial·shrink², … that is enough,

        φ(α) ≤ φ(0) + c₁αφ'(0),    c₁ = decrease.

    and f falls, in rounded numbers too; NaN is not enough. For Newton's method and its kin
    `initial` is 1.

    Args:
        initial: above 0.
        decrease: c₁ in [0, 1); for Newton's method below ½, or a quadratic's own minimum fails.
        shrink: in (0, 1).
        max_trials: at least 1.

    Raises:
        TypeError, ValueError: for a number out of range.

    Armijo 1966; Nocedal and Wright 2006, algorithm 3.1.
    """
    check_positive(initial=initial, shrink=shrink)
    check_numbers(below=1, decrease=decrease, shrink=shrink)
    check_whole(max_trials=max_trials)

    def search(ray: Ray, count: jax.Array) -> tuple[Point, jax.Array]:
        def enough(alpha: jax.Array, value: jax.Array) -> jax.Array:
            wanted = ray.start.value + decrease * alpha * ray.start.slope
            return (value <= wanted) & (value < ray.start.value)

        def going(s: tuple[jax.Array, jax.Array]) -> jax.Array:
            alpha, trials = s
            return ~enough(alpha, ray.value(alpha)) & (trials < max_trials)

        def shorter(s: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            alpha, trials = s
            return shrink * alpha, trials + 1

        longest = jnp.full_like(ray.start.alpha, initial)
        alpha, _ = lax.while_loop(going, shorter, (longest, jnp.ones((), jnp.int32)))
        point = ray.at(alpha)
        return point, enough(point.alpha, point.value)

    return LineSearch(search, initial)


@arguments()
def wolfe(
    initial: float = 1.0, decrease: float = 1e-4, curvature: float = 0.9, max_trials: int = 30
) -> LineSearch:
    """A step that meets the strong Wolfe conditions: far enough down, and flat enough there,

        φ(α) ≤ φ(0) + c₁αφ'(0)    and    |φ'(α)| ≤ −c₂φ'(0).

    The second has y·s > 0 for the changes of x and of the gradient, on which `bfgs` builds. No step
    is found where f falls for ever, or no further in the numbers' precision.

    Args:
        initial: the first α to try, above 0.
        decrease: c₁ in [0, 1).
        curvature: c₂ in (c₁, 1); 0.9 for Newton's method and its kin.
        max_trials: at least 1.

    Raises:
        TypeError, ValueError: for a number out of range.

    Nocedal and Wright 2006, algorithms 3.5 and 3.6, as one loop: while nothing bounds α from above,
    the end of the interval is infinite. The trial within it is where a straight line through the
    two slopes is 0.
    """
    check_positive(initial=initial)
    check_numbers(below=1, curvature=curvature)
    check_numbers(below=curvature, decrease=decrease)
    check_whole(max_trials=max_trials)

    def search(ray: Ray, count: jax.Array) -> tuple[Point, jax.Array]:
        end = _zoom(ray, initial, decrease, curvature, 0.0, max_trials)
        return end.low, end.found

    return LineSearch(search, float("inf"))


@arguments()
def exact(initial: float = 1.0, tolerance: float | None = None, max_trials: int = 60) -> LineSearch:
    """A minimiser along the ray: φ'(α) = 0, to |φ'(α)| ≤ tolerance·|φ'(0)| or as near as it gets.

    There the gradient is orthogonal to the direction. Of several minimisers it is one in the first
    interval that doubling `initial` finds f to rise in; α = argmin is guaranteed for convex f.

    Args:
        initial: the first α to try, above 0.
        tolerance: in [0, 1); by default u^⅔ for the dtype's machine epsilon u.
        max_trials: at least 1.

    Raises:
        TypeError, ValueError: for a number out of range.

    Lecture C, whose "α = min f" is read as argmin. The search is that of `wolfe`, with c₁ = 0 and
    c₂ = tolerance; near the minimiser, where values differ by rounding alone, slopes decide.
    """
    check_positive(initial=initial)
    check_whole(max_trials=max_trials)
    if tolerance is not None:
        check_numbers(below=1, tolerance=tolerance)

    def search(ray: Ray, count: jax.Array) -> tuple[Point, jax.Array]:
        rounding = float(jnp.finfo(ray.start.value.dtype).eps)
        flat = rounding ** (2 / 3) if tolerance is None else tolerance
        end = _zoom(ray, initial, 0.0, flat, 8 * rounding, max_trials)
        return end.low, end.found | (jnp.isfinite(end.high.alpha) & (end.low.alpha > 0))

    return LineSearch(search, float("inf"))


class _Interval(NamedTuple):
    """Between low and high lies what is looked for; φ falls from low, the lowest place so far."""

    low: Point
    high: Point
    found: jax.Array  # whether it is low itself
    trials: jax.Array


def _zoom(
    ray: Ray, initial: float, decrease: float, curvature: float, slack: float, max_trials: int
) -> _Interval:
    """Narrows [low, high] about a step with both of Wolfe's conditions; low may lie above high.

    Values that exceed what is wanted by slack·|φ(0)| pass.
    """
    start = ray.start
    margin = slack * jnp.abs(start.value)

    def going(s: _Interval) -> jax.Array:
        return ~s.found & (s.trials < max_trials)

    def narrower(s: _Interval) -> _Interval:
        farther = jnp.maximum(initial, 2 * s.low.alpha)
        p = ray.at(jnp.where(jnp.isinf(s.high.alpha), farther, _between(s.low, s.high)))
        # A value that is NaN or infinite is none of these, and becomes the high end.
        enough = p.value <= start.value + decrease * p.alpha * start.slope + margin
        better = enough & (p.value <= s.low.value + margin) & jnp.isfinite(p.value)
        rises_to_high = p.slope * (s.high.alpha - s.low.alpha) >= 0
        return _Interval(
            low=_choose(better, p, s.low),
            high=_choose(better, _choose(rises_to_high, s.low, s.high), p),
            found=better & (jnp.abs(p.slope) <= -curvature * start.slope),
            trials=s.trials + 1,
        )

    unbounded = start._replace(alpha=jnp.full_like(start.alpha, jnp.inf))
    return lax.while_loop(
        going, narrower, _Interval(start, unbounded, jnp.zeros((), bool), jnp.zeros((), jnp.int32))
    )


def _between(low: Point, high: Point) -> jax.Array:
    """Where the slope is 0 if it is linear, at least a tenth of the way from either end."""
    share = low.slope / (low.slope - high.slope)
    usable = jnp.isfinite(high.value) & (low.slope * high.slope < 0)
    return low.alpha + jnp.where(usable, jnp.clip(share, 0.1, 0.9), 0.5) * (high.alpha - low.alpha)


def _choose(condition: jax.Array, yes: Point, no: Point) -> Point:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
