"""Small layers that read side inputs and remember, for the tests of both."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dlcore import functional as F
from dlcore import keys, nn
from dlcore.nn import init as initializers
from dlcore.nn.layer import with_info
from dlcore.nn.remembering import left, remembered


def causal_attention(features, longest):
    """Each place attends to those before it, and to what the cache holds of earlier windows."""

    def zeros(batch):
        return {
            "at": jnp.zeros(batch, jnp.int32),
            "key": jnp.zeros((batch, longest, features)),
            "value": jnp.zeros((batch, longest, features)),
        }

    def init(key):
        def draw(name):
            return initializers.lecun_normal()(keys.child(key, name), (features, features))

        return {name: draw(name) for name in ("query", "key", "value")}, ()

    def apply(params, state, x, *, key=None, train=False):
        if x.shape[1] > longest:
            raise ValueError(f"the cache holds {longest} places, got {x.shape[1]}")
        cache = remembered(state, zeros(len(x)), x)
        query, new, value = (x @ params[name] for name in ("query", "key", "value"))
        put = jax.vmap(lambda old, new, at: jax.lax.dynamic_update_slice(old, new, (at, 0)))
        keys_, values = put(cache["key"], new, cache["at"]), put(cache["value"], value, cache["at"])
        at = cache["at"][:, None] + jnp.arange(x.shape[1])
        seen = jnp.arange(longest) <= at[:, :, None]
        y = F.attention(query, keys_, values, seen)
        return y, left(state, {"at": at[:, -1] + 1, "key": keys_, "value": values})

    layer = nn.make("causal_attention", init, apply, features=features, longest=longest)
    return with_info(layer, memory=zeros)


def counting(features):
    """y = x + h, with a state that only training moves and a memory that always does."""

    def apply(params, state, x, *, key=None, train=False):
        h = remembered(state, {"h": jnp.zeros((len(x), features))}, x)["h"]
        mean = jnp.mean(x, (0, 1)) if train else state["mean"]
        return x + h[:, None], left({**state, "mean": mean}, {"h": h + jnp.sum(x, 1)})

    layer = nn.make("counting", lambda key: ((), {"mean": jnp.zeros(features)}), apply)
    return with_info(layer, memory=lambda batch: {"h": jnp.zeros((batch, features))})


def masked_mean(x, *, mask):
    """The mean over the real places of x [B, T, D]."""
    weight = mask[..., None].astype(x.dtype)
    return jnp.sum(x * weight, 1) / jnp.maximum(jnp.sum(weight, 1), 1)
