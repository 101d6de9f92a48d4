"""Curvature learned from the gradients on the way."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from dlcore.fields import documented
from dlcore.names import arguments
from dlcore.optim._checks import check_whole
from dlcore.optim.minimization.directions import Direction, Flat, Last, first_scale


@documented
class Inverse(NamedTuple):
    """The approximation of the inverse Hessian.

    last: the point and the gradient before this one.
    matrix: H, [W, W].
    fresh: whether no step has changed it yet.
    """

    last: Last
    matrix: jax.Array
    fresh: jax.Array


@documented
class Steps(NamedTuple):
    """The last steps, from old to new; rows not yet used are 0.

    last: the point and the gradient before this one.
    s: the changes of x, [m, W].
    y: the changes of g, [m, W].
    inverse_ys: 1/(y·s), [m].
    scale: that of the inverse Hessian before them.
    """

    last: Last
    s: jax.Array
    y: jax.Array
    inverse_ys: jax.Array
    scale: jax.Array


@arguments()
def bfgs() -> Direction:
    """Broyden, Fletcher, Goldfarb and Shanno's method: d = −Hg, H nearest to the last with Hy = s,

        H ← (I − ρsyᵀ)H(I − ρysᵀ) + ρssᵀ,    ρ = 1/(y·s),

    for the last step's changes s and y of x and g. H stays positive definite, so d descends, if
    y·s > 0, as `wolfe` provides; a step without it changes nothing. H is the identity times
    min(1, 1/‖g‖) until the first step, which begins from the identity times y·s/y·y. Near a minimum
    it converges superlinearly.

    It remembers W² numbers. Nocedal and Wright 2006, algorithm 6.1.
    """

    def init(x: jax.Array, g: jax.Array) -> Inverse:
        scale = first_scale(g)
        return Inverse(Last(x, g), scale * jnp.eye(x.size, dtype=x.dtype), jnp.ones((), bool))

    def following(
        f: Flat, x: jax.Array, g: jax.Array, memory: Inverse
    ) -> tuple[jax.Array, Inverse]:
        s, y = x - memory.last.x, g - memory.last.gradient
        curved, inverse_ys = _curvature(s, y)
        identity = jnp.eye(x.size, dtype=x.dtype)
        scaled = jnp.vdot(y, s) / jnp.where(curved, jnp.vdot(y, y), 1) * identity
        matrix = jnp.where(memory.fresh, scaled, memory.matrix)
        # The three products, with Hy formed once.
        hy = matrix @ y
        twice = jnp.outer(s, hy)
        updated = (
            matrix
            + inverse_ys * (1 + inverse_ys * jnp.vdot(y, hy)) * jnp.outer(s, s)
            - inverse_ys * (twice + twice.T)
        )
        matrix = jnp.where(curved, updated, memory.matrix)
        return -matrix @ g, Inverse(Last(x, g), matrix, memory.fresh & ~curved)

    return Direction(init, following)


@arguments()
def l_bfgs(memory: int = 10) -> Direction:
    """BFGS from the last `memory` steps alone, in 2·memory·W numbers: for large W.

    d = −Hg, where H is that of `bfgs` after these steps from the identity times y·s/y·y of the
    last, never formed. On a quadratic with `exact` line search it takes the same steps as `bfgs`
    and as conjugate gradients, whatever the memory.

    Args:
        memory: at least 1.

    Raises:
        TypeError, ValueError: for a number out of range.

    Nocedal 1980; Nocedal and Wright 2006, algorithms 7.4 and 7.5.
    """
    check_whole(memory=memory)

    def init(x: jax.Array, g: jax.Array) -> Steps:
        rows = jnp.zeros((memory, x.size), x.dtype)
        return Steps(Last(x, g), rows, rows, jnp.zeros(memory, x.dtype), first_scale(g))

    def following(f: Flat, x: jax.Array, g: jax.Array, steps: Steps) -> tuple[jax.Array, Steps]:
        s, y = x - steps.last.x, g - steps.last.gradient
        curved, inverse_ys = _curvature(s, y)
        scale = jnp.vdot(y, s) / jnp.where(curved, jnp.vdot(y, y), 1)

        def pushed(rows: jax.Array, row: jax.Array) -> jax.Array:
            return jnp.where(curved, jnp.roll(rows, -1, axis=0).at[-1].set(row), rows)

        steps = Steps(
            Last(x, g),
            pushed(steps.s, s),
            pushed(steps.y, y),
            pushed(steps.inverse_ys, inverse_ys),
            jnp.where(curved, scale, steps.scale),
        )
        return -_product(steps, g), steps

    return Direction(init, following)


def _product(steps: Steps, g: jax.Array) -> jax.Array:
    """Hg by two passes over the steps. A row of zeros leaves everything as it is."""
    rows = (steps.s, steps.y, steps.inverse_ys)

    def back(q: jax.Array, row: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        s, y, inverse_ys = row
        alpha = inverse_ys * jnp.vdot(s, q)
        return q - alpha * y, alpha

    def forth(r: jax.Array, row: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        s, y, inverse_ys, alpha = row
        return r + (alpha - inverse_ys * jnp.vdot(y, r)) * s, None

    q, alphas = lax.scan(back, g, rows, reverse=True)
    return lax.scan(forth, steps.scale * q, (*rows, alphas))[0]


def _curvature(s: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Whether y·s > 0 beyond rounding, and then 1/(y·s)."""
    product = jnp.vdot(y, s)
    rounding = float(jnp.finfo(s.dtype).eps) * jnp.linalg.norm(y) * jnp.linalg.norm(s)
    curved = product > rounding
    return curved, 1 / jnp.where(curved, product, 1)
