"""Flat minima rather than sharp ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dlcore.names import arguments
from dlcore.optim._checks import Scalar, check_leaves, check_numbers, check_params
from dlcore.optim._parts import like
from dlcore.tree import global_norm


@arguments()
def sam(rho: Scalar = 0.05) -> optax.GradientTransformationExtraArgs:
    """Sharpness-aware: g ← ∇L(w + ρg/‖g‖₂), the gradient where the loss is worst within ρ of w.

        optax.chain(optim.sam(0.05), optim.momentum(0.1))

    First in the chain. `update` takes the extra argument `grad_fn`, the gradient of the same
    batch's loss as a function of the parameters, which `train.make_step` passes; a step costs two
    gradients. A zero gradient stays where it is.

    Args:
        rho: ρ ≥ 0; at 0 the gradient is taken twice at the same place.

    Raises:
        TypeError, ValueError: for ρ that is no number or negative; from `update` without `grad_fn`
            or the parameters.

    Foret et al. 2021, algorithm 1, with p = 2. Equals `optax.contrib.sam` in its opaque mode over
    normalized gradient descent.
    """
    check_numbers(rho=rho)

    def init(params: Any) -> optax.EmptyState:
        check_leaves(params)
        return optax.EmptyState()

    def update(
        grads: Any,
        state: Any,
        params: Any = None,
        *,
        grad_fn: Callable[[Any], Any] | None = None,
        **extra: Any,
    ) -> tuple[Any, Any]:
        check_params("sam", params)
        if grad_fn is None:
            raise ValueError(
                "sam needs the gradient as a function of the parameters: "
                "update(grads, opt_state, params, grad_fn=jax.grad(loss))"
            )
        norm = global_norm(grads)
        scale = like(rho, norm) / jnp.where(norm == 0, 1, norm)
        worst = jax.tree.map(lambda p, g: p + like(scale * like(g, scale), p), params, grads)
        return grad_fn(worst), state

    return optax.GradientTransformationExtraArgs(init, update)
