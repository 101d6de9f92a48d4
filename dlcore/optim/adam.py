"""Adam and its kin: the average gradient over the root of the average square."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from dlcore.optim._arguments import optimizer
from dlcore.optim._checks import Scalar, check_numbers
from dlcore.optim._parts import (
    Moments,
    add_decayed_weights,
    average,
    keeping,
    like,
    looking_ahead,
    scale_by_learning_rate,
    squares,
    unbiased,
    zero_count,
    zeros_like,
)
from dlcore.tree import Mask


@optimizer(
    amsgrad="amsgrad", nesterov="nadam", weight_decay="adamw.weight_decay", mask="adamw.mask"
)
def adam(
    learning_rate: optax.ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    *,
    bias_correction: bool = True,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Adam: w ← w − η μ̂/(√(ν̂ + ε̄) + ε), where at the t-th update, t = 1, 2, …

    μ ← β₁μ + (1 − β₁)g, μ̂ = μ/(1 − β₁ᵗ) and ν ← β₂ν + (1 − β₂)g², ν̂ = ν/(1 − β₂ᵗ).

    Args:
        learning_rate: η ≥ 0, or a schedule.
        b1: β₁ in [0, 1).
        b2: β₂ in [0, 1). In bfloat16 0.999 rounds to 1 and ν becomes a sum: keep parameters in
            float32 and compute in bfloat16.
        eps: ε ≥ 0, outside the root. At 0 the quotient 0/0 is read as 0.
        eps_root: ε̄ ≥ 0, inside the root, for derivatives taken through the optimizer.
        bias_correction: if false, μ̂ = μ and ν̂ = ν: the first step is then (1 − β₁)/√(1 − β₂) times
            as long, 3.2 times at the defaults.
        mu_dtype: the dtype in which μ is kept between updates, by default that of the leaf;
            bfloat16 halves its memory. An update is not computed in it (optax rounds β₁ to it).

    Raises:
        TypeError, ValueError: as `sgd`; for β₁ or β₂ outside [0, 1), ε or ε̄ below 0; and for a
            `mu_dtype` that is not of floating point.

    Kingma and Ba 2015, algorithm 1; lectures A and E write it without ε and the bias correction.
    Equals `optax.adam` (which gives NaN for 0/0 at ε = 0) and PyTorch's.
    """
    return optax.chain(
        scale_by_adam(b1, b2, eps, eps_root, bias_correction=bias_correction, mu_dtype=mu_dtype),
        scale_by_learning_rate(learning_rate),
    )


@optimizer()
def adamw(
    learning_rate: optax.ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    *,
    weight_decay: Scalar = 1e-4,
    mask: Mask = None,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Adam with decoupled weight decay: w ← w − η(μ̂/(√(ν̂ + ε̄) + ε) + λw), the rest as `adam`.

    Args:
        learning_rate: η ≥ 0, or a schedule.
        b1: β₁ in [0, 1).
        b2: β₂ in [0, 1).
        eps: ε ≥ 0.
        eps_root: ε̄ ≥ 0.
        weight_decay: λ ≥ 0. It acts on the weight, not on the gradient, so ν never sees it.
        mask: which leaves decay, such as "**/kernel", see `tree.mask`; by default all of them.
        mu_dtype: as in `adam`.

    Raises:
        TypeError, ValueError: as `adam`; for λ below 0; from `init` for a glob that fits no leaf;
            and from `update` without the parameters.

    Loshchilov and Hutter 2019, who multiply λ by the schedule alone (so does `decay_weights`):
    here, as in PyTorch and `optax.adamw` (equal), by the whole rate. PyTorch's default λ is 1e-2.
    """
    check_numbers(weight_decay=weight_decay)
    return optax.chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype=mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


@optimizer()
def nadam(
    learning_rate: optax.ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    *,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Adam with Nesterov's momentum: `adam` with μ̂ = β₁μ/(1 − β₁ᵗ⁺¹) + (1 − β₁)g/(1 − β₁ᵗ).

    Arguments and errors are those of `adam`. Dozat 2016, with a constant β₁ and without the factor
    β₂ that algorithm 2 has on ν̂. Equals `optax.nadam`; PyTorch's warms β₁ up.
    """
    return optax.chain(
        scale_by_adam(b1, b2, eps, eps_root, nesterov=True, mu_dtype=mu_dtype),
        scale_by_learning_rate(learning_rate),
    )


@optimizer()
def amsgrad(
    learning_rate: optax.ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    *,
    bias_correction: bool = True,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """AMSGrad: `adam` with the largest ν̂ so far in the place of ν̂, so that no rate rises again.

    Arguments and errors are those of `adam`. Reddi et al. 2018, algorithm 2, which has no bias
    correction: `bias_correction=False`. Equals `optax.amsgrad`, whose two flags are one here;
    PyTorch takes the maximum of ν and corrects it afterwards.
    """
    return optax.chain(
        scale_by_adam(
            b1,
            b2,
            eps,
            eps_root,
            bias_correction=bias_correction,
            amsgrad=True,
            mu_dtype=mu_dtype,
        ),
        scale_by_learning_rate(learning_rate),
    )


def scale_by_adam(
    b1: Scalar,
    b2: Scalar,
    eps: Scalar,
    eps_root: Scalar,
    *,
    bias_correction: bool = True,
    nesterov: bool = False,
    amsgrad: bool = False,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """μ̂/(√(ν̂ + ε̄) + ε), in all the forms of this file."""
    check_numbers(below=1, b1=b1, b2=b2)
    check_numbers(eps=eps, eps_root=eps_root)

    def init(params: Any) -> Any:
        moments = Moments(zero_count(), zeros_like(params), zeros_like(params))
        return optax.ScaleByAmsgradState(*moments, zeros_like(params)) if amsgrad else moments

    def step(mean: jax.Array, square: jax.Array) -> jax.Array:
        root = jnp.sqrt(square + like(eps_root, square)) + like(eps, square)
        # The 0/0 of a dead input is 0; NaN stays NaN.
        return jnp.where(root == 0, 0, mean / like(root, mean))

    def update(grads: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        count = optax.safe_increment(state.count)
        mu = average(grads, state.mu, b1)
        nu = average(squares(grads), state.nu, b2)
        state = state._replace(count=count, mu=mu, nu=nu)
        mean, square = mu, nu
        if bias_correction:
            mean = looking_ahead(mu, grads, b1, count) if nesterov else unbiased(mu, b1, count)
            square = unbiased(nu, b2, count)
        if amsgrad:
            square = jax.tree.map(jnp.maximum, state.nu_max, square)
            state = state._replace(nu_max=square)
        return jax.tree.map(step, mean, square), state

    return keeping(mu_dtype, optax.GradientTransformationExtraArgs(init, update))
