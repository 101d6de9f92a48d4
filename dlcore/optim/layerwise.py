"""A rate for each layer: steps in proportion to the size of what they change."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from dlcore.optim._arguments import optimizer
from dlcore.optim._checks import Scalar, check_numbers, check_params
from dlcore.optim._parts import add_decayed_weights, like, scale_by_learning_rate
from dlcore.optim.adam import scale_by_adam
from dlcore.tree import Mask, leaf_norms


@optimizer()
def lamb(
    learning_rate: optax.ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-6,
    eps_root: Scalar = 0.0,
    weight_decay: Scalar = 0.0,
    *,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    """LAMB: w ← w − η (‖w‖₂/‖u‖₂) u for each leaf, with Adam's u = μ̂/(√(ν̂ + ε̄) + ε) + λw.

    A step changes every layer by the same share η of its norm, which very large batches want. The
    ratio is 1 where either norm is 0.

    Args:
        learning_rate: η ≥ 0, or a schedule.
        b1: β₁ in [0, 1).
        b2: β₂ in [0, 1).
        eps: ε ≥ 0.
        eps_root: ε̄ ≥ 0.
        weight_decay: λ ≥ 0.
        mask: which leaves decay, as in `adamw`.

    Raises:
        TypeError, ValueError: as `adamw`.

    You et al. 2020, algorithm 2, with φ the identity. Equals `optax.lamb`, but the norms are
    taken in float32 where the leaves are narrower.
    """
    check_numbers(weight_decay=weight_decay)
    return optax.chain(
        scale_by_adam(b1, b2, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        _scale_by_trust_ratio(),
        scale_by_learning_rate(learning_rate),
    )


def _scale_by_trust_ratio() -> optax.GradientTransformationExtraArgs:
    def scale(u: jax.Array, norm: jax.Array, length: jax.Array) -> jax.Array:
        has_ratio = (norm != 0) & (length != 0)
        ratio = jnp.where(has_ratio, norm, 1) / jnp.where(has_ratio, length, 1)
        return like(ratio, u) * u

    def rescale(updates: Any, params: Any) -> Any:
        check_params("the trust ratio", params)
        return jax.tree.map(scale, updates, leaf_norms(params), leaf_norms(updates))

    return optax.with_extra_args_support(optax.stateless(rescale))
