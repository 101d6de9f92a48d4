"""What is drawn for every number of an array by itself, of a batch as of one example."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dlcore import keys
from dlcore.checks import unit_interval
from dlcore.data.augment._checks import check_range
from dlcore.data.augment.compose import Augmentation
from dlcore.keys import Key


def binarise(key: Key, batch: dict[str, Any]) -> dict[str, Any]:
    """A batch with each number of its x in [0, 1] drawn as 1 with that probability, else 0.

    For `train.augmented`, with `data.binarised(dataset, "dynamic")`.
    """
    if not isinstance(batch, dict):
        raise TypeError(f'binarise takes a batch {{"x": …}}, got a {type(batch).__name__}')
    x = unit_interval("binarise", "x", batch["x"])
    drawn = (jax.random.uniform(keys.check(key), x.shape, x.dtype) < x).astype(x.dtype)
    return {**batch, "x": jnp.where(jnp.isnan(x), x, drawn)}


def masking(share: float) -> Augmentation:
    """Each number is 0 with the probability `share`, in [0, 1]: Vincent et al. 2008, section 2.3.

    Unlike dropout it makes the others no larger.
    """
    check_range("masking", "share", share, 0, 1)

    def masked(key: Key, x: jax.Array) -> jax.Array:
        _check_array("masking(share)", x)
        stays = jax.random.uniform(keys.check(key), x.shape) >= share
        return jnp.where(stays, x, jnp.zeros_like(x))

    return masked


def noise(std: float) -> Augmentation:
    """x + ε with ε ~ N(0, std²) for each number."""
    check_range("noise", "std", std, 0)

    def noisy(key: Key, x: jax.Array) -> jax.Array:
        _check_array("noise(std)", x)
        return x + std * jax.random.normal(keys.check(key), x.shape, x.dtype)

    return noisy


def _check_array(function: str, x: Any) -> None:
    if isinstance(x, dict):
        raise TypeError(
            f"{function} takes an array, got a batch: train.augmented(objective, "
            f"augment.inputs(augment.{function}))"
        )
