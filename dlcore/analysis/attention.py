"""What a network attends to."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dlcore import nn
from dlcore.functional import identity


def attention_weights(call: nn.Call) -> jax.Array:
    """The weights [B, heads, T, S] of one application of `nn.attention` or `additive_attention`.

    How much of its source's step s each step t receives: they sum to one over s, and are 0 where
    nothing is to be seen. They are what the layer itself gives where each value is a 1 of its own,
    value(source)ₛ = eₛ, and output the identity; so mask, places and soft cap are those of the
    layer, and dropout, which is training's, is not.

        _, calls = nn.observed(layer.apply, params, state, x, source=source)
        weights = analysis.attention_weights(calls["decoder/attention"])

    Raises ValueError for another layer.
    """
    layer = call.layer
    if not {"query", "key", "value"} <= {name for name, _ in layer.info.children}:
        raise ValueError(
            f"attention_weights: the {layer.info.kind} does not attend; give the call of an "
            "nn.attention, by its path"
        )
    groups = layer.info.config.get("kv_heads") or layer.info.config.get("heads") or 1

    def ones(x: Any) -> jax.Array:
        """[B, S, groups · S]"""
        of_each = jnp.tile(jnp.eye(x.shape[1], dtype=x.dtype), groups)
        return jnp.broadcast_to(of_each, (x.shape[0], *of_each.shape))

    bare = nn.replace(layer, "value", ones)
    if "output" in dict(layer.info.children):
        bare = nn.replace(bare, "output", identity)
    y, _ = bare.apply(call.params, call.state, call.x, **call.side)
    heads = layer.info.config.get("heads", 1)
    return y.reshape(*y.shape[:2], heads, -1).swapaxes(1, 2)
