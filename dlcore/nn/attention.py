"""The attention layer."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore import functional as F
from dlcore import keys
from dlcore.functional.dropout import check_rate
from dlcore.keys import Key
from dlcore.nn import init as initializers
from dlcore.nn.arguments import factory
from dlcore.nn.combinators import Parts, bound, left_by
from dlcore.nn.describing import describe
from dlcore.nn.dropout import needed
from dlcore.nn.init import Initializer
from dlcore.nn.layer import (
    Children,
    Layer,
    Params,
    State,
    check_sizes,
    init_children,
    is_empty,
    make,
    select,
    with_info,
)
from dlcore.nn.linear import linear
from dlcore.nn.places import after, cleaned, places
from dlcore.nn.position import check_length, nothing_seen
from dlcore.nn.remembering import KEY, left, remembered, without_memory


class _How(NamedTuple):
    """The settings, as they are shown."""

    features: int
    heads: int
    bias: bool = True
    kv_heads: int | None = None
    causal: bool = False
    window: int | None = None
    rotary: float | None = None
    alibi: bool = False
    soft_cap: float | None = None
    dropout: float = 0.0
    source: int | None = None
    context: int | None = None

    @property
    def groups(self) -> int:
        """How many heads keys and values have."""
        return self.kv_heads or self.heads

    @property
    def depth(self) -> int:
        """How many features a head has."""
        return self.features // self.heads


@factory()
def attention(
    features: int,
    heads: int,
    *,
    kv_heads: int | None = None,
    causal: bool = False,
    window: int | None = None,
    rotary: float | None = None,
    alibi: bool = False,
    soft_cap: float | None = None,
    dropout: float = 0.0,
    source: int | None = None,
    context: int | None = None,
    bias: bool = True,
    kernel_init: Initializer = initializers.lecun_normal(),
    output_init: Initializer | None = None,
    bias_init: Initializer = initializers.zeros,
) -> Layer:
    """Attention with several heads, y = output(concat(head₁, …)), for x [B, T, features].

    headᵢ = softmax(qᵢ · kᵢᵀ / √D) · vᵢ, where qᵢ, kᵢ, vᵢ [B, T, D] are the i-th part of query(x),
    key(x) and value(x), D = features / heads; see `functional.attention`. The children query, key,
    value and output are `linear`. Vaswani et al. 2017, section 3.2.2.

    Reads `mask` [B, T], True for real steps: to others nobody attends.

    kv_heads: the heads of key and value, each for heads / kv_heads of query's: one is multi-query,
        several are grouped attention (Ainslie et al. 2023). By default as many as query's.
    causal: each step attends to itself and those before it. window: to the nearest alone, itself
        among them. Both go by places, which count real steps alone.
    rotary: queries and keys are turned by their places, `functional.rotary`; its base, 10_000 in
        the paper. alibi: farther keys count less, `functional.alibi`.
    soft_cap: as in `functional.attention`.
    dropout: the probability of dropping a weight of the softmax in training; the others grow.
    source: the features of a `source` [B, S, source], a side input, of which key and value are made
        in place of x; `source_mask` [B, S] is True for what of it is real.
    context: the longest sequence; what is longer is refused. A causal one of a known context has a
        memory for generation: the keys and values of all steps so far. In a compiled program that
        goes on from there y is NaN where it overflows.
    output_init: of output's kernel, else kernel_init.

    PyTorch's MultiheadAttention holds the transposed kernels of query, key and value one under
    another as in_proj_weight; Flax's has kernels [features, heads, D], and [heads, D, features] of
    the output.
    """
    how = _How(
        features,
        heads,
        bias,
        kv_heads,
        causal,
        window,
        rotary,
        alibi,
        soft_cap,
        dropout,
        source,
        context,
    )
    _check(how)
    inner: dict[str, Any] = {"bias": bias, "bias_init": bias_init}
    of_source = features if source is None else source
    narrow = how.groups * how.depth
    children = (
        ("query", linear(features, features, kernel_init=kernel_init, **inner)),
        ("key", linear(of_source, narrow, kernel_init=kernel_init, **inner)),
        ("value", linear(of_source, narrow, kernel_init=kernel_init, **inner)),
        ("output", linear(features, features, kernel_init=output_init or kernel_init, **inner)),
    )
    return _attention(how, children)


def _check(how: _How) -> None:
    optional = {
        name: getattr(how, name)
        for name in ("kv_heads", "window", "source", "context")
        if getattr(how, name) is not None
    }
    check_sizes("attention", features=how.features, heads=how.heads, **optional)
    check_rate("attention", how.dropout)
    if how.features % how.heads:
        raise ValueError(
            "attention needs features that heads divides, got "
            f"features={how.features}, heads={how.heads}"
        )
    if how.heads % how.groups:
        raise ValueError(
            "attention needs heads that kv_heads divides, got "
            f"heads={how.heads}, kv_heads={how.kv_heads}"
        )
    if how.soft_cap is not None and not how.soft_cap > 0:
        raise ValueError(
            f"attention: soft_cap is {how.soft_cap}, but must exceed 0; None is no cap"
        )
    if how.rotary is not None and not 1 < how.rotary < math.inf:
        raise ValueError(f"attention: rotary is {how.rotary!r}, but its base is wanted: 10_000")
    if how.rotary is not None and how.depth % 2:
        raise ValueError(
            "attention: rotary turns pairs of features, but a head has "
            f"features / heads = {how.depth}: even is wanted"
        )
    of_places = (how.causal, how.window, how.rotary, how.alibi, how.context)
    if how.source is not None and any(of_places):
        raise ValueError(
            "attention: the places of a source are not those of x: "
            "leave causal, window, rotary, alibi and context out, or source"
        )


def _attention(how: _How, children: Children) -> Layer:
    config = {name: value for name, value in how._asdict().items() if _is_told(name, value)}
    apply = _within(how, children) if how.source is None else _across(how, children)
    layer = make(
        attention,
        lambda key: init_children(children, key),
        apply,
        children,
        lambda inner: _attention(how, inner),
        **config,
    )
    return with_info(layer, memory=_memory(how))


def _is_told(name: str, value: Any) -> bool:
    return name in ("features", "heads", "bias") or value != _How._field_defaults[name]


def _within(how: _How, children: Children) -> Any:
    """The apply of attention within x."""

    def apply(
        params: Params,
        state: State,
        x: jax.Array,
        *,
        key: Key | None = None,
        train: bool = False,
        mask: jax.Array | None = None,
    ) -> tuple[Any, State]:
        _check_x(how, x)
        x = cleaned("attention", x, mask)
        cache = _cache(how, state, x)
        where = places(x, mask, cache.get("at"))
        parts = bound(children, params, state, key, train)
        query = _heads(parts.query(x), how.heads)
        new, value = (_heads(parts[name](x), how.groups) for name in ("key", "value"))
        if how.rotary is not None:
            turn = where[:, None]
            query, new = (F.rotary(one, turn, base=how.rotary) for one in (query, new))
        if cache:
            cache = _with(cache, new, value, x, mask, where)
            among = jnp.arange(how.context)
            seen: dict[str, Any] = {"mask": F.visible(where, among, window=how.window)[:, None]}
            new, value = cache["key"], cache["value"]
        else:
            seen, among = _seen(how, mask, where), where
        if how.alibi:
            seen["bias"] = F.alibi(how.heads, where, among)
        y = _attended(how, query, new, value, key, train, **seen)
        if cache:  # what found no room
            y = jnp.where((where < len(among))[..., None], y, jnp.nan)
        y = parts.output(y)
        return y, _left(parts, state, cache)

    return apply


def _across(how: _How, children: Children) -> Any:
    """The apply of attention from x to a source."""

    def apply(
        params: Params,
        state: State,
        x: jax.Array,
        *,
        key: Key | None = None,
        train: bool = False,
        source: jax.Array,
        source_mask: jax.Array | None = None,
    ) -> tuple[Any, State]:
        _check_x(how, x)
        if source.ndim != 3 or (source.shape[0], source.shape[-1]) != (x.shape[0], how.source):
            raise ValueError(
                f"attention expected source [{x.shape[0]}, S, {how.source}], got {describe(source)}"
            )
        source = cleaned("attention", source, source_mask, "source_mask")
        parts = bound(children, params, state, key, train)
        query = _heads(parts.query(x), how.heads)
        new, value = (_heads(parts[name](source), how.groups) for name in ("key", "value"))
        mask = None if source_mask is None else source_mask[:, None, None]
        y = parts.output(_attended(how, query, new, value, key, train, mask=mask))
        return y, _left(parts, state, {})

    return apply


def _check_x(how: _How, x: jax.Array) -> None:
    if x.ndim != 3 or x.shape[-1] != how.features:
        raise ValueError(f"attention expected [B, T, {how.features}], got {describe(x)}")


def _heads(y: jax.Array, heads: int) -> jax.Array:
    """[B, T, heads · D] as [B, heads, T, D]."""
    return y.reshape(*y.shape[:-1], heads, -1).swapaxes(1, 2)


def _seen(how: _How, mask: jax.Array | None, where: jax.Array) -> dict[str, Any]:
    """What each step of x may attend to in x, as `functional.attention` is told."""
    if mask is None:
        return {"causal": how.causal, "window": how.window}
    real = mask[:, None, None]
    if not how.causal and how.window is None:
        return {"mask": real}
    near = F.visible(where, where, causal=how.causal, window=how.window)
    return {"mask": real & near[:, None]}


def _attended(
    how: _How,
    query: jax.Array,
    new: jax.Array,
    value: jax.Array,
    key: Key | None,
    train: bool,
    **seen: Any,
) -> jax.Array:
    """What the heads receive, side by side [B, T, features]."""
    if train and how.dropout:
        own = keys.child(needed(key, "attention"), "dropout")
        ones = jnp.ones((*query.shape[:-1], new.shape[-2]))
        seen["keep"] = F.dropout(own, ones, how.dropout)
    y = F.attention(query, new, value, soft_cap=how.soft_cap, **seen)
    y = y.swapaxes(1, 2)
    return y.reshape(*y.shape[:2], -1)


# ---------------------------------------------------------------------------------------- memory


def _memory(how: _How) -> Any:
    """The `info.memory`: none is needed for a source, which is there at each step."""
    if how.source is not None:
        return None
    if not how.causal:
        return without_memory("attends to what follows")
    if how.context is None:
        return without_memory("was not told the longest sequence: attention(…, context=1024)")
    return lambda batch: _zeros(how, batch)


def _zeros(how: _How, batch: int) -> dict[str, jax.Array]:
    """Keys and values [B, heads, context, D], of which the first `at` are there."""
    shape = (batch, how.groups, how.context or 0, how.depth)
    return {**nothing_seen(batch), "key": jnp.zeros(shape), "value": jnp.zeros(shape)}


def _cache(how: _How, state: State, x: jax.Array) -> dict[str, jax.Array]:
    """What came before x; empty without a memory."""
    streams = not is_empty(select(state, KEY))
    cache: dict[str, jax.Array] = remembered(state, {}, x) if streams else {}
    if how.context is not None:
        check_length("attention", x, cache.get("at"), how.context)
    return cache


def _with(
    cache: dict[str, jax.Array],
    key: jax.Array,
    value: jax.Array,
    x: jax.Array,
    mask: jax.Array | None,
    where: jax.Array,
) -> dict[str, jax.Array]:
    """The cache with the real steps of x at their places."""
    rows, nowhere = jnp.arange(x.shape[0])[:, None], cache["key"].shape[2]
    where = where if mask is None else jnp.where(mask, where, nowhere)

    def put(old: jax.Array, new: jax.Array) -> jax.Array:
        return old.at[rows, :, where].set(new.swapaxes(1, 2), mode="drop")

    at = after(x, mask, cache["at"])
    return {"at": at, "key": put(cache["key"], key), "value": put(cache["value"], value)}


def _left(parts: Parts, state: State, cache: dict[str, jax.Array]) -> State:
    """The state of the children, and the memory."""
    rest = left_by(parts)
    return left({**(rest or {}), KEY: select(state, KEY)}, cache) if cache else rest
