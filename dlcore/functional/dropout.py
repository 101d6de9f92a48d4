"""Dropout, of activations and of connections."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from dlcore.checks import floating, is_concrete
from dlcore.functional.linear import linear


def dropout(
    key: jax.Array, x: jax.Array, rate: float | jax.Array, *, shared: Sequence[int] = ()
) -> jax.Array:
    """y = x·m / (1 − rate), where each element of m is 0 with probability `rate`, else 1.

    E[y] = x, so nothing is scaled at test time. That is "inverted" dropout, as in Flax and
    PyTorch; the lectures (and Srivastava et al. 2014) leave x·m unscaled in training and multiply
    by 1 − rate at test time, which is equal in expectation. `rate` lies in [0, 1); with a rate of
    0 x comes back, and the key may be None. Along the axes `shared` m has one element for all of
    x: with (1, 2) an image [B, H, W, C] loses whole channels.
    """
    check_rate("dropout", rate)
    if is_concrete(rate) and rate == 0:
        return x
    x = floating("dropout", "x", x)
    keep = 1 - rate
    shape = [1 if axis in shared else length for axis, length in enumerate(x.shape)]
    mask = jax.random.bernoulli(key, keep, shape)
    return jnp.where(mask, x / jnp.asarray(keep, x.dtype), 0)


def dropconnect(
    key: jax.Array, x: jax.Array, kernel: jax.Array, rate: float | jax.Array
) -> jax.Array:
    """yₙ = xₙ · (kernel ∘ mₙ) / (1 − rate), for each row xₙ of x [..., I], and kernel [I, O].

    Each row has a mask mₙ [I, O] of its own, 0 with probability `rate`, else 1. That costs N·I·O
    random numbers, drawn again in the backward pass; the rows come one after another, so that only
    one mask is in memory. One for all rows is `linear(x, dropout(key, kernel, rate))`, which
    costs little and has the same expected gradient, but the paper finds that it regularises too
    little. Wan et al. 2013, section 3, whose y is not divided by 1 − rate.
    """
    if kernel.ndim != 2 or x.ndim < 1 or x.shape[-1] != kernel.shape[0]:
        raise ValueError(
            f"dropconnect: x {x.shape} and kernel {kernel.shape} do not fit: "
            "x is [..., I] and the kernel [I, O]"
        )
    rows = x.reshape(-1, x.shape[-1])
    numbers = jnp.arange(len(rows), dtype=jnp.uint32)

    @jax.checkpoint
    def product(row: tuple[jax.Array, jax.Array]) -> jax.Array:
        number, x = row
        return linear(x, dropout(jax.random.fold_in(key, number), kernel, rate))

    return lax.map(product, (numbers, rows)).reshape(*x.shape[:-1], -1)


def check_rate(function: str, rate: float | jax.Array) -> None:
    """Refuses a probability of dropping outside [0, 1); a traced one passes."""
    if is_concrete(rate) and not 0 <= rate < 1:
        raise ValueError(
            f"{function}: rate is {rate}, but the probability of dropping lies in [0, 1)"
        )
