"""Attention whose scores are a small network's."""

from __future__ import annotations

from typing import Any

import jax

from dlcore import functional as F
from dlcore.keys import Key
from dlcore.nn.arguments import factory
from dlcore.nn.combinators import bound, left_by
from dlcore.nn.describing import describe
from dlcore.nn.init import Initializer, lecun_normal
from dlcore.nn.layer import (
    Children,
    Layer,
    Params,
    State,
    as_layer,
    check_sizes,
    init_children,
    make,
)
from dlcore.nn.linear import linear
from dlcore.nn.places import cleaned


@factory()
def additive_attention(
    features: int, source: int, hidden: int, *, kernel_init: Initializer = lecun_normal()
) -> Layer:
    """y = softmax(tanh(query(x) + key(source)) · score) · source, for x [B, T, features].

    y [B, T, source]. The side input `source` [B, S, source] is what it attends to; `source_mask`
    [B, S] is True for what of it is real. The children query and key are `linear`, to `hidden`
    features; score is a kernel [hidden, 1]. Bahdanau et al. 2015, appendix A.1.2.
    """
    check_sizes("additive_attention", features=features, source=source, hidden=hidden)
    children = (
        ("query", linear(features, hidden, bias=False, kernel_init=kernel_init)),
        ("key", linear(source, hidden, kernel_init=kernel_init)),
        ("score", linear(hidden, 1, bias=False, kernel_init=kernel_init)),
        ("value", as_layer(F.identity)),
    )
    return _additive_attention(features, source, hidden, children)


def _additive_attention(features: int, width: int, hidden: int, children: Children) -> Layer:
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
        if x.ndim != 3 or x.shape[-1] != features:
            raise ValueError(f"additive_attention expected [B, T, {features}], got {describe(x)}")
        if source.ndim != 3 or (source.shape[0], source.shape[-1]) != (x.shape[0], width):
            raise ValueError(
                f"additive_attention expected source [{x.shape[0]}, S, {width}], got "
                f"{describe(source)}"
            )
        source = cleaned("additive_attention", source, source_mask, "source_mask")
        parts = bound(children, params, state, key, train)
        y = F.additive_attention(
            parts.query(x),
            parts.key(source),
            parts.value(source),
            parts.score.params["kernel"][:, 0],
            None if source_mask is None else source_mask[:, None],
        )
        return y, left_by(parts)

    return make(
        additive_attention,
        lambda key: init_children(children, key),
        apply,
        children,
        lambda inner: _additive_attention(features, width, hidden, inner),
        features=features,
        source=width,
        hidden=hidden,
    )
