"""The descent itself: x ← x + αd, until the gradient is small."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from dlcore.fields import documented
from dlcore.optim.minimization.directions import Direction, Flat
from dlcore.optim.minimization.step_sizes import LineSearch, Point, Ray


class Status(enum.IntEnum):
    """Why a descent ended. Where it is not at its goal, x is the last point that it reached."""

    CONVERGED = 0
    MAX_ITERATIONS = 1
    NOT_A_DESCENT = 2  # ∇f·d ≥ 0: f does not fall along the direction
    NO_DIRECTION = 3  # d = 0 although ∇f ≠ 0
    NO_STEP = 4  # the line search found none: f falls for ever, or no further in this precision
    NOT_FINITE = 5  # f, its gradient or the direction is NaN or infinite
    INFEASIBLE = 6  # the constraints are not met


@documented
class History(NamedTuple):
    """What happened, for plots: arrays [max_iterations + 1], entry k that of xₖ.

    Entries past the last iteration are NaN, or 0 where they are integers; but where a step was
    refused, its slope follows, and the record of the same x again.

    value: f.
    gradient_norm: ‖∇f‖₂.
    step_size: the α of the step to xₖ, NaN at x₀.
    slope: the ∇f·d of the step to xₖ, NaN at x₀.
    record: a tree of what `minimize` was asked to record.
    """

    value: jax.Array
    gradient_norm: jax.Array
    step_size: jax.Array
    slope: jax.Array
    record: Any


@documented
class Method(NamedTuple):
    """How to descend.

    direction: how a direction is chosen.
    step_size: how far to go along it.
    box: lower and upper bounds, infinite where there is none.
    tolerance: of ‖∇f‖₂, where it ends.
    max_iterations: steps, after which it ends.
    record: what is kept of each x.
    """

    direction: Direction
    step_size: LineSearch
    box: tuple[jax.Array, jax.Array]
    tolerance: float
    max_iterations: int
    record: Callable[[jax.Array], Any]


@documented
class Descent(NamedTuple):
    """Where a descent is.

    x: a vector.
    value: f(x).
    gradient: ∇f(x), a vector.
    memory: what the direction remembers.
    iterations: steps taken.
    status: why it ended, a `Status`; MAX_ITERATIONS as long as it goes on.
    history: what happened so far.
    """

    x: jax.Array
    value: jax.Array
    gradient: jax.Array
    memory: Any
    iterations: jax.Array
    status: jax.Array
    history: History


def descend(f: Flat, x: jax.Array, method: Method) -> Descent:
    """From x, in the box, to where the gradient is 0 but for what points out of the box."""
    lower, upper = method.box

    def within(x: jax.Array, d: jax.Array) -> jax.Array:
        """P(x + d) − x, for the projection P into the box; without one, d itself."""
        return jnp.clip(d, lower - x, upper - x)

    def judged(x: jax.Array, value: jax.Array, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The norm of the gradient, as far as the box lets f fall, and whether that is the end."""
        norm = jnp.linalg.norm(within(x, -gradient))
        finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient))
        return norm, first(
            (~finite, Status.NOT_FINITE),
            (norm <= method.tolerance, Status.CONVERGED),
            default=Status.MAX_ITERATIONS,
        )

    def start() -> Descent:
        place = jnp.clip(x, lower, upper)
        value, gradient = jax.value_and_grad(f)(place)
        norm, status = judged(place, value, gradient)
        none = jnp.full_like(value, jnp.nan)
        entry = History(value, norm, none, none, method.record(place))
        return Descent(
            place,
            value,
            gradient,
            method.direction.init(place, gradient),
            jnp.zeros((), jnp.int32),
            status,
            first_entry(entry, method.max_iterations + 1),
        )

    def going(s: Descent) -> jax.Array:
        return (s.status == Status.MAX_ITERATIONS) & (s.iterations < method.max_iterations)

    def step(s: Descent) -> Descent:
        d, memory = method.direction.next(f, s.x, s.gradient, s.memory)
        d = within(s.x, d)
        slope = jnp.vdot(s.gradient, d)

        def place(alpha: jax.Array) -> jax.Array:
            return jnp.clip(s.x + alpha * d, lower, upper)

        def at(alpha: jax.Array) -> Point:
            value, gradient = jax.value_and_grad(f)(place(alpha))
            return Point(alpha, value, jnp.vdot(gradient, d), gradient)

        origin = Point(jnp.zeros_like(s.value), s.value, slope, s.gradient)
        ray = Ray(origin, lambda alpha: f(place(alpha)), at)
        point, found = method.step_size.search(ray, s.iterations)
        reached = (place(point.alpha), point.value, point.gradient)
        norm, status = judged(*reached)
        status = first(
            (~jnp.isfinite(slope), Status.NOT_FINITE),
            (~jnp.any(d), Status.NO_DIRECTION),
            (slope >= 0, Status.NOT_A_DESCENT),
            (~found | jnp.all(reached[0] == s.x), Status.NO_STEP),
            default=status,
        )
        moved = (status == Status.CONVERGED) | (status == Status.MAX_ITERATIONS)
        x, value, gradient = (
            jnp.where(moved, new, old)
            for new, old in zip(reached, (s.x, s.value, s.gradient), strict=True)
        )
        entry = History(
            value=jnp.where(moved, value, jnp.nan),
            gradient_norm=jnp.where(moved, norm, jnp.nan),
            step_size=jnp.where(moved, point.alpha, jnp.nan),
            slope=slope,
            record=method.record(x),
        )
        history = with_entry(s.history, s.iterations + 1, entry)
        iterations = s.iterations + jnp.where(moved, 1, 0)
        return Descent(x, value, gradient, memory, iterations, status, history)

    return lax.while_loop(going, step, start())


def first(*cases: tuple[jax.Array, Status], default: Any) -> jax.Array:
    """The status of the first case that holds."""
    conditions, statuses = zip(*cases, strict=True)
    choices = [jnp.asarray(status, jnp.int32) for status in (*statuses, default)]
    return jnp.select([*conditions], choices[:-1], choices[-1])


def first_entry(entry: Any, size: int) -> Any:
    """Arrays of `size` entries, of which the first is given and the others are NaN, or 0."""

    def rows(leaf: jax.typing.ArrayLike) -> jax.Array:
        leaf = jnp.asarray(leaf)
        blank = jnp.nan if jnp.issubdtype(leaf.dtype, jnp.floating) else 0
        return jnp.full((size, *leaf.shape), blank, leaf.dtype).at[0].set(leaf)

    return jax.tree.map(rows, entry)


def with_entry(history: Any, index: jax.Array, entry: Any) -> Any:
    """The history with one entry set."""
    return jax.tree.map(lambda rows, leaf: rows.at[index].set(leaf), history, entry)
