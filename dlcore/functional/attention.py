"""Attention, and what of a sequence it may see."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dlcore.checks import floating, places, wide_dtype
from dlcore.kernels.attention import attend


def attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: ArrayLike | None = None,
    *,
    causal: bool = False,
    window: int | None = None,
    bias: jax.Array | None = None,
    soft_cap: float | None = None,
    keep: jax.Array | None = None,
) -> jax.Array:
    """y = softmax(query · keyᵀ / √D) · value, for query [..., T, D], key [..., S, D].

    value is [..., S, E], y [..., T, E]. Each query receives a mean of the values, weighted by how
    well their keys fit it. Leading axes (batch, heads) broadcast. Key and value may have fewer
    heads, [..., G, S, D] for [..., H, T, D]: each serves H / G neighbouring queries (Ainslie et
    al. 2023). The softmax is in float32 or wider. Vaswani et al. 2017, equation 1.

    mask: boolean, broadcasts to [..., T, S]: the t-th query may attend to the s-th key where it is
        True. A query that may attend to nothing receives 0, as in PyTorch; Flax and JAX give it the
        mean of all values. A key that no query may attend to may be NaN, and so may that query.
    causal, window: only where `visible` is True of the places 0, 1, … of queries and keys. After a
        cache, whose places are others, give that as the mask.
    bias: added to the scores, broadcasts to [..., T, S]: `alibi`, learned distances.
    soft_cap: before that, scores s become soft_cap · tanh(s / soft_cap). Gemma team 2024.
    keep: what the weights are multiplied by, broadcasts to [..., T, S]: `dropout` of ones.
    """
    named = {"query": query, "key": key, "value": value}
    query, key, value = (floating("attention", name, x) for name, x in named.items())
    _check(query, key, value, causal, window, soft_cap)
    groups = _groups(query, key)
    if groups:
        query, key, value = _split(query, groups), key[..., None, :, :], value[..., None, :, :]
    leading = jnp.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    shape = (*leading, query.shape[-2], key.shape[-2])

    def fitting(name: str, x: ArrayLike | None) -> jax.Array | None:
        return None if x is None else _fitting(name, jnp.asarray(x), shape, groups)

    real, bias, keep = (fitting(*one) for one in (("mask", mask), ("bias", bias), ("keep", keep)))
    if real is not None:
        query, key, value = _unspoiled(query, key, value, real)
    if causal or window is not None:
        near = visible(*map(jnp.arange, shape[-2:]), causal=causal, window=window)
        real = near if real is None else real & near
    scale = 1 / math.sqrt(query.shape[-1])
    y = attend(query, key, value, bias, real, keep, scale, soft_cap)
    return y.reshape(*y.shape[:-4], -1, *y.shape[-2:]) if groups else y


def additive_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    vector: ArrayLike,
    mask: ArrayLike | None = None,
) -> jax.Array:
    """y = softmax(tanh(query + key) · vector) · value, for query [..., T, H], key [..., S, H].

    vector is [H], value [..., S, E], y [..., T, E]; each query meets each key in the sum, of which
    there are T · S · H. The mask is that of `attention`. Query and key are multiplied by their
    kernels already. Bahdanau et al. 2015, appendix A.1.2.
    """
    named = {"query": query, "key": key, "vector": vector}
    query, key, vector = (floating("additive_attention", name, x) for name, x in named.items())
    width = vector.shape[-1] if vector.ndim == 1 else None
    if min(query.ndim, key.ndim) < 2 or not query.shape[-1] == key.shape[-1] == width:
        raise ValueError(
            f"additive_attention: query {query.shape}, key {key.shape} and vector {vector.shape} "
            "do not fit: [..., T, H], [..., S, H] and [H] are wanted"
        )
    scores = jnp.tanh(query[..., :, None, :] + key[..., None, :, :]) @ vector
    none, none_either = (jnp.zeros((*x.shape[:-1], 1), x.dtype) for x in (query, key))
    return attention(none, none_either, jnp.asarray(value), mask, bias=scores)


def visible(
    queries: ArrayLike, keys: ArrayLike, *, causal: bool = True, window: int | None = None
) -> jax.Array:
    """Which places `keys` [..., S] those at the places `queries` [..., T] may attend to.

    Boolean [..., T, S]: s ≤ t if `causal`; with a `window` |t − s| < window. Places count from 0 in
    each sequence, so that they are the same whether it is read at once or token by token.
    """
    _check_window("visible", window)
    distance = _distance("visible", queries, keys)
    seen = distance >= 0 if causal else jnp.ones_like(distance, bool)
    return seen if window is None else seen & (jnp.abs(distance) < window)


def alibi(heads: int, queries: ArrayLike, keys: ArrayLike) -> jax.Array:
    """−mₕ · |t − s|, the bias [..., heads, T, S] of places `queries` [..., T] and `keys` [..., S].

    The slopes m are 2^(−8h / heads), h = 1 … heads; where heads is no power of two, those of the
    power below, then every second of twice as many. Press et al. 2022, section 3.
    """
    if heads < 1:
        raise ValueError(f"alibi: heads is {heads}, but ≥ 1 is wanted")
    distance = _distance("alibi", queries, keys)
    slopes = jnp.asarray(_slopes(heads), jnp.float32)[:, None, None]
    return -slopes * jnp.abs(distance)[..., None, :, :].astype(jnp.float32)


def _distance(function: str, queries: ArrayLike, keys: ArrayLike) -> jax.Array:
    """t − s [..., T, S]."""
    here, there = places(function, "queries", queries), places(function, "keys", keys)
    if not here.ndim or not there.ndim:
        raise ValueError(
            f"{function}: queries {here.shape} and keys {there.shape} are places [..., T] and "
            "[..., S]: give jnp.arange(length)"
        )
    return here[..., :, None] - there[..., None, :]


def _slopes(heads: int) -> list[float]:
    whole = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 * head / whole) for head in range(1, whole + 1)]
    more = [2 ** (-4 * head / whole) for head in range(1, 2 * whole + 1, 2)]
    return slopes + more[: heads - whole]


def _check(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    causal: bool,
    window: int | None,
    soft_cap: float | None,
) -> None:
    fits = min(query.ndim, key.ndim, value.ndim) > 1
    fits = fits and key.shape[-1] == query.shape[-1] and value.shape[-2] == key.shape[-2]
    without = -3 if _groups(query, key) else -2
    parts = (query.shape[:without], key.shape[:without], value.shape[:without])
    if without == -3:
        fits = fits and value.shape[-3] == key.shape[-3]
    if not fits or not _broadcast(*parts):
        raise ValueError(
            f"attention: query {query.shape}, key {key.shape} and value {value.shape} do not fit: "
            "[..., T, D], [..., S, D] and [..., S, E] are wanted, with leading axes that broadcast"
        )
    _check_window("attention", window)
    if soft_cap is not None and not soft_cap > 0:
        raise ValueError(f"attention: soft_cap is {soft_cap}, but must exceed 0; None is no cap")


def _check_window(function: str, window: int | None) -> None:
    if window is not None and window < 1:
        raise ValueError(f"{function}: window is {window}, but a place sees itself at least: 1")


def _groups(query: jax.Array, key: jax.Array) -> int:
    """How many heads the keys have, where each serves several queries; else 0."""
    if query.ndim < 3 or key.ndim < 3:
        return 0
    heads, groups = query.shape[-3], key.shape[-3]
    return groups if 1 < groups < heads and heads % groups == 0 else 0


def _split(x: jax.Array, groups: int) -> jax.Array:
    """[..., H, T, ·] as [..., G, H / G, T, ·]."""
    return x.reshape(*x.shape[:-3], groups, -1, *x.shape[-2:])


def _broadcast(*shapes: tuple[int, ...]) -> bool:
    try:
        jnp.broadcast_shapes(*shapes)
    except ValueError:
        return False
    return True


def _fitting(name: str, x: jax.Array, shape: tuple[int, ...], groups: int) -> jax.Array:
    """`x`, which broadcasts to the scores, whose heads are in groups or not."""
    wanted = (*shape[:-4], shape[-4] * shape[-3], *shape[-2:]) if groups else shape
    if name == "mask" and x.dtype != bool:
        raise TypeError(f"attention: mask is {x.dtype}, but True (may attend) and False are wanted")
    if x.ndim > len(wanted) or any(
        length not in (1, whole) for length, whole in zip(x.shape[::-1], wanted[::-1], strict=False)
    ):
        raise ValueError(
            f"attention: {name} {x.shape} does not broadcast to the scores' [..., T, S], {wanted}"
        )
    x = jnp.atleast_2d(x if name == "mask" else x.astype(wide_dtype(x.dtype)))
    if groups and x.ndim > 2:
        return x[..., None, :, :] if x.shape[-3] == 1 else _split(x, groups)
    return x


def _unspoiled(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """With 0 for queries that see nothing and keys that nobody sees, since 0 · NaN is NaN."""

    def cleaned(x: jax.Array, axis: int) -> jax.Array:
        some = jnp.any(mask, axis, keepdims=True)
        some = jnp.swapaxes(some, -1, -2) if axis == -2 else some
        some = jnp.any(some, tuple(range(some.ndim - x.ndim)))
        shared = [
            place for place in range(-some.ndim, -2) if x.shape[place] == 1 < some.shape[place]
        ]
        return jnp.where(jnp.any(some, shared, keepdims=True), x, jnp.zeros((), x.dtype))

    return cleaned(query, -1), cleaned(key, -2), cleaned(value, -2)
