"""A rate for each weight, from averages of its gradient and of the gradient's square."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dlcore.optim._checks import Scalar, check_numbers
from dlcore.optim._parts import (
    Moments,
    average,
    like,
    scale_by_learning_rate,
    trace,
    unbiased,
    zero_count,
    zeros_like,
)


def rmsprop(
    learning_rate: optax.ScalarOrSchedule,
    decay: Scalar = 0.9,
    eps: Scalar = 1e-8,
    initial_scale: Scalar = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: Scalar | None = None,
    nesterov: bool = False,
    bias_correction: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """RMSProp: ν ← γν + (1 − γ)g², w ← w − ηg/√(ν + ε).

    Weights whose recent gradients were large take smaller steps.

    Args:
        learning_rate: η ≥ 0, or a schedule.
        decay: γ in [0, 1).
        eps: ε ≥ 0. At 0 (lecture A) the quotient 0/0 is read as 0: a dead input moves no weight.
        initial_scale: ν before the first update, ≥ 0.
        eps_in_sqrt: √(ν + ε) (lecture E) if true, √ν + ε (PyTorch) if false.
        centered: divide by the standard deviation: ν − μ² for ν, with μ ← γμ + (1 − γ)g.
        momentum: None, or α in [0, 1): v ← αv + the update above, w ← w + v. The rate is inside v,
            as in lecture E; PyTorch has it outside, which is the same while η is constant.
        nesterov: look ahead with that momentum.
        bias_correction: divide ν and μ by 1 − γᵗ, since both average from a start at zero.

    Raises:
        TypeError, ValueError: as `sgd`; for γ or α outside [0, 1), ε or the scale below 0; and for
            `nesterov` without `momentum`, which optax ignores.

    Tieleman and Hinton 2012; centered, Graves 2013. Equals `optax.rmsprop`, which gives NaN for 0/0
    at ε = 0 and often where rounding makes ν − μ² negative (a constant gradient): read as 0 here.
    PyTorch's defaults differ: γ = 0.99, ε outside the root.
    """
    check_numbers(below=1, decay=decay)
    check_numbers(eps=eps, initial_scale=initial_scale)
    parts = [
        _scale_by_rms(decay, eps, initial_scale, eps_in_sqrt, centered, bias_correction),
        scale_by_learning_rate(learning_rate),
    ]
    if momentum is not None:
        check_numbers(below=1, momentum=momentum)
        parts.append(trace(momentum, nesterov))
    elif nesterov:
        raise ValueError("nesterov=True needs a momentum: write momentum=0.9, nesterov=True")
    return optax.chain(*parts)


def adam(
    learning_rate: optax.ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
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

    Raises:
        TypeError, ValueError: as `sgd`; and for β₁ or β₂ outside [0, 1), ε or ε̄ below 0.

    Kingma and Ba 2015, algorithm 1; lecture E leaves out ε and the bias correction. Equals
    `optax.adam` (which gives NaN for 0/0 at ε = 0) and PyTorch's.
    """
    return optax.chain(_scale_by_adam(b1, b2, eps, eps_root), scale_by_learning_rate(learning_rate))


def adamw(
    learning_rate: optax.ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    *,
    weight_decay: Scalar = 1e-4,
    mask: Any | Callable[[Any], Any] | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Adam with decoupled weight decay: w ← w − η(μ̂/(√(ν̂ + ε̄) + ε) + λw), the rest as `adam`.

    Args:
        learning_rate: η ≥ 0, or a schedule.
        b1: β₁ in [0, 1).
        b2: β₂ in [0, 1).
        eps: ε ≥ 0.
        eps_root: ε̄ ≥ 0.
        weight_decay: λ ≥ 0. It acts on the weight, not on the gradient, so ν never sees it.
        mask: a tree of booleans like the parameters (or a prefix of it), or a function from the
            parameters to one: true where the weight decays. By default every leaf does.

    Raises:
        TypeError, ValueError: as `adam`; for λ below 0; and from `update` without the parameters.

    Loshchilov and Hutter 2019, who multiply λ by the schedule alone: here, as in PyTorch and
    `optax.adamw` (equal), by the whole rate. PyTorch's default λ is 1e-2.
    """
    check_numbers(weight_decay=weight_decay)
    decay = _add_decayed_weights(weight_decay)
    return optax.chain(
        _scale_by_adam(b1, b2, eps, eps_root),
        decay if mask is None else optax.masked(decay, mask),
        scale_by_learning_rate(learning_rate),
    )


def _scale_by_rms(
    decay: Scalar,
    eps: Scalar,
    initial_scale: Scalar,
    eps_in_sqrt: bool,
    centered: bool,
    bias_correction: bool,
) -> optax.GradientTransformationExtraArgs:
    def init(params: Any) -> Moments:
        nu = jax.tree.map(lambda p: jnp.full_like(p, initial_scale), params)
        return Moments(zero_count(), zeros_like(params) if centered else (), nu)

    def inverse_root(square: jax.Array) -> jax.Array:
        e = like(eps, square)
        scale = jax.lax.rsqrt(square + e) if eps_in_sqrt else 1 / (jnp.sqrt(square) + e)
        return jnp.where(jnp.isinf(scale), 0, scale)  # the 1/0 of a dead input; NaN stays NaN

    def update(grads: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        count = optax.safe_increment(state.count)
        nu = average(jax.tree.map(jnp.square, grads), state.nu, decay)
        mu = average(grads, state.mu, decay) if centered else ()
        square, mean = unbiased((nu, mu), decay, count) if bias_correction else (nu, mu)
        if centered:
            square = jax.tree.map(lambda n, m: jnp.maximum(n - m * m, 0), square, mean)
        updates = jax.tree.map(lambda g, s: like(g, s) * inverse_root(s), grads, square)
        return updates, Moments(count, mu, nu)

    return optax.GradientTransformationExtraArgs(init, update)


def _scale_by_adam(
    b1: Scalar, b2: Scalar, eps: Scalar, eps_root: Scalar
) -> optax.GradientTransformationExtraArgs:
    check_numbers(below=1, b1=b1, b2=b2)
    check_numbers(eps=eps, eps_root=eps_root)

    def init(params: Any) -> Moments:
        return Moments(zero_count(), zeros_like(params), zeros_like(params))

    def step(mean: jax.Array, square: jax.Array) -> jax.Array:
        root = jnp.sqrt(square + like(eps_root, square)) + like(eps, square)
        return jnp.where(root == 0, 0, mean / root)  # the 0/0 of a dead input; NaN stays NaN

    def update(grads: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        count = optax.safe_increment(state.count)
        mu = average(grads, state.mu, b1)
        nu = average(jax.tree.map(jnp.square, grads), state.nu, b2)
        updates = jax.tree.map(step, unbiased(mu, b1, count), unbiased(nu, b2, count))
        return updates, Moments(count, mu, nu)

    return optax.GradientTransformationExtraArgs(init, update)


def _add_decayed_weights(weight_decay: Scalar) -> optax.GradientTransformation:
    def add(updates: Any, params: Any) -> Any:
        if params is None:
            raise ValueError("weight decay needs the parameters: update(grads, opt_state, params)")
        return jax.tree.map(lambda u, p: u + like(weight_decay, u) * like(p, u), updates, params)

    return optax.stateless(add)
