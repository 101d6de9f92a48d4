"""GPT: a transformer that tells what comes next."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax

from dlcore import functional as F
from dlcore import nn
from dlcore.models._model import model
from dlcore.models._transformer import block
from dlcore.nn.init import normal, zeros
from dlcore.nn.layer import check_sizes

EPS = 1e-5


@model
def gpt(
    vocabulary: int = 50_257,
    context: int = 1024,
    *,
    features: int = 768,
    heads: int = 12,
    layers: int = 12,
    dropout: float = 0.0,
    scan: bool | None = None,
) -> nn.Layer:
    """Logits [B, T, vocabulary] of the token after each, for x [B, T] in 0 … vocabulary − 1.

    | part      | of GPT-2                                             | parameters |
    |-----------|------------------------------------------------------|------------|
    | embedding | a learned vector for each token                      | 38,597,376 |
    | position  | one for each place, added                            |    786,432 |
    | blocks    | x + attention(norm(x)), then x + mlp(norm(x))        | 85,054,464 |
    | norm      | layer norm                                           |      1,536 |
    | logits    | the product with each token's vector in `embedding`  |          – |

    By default GPT-2's smallest: 124,439,808 parameters. Radford et al. 2019, section 2.3; a block's
    attention is causal, its mlp linear, gelu (approximated by tanh), linear, and 4 times as wide
    between. Kernels and vectors begin as N(0, 0.02²), those that end a residual branch as
    N(0, 0.02² / (2 · layers)), biases as 0; positions as N(0, 0.01²), as in OpenAI's code.

    dropout: of the sum of embedding and position, of the weights of attention, and of what a branch
        adds. Scan: as in `nn.repeat`.

    Reads `mask` [B, T], True for real tokens. Its memory holds `context` tokens.
    """
    check_sizes("gpt", vocabulary=vocabulary, context=context, features=features, layers=layers)
    start: dict[str, Any] = {"kernel_init": normal(0.02), "bias_init": zeros}
    start["output_init"] = normal(0.02 / math.sqrt(2 * layers))
    attention = nn.attention(
        features, heads, causal=True, context=context, dropout=dropout, **start
    )
    gelu = functools.partial(F.gelu, approximate=True)
    one = block(features, attention, eps=EPS, activation=gelu, dropout=dropout, **start)
    return nn.wire(
        _forward,
        embedding=nn.embedding(vocabulary, features, embedding_init=normal(0.02)),
        position=nn.position(context, features, embedding_init=normal(0.01)),
        dropout=nn.dropout(dropout),
        blocks=nn.repeat(one, layers, scan=scan),
        norm=nn.layer_norm(features, eps=EPS),
    )


def _forward(
    parts: Any, x: jax.Array, *, key: Any, train: bool, mask: jax.Array | None = None
) -> jax.Array:
    side = {} if mask is None else {"mask": mask}
    h = parts.dropout(parts.position(parts.embedding(x), **side))
    h = parts.norm(parts.blocks(h, **side))
    return F.linear(h, parts.embedding.params["embedding"].T)
