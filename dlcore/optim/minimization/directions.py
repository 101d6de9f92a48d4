"""Where to go: a direction d with ∇f·d < 0, from the gradient g and the curvature."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from dlcore.checks import one_of
from dlcore.fields import documented
from dlcore.names import arguments
from dlcore.optim._checks import check_numbers, check_positive, check_whole
from dlcore.optim.minimization.curvature import conjugate_gradient, hessian_product


@dataclasses.dataclass(frozen=True)
class Flat:
    """A function of a tree, as a function of all its numbers in one vector.

    function: of the tree, one number.
    unravel: from the vector to the tree.
    args: what `minimize` was given besides the tree, which the function has already.
    """

    function: Callable[[Any], jax.Array]
    unravel: Callable[[jax.Array], Any]
    args: tuple[Any, ...] = ()

    def __call__(self, x: jax.Array) -> jax.Array:
        """The value, in the dtype of x."""
        return jnp.asarray(self.function(self.unravel(x)), x.dtype)


@documented
class Direction(NamedTuple):
    """How a direction is chosen, and what it remembers; x, g = ∇f(x) and d are vectors.

    init: init(x, g) -> memory.
    next: next(f, x, g, memory) -> (d, memory), at each iteration, where f is the function of the
        vector and f.unravel(x) the tree that `minimize` was given.
    """

    init: Callable[[jax.Array, jax.Array], Any]
    next: Callable[[Flat, jax.Array, jax.Array, Any], tuple[jax.Array, Any]]


@documented
class Last(NamedTuple):
    """What was before this one.

    x: the point.
    gradient: the gradient.
    """

    x: jax.Array
    gradient: jax.Array


def memoryless(direction: Callable[[Flat, jax.Array, jax.Array], jax.Array]) -> Direction:
    """The Direction that depends on where it is alone."""
    return Direction(lambda x, g: (), lambda f, x, g, memory: (direction(f, x, g), memory))


def first_scale(g: jax.Array) -> jax.Array:
    """min(1, 1/‖g‖): the scale of a first step, before any curvature was seen."""
    return 1 / jnp.maximum(1, jnp.linalg.norm(g))


# ---------------------------------------------------------------------------- of the gradient alone


@arguments()
def steepest() -> Direction:
    """Steepest descent: d = −g.

    With `exact` line search each direction is orthogonal to the last, and on a quadratic the
    distance to the minimum in the norm of H shrinks at least by (κ − 1)/(κ + 1) a step, where κ is
    the condition number of H. Nocedal and Wright 2006, theorem 3.3.
    """
    return memoryless(lambda f, x, g: -g)


@arguments()
def spectral() -> Direction:
    """Steepest descent as long as the last step says: d = −(s·s/s·y)g, for its changes s and y of
    x and g.

    s·y/s·s is the mean curvature along the step. Where it was not positive d = −g, cut to length 1.
    Barzilai and Borwein 1988, equation 5; in a box this is the spectral projected gradient of
    Birgin, Martínez and Raydan 2000, but f falls at every step.
    """

    def following(f: Flat, x: jax.Array, g: jax.Array, last: Last) -> tuple[jax.Array, Last]:
        s, y = x - last.x, g - last.gradient
        curvature = jnp.vdot(s, y)
        curved = curvature > 0
        scale = jnp.vdot(s, s) / jnp.where(curved, curvature, 1)
        return -jnp.where(curved, scale, first_scale(g)) * g, Last(x, g)

    return Direction(Last, following)


# ----------------------------------------------------------------------------------- of curvature


@arguments()
def newton(convexify: str = "none", *, floor: float = 1e-3, damping: float = 0.0) -> Direction:
    """Newton's method: d = −B⁻¹g, to where the quadratic model g·d + ½d·Bd has its minimum.

    With H = ∇²f = Σ λᵢvᵢvᵢᵀ, and Σ over what remains where B has no inverse,

    "none":      B = H + λI, as it is,
    "zero":      B = Σ max(λᵢ, 0) vᵢvᵢᵀ + λI,
    "floor":     B = Σ max(λᵢ, δ) vᵢvᵢᵀ + λI,
    "absolute":  B = Σ |λᵢ| vᵢvᵢᵀ + λI.

    Where H is positive definite Newton's method converges quadratically. Elsewhere −H⁻¹g may lead
    uphill, to a saddle or a maximum, and `minimize` reports it; each of the others has g·d ≤ 0.
    "zero" does not move in the directions of negative curvature: where g lies in them alone, d = 0,
    which is reported. "floor" and "absolute" move down there, by |vᵢ·g|/δ or |vᵢ·g/λᵢ|.

    The Hessian [W, W] is formed and solved with: for thousands of numbers at most. For more, and
    for networks, `newton_cg`.

    Args:
        convexify: "none", "zero", "floor" or "absolute".
        floor: δ > 0, the least curvature under "floor".
        damping: λ ≥ 0 of Levenberg: steps turn shorter, towards the gradient's direction.

    Raises:
        TypeError, ValueError: for another name, or a number out of range.

    Lecture C, whose d = +H⁻¹g is read with its minus; it convexifies "e.g. by removing negative
    eigenvalues". Nocedal and Wright 2006, section 3.4; "absolute" is Dauphin et al. 2014.
    """
    check_positive(floor=floor)
    check_numbers(damping=damping)
    rule = one_of(
        "newton",
        "convexify",
        convexify,
        {
            "none": None,
            "zero": lambda eigenvalues: jnp.maximum(eigenvalues, 0),
            "floor": lambda eigenvalues: jnp.maximum(eigenvalues, floor),
            "absolute": jnp.abs,
        },
    )

    def direction(f: Flat, x: jax.Array, g: jax.Array) -> jax.Array:
        hessian = jax.hessian(f)(x)
        if rule is None:
            return -jnp.linalg.solve(hessian + damping * jnp.eye(g.size, dtype=g.dtype), g)
        eigenvalues, vectors = jnp.linalg.eigh(hessian)
        curvatures = rule(eigenvalues) + damping
        along = g @ vectors
        # What is within rounding of 0 is 0: neither a curvature to divide by, nor a way to go.
        rounding = g.size * float(jnp.finfo(g.dtype).eps)
        curved = curvatures > rounding * jnp.max(jnp.abs(eigenvalues))
        felt = jnp.abs(along) > rounding * jnp.linalg.norm(g)
        moves = curved & felt
        return -vectors @ jnp.where(moves, along / jnp.where(moves, curvatures, 1), 0)

    return memoryless(direction)


@arguments()
def newton_cg(max_iterations: int = 100, *, damping: float = 0.0) -> Direction:
    """Newton's method without the matrix: (H + λI)d = −g by conjugate gradients, not to the end.

    Each iteration of them takes one product Hv (`hessian_product`), so the memory is O(W): for
    networks. They end when ‖Hd + g‖ ≤ min(½, √‖g‖)·‖g‖, early where the gradient is large and
    exactly enough near the minimum for superlinear convergence; or at a direction of no positive
    curvature, with the d so far, at the first one −g. So d always descends.

    Args:
        max_iterations: of conjugate gradients, at least 1.
        damping: λ ≥ 0 of Levenberg.

    Raises:
        TypeError, ValueError: for a number out of range.

    Nocedal and Wright 2006, algorithm 7.1.
    """
    check_whole(max_iterations=max_iterations)
    check_numbers(damping=damping)

    def direction(f: Flat, x: jax.Array, g: jax.Array) -> jax.Array:
        product = hessian_product(f, x)
        norm = jnp.linalg.norm(g)
        solution = conjugate_gradient(
            lambda v: product(v) + damping * v,
            -g,
            tolerance=jnp.minimum(0.5, jnp.sqrt(norm)),
            max_iterations=max_iterations,
        )
        return jnp.where(solution.iterations == 0, -g, solution.x)

    return memoryless(direction)


@arguments()
def gauss_newton(residuals: Callable[..., Any], *, damping: float = 0.0) -> Direction:
    """Gauss and Newton's method for f = c‖r(x)‖²: d minimises ‖r + Jd‖² + λ‖d‖², J = ∂r/∂x.

    It is Newton's with 2cJᵀJ in place of the Hessian, without r's own second derivatives: near
    quadratic where r is small or nearly linear, and a descent direction wherever g ≠ 0. Of several
    minimisers d is the shortest.

        optim.minimize(lambda x: jnp.sum(r(x) ** 2), x0, direction=optim.gauss_newton(r))

    Args:
        residuals: r, from trees like x0 to a tree of arrays; J [residuals, W] is formed. It is
            called with the `args` of `minimize` too.
        damping: λ ≥ 0 of Levenberg and Marquardt.

    Raises:
        TypeError, ValueError: for a number out of range.

    Nocedal and Wright 2006, section 10.3.
    """
    check_numbers(damping=damping)

    def direction(f: Flat, x: jax.Array, g: jax.Array) -> jax.Array:
        def r(x: jax.Array) -> jax.Array:
            return ravel_pytree(residuals(f.unravel(x), *f.args))[0]

        # ‖r + Jd‖² + λ‖d‖² is one sum of squares more, of √λ d.
        rows = damping**0.5 * jnp.eye(x.size, dtype=x.dtype)
        matrix = jnp.concatenate([jax.jacfwd(r)(x), rows])
        return jnp.linalg.lstsq(matrix, -jnp.concatenate([r(x), jnp.zeros_like(x)]))[0]

    return memoryless(direction)
