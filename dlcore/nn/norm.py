"""Normalising layers: batch norm, and the fixed standardisation of an input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import functional as F
from dlcore.keys import Key
from dlcore.nn.layer import Layer, Params, State, check_sizes, describe, from_function, make


def batch_norm(
    features: int,
    *,
    momentum: float = 0.9,
    epsilon: float = 1e-5,
    scale: bool = True,
    offset: bool = True,
) -> Layer:
    """y = (x − mean) / √(var + epsilon) · scale + offset, for x [..., features].

    In training mean and var are those of the batch, over all axes but the last, and the state
    moves towards them: mean ← momentum·mean + (1 − momentum)·batch mean, and so var. In evaluation
    they are the state's, which stays. Statistics are float32, or wider as x is. Where each feature
    has one value only (a batch of 1 without spatial axes) the variance is 0 and y = offset.

    Ioffe and Szegedy 2015, algorithms 1 and 2. As in Flax, `momentum` weighs the old value and the
    running variance is the biased one; PyTorch's momentum is 1 − this one (its default 0.1 is 0.9
    here), and its running variance is unbiased, n/(n − 1) times as large.
    """
    check_sizes("batch_norm", features=features)
    if not 0 <= momentum <= 1:
        raise ValueError(f"batch_norm: momentum is {momentum}, but 0 ≤ momentum ≤ 1 is wanted")
    if not epsilon > 0:
        raise ValueError(f"batch_norm: epsilon is {epsilon}, but epsilon > 0 is wanted")

    def init(key: Key) -> tuple[Params, State]:
        params = {}
        if scale:
            params["scale"] = jnp.ones(features, jnp.float32)
        if offset:
            params["offset"] = jnp.zeros(features, jnp.float32)
        state = {"mean": jnp.zeros(features, jnp.float32), "var": jnp.ones(features, jnp.float32)}
        return params or (), state

    def apply(
        params: Params, state: State, x: jax.Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, State]:
        if x.ndim < 2 or x.shape[-1] != features:
            raise ValueError(f"batch_norm expected [..., {features}], got {describe(x)}")
        if train:
            mean, var = F.moments(x, tuple(range(x.ndim - 1)))
            state = {"mean": running(state["mean"], mean), "var": running(state["var"], var)}
        else:
            mean, var = state["mean"], state["var"]
        affine = (params["scale"] if scale else None, params["offset"] if offset else None)
        return F.normalize(x, mean, var, *affine, epsilon=epsilon), state

    def running(old: jax.Array, batch: jax.Array) -> jax.Array:
        return momentum * old + (1 - momentum) * batch.astype(old.dtype)

    return make(
        "batch_norm",
        init,
        apply,
        features=features,
        momentum=momentum,
        epsilon=epsilon,
        scale=scale,
        offset=offset,
    )


def standardize(mean: float | Sequence[float], std: float | Sequence[float]) -> Layer:
    """y = (x − mean) / std with constants, one or one a channel of x [..., C]; nothing is learned.

    A network's first layer, so that it takes raw images in [0, 1] wherever it is used.
    """
    constants = {"mean": _numbers("mean", mean), "std": _numbers("std", std)}
    if not np.all(np.asarray(constants["std"]) > 0):
        raise ValueError(f"standardize: std is {std}, but std > 0 is wanted")

    def apply(x: jax.Array) -> jax.Array:
        for name, value in constants.items():
            if np.shape(value) not in ((), x.shape[-1:]):
                raise ValueError(f"standardize: {name}={value} does not fit {describe(x)}")
        shift, factor = (jnp.asarray(value, x.dtype) for value in constants.values())
        return (x - shift) / factor

    return from_function(apply, "standardize", **constants)


def _numbers(name: str, value: Any) -> Any:
    """A number, or numbers as a tuple, of Python's own kind: a description is data."""
    array = np.asarray(value, float)
    if array.ndim > 1:
        raise ValueError(f"standardize: {name} has shape {array.shape}, but () or [C] is wanted")
    return tuple(array.tolist()) if array.ndim else float(array)
