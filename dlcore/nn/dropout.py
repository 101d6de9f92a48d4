"""Layers that are random in training, and the identity or a mean of it in evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax

from dlcore import functional as F
from dlcore import keys
from dlcore.checks import floating, is_concrete, wide_dtype
from dlcore.functional.broadcast import broadcast
from dlcore.functional.dropout import check_rate
from dlcore.keys import Key
from dlcore.nn import init as initializers
from dlcore.nn.arguments import factory
from dlcore.nn.init import Initializer
from dlcore.nn.layer import Layer, Params, State, make
from dlcore.nn.linear import linear


@factory()
def dropout(rate: float) -> Layer:
    """In training y = x·m / (1 − rate), m = 0 with probability `rate`, else 1; in evaluation y = x.

    `rate` is the probability of dropping, in [0, 1); see `functional.dropout`. In training a key
    is needed, except with a rate of 0.
    """
    check_rate("dropout", rate)
    return _noise(dropout, lambda key, x: F.dropout(key, x, rate), rate=rate)


@factory()
def spatial_dropout(rate: float) -> Layer:
    """As `dropout`, but of whole channels: m [B, 1, …, 1, C] for x [B, …, C].

    Neighbours on a map are alike, so what is dropped at one place must not be read off the next.
    Tompson et al. 2015, section 3.2; PyTorch's Dropout1d, Dropout2d and Dropout3d.
    """
    check_rate("spatial_dropout", rate)

    def drop(key: Key, x: jax.Array) -> jax.Array:
        return F.dropout(key, x, rate, shared=range(1, x.ndim - 1))

    return _noise(spatial_dropout, drop, rate=rate)


@factory()
def stochastic_depth(rate: float) -> Layer:
    """As `dropout`, but of whole examples: m [B, 1, …, 1] for x [B, …].

    Behind the body of a residual block, `residual(serial(body, stochastic_depth(0.2)))`, it leaves
    a dropped example the shortcut alone. Huang et al. 2016, section 3, who draw one m for the
    batch and multiply by 1 − rate at test time instead of dividing in training. It is torchvision's
    `StochasticDepth(rate, "row")`.
    """
    check_rate("stochastic_depth", rate)

    def drop(key: Key, x: jax.Array) -> jax.Array:
        return F.dropout(key, x, rate, shared=range(1, x.ndim))

    return _noise(stochastic_depth, drop, rate=rate)


@factory()
def gaussian_noise(std: float) -> Layer:
    """In training y = x + std·z, where each element of z is drawn from N(0, 1); else y = x.

    z is drawn in float32 or wider. In training a key is needed, except with a std of 0.
    """
    if is_concrete(std) and not 0 <= std < math.inf:
        raise ValueError(f"gaussian_noise: std is {std}, but 0 ≤ std < ∞ is wanted")

    def disturb(key: Key, x: jax.Array) -> jax.Array:
        x = floating("gaussian_noise", "x", x)
        noise = std * jax.random.normal(key, x.shape, wide_dtype(x.dtype))
        return x + noise.astype(x.dtype)

    return _noise(gaussian_noise, disturb, std=std)


@factory()
def dropconnect(
    in_features: int,
    out_features: int,
    rate: float,
    *,
    bias: bool = True,
    kernel_init: Initializer = initializers.lecun_normal(),
    bias_init: Initializer = initializers.zeros,
) -> Layer:
    """In training y = x · (kernel ∘ m) / (1 − rate) + bias, in evaluation that of `linear`.

    Each element of m [in_features, out_features] is 0 with probability `rate`, in [0, 1), else 1,
    and each row of x [..., in_features] has its own m; what that costs stands in
    `functional.dropconnect`. Parameters are those of `linear`. In training a key is needed, except
    with a rate of 0.

    Wan et al. 2013, section 3. There the bias is masked too, and a test-time output is the mean of
    the activation over draws from the normal distribution that y has by its first two moments;
    here, as in dropout, it is the activation of y's mean, and what makes them one is the division
    by 1 − rate in training.
    """
    check_rate("dropconnect", rate)
    dense = linear(
        in_features, out_features, bias=bias, kernel_init=kernel_init, bias_init=bias_init
    )

    def apply(
        params: Params, state: State, x: jax.Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, State]:
        if not train or (is_concrete(rate) and rate == 0):
            return dense.apply(params, state, x)
        key = needed(key, f"dropconnect({in_features}, {out_features}, {rate})")
        y = F.dropconnect(key, x, params["kernel"], rate)
        return (y + broadcast(params["bias"], y) if bias else y), state

    return make(
        dropconnect,
        dense.init,
        apply,
        in_features=in_features,
        out_features=out_features,
        rate=rate,
        bias=bias,
    )


def _noise(
    kind: Callable[..., Layer], function: Callable[[Key, Any], Any], /, **config: float
) -> Layer:
    """y = function(key, x) in training, x in evaluation and where the one setting is 0."""
    (amount,) = config.values()

    def apply(
        params: Params, state: State, x: Any, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, State]:
        if not train or (is_concrete(amount) and amount == 0):
            return x, state
        return function(needed(key, f"{kind.__name__}({amount})"), x), state

    return make(kind, lambda key: ((), ()), apply, **config)


def needed(key: Key | None, layer: str) -> Key:
    """The key, which a layer that is random in training cannot do without."""
    if key is None:
        raise ValueError(
            f"{layer} needs a key in training: "
            "apply(params, state, x, key=jax.random.key(0), train=True)"
        )
    return keys.check(key)
