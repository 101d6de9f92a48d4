"""Texts told apart by a bag of their words, a recurrent network, or attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dlcore import nn
from dlcore.checks import one_of
from dlcore.functional import identity
from dlcore.models._model import model
from dlcore.models._transformer import block
from dlcore.nn.init import normal, xavier_uniform, zeros

HEADS = 4


@model
def text_classifier(
    vocabulary: int = 10_000,
    classes: int = 2,
    *,
    kind: str = "lstm",
    features: int = 64,
    dropout: float = 0.5,
) -> nn.Layer:
    """Logits [B, classes] of texts x [B, T], whose words are numbers: linear of the mean of hₜ.

    kind: what hₜ is. "bag": the word's vector, so that their order does not matter (fastText,
        Joulin et al. 2017, without its pairs of words). "lstm": the outputs of a bidirectional
        LSTM. "attention": those of one block of a transformer with waves for places. They are
        `features` wide, the LSTM's half as wide in each direction.
    dropout: of the vectors, and of the mean.

    Reads `mask` [B, T], True for real words: the mean is over them alone. 640,130 parameters as a
    bag, 664,962 with the LSTM, 690,242 with attention.
    """
    body = one_of("text_classifier", "kind", kind, _BODIES)(features)
    return nn.wire(
        _forward,
        embedding=nn.embedding(vocabulary, features, embedding_init=normal(0.1)),
        dropout=nn.dropout(dropout),
        body=body,
        logits=nn.linear(features, classes),
    )


def _lstm(features: int) -> nn.Layer:
    if features % 2:
        raise ValueError(f"text_classifier: features is {features}, of which an LSTM halves: even")
    return nn.lstm(features, features // 2, bidirectional=True)


def _attention(features: int) -> nn.Layer:
    how: dict[str, Any] = {"kernel_init": xavier_uniform(), "bias_init": zeros}
    return nn.serial(
        scaled,
        nn.sinusoidal(features),
        block(features, nn.attention(features, HEADS, **how), eps=1e-6, **how),
        nn.layer_norm(features),
    )


def scaled(x: jax.Array) -> jax.Array:
    """x · √features, so that vectors are as large as the waves (Vaswani et al. 2017, 3.4)."""
    return x * math.sqrt(x.shape[-1])


_BODIES: dict[str, Callable[[int], nn.Layer]] = {
    "bag": lambda features: nn.as_layer(identity),
    "lstm": _lstm,
    "attention": _attention,
}


def _forward(
    parts: Any, x: jax.Array, *, key: Any, train: bool, mask: jax.Array | None = None
) -> jax.Array:
    real = jnp.ones(x.shape, bool) if mask is None else mask
    y = parts.dropout(parts.embedding(x))
    h = parts.body(y, mask=real)
    total = jnp.sum(jnp.where(real[..., None], h, 0), axis=1)
    count = jnp.maximum(jnp.sum(real, axis=1, keepdims=True, dtype=h.dtype), 1)
    return parts.logits(parts.dropout(total / count))
