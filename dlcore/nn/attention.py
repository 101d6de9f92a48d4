"""The attention layer."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from dlcore import functional as F
from dlcore.nn import init as initializers
from dlcore.nn.combinators import Parts, wire
from dlcore.nn.describing import describe
from dlcore.nn.init import Initializer
from dlcore.nn.layer import Layer, check_sizes
from dlcore.nn.linear import linear


def attention(
    features: int,
    heads: int,
    *,
    bias: bool = True,
    kernel_init: Initializer = initializers.lecun_normal(),
    bias_init: Initializer = initializers.zeros,
) -> Layer:
    """Self-attention with several heads, y = output(concat(head₁, …)), for x [B, T, features].

    headᵢ = softmax(qᵢ · kᵢᵀ / √D) · vᵢ, where qᵢ, kᵢ, vᵢ [B, T, D] are the i-th part of query(x),
    key(x) and value(x), D = features / heads; see `functional.attention`. The children query, key,
    value and output are `linear(features, features)`. Vaswani et al. 2017, section 3.2.2.

    PyTorch's MultiheadAttention holds the transposed kernels of query, key and value one under
    another as in_proj_weight; Flax's has kernels [features, heads, D], and [heads, D, features] of
    the output.
    """
    check_sizes("attention", features=features, heads=heads)
    if features % heads:
        raise ValueError(
            f"attention needs features that heads divides, got features={features}, heads={heads}"
        )

    def forward(parts: Parts, x: jax.Array, *, key: Any, train: bool) -> jax.Array:
        if x.ndim != 3 or x.shape[-1] != features:
            raise ValueError(f"attention expected [B, T, {features}], got {describe(x)}")

        def split(y: jax.Array) -> jax.Array:
            return y.reshape(*y.shape[:-1], heads, -1).swapaxes(1, 2)

        y = F.attention(*(split(part(x)) for part in (parts.query, parts.key, parts.value)))
        return parts.output(y.swapaxes(1, 2).reshape(x.shape))

    part = linear(features, features, bias=bias, kernel_init=kernel_init, bias_init=bias_init)
    layer = wire(forward, query=part, key=part, value=part, output=part)
    config = {"features": features, "heads": heads, "bias": bias}
    return layer._replace(info=dataclasses.replace(layer.info, kind="attention", config=config))
