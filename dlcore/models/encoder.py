"""The encoder of a transformer: BERT, and networks like it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dlcore import nn
from dlcore.models._model import model
from dlcore.models._transformer import block
from dlcore.nn.init import normal, zeros
from dlcore.nn.layer import check_sizes

EPS = 1e-12  # of layer norm, as in BERT's code


@model
def encoder(
    vocabulary: int = 30_522,
    context: int = 512,
    *,
    features: int = 768,
    heads: int = 12,
    layers: int = 12,
    segments: int = 2,
    dropout: float = 0.1,
    pooled: bool = False,
    classes: int | None = None,
    scan: bool | None = None,
) -> nn.Layer:
    """What each token is in its context, [B, T, features], for x [B, T] in 0 … vocabulary − 1.

    | part               | of BERT-base                                    | parameters |
    |--------------------|-------------------------------------------------|------------|
    | embedding          | a learned vector for each token                 | 23,440,896 |
    | position, segment  | one for each place and each segment, added      |    394,752 |
    | norm               | layer norm                                      |      1,536 |
    | blocks             | norm(x + attention(x)), then norm(x + mlp(x))   | 85,054,464 |
    | pooler             | tanh(linear) of the first token, where `pooled` |    590,592 |

    By default BERT-base: 108,891,648 parameters, 109,482,240 when `pooled`. Devlin et al. 2019,
    section 3; the blocks are those of Vaswani et al. 2017, with the norm behind each part and gelu
    in the mlp. Kernels and vectors begin as N(0, 0.02²), biases as 0. `interop.from_torch` reads
    transformers' BertModel, and with `classes` its BertForSequenceClassification.

    pooled: y is [B, features], of the first token alone. classes: y are logits [B, classes], linear
        of that after dropout.
    dropout: of the sum of the three vectors, of attention's weights and of what is added.

    Reads `mask` [B, T], True for real tokens, which no other one is seen besides, and `segment`
    [B, T], 0 … segments − 1, by default 0.
    """
    check_sizes("encoder", features=features, layers=layers, segments=segments)
    start: dict[str, Any] = {"kernel_init": normal(0.02), "bias_init": zeros}
    of_vectors: dict[str, Any] = {"embedding_init": normal(0.02)}
    attention = nn.attention(features, heads, dropout=dropout, **start)
    one = block(features, attention, eps=EPS, norm_first=False, dropout=dropout, **start)
    is_pooled = pooled or classes is not None
    pooler = {"pooler": nn.linear(features, features, **start)} if is_pooled else {}
    body = nn.wire(
        _pooled if is_pooled else _forward,
        embedding=nn.embedding(vocabulary, features, **of_vectors),
        position=nn.position(context, features, **of_vectors),
        segment=nn.embedding(segments, features, **of_vectors),
        norm=nn.layer_norm(features, eps=EPS),
        dropout=nn.dropout(dropout),
        blocks=nn.repeat(one, layers, scan=scan),
        **pooler,
    )
    if classes is None:
        return body
    return nn.serial(
        nn.named("bert", body),
        nn.dropout(dropout),
        nn.named("classifier", nn.linear(features, classes, **start)),
    )


def _forward(
    parts: Any,
    x: jax.Array,
    *,
    key: Any,
    train: bool,
    mask: jax.Array | None = None,
    segment: jax.Array | None = None,
) -> jax.Array:
    side = {} if mask is None else {"mask": mask}
    of_segment = parts.segment(jnp.zeros_like(x) if segment is None else segment)
    h = parts.position(parts.embedding(x) + of_segment, **side)
    return parts.blocks(parts.dropout(parts.norm(h)), **side)


def _pooled(
    parts: Any,
    x: jax.Array,
    *,
    key: Any,
    train: bool,
    mask: jax.Array | None = None,
    segment: jax.Array | None = None,
) -> jax.Array:
    h = _forward(parts, x, key=key, train=train, mask=mask, segment=segment)
    return jnp.tanh(parts.pooler(h[:, 0]))
