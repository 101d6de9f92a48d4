"""`minimize`: a function of a tree of numbers, down to where its gradient is 0."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from dlcore.checks import is_concrete
from dlcore.fields import documented
from dlcore.names import arguments
from dlcore.optim._checks import (
    check_leaves,
    check_numbers,
    check_positive,
    check_scheduled,
    check_whole,
)
from dlcore.optim._parts import like
from dlcore.optim.minimization.constraints import Constraints, Rounds, solve
from dlcore.optim.minimization.directions import Direction, Flat, memoryless, spectral
from dlcore.optim.minimization.loop import History, Method, Status, descend
from dlcore.optim.minimization.quasi_newton import l_bfgs
from dlcore.optim.minimization.step_sizes import LineSearch, armijo, scheduled, wolfe

UserDirection = Callable[[Callable[[Any], jax.Array], Any, Any], Any]


@documented
class Result(NamedTuple):
    """What `minimize` found.

    x: like x₀.
    value: f(x).
    gradient: ∇f(x), a tree like x; with constraints that of the Lagrangian f + λ·h + μ·g.
    status: why it ended, a `Status`.
    iterations: steps taken.
    history: a `History`, or with constraints `Rounds`.
    constraints: how they stand at x; None without.
    """

    x: Any
    value: jax.Array
    gradient: Any
    status: jax.Array
    iterations: jax.Array
    history: History | Rounds
    constraints: Constraints | None = None

    @property
    def converged(self) -> jax.Array:
        """Whether the gradient is as small as was asked for, and the constraints hold."""
        return self.status == Status.CONVERGED

    @property
    def message(self) -> str:
        """Why it ended, in one line; of a single result, not of many under `jax.vmap`."""
        taken = f"after {int(self.iterations)} iterations, f = {float(self.value):.6g}"
        return f"{_REASONS[Status(int(self.status))]} {taken}"


_REASONS = {
    Status.CONVERGED: "converged",
    Status.MAX_ITERATIONS: "not converged",
    Status.NOT_A_DESCENT: "the direction does not descend (∇f·d ≥ 0)",
    Status.NO_DIRECTION: "the direction is 0, but not the gradient,",
    Status.NO_STEP: "no step along the direction meets the conditions",
    Status.NOT_FINITE: "f, its gradient or the direction is not finite",
    Status.INFEASIBLE: "the constraints are not met",
}


@arguments()
def minimize(
    f: Callable[..., jax.Array],
    x0: Any,
    *,
    args: tuple[Any, ...] = (),
    direction: Direction | UserDirection | None = None,
    step_size: float | optax.Schedule | LineSearch | None = None,
    tolerance: float = 1e-5,
    max_iterations: int = 1000,
    record: Callable[[Any], Any] | None = None,
    box: tuple[Any, Any] | None = None,
    equality: Callable[..., Any] | None = None,
    inequality: Callable[..., Any] | None = None,
) -> Result:
    """A local minimum of f: x ← x + αd from x₀, with ∇f·d < 0, until ‖∇f‖₂ ≤ tolerance.

        minimum = optim.minimize(loss, params, direction=optim.bfgs())
        minimum.x, minimum.message

    Pure: under `jax.jit` one compiled loop, under `jax.vmap` many starts at once. The precision is
    that of x₀; where float32 ends, no line search finds a lower value, which is reported (NO_STEP).

    Args:
        f: from a tree like x₀, and `args`, to one number.
        x0: a tree of one floating dtype.
        args: what f, the constraints and `gauss_newton`'s r are called with after x, such as data:
            f(x, *args). Trees of arrays; what is no array is closed over instead.
        direction: `steepest()`, `newton()`, `newton_cg()`, `gauss_newton(r)`, `bfgs()`,
            `l_bfgs()` (the default), `spectral()` (the default in a box), or any function
            direction(f, x, gradient) of trees to a tree. One that does not lead downhill is
            reported, and not followed.
        step_size: a number; a schedule, a function of k = 0, 1, …, such as `diminishing`; or a line
            search, `exact()`, `armijo()` (the default in a box) or `wolfe()` (the default).
        tolerance: at least 0.
        max_iterations: at least 1; with constraints, in each of at most 50 rounds.
        record: a function of x whose results are kept at each xₖ, in `history.record`;
            `record=lambda x: x` keeps the path.
        box: (lower, upper), each a number or a tree like x₀: x stays within, by projection. There
            ‖P(x − ∇f) − x‖₂ is in the place of ‖∇f‖₂, and d is P(x + d) − x, which need not
            descend unless d is along −∇f.
        equality: h, from x and `args` to a tree of arrays that shall be 0.
        inequality: g, from x and `args` to a tree of arrays that shall be at most 0. Both by the
            augmented Lagrangian, to within `tolerance`: in float64, or with one of about 1e-3.

    Raises:
        TypeError, ValueError: for x₀ as an optimizer's `init`; where f is not one number; for a
            number out of range; and for what is neither a direction nor a step size.

    Lecture C. Nocedal and Wright 2006, chapters 3 and 6; for constraints algorithm 17.4 with the
    inequalities of Rockafellar 1973; in a box Birgin, Martínez and Raydan 2000.

    >>> minimize(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2)).x.round(4)
    Array([3., 3.], dtype=float32)
    """
    check_numbers(tolerance=tolerance)
    check_whole(max_iterations=max_iterations)
    x, unravel = _flat(x0)
    if not isinstance(args, tuple):
        raise TypeError(f"minimize: args must be a tuple, got {type(args).__name__}: args=(data,)")
    _check_value(f, x0, args)
    if direction is None:
        direction = l_bfgs() if box is None else spectral()
    if step_size is None:
        step_size = wolfe() if box is None else armijo()
    method = Method(
        direction=_direction(direction),
        step_size=_step_size(step_size, in_box=box is not None),
        box=_box(box, x0, x),
        tolerance=tolerance,
        max_iterations=max_iterations,
        record=(lambda x: ()) if record is None else (lambda x: record(unravel(x))),
    )

    @jax.jit
    def run(x: jax.Array, args: tuple[Any, ...]) -> Result:
        end: Any
        flat = Flat(lambda tree: f(tree, *args), unravel, args)
        if equality is None and inequality is None:
            end, constraints = descend(flat, x, method), None
        else:
            h, g = (_vector(one, args, x.dtype) for one in (equality, inequality))
            end = solve(flat, x, h, g, method)
            constraints = end.constraints
        return Result(
            x=unravel(end.x),
            value=end.value,
            gradient=unravel(end.gradient),
            status=end.status,
            iterations=end.iterations,
            history=end.history,
            constraints=constraints,
        )

    return run(x, args)


def _flat(x0: Any) -> tuple[jax.Array, Callable[[jax.Array], Any]]:
    check_leaves(x0)
    dtypes = sorted({str(jnp.result_type(leaf)) for leaf in jax.tree.leaves(x0)})
    if len(dtypes) != 1:
        raise TypeError(f"minimize: x0 is of {' and '.join(dtypes)}, but one dtype is wanted")
    return ravel_pytree(x0)


def _check_value(f: Callable[..., jax.Array], x0: Any, args: tuple[Any, ...]) -> None:
    value = jax.eval_shape(f, x0, *args)
    if jnp.shape(value) != ():
        raise ValueError(f"minimize: f gives shape {jnp.shape(value)}, but one number is wanted")


def _direction(direction: Direction | UserDirection) -> Direction:
    """As it is, or of the vector what the user wrote for trees."""
    if isinstance(direction, Direction):
        return direction
    try:
        inspect.signature(direction).bind("f", "x", "gradient")
    except TypeError:
        raise TypeError(
            "minimize: direction must be one such as optim.newton(), called, or a function "
            f"direction(f, x, gradient), got {direction!r}"
        ) from None

    def of_vector(f: Flat, x: jax.Array, g: jax.Array) -> jax.Array:
        d = ravel_pytree(direction(f.function, f.unravel(x), f.unravel(g)))[0]
        if d.shape != x.shape:
            raise ValueError(f"minimize: direction gives {d.size} numbers, but x has {x.size}")
        return like(d, x)

    return memoryless(of_vector)


def _step_size(step_size: float | optax.Schedule | LineSearch, in_box: bool) -> LineSearch:
    if not isinstance(step_size, LineSearch):
        check_scheduled(step_size=step_size)
        if callable(step_size):
            return scheduled(step_size)
        check_positive(step_size=step_size)
        return scheduled(lambda count: step_size)
    if in_box and step_size.longest > 1:
        raise ValueError(
            "minimize: in a box the step size is at most 1, but this line search goes farther: "
            "step_size=optim.armijo()"
        )
    return step_size


def _box(box: tuple[Any, Any] | None, x0: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    lower, upper = (-jnp.inf, jnp.inf) if box is None else box
    bounds = _bound("lower", lower, x0, x), _bound("upper", upper, x0, x)
    if is_concrete(bounds[0]) and is_concrete(bounds[1]) and bool(jnp.any(bounds[0] > bounds[1])):
        raise ValueError("minimize: box has a lower bound above its upper bound")
    return bounds


def _bound(name: str, bound: Any, x0: Any, x: jax.Array) -> jax.Array:
    """One number, or a vector of a tree like x₀."""
    if jax.tree_util.all_leaves([bound]) and jnp.ndim(bound) == 0:
        return jnp.asarray(bound, x.dtype)
    if jax.tree.map(jnp.shape, bound) != jax.tree.map(jnp.shape, x0):
        raise ValueError(
            f"minimize: the {name} bounds are of shapes {jax.tree.map(jnp.shape, bound)}, but a "
            f"number or shapes {jax.tree.map(jnp.shape, x0)} are wanted"
        )
    return like(ravel_pytree(bound)[0], x)


def _vector(
    function: Callable[..., Any] | None, args: tuple[Any, ...], dtype: Any
) -> Callable[[Any], jax.Array]:
    """What a constraint gives, as one vector; none gives an empty one."""
    if function is None:
        return lambda tree: jnp.zeros(0, dtype)
    return lambda tree: ravel_pytree(function(tree, *args))[0].astype(dtype)
