"""A rate for each weight, from the squares of its own gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlcore.fields import documented
from dlcore.optim._arguments import optimizer
from dlcore.optim._checks import Scalar, check_numbers
from dlcore.optim._parts import (
    Moments,
    average,
    like,
    scale_by_learning_rate,
    squares,
    trace,
    unbiased,
    zero_count,
    zeros_like,
)


@documented
class SquareSums(NamedTuple):
    """State of Adagrad.

    sum_of_squares: Σ g², a tree like the parameters.
    """

    sum_of_squares: Any


@documented
class SquareAverages(NamedTuple):
    """State of Adadelta, trees like the parameters.

    e_g: the average of the squared gradients.
    e_x: the average of the squared updates.
    """

    e_g: Any
    e_x: Any


@optimizer()
def adagrad(
    learning_rate: optax.ScalarOrSchedule,
    initial_accumulator_value: Scalar = 0.1,
    eps: Scalar = 1e-7,
) -> optax.GradientTransformationExtraArgs:
    """Adagrad: s ← s + g², w ← w − ηg/√(s + ε).

    A weight whose gradients are rare keeps a large rate, one whose gradients are frequent or large
    a small one; no rate ever rises again.

    Args:
        learning_rate: η ≥ 0, or a schedule.
        initial_accumulator_value: s before the first update, ≥ 0.
        eps: ε ≥ 0. While s = 0 nothing moves: 0/√0 is read as 0.

    Raises:
        TypeError, ValueError: as `sgd`; and for ε or the initial value below 0.

    Duchi et al. 2011, the diagonal form of section 1.3. Equals `optax.adagrad`. PyTorch begins at
    s = 0 and has ε = 1e-10 outside the root.
    """
    check_numbers(initial_accumulator_value=initial_accumulator_value, eps=eps)

    def init(params: Any) -> SquareSums:
        return SquareSums(
            jax.tree.map(lambda p: jnp.full_like(p, initial_accumulator_value), params)
        )

    def update(grads: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        sums = jax.tree.map(lambda g, s: like(g, s) * like(g, s) + s, grads, state.sum_of_squares)
        updates = jax.tree.map(
            lambda g, s: jnp.where(s == 0, 0, jax.lax.rsqrt(s + like(eps, s))) * like(g, s),
            grads,
            sums,
        )
        return updates, SquareSums(sums)

    return optax.chain(
        optax.GradientTransformationExtraArgs(init, update), scale_by_learning_rate(learning_rate)
    )


@optimizer()
def adadelta(
    learning_rate: optax.ScalarOrSchedule = 1.0, rho: Scalar = 0.9, eps: Scalar = 1e-6
) -> optax.GradientTransformationExtraArgs:
    """Adadelta: w ← w − ηΔ with Δ = g √(x + ε)/√(s + ε), where, as Δ is made,

    s ← ρs + (1 − ρ)g² before, x ← ρx + (1 − ρ)Δ² after.

    The ratio gives Δ the units of a weight. Both averages begin at zero, so the first steps are of
    the order √ε.

    Args:
        learning_rate: η ≥ 0, or a schedule; 1 in the paper, which has none.
        rho: ρ in [0, 1).
        eps: ε ≥ 0; at 0 nothing ever moves: 0/0 is read as 0.

    Raises:
        TypeError, ValueError: as `sgd`; for ρ outside [0, 1) or ε below 0.

    Zeiler 2012, algorithm 1 (ρ = 0.95 in its experiments). Equals `optax.adadelta` at the rate 1
    (which has no default there, and its weight decay is not here) and PyTorch's.
    """
    check_numbers(below=1, rho=rho)
    check_numbers(eps=eps)

    def init(params: Any) -> SquareAverages:
        return SquareAverages(zeros_like(params), zeros_like(params))

    def step(g: jax.Array, s: jax.Array, x: jax.Array) -> jax.Array:
        e = like(eps, s)
        return jnp.where(s + e == 0, 0, jnp.sqrt(x + e) / jnp.sqrt(s + e)) * like(g, s)

    def update(grads: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        e_g = average(squares(grads), state.e_g, rho)
        updates = jax.tree.map(step, grads, e_g, state.e_x)
        e_x = average(squares(updates), state.e_x, rho)
        return updates, SquareAverages(e_g, e_x)

    return optax.chain(
        optax.GradientTransformationExtraArgs(init, update), scale_by_learning_rate(learning_rate)
    )


@optimizer()
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
        nu = average(squares(grads), state.nu, decay)
        mu = average(grads, state.mu, decay) if centered else ()
        square, mean = unbiased((nu, mu), decay, count) if bias_correction else (nu, mu)
        if centered:
            square = jax.tree.map(lambda n, m: jnp.maximum(n - m * m, 0), square, mean)
        updates = jax.tree.map(lambda g, s: like(g, s) * inverse_root(s), grads, square)
        return updates, Moments(count, mu, nu)

    return optax.GradientTransformationExtraArgs(init, update)
