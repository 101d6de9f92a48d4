"""Penalties on the size of the weights, R(θ): what is added to a loss, or shrinks the weights.

    train.regularized(objective, optim.l2(1e-4, mask="**/kernel"))  the loss + R
    optax.chain(optim.add_penalty(optim.l1(1e-4)), optim.sgd(0.1))  the gradient + ∇R
    optax.chain(optim.sgd(0.1), optim.proximal(0.1, optim.l1(1e-4)))  exact zeros

The first two are the same, but that the first also counts R in what is minimised and reported. For
adaptive optimizers neither is weight decay: see `adamw` and `decay_weights`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dlcore import tree
from dlcore.checks import wide_dtype
from dlcore.names import arguments, written
from dlcore.optim._checks import (
    Scalar,
    check_leaves,
    check_numbers,
    check_params,
    check_shares,
    check_whole,
)
from dlcore.optim._parts import chosen, group_norms, is_stand_in, like
from dlcore.tree import Mask


@dataclasses.dataclass(frozen=True, eq=False)
class Penalty:
    """R(θ) = Σ value(leaf) over the leaves that `mask` chooses, see `tree.mask`.

    value: of a leaf, one number.
    prox: prox(leaf, t) = argmin_z ½‖z − leaf‖² + t·value(z).
    mask: the leaves that count; one that does not fit them is a ValueError of the call.
    """

    value: Callable[[jax.Array], jax.Array]
    prox: Callable[[jax.Array, jax.Array], jax.Array]
    mask: Mask = None

    def __call__(self, params: Any) -> jax.Array:
        """R(params), in float32 where the leaves are narrower."""
        leaves = jax.tree.leaves(tree.partition(params, chosen(params, self.mask))[0])
        wide = [leaf.astype(wide_dtype(leaf.dtype)) for leaf in leaves]
        return jnp.asarray(sum(map(self.value, wide), start=0.0))


@arguments()
def l1(strength: Scalar, *, mask: Mask = None, examples: int | None = None) -> Penalty:
    """λΣ|θ|, or lecture B's (λ/2m)Σ|θ| where m = examples, the number of training examples.

    Its subgradient is λ sign θ, with sign 0 = 0; its proximal step soft-thresholds,
    sign(θ) max(|θ| − tλ, 0), which makes exact zeros. Tibshirani 1996. `mask` says which
    leaves (see `tree.mask`): all of them, as in lecture B, or "**/kernel".

    >>> float(l1(0.5)({"kernel": jnp.array([1.0, -3.0])}))
    2.0
    """
    scale = _scale(strength, examples)
    return Penalty(
        lambda x: like(scale, x) * jnp.sum(x * jnp.sign(x)),  # |x|, but for jax's derivative at 0
        lambda x, t: _soft(x, t * like(scale, x)),
        mask,
    )


@arguments()
def l2(strength: Scalar, *, mask: Mask = None, examples: int | None = None) -> Penalty:
    """λΣθ² (Keras'), or lecture B's (λ/2m)Σθ² where m = examples, the number of training examples.

    Its gradient is 2λθ: `l2(λ/2)` adds λθ to the gradient, which is what PyTorch's optimizers call
    weight_decay=λ. Its proximal step is θ/(1 + 2tλ). Hoerl and Kennard 1970. `mask` as in `l1`.

    >>> float(l2(0.5)({"kernel": jnp.array([1.0, -3.0])}))
    5.0
    """
    scale = _scale(strength, examples)
    return Penalty(
        lambda x: like(scale, x) * jnp.sum(x * x),
        lambda x, t: x / (1 + 2 * t * like(scale, x)),
        mask,
    )


@arguments()
def elastic_net(strength: Scalar, *, mask: Mask = None, l1_ratio: Scalar = 0.5) -> Penalty:
    """λ(ρΣ|θ| + ½(1 − ρ)Σθ²), with ρ = l1_ratio in [0, 1]. `mask` as in `l1`.

    Zou and Hastie 2005, in the form of scikit-learn and glmnet.
    """
    check_numbers(strength=strength)
    check_shares(l1_ratio=l1_ratio)
    absolute = l1(strength * l1_ratio)
    square = l2(strength * (1 - l1_ratio) / 2)
    return Penalty(
        lambda x: absolute.value(x) + square.value(x),
        lambda x, t: square.prox(absolute.prox(x, t), t),
        mask,
    )


@arguments()
def group_lasso(strength: Scalar, *, mask: Mask = "**/kernel", axis: int = -2) -> Penalty:
    """λ Σ √n ‖θ_g‖₂ over groups g of n weights, one for each index along `axis`.

    Whole groups become zero by its proximal step, θ_g max(0, 1 − tλ√n/‖θ_g‖₂). Groups along −2 are
    all the weights that leave one input, so on the first layer it chooses features; along −1 those
    that enter one unit. A bias has no such axis. `mask` as in `l1`.

    Yuan and Lin 2006. Its gradient at the zero group is 0.
    """
    check_numbers(strength=strength)

    def norms(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        norm = group_norms("group_lasso", x, axis)
        return norm, like(strength * math.sqrt(x.size / max(1, norm.size)), norm)

    def value(x: jax.Array) -> jax.Array:
        norm, weight = norms(x)
        return weight * jnp.sum(norm)

    def prox(x: jax.Array, t: jax.Array) -> jax.Array:
        norm, weight = norms(x)
        share = 1 - like(t, norm) * weight / jnp.where(norm == 0, 1, norm)
        return x * like(jnp.maximum(share, 0), x)

    return Penalty(value, prox, mask)


@arguments()
def add_penalty(
    penalty: Callable[[Any], jax.Array],
) -> optax.GradientTransformationExtraArgs:
    """g ← g + ∇R(w), for any function of the parameters. First in a chain.

    Raises ValueError from `init` for what the penalty refuses, such as a mask that fits no leaf,
    and from `update` without the parameters.
    """
    if not callable(penalty):
        raise TypeError(
            f"add_penalty takes a penalty such as optim.l1(1e-3), got {written(penalty)}"
        )

    def init(params: Any) -> optax.EmptyState:
        check_leaves(params)
        if not is_stand_in(params):
            jax.eval_shape(penalty, params)
        return optax.EmptyState()

    def update(grads: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        check_params("add_penalty", params)
        slope = jax.grad(penalty)(params)
        return jax.tree.map(lambda g, s: g + like(s, g), grads, slope), state

    return optax.GradientTransformationExtraArgs(init, update)


def _scale(strength: Scalar, examples: int | None) -> Scalar:
    check_numbers(strength=strength)
    if examples is None:
        return strength
    check_whole(examples=examples)
    return strength / (2 * examples)


def _soft(x: jax.Array, threshold: jax.Array) -> jax.Array:
    return jnp.sign(x) * jnp.maximum(jnp.abs(x) - threshold, 0)
