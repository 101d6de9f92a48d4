"""Steps for matrices as such, not for their entries one by one."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dlcore.optim._arguments import optimizer
from dlcore.optim._checks import Scalar, check_numbers, check_whole
from dlcore.optim._parts import (
    Mean,
    add_decayed_weights,
    average,
    chosen,
    keeping,
    like,
    looking_ahead,
    scale_by_learning_rate,
    unbiased,
    zero_count,
    zeros_like,
)
from dlcore.optim.adam import scale_by_adam
from dlcore.tree import Mask, global_norm, leaves_with_paths

Coefficients = tuple[float, float, float]


@optimizer()
def muon(
    learning_rate: optax.ScalarOrSchedule,
    ns_coeffs: Coefficients = (3.4445, -4.7750, 2.0315),
    ns_steps: int = 5,
    beta: Scalar = 0.95,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 0.0,
    *,
    nesterov: bool = True,
    adam_b1: Scalar = 0.9,
    adam_b2: Scalar = 0.999,
    adam_weight_decay: Scalar = 0.0,
    adam_learning_rate: optax.ScalarOrSchedule | None = None,
    mask: Mask = None,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Muon: W ← W − η(√max(1, m/n) O + λW) for a matrix W [n, m], where O ≈ UVᵀ of M = UΣVᵀ.

    M is the momentum of `nadam`, and O the matrix nearest to it whose singular values are 1: every
    direction moves alike. It costs no decomposition: X = M/(‖M‖ + ε), Frobenius' norm, and then
    `ns_steps` times X ← aX + (bA + cA²)X with A = XXᵀ, a polynomial of each singular value. These
    coefficients lift small ones fast, not quite to 1: five steps take any from 0.01‖M‖ to ‖M‖ to
    between 0.68 and 1.14.

    Args:
        learning_rate: η ≥ 0, or a schedule.
        ns_coeffs: a, b, c.
        ns_steps: Newton-Schulz iterations, at least 1.
        beta: the momentum's β in [0, 1).
        eps: ε ≥ 0, also Adam's.
        weight_decay: λ ≥ 0, of the matrices.
        nesterov: if false, M is the momentum of `adam`.
        adam_b1: β₁ of the leaves that are no matrices. They are trained by `adamw`, or by its form
            with the momentum of `nadam` where `nesterov` is true.
        adam_b2: their β₂.
        adam_weight_decay: their λ.
        adam_learning_rate: their rate; by default η.
        mask: which leaves are matrices, see `tree.mask`; by default those of two axes. One of more
            axes is read as [all the others, the last]: the kernel [h, w, in, out] of a
            convolution as [h·w·in, out], with mask="**/kernel". Jordan leaves the embedding and the
            last layer to Adam.
        mu_dtype: the dtype in which the momentum of all leaves is kept, as in `adam`.

    Raises:
        TypeError, ValueError: as `adamw`; and from `init` for a marked leaf of less than two axes.

    Jordan et al. 2024. Equals `optax.contrib.muon` without its further options, with
    MuonDimensionNumbers((0, 1, 2), 3) for the kernel of a convolution.
    """
    check_whole(ns_steps=ns_steps)
    check_numbers(below=1, beta=beta, adam_b1=adam_b1, adam_b2=adam_b2)
    check_numbers(eps=eps, weight_decay=weight_decay, adam_weight_decay=adam_weight_decay)

    def labels(params: Any) -> Any:
        is_matrix = chosen(params, _two_axes if mask is None else mask)
        return jax.tree.map(lambda mark: "muon" if mark else "adam", is_matrix)

    matrices = optax.chain(
        keeping(mu_dtype, _scale_by_muon(ns_coeffs, ns_steps, beta, eps, nesterov)),
        add_decayed_weights(weight_decay),
        scale_by_learning_rate(learning_rate),
    )
    others = optax.chain(
        scale_by_adam(adam_b1, adam_b2, eps, 0.0, nesterov=nesterov, mu_dtype=mu_dtype),
        add_decayed_weights(adam_weight_decay),
        scale_by_learning_rate(learning_rate if adam_learning_rate is None else adam_learning_rate),
    )
    return optax.partition({"muon": matrices, "adam": others}, labels)


def _two_axes(params: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) == 2, params)


def _scale_by_muon(
    ns_coeffs: Coefficients, ns_steps: int, beta: Scalar, eps: Scalar, nesterov: bool
) -> optax.GradientTransformationExtraArgs:
    def init(params: Any) -> Mean:
        for path, leaf in leaves_with_paths(params):
            if jnp.ndim(leaf) < 2:
                raise ValueError(
                    f"muon: {path or 'the parameter'} is {list(jnp.shape(leaf))}, but a matrix of "
                    "two or more axes is wanted: leave it out of the mask"
                )
        return Mean(zero_count(), zeros_like(params))

    def step(momentum: jax.Array) -> jax.Array:
        *others, columns = momentum.shape
        rows = math.prod(others)
        stretch = max(1, columns / max(1, rows)) ** 0.5
        orthogonal = _orthogonalized(momentum.reshape(rows, columns), ns_coeffs, ns_steps, eps)
        return like(stretch, momentum) * orthogonal.reshape(momentum.shape)

    def update(grads: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        count = optax.safe_increment(state.count)
        mu = average(grads, state.mu, beta)
        mean = looking_ahead(mu, grads, beta, count) if nesterov else unbiased(mu, beta, count)
        return jax.tree.map(step, mean), Mean(count, mu)

    return optax.GradientTransformationExtraArgs(init, update)


def _orthogonalized(
    matrix: jax.Array, ns_coeffs: Coefficients, ns_steps: int, eps: Scalar
) -> jax.Array:
    """Newton and Schulz's iteration, on the side where A = XXᵀ is the smaller."""
    a, b, c = (like(value, matrix) for value in ns_coeffs)
    rows, columns = matrix.shape
    x = matrix.T if rows > columns else matrix
    x = x / (like(global_norm(x), x) + like(eps, x))
    for _ in range(ns_steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if rows > columns else x
