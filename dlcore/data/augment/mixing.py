"""Examples mixed with one another, inputs and targets alike: for batches {"x": …, "y": …}.

The labels y [B] become distributions [B, classes], which `functional.cross_entropy` takes as they
are. Each example is mixed with another one of its batch, the batch in a random order.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dlcore import keys
from dlcore.checks import one_hot
from dlcore.data.augment._checks import check_positive
from dlcore.keys import Key

Batch = dict[str, Any]


def mixup(key: Key, batch: Batch, alpha: float | jax.Array, classes: int) -> Batch:
    """x ← λx + (1 − λ)x′ and y ← λy + (1 − λ)y′, with λ drawn from Beta(α, α) for each example.

    x [B, …] of any kind, y [B] class indices or [B, classes] distributions; α > 0. Zhang et al.
    2018, section 2; their code draws one λ a batch.
    """
    targets = _targets("mixup", batch, classes)
    weight = _weight("mixup", keys.child(key, "weight"), alpha, len(targets))
    other = _order(key, len(targets))
    x = batch["x"]
    kept = weight.reshape(-1, *(1,) * (x.ndim - 1))
    return {
        **batch,
        "x": kept * x + (1 - kept) * x[other],
        "y": weight[:, None] * targets + (1 - weight[:, None]) * targets[other],
    }


def cutmix(key: Key, batch: Batch, alpha: float | jax.Array, classes: int) -> Batch:
    """A rectangle of each image is pasted over by that of another; y ← λy + (1 − λ)y′.

    x [B, H, W, C] images, y as for `mixup`. The rectangle is √(1 − λ) times as high and as wide as
    the image, λ from Beta(α, α), its middle anywhere; where it hangs over the frame it is cut, and
    1 − λ in y is the share of the pixels that it covers in the end. Yun et al. 2019, section 3.1,
    with α = 1; one λ and one rectangle a batch in their code.
    """
    targets = _targets("cutmix", batch, classes)
    x = batch["x"]
    if x.ndim != 4:
        raise ValueError(f"cutmix: x is {list(x.shape)}, but images [B, H, W, C] are wanted")
    count, height, width, _ = x.shape
    side = jnp.sqrt(1 - _weight("cutmix", keys.child(key, "weight"), alpha, count))
    rows = _inside(keys.child(key, "y"), side, height)[:, :, None]
    columns = _inside(keys.child(key, "x"), side, width)[:, None, :]
    pasted = rows & columns
    other = _order(key, count)
    weight = 1 - pasted.mean((1, 2), dtype=jnp.float32)[:, None]
    return {
        **batch,
        "x": jnp.where(pasted[..., None], x[other], x),
        "y": weight * targets + (1 - weight) * targets[other],
    }


def _targets(function: str, batch: Batch, classes: int) -> jax.Array:
    """y as distributions float32 [B, classes]."""
    if "weight" in batch:
        raise ValueError(f"{function}: examples with weights cannot be mixed: drop batch['weight']")
    y = jnp.asarray(batch["y"])
    if y.ndim == 1 and jnp.issubdtype(y.dtype, jnp.integer):
        return one_hot(function, "y", y, classes)
    if y.ndim == 2 and y.shape[1] == classes and y.dtype == jnp.float32:
        return y
    raise ValueError(
        f"{function}: y is {y.dtype}{list(y.shape)}, but class indices [B] or distributions "
        f"float32 [B, {classes}] are wanted"
    )


def _weight(function: str, key: Key, alpha: float | jax.Array, count: int) -> jax.Array:
    check_positive(function, "alpha", alpha)
    return jax.random.beta(key, alpha, alpha, (count,), jnp.float32)


def _order(key: Key, count: int) -> jax.Array:
    return jax.random.permutation(keys.child(key, "order"), count)


def _inside(key: Key, side: jax.Array, length: int) -> jax.Array:
    """Which of `length` pixels lie in a stretch of side·length about a random place: [B, ·]."""
    middle = length * jax.random.uniform(key, side.shape, jnp.float32)
    distance = jnp.abs(jnp.arange(length, dtype=jnp.float32) + 0.5 - middle[:, None])
    return distance < side[:, None] * length / 2
