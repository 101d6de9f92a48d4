"""Finite differences: derivatives from values of a function alone, to check others by.

For W parameters, and O(W) work for one value, a gradient costs O(W) values, hence O(W²) work: 2W
values by central differences, W + 1 by forward ones. `backprop` has it for one pass forward and one
back, O(W): with three linear layers, 33,540 parameters and a batch of 32, in about 0.15 ms against
5 s (two CPU cores). A derivative along one direction costs two values, however large W is.

No parameter w moves by more than ε·max(1, |w|). A large ε costs accuracy through the curvature of
f, O(ε²) in central differences and O(ε) in forward ones; a small one through rounding, O(u/ε) for
the dtype's machine epsilon u. The default is near the best of both: ε = ∛u, with an error of about
u^⅔ (float64 4e-11, float32 2e-5), and ε = √u, with about √u (1e-8, 3e-4). So check in float64; and
not across a kink, as relu has one at 0, where a difference is no derivative.

Press et al. 2007, Numerical Recipes, section 5.7.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from dlcore.checks import floating, is_concrete, one_of

Function = Callable[[Any], jax.Array]
Method = Literal["central", "forward"]

BLOCK = 8  # so many parameters are moved at a time, each in its own copy of what f computes


def gradient(
    f: Function, params: Any, *, method: Method = "central", epsilon: float | None = None
) -> Any:
    """∂f/∂w for every w in the tree `params`, of one floating dtype; f(params) is one number.

    "central" is [f(w + h) − f(w − h)]/2h, "forward" [f(w + h) − f(w)]/h, h = epsilon·max(1, |w|).

    >>> gradient(lambda w: w[0] * w[1] ** 2, jnp.array([2.0, 3.0])).round(2).tolist()
    [9.0, 12.0]
    """
    derivative, flat, unravel = _derivative(f, params, method, epsilon)

    @jax.jit
    def along_axes(indices: jax.Array) -> jax.Array:
        axis = jnp.zeros_like(flat)
        return lax.map(lambda i: derivative(axis.at[i].set(1)), indices, batch_size=BLOCK)

    return unravel(along_axes(jnp.arange(flat.size)))


def directional(
    f: Function,
    params: Any,
    direction: Any,
    *,
    method: Method = "central",
    epsilon: float | None = None,
) -> jax.Array:
    """d·∇f at `params`, for a tree d = `direction` like params: [f(w + h·d) − f(w − h·d)]/2h.

    "forward" is [f(w + h·d) − f(w)]/h; h is as large as epsilon·max(1, |w|) allows for every w.

    >>> directional(lambda w: w[0] * w[1] ** 2, jnp.array([2.0, 3.0]), jnp.ones(2)).round(2)
    Array(21., dtype=float32)
    """
    _same_structure("directional", params, direction=direction)
    derivative, _, _ = _derivative(f, params, method, epsilon)
    return derivative(_ravel(direction)[0])


def check(f: Function, params: Any, claim: Any, *, rtol: float = 1e-6, atol: float = 1e-9) -> None:
    """Refuses a gradient of f at `params` that central differences contradict, and says where.

    Each element of `claim` may be off by atol + rtol·(the largest of its leaf). These defaults are
    for float64; float32 wants about rtol=1e-2, atol=1e-4.

    >>> check(lambda w: w["a"] @ w["a"], {"a": jnp.ones(3)}, {"a": jnp.array([2.0, 2.5, 2.0])})
    Traceback (most recent call last):
    AssertionError: check: the gradient at a[1] is 2.5, but finite differences give 2
    """
    _same_structure("check", params, gradient=claim)
    expected = gradient(f, params)
    leaves = zip(jax.tree.leaves_with_path(expected), jax.tree.leaves(claim), strict=True)
    for (path, wanted), given in leaves:
        wanted, given = np.asarray(wanted), np.asarray(given)
        error = np.abs(given - wanted)
        if not (error <= atol + rtol * np.max(np.abs(wanted), initial=0)).all():
            worst = np.unravel_index(np.argmax(error), error.shape)
            place = jax.tree_util.keystr(path, simple=True, separator="/")
            raise AssertionError(
                f"check: the gradient at {place}{[*map(int, worst)] or ''} is {given[worst]:.5g}, "
                f"but finite differences give {wanted[worst]:.5g}"
            )


def _derivative(
    f: Function, params: Any, method: Method, epsilon: float | None
) -> tuple[Callable[[jax.Array], jax.Array], jax.Array, Callable[[jax.Array], Any]]:
    """The derivative along a vector, the vector of the parameters, and the way back to a tree."""
    flat, unravel = _ravel(params)
    root = one_of("finite_differences", "method", method, {"central": 1 / 3, "forward": 1 / 2})
    if epsilon is None:
        epsilon = float(jnp.finfo(flat.dtype).eps) ** root
    if is_concrete(epsilon) and not epsilon > 0:
        raise ValueError(f"finite_differences: epsilon is {epsilon}, but epsilon > 0 is wanted")
    room = epsilon * jnp.maximum(1, jnp.abs(flat))

    def value(flat: jax.Array) -> jax.Array:
        y = jnp.asarray(f(unravel(flat)), flat.dtype)
        if y.shape != ():
            raise ValueError(f"finite_differences: f gives shape {y.shape}, but () is wanted")
        return y

    center = value(flat) if method == "forward" else None

    def derivative(d: jax.Array) -> jax.Array:
        h = jnp.min(room / jnp.abs(d), initial=jnp.finfo(d.dtype).max)
        if center is None:
            return (value(flat + h * d) - value(flat - h * d)) / (2 * h)
        return (value(flat + h * d) - center) / h

    return derivative, flat, unravel


def _same_structure(function: str, params: Any, **other: Any) -> None:
    """Refuses a tree, given by its name, that is not like params in structure and shapes."""
    ((name, tree),) = other.items()
    wanted, given = (jax.tree.map(jnp.shape, each) for each in (params, tree))
    if given != wanted:
        raise ValueError(f"{function}: {name} is of shapes {given}, but params are {wanted}")


def _ravel(tree: Any) -> tuple[jax.Array, Callable[[jax.Array], Any]]:
    leaves = jax.tree.map(lambda leaf: floating("finite_differences", "a leaf", leaf), tree)
    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves(leaves)}
    if len(dtypes) != 1:
        raise TypeError(
            f"finite_differences: leaves are {' and '.join(sorted(dtypes)) or 'absent'}, "
            "but parameters of one dtype are wanted"
        )
    return ravel_pytree(leaves)
