"""The Hessian without its matrix: what it makes of a vector, and equations solved by that alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from dlcore.fields import documented
from dlcore.names import arguments
from dlcore.optim._checks import check_numbers, check_whole


@arguments()
def hessian_product(f: Callable[[Any], jax.Array], x: Any) -> Callable[[Any], Any]:
    """The function v ↦ Hv, where H = ∇²f(x), for trees v like x.

    Hv is the derivative of ∇f along v: forward mode over reverse mode. It costs about as much as
    two gradients, and O(W) memory where H itself has W² entries. What depends on x alone is
    computed once, for any number of products.

    A function with a derivative of its own for the reverse mode only (`jax.custom_vjp`) has no
    forward mode, and JAX refuses it. Pearlmutter 1994.

    >>> product = hessian_product(lambda x: x[0] ** 2 * x[1], jnp.array([3.0, 5.0]))
    >>> product(jnp.array([1.0, 0.0]))
    Array([10.,  6.], dtype=float32)
    """
    return jax.linearize(jax.grad(f), x)[1]


@documented
class Solution(NamedTuple):
    """What conjugate gradients found.

    x: like b.
    residual_norm: ‖b − Ax‖₂ as it is carried along.
    iterations: products taken that changed x.
    negative_curvature: whether it ended at a direction p with p·Ap ≤ 0.
    """

    x: Any
    residual_norm: jax.Array
    iterations: jax.Array
    negative_curvature: jax.Array


@arguments()
def conjugate_gradient(
    product: Callable[[Any], Any],
    b: Any,
    *,
    tolerance: float | jax.Array = 1e-5,
    max_iterations: int = 100,
) -> Solution:
    """Solves Ax = b for a symmetric positive definite A, given as the function v ↦ Av.

    From x = 0, r = p = b: α = r·r/p·Ap, x ← x + αp, r₊ = r − αAp, p ← r₊ + (r₊·r₊/r·r)p, until
    ‖r‖ ≤ tolerance·‖b‖. In exact arithmetic it takes as many products as A has different
    eigenvalues, and every x on the way minimises ½x·Ax − b·x over the directions seen.

    Where A turns out not to be positive definite, p·Ap ≤ 0, it ends with the x so far: what the
    iteration did until then holds, and from the first direction on that is x = 0.

    Args:
        product: linear and symmetric, from trees like b to trees like b.
        b: a tree of one floating dtype.
        tolerance: at least 0.
        max_iterations: at least 1.

    Hestenes and Stiefel 1952; Nocedal and Wright 2006, algorithm 5.2. Equals
    `jax.scipy.sparse.linalg.cg`, which does not look at the curvature.

    >>> conjugate_gradient(lambda v: jnp.array([2.0, 4.0]) * v, jnp.ones(2)).x.round(4)
    Array([0.5 , 0.25], dtype=float32)
    """
    check_numbers(tolerance=tolerance)
    check_whole(max_iterations=max_iterations)
    b, unravel = ravel_pytree(b)
    target = jnp.square(jnp.asarray(tolerance, b.dtype)) * jnp.vdot(b, b)

    class State(NamedTuple):
        x: jax.Array
        residual: jax.Array
        direction: jax.Array
        square: jax.Array  # r·r
        iterations: jax.Array
        negative: jax.Array

    def going(s: State) -> jax.Array:
        return (s.square > target) & (s.iterations < max_iterations) & ~s.negative

    def step(s: State) -> State:
        image = ravel_pytree(product(unravel(s.direction)))[0]
        curvature = jnp.vdot(s.direction, image)
        negative = curvature <= 0
        alpha = jnp.where(negative, 0, s.square / jnp.where(negative, 1, curvature))
        residual = s.residual - alpha * image
        square = jnp.vdot(residual, residual)
        return State(
            x=s.x + alpha * s.direction,
            residual=residual,
            direction=residual + square / s.square * s.direction,
            square=square,
            iterations=s.iterations + jnp.where(negative, 0, 1),
            negative=negative,
        )

    no = jnp.zeros((), bool)
    start = State(jnp.zeros_like(b), b, b, jnp.vdot(b, b), jnp.zeros((), jnp.int32), no)
    end = lax.while_loop(going, step, start)
    return Solution(unravel(end.x), jnp.sqrt(end.square), end.iterations, end.negative)
