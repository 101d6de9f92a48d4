"""The fully connected layer, and the one of a diagonal."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dlcore import functional as F
from dlcore import keys
from dlcore.functional.broadcast import broadcast
from dlcore.keys import Key
from dlcore.nn import init as initializers
from dlcore.nn.arguments import factory
from dlcore.nn.describing import describe
from dlcore.nn.init import Initializer
from dlcore.nn.layer import Layer, Params, State, check_sizes, make


@factory()
def linear(
    in_features: int,
    out_features: int,
    *,
    bias: bool = True,
    kernel_init: Initializer = initializers.lecun_normal(),
    bias_init: Initializer = initializers.zeros,
) -> Layer:
    """y = x · kernel + bias, for x [..., in_features].

    kernel [in_features, out_features] (PyTorch's weight is its transpose), bias [out_features].
    """
    check_sizes("linear", in_features=in_features, out_features=out_features)

    def init(key: Key) -> tuple[Params, State]:
        params = {"kernel": kernel_init(keys.child(key, "kernel"), (in_features, out_features))}
        if bias:
            params["bias"] = bias_init(keys.child(key, "bias"), (out_features,))
        return params, ()

    def apply(
        params: Params, state: State, x: jax.Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, State]:
        if x.ndim < 1 or x.shape[-1] != in_features:
            raise ValueError(f"linear expected [..., {in_features}], got {describe(x)}")
        y = F.linear(x, params["kernel"])
        return (y + broadcast(params["bias"], y) if bias else y), state

    return make(linear, init, apply, in_features=in_features, out_features=out_features, bias=bias)


@factory()
def layer_scale(features: int, initial: float = 1e-6) -> Layer:
    """y = x · scale, for x [..., features] and scale [features], learned from `initial` on.

    At the end of a residual block's body a small `initial` makes the block begin near the identity.
    Touvron et al. 2021 (CaiT), section 2, where `initial` falls from 0.1 to 1e-6 as networks grow
    deeper; Liu et al. 2022 (ConvNeXt) have 1e-6.
    """
    check_sizes("layer_scale", features=features)

    def init(key: Key) -> tuple[Params, State]:
        return {"scale": jnp.full(features, initial, jnp.float32)}, ()

    def apply(
        params: Params, state: State, x: jax.Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, State]:
        if x.ndim < 1 or x.shape[-1] != features:
            raise ValueError(f"layer_scale expected [..., {features}], got {describe(x)}")
        return x * broadcast(params["scale"], x), state

    return make(layer_scale, init, apply, features=features, initial=initial)
