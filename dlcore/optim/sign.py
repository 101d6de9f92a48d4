"""Steps of one length for every weight: only the sign of the momentum counts."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from dlcore.optim._arguments import optimizer
from dlcore.optim._checks import Scalar, check_numbers
from dlcore.optim._parts import (
    Mean,
    add_decayed_weights,
    average,
    keeping,
    scale_by_learning_rate,
    zero_count,
    zeros_like,
)
from dlcore.tree import Mask


@optimizer()
def lion(
    learning_rate: optax.ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.99,
    weight_decay: Scalar = 1e-3,
    *,
    mask: Mask = None,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Lion: w ← w − η(sign(β₁μ + (1 − β₁)g) + λw), then μ ← β₂μ + (1 − β₂)g; sign 0 = 0.

    Every weight moves by the same η, so the rate wants to be 3 to 10 times smaller than Adam's and
    λ as much larger; only one average is kept.

    Args:
        learning_rate: η ≥ 0, or a schedule.
        b1: β₁ in [0, 1), how the step mixes the average and the gradient.
        b2: β₂ in [0, 1), how the average is kept.
        weight_decay: λ ≥ 0.
        mask: which leaves decay, as in `adamw`.
        mu_dtype: the dtype in which μ is kept, as in `adam`.

    Raises:
        TypeError, ValueError: as `adamw`.

    Chen et al. 2023, algorithm 2. Equals `optax.lion`.
    """
    check_numbers(below=1, b1=b1, b2=b2)
    check_numbers(weight_decay=weight_decay)

    def init(params: Any) -> Mean:
        return Mean(zero_count(), zeros_like(params))

    def update(grads: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        updates = jax.tree.map(jnp.sign, average(grads, state.mu, b1))
        mu = average(grads, state.mu, b2)
        return updates, Mean(optax.safe_increment(state.count), mu)

    return optax.chain(
        keeping(mu_dtype, optax.GradientTransformationExtraArgs(init, update)),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
