"""Dropout."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dlcore.functional.checks import floating, is_concrete


def dropout(key: jax.Array, x: jax.Array, rate: float | jax.Array) -> jax.Array:
    """y = x·m / (1 − rate), where each element of m is 0 with probability `rate`, else 1.

    E[y] = x, so nothing is scaled at test time. That is "inverted" dropout, as in Flax and
    PyTorch; the lectures (and Srivastava et al. 2014) leave x·m unscaled in training and multiply
    by 1 − rate at test time, which is equal in expectation. `rate` lies in [0, 1); with a rate of
    0 x comes back, and the key may be None.
    """
    if is_concrete(rate):
        check_rate("dropout", rate)
        if rate == 0:
            return x
    x = floating("dropout", "x", x)
    keep = 1 - rate
    mask = jax.random.bernoulli(key, keep, x.shape)
    return jnp.where(mask, x / jnp.asarray(keep, x.dtype), 0)


def check_rate(function: str, rate: float | jax.Array) -> None:
    """Refuses a probability of dropping outside [0, 1)."""
    if not 0 <= rate < 1:
        raise ValueError(
            f"{function}: rate is {rate}, but the probability of dropping lies in [0, 1)"
        )
