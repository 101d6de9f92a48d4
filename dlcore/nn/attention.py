"""The attention layer."""

from __future__ import annotations

from typing import Any

import jax

from dlcore import functional as F
from dlcore.nn import init as initializers
from dlcore.nn.arguments import factory
from dlcore.nn.combinators import Parts, wire
from dlcore.nn.describing import describe
from dlcore.nn.init import Initializer
from dlcore.nn.layer import Layer, check_sizes, with_info
from dlcore.nn.linear import linear
from dlcore.nn.remembering import without_memory


@factory()
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

    Reads `mask` [B, T], True for real positions: to others nobody attends.

    PyTorch's MultiheadAttention holds the transposed kernels of query, key and value one under
    another as in_proj_weight; Flax's has kernels [features, heads, D], and [heads, D, features] of
    the output.
    """
    check_sizes("attention", features=features, heads=heads)
    if features % heads:
        raise ValueError(
            f"attention needs features that heads divides, got features={features}, heads={heads}"
        )

    def forward(
        parts: Parts, x: jax.Array, *, key: Any, train: bool, mask: jax.Array | None = None
    ) -> jax.Array:
        if x.ndim != 3 or x.shape[-1] != features:
            raise ValueError(f"attention expected [B, T, {features}], got {describe(x)}")

        if mask is not None and mask.shape != x.shape[:2]:
            raise ValueError(
                f"attention expected mask [B, T] of x {describe(x)}, got {describe(mask)}"
            )

        def split(y: jax.Array) -> jax.Array:
            return y.reshape(*y.shape[:-1], heads, -1).swapaxes(1, 2)

        real = None if mask is None else mask[:, None, None, :]
        q, k, v = (split(part(x)) for part in (parts.query, parts.key, parts.value))
        y = F.attention(q, k, v, real)
        return parts.output(y.swapaxes(1, 2).reshape(x.shape))

    part = linear(features, features, bias=bias, kernel_init=kernel_init, bias_init=bias_init)
    layer = wire(forward, query=part, key=part, value=part, output=part)
    config = {"features": features, "heads": heads, "bias": bias}
    whole = without_memory("attends to what follows")
    return with_info(layer, kind="attention", config=config, memory=whole)
