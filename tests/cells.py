"""Small layers that read side inputs and remember, for the tests of both."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dlcore import functional as F
from dlcore import keys, nn
from dlcore.nn import init as initializers
from dlcore.nn.layer import is_empty, select, with_info


def remembered(state, x, zeros):
    """What a layer goes on from: its memory in x's dtype, or zeros."""
    memory = select(state, "memory")
    start = zeros(len(x)) if is_empty(memory) else memory
    return jax.tree.map(
        lambda leaf: leaf.astype(x.dtype) if leaf.dtype.kind == "f" else leaf, start
    )


def kept(state, end):
    """The state with `end` as its memory, where it has one, in its dtype."""
    if is_empty(select(state, "memory")):
        return state
    return {
        **state,
        "memory": jax.tree.map(lambda new, old: new.astype(old.dtype), end, state["memory"]),
    }


def rnn(features, hidden):
    """hₜ = tanh(xₜ A + hₜ₋₁ R), which stands still where mask [B, T] is False."""

    def zeros(batch):
        return {"h": jnp.zeros((batch, hidden))}

    def init(key):
        def draw(name, rows):
            return initializers.lecun_normal()(keys.child(key, name), (rows, hidden))

        return {"kernel": draw("kernel", features), "recurrent": draw("recurrent", hidden)}, ()

    def apply(params, state, x, *, key=None, train=False, mask=None):
        real = jnp.ones(x.shape[:2], bool) if mask is None else mask

        def one(h, at):
            z, moves = at
            h = jnp.where(moves[:, None], jnp.tanh(z + h @ params["recurrent"]), h)
            return h, h

        steps = (jnp.swapaxes(x @ params["kernel"], 0, 1), real.T)
        h, hs = jax.lax.scan(one, remembered(state, x, zeros)["h"], steps)
        return jnp.swapaxes(hs, 0, 1), kept(state, {"h": h})

    layer = nn.make("rnn", init, apply, features=features, hidden=hidden)
    return with_info(layer, memory=zeros)


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
        cache = remembered(state, x, zeros)
        query, new, value = (x @ params[name] for name in ("query", "key", "value"))
        put = jax.vmap(lambda old, new, at: jax.lax.dynamic_update_slice(old, new, (at, 0)))
        keys_, values = put(cache["key"], new, cache["at"]), put(cache["value"], value, cache["at"])
        at = cache["at"][:, None] + jnp.arange(x.shape[1])
        seen = jnp.arange(longest) <= at[:, :, None]
        y = F.attention(query, keys_, values, seen)
        return y, kept(state, {"at": at[:, -1] + 1, "key": keys_, "value": values})

    layer = nn.make("causal_attention", init, apply, features=features, longest=longest)
    return with_info(layer, memory=zeros)


def counting(features):
    """y = x + h, with a state that only training moves and a memory that always does."""

    def apply(params, state, x, *, key=None, train=False):
        h = remembered(state, x, lambda batch: {"h": jnp.zeros((batch, features))})["h"]
        mean = jnp.mean(x, (0, 1)) if train else state["mean"]
        return x + h[:, None], kept({**state, "mean": mean}, {"h": h + jnp.sum(x, 1)})

    layer = nn.make("counting", lambda key: ((), {"mean": jnp.zeros(features)}), apply)
    return with_info(layer, memory=lambda batch: {"h": jnp.zeros((batch, features))})


def masked_mean(x, *, mask):
    """The mean over the real places of x [B, T, D]."""
    weight = mask[..., None].astype(x.dtype)
    return jnp.sum(x * weight, 1) / jnp.maximum(jnp.sum(weight, 1), 1)
