"""Sequence to sequence: an encoder reads one, a decoder writes another, looking back at it."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore import functional as F
from dlcore import nn
from dlcore.checks import one_of
from dlcore.fields import documented
from dlcore.models._model import model
from dlcore.models._transformer import block
from dlcore.nn.init import xavier_uniform, zeros
from dlcore.nn.layer import Layer, Params, State, check_sizes, select

EPS = 1e-6  # of layer norm


@model
def seq2seq(
    source_vocabulary: int = 28,
    vocabulary: int = 42,
    features: int = 64,
    hidden: int = 128,
    *,
    attention: str | None = "additive",
    dropout: float = 0.0,
) -> Layer:
    """Logits [B, T, vocabulary] of the token after each of x [B, T], given `source` [B, S].

    The encoder is a bidirectional LSTM over the source's embedding: hₛ [B, S, 2 · hidden]. Of the
    decoder's LSTM, the input is x's embedding and what the encoder has read at either end, its
    output sₜ asks for a mean of the hₛ, cₜ, and logits are linear of tanh(linear([sₜ, cₜ])).

    | part    | of                                                       | parameters |
    |---------|----------------------------------------------------------|------------|
    | encoder | embedding, bidirectional LSTM                            |    199,424 |
    | decoder | embedding, LSTM, attention, linear, linear               |    336,682 |

    attention: "additive" (Bahdanau et al. 2015, appendix A.1.2), "multiplicative", one head of
        `nn.attention` (Luong et al. 2015, section 3.1, with 1 / √hidden), or None: cₜ is what the
        encoder has read at either end, for every t (Cho et al. 2014). Where it stands is Luong's:
        after the decoder's LSTM, which so reads whole sequences at once, while Bahdanau's cₜ also
        goes into the LSTM's next step.
    dropout: of both embeddings, and of what goes into the logits.

    x begins with a start token and y is one later, as `data.load("pronunciation")` has them. Reads
    `source`, `source_mask` [B, S] and `mask` [B, T], True for what is real. To write, the source is
    read once: `encode`.
    """
    check_sizes("seq2seq", hidden=hidden)
    attend = one_of("seq2seq", "attention", attention, _ATTENTION)
    encoder = nn.serial(
        nn.named("embedding", nn.embedding(source_vocabulary, features)),
        nn.dropout(dropout),
        nn.named("recurrent", nn.lstm(features, hidden, bidirectional=True)),
    )
    decoder = nn.wire(
        _write,
        embedding=nn.embedding(vocabulary, features),
        dropout=nn.dropout(dropout),
        recurrent=nn.lstm(features + 2 * hidden, hidden),
        attention=attend(hidden),
        combine=nn.linear(3 * hidden, hidden),
        logits=nn.linear(hidden, vocabulary),
    )
    return nn.wire(_translate, encoder=encoder, decoder=decoder)


def _multiplicative(hidden: int) -> Layer:
    """One head, whose values are `hidden` features wide, and as wide again what it gives."""
    within = nn.attention(hidden, 1, source=2 * hidden, bias=False)
    return nn.serial(within, nn.linear(hidden, 2 * hidden, bias=False))


_ATTENTION: dict[str | None, Any] = {
    "additive": lambda hidden: nn.additive_attention(hidden, 2 * hidden, hidden),
    "multiplicative": _multiplicative,
    None: lambda hidden: nn.make("ends", lambda key: ((), ()), _same_for_all),
}


def _same_for_all(
    params: Params,
    state: State,
    x: jax.Array,
    *,
    key: Any = None,
    train: bool = False,
    source: jax.Array,
    source_mask: jax.Array | None = None,
) -> tuple[jax.Array, State]:
    """In the place of attention, for each step of x the same."""
    return _repeated(_ends(source, source_mask), x), state


def _repeated(read: jax.Array, x: jax.Array) -> jax.Array:
    """read [B, D] at each step of x, [B, T, D]."""
    return jnp.broadcast_to(read[:, None].astype(x.dtype), (*x.shape[:2], read.shape[-1]))


def _write(
    parts: Any,
    x: jax.Array,
    *,
    key: Any,
    train: bool,
    source: jax.Array,
    source_mask: jax.Array | None = None,
    mask: jax.Array | None = None,
) -> jax.Array:
    y = parts.dropout(parts.embedding(x))
    y = jnp.concatenate([y, _repeated(_ends(source, source_mask), y)], axis=-1)
    s = parts.recurrent(y, **_given(mask=mask))
    c = parts.attention(s, source=source, **_given(source_mask=source_mask))
    h = jnp.tanh(parts.combine(jnp.concatenate([s, c], axis=-1)))
    return parts.logits(parts.dropout(h))


def _given(**side: Any) -> dict[str, Any]:
    """The side inputs that are there."""
    return {name: one for name, one in side.items() if one is not None}


def _ends(source: jax.Array, mask: jax.Array | None) -> jax.Array:
    """What a bidirectional encoder has read at either end, [B, 2 · hidden]: forward's at the last
    real step, backward's at the first.
    """
    forward, backward = jnp.split(source, 2, axis=-1)
    if mask is None:
        return jnp.concatenate([forward[:, -1], backward[:, 0]], axis=-1)
    steps = jnp.arange(source.shape[1])
    last = jnp.max(jnp.where(mask, steps, 0), axis=1)
    first = jnp.min(jnp.where(mask, steps, source.shape[1] - 1), axis=1)
    rows = jnp.arange(source.shape[0])
    return jnp.concatenate([forward[rows, last], backward[rows, first]], axis=-1)


@model
def transformer(
    source_vocabulary: int = 28,
    vocabulary: int = 42,
    context: int = 64,
    *,
    features: int = 128,
    heads: int = 4,
    layers: int = 2,
    dropout: float = 0.0,
    scan: bool | None = None,
) -> Layer:
    """Logits [B, T, vocabulary] of the token after each of x [B, T], given `source` [B, S].

    The encoder's blocks attend to the source; the decoder's to what of x is before, then to what
    the encoder gives. Vaswani et al. 2017, section 3, with waves for places, and relu in the mlp.
    Departures: the norm stands before each part and not after it, with one more at the end (Xiong
    et al. 2020), vectors are not shared among the two embeddings and the logits.

    context: the most tokens that x may have. Side inputs and data as those of `seq2seq`.
    """
    check_sizes("transformer", features=features, layers=layers, context=context)
    how: dict[str, Any] = {"kernel_init": xavier_uniform(), "bias_init": zeros}
    attention = {"dropout": dropout, **how}

    def stack(vocabulary: int, one: Layer) -> dict[str, Layer]:
        start = nn.init.normal(features**-0.5)
        return {
            "embedding": nn.embedding(vocabulary, features, embedding_init=start),
            "position": nn.sinusoidal(features),
            "dropout": nn.dropout(dropout),
            "blocks": nn.repeat(one, layers, scan=scan),
            "norm": nn.layer_norm(features, eps=EPS),
        }

    of_block: dict[str, Any] = {"eps": EPS, "activation": F.relu, "dropout": dropout, **how}
    reads = block(features, nn.attention(features, heads, **attention), **of_block)
    writes = block(
        features,
        nn.attention(features, heads, causal=True, context=context, **attention),
        source=nn.attention(features, heads, source=features, **attention),
        **of_block,
    )
    decoder = nn.serial(
        nn.named("body", nn.wire(_blocks, **stack(vocabulary, writes))),
        nn.named("logits", nn.linear(features, vocabulary, kernel_init=xavier_uniform())),
    )
    encoder = nn.wire(_blocks, **stack(source_vocabulary, reads))
    return nn.wire(_translate, encoder=encoder, decoder=decoder)


def _blocks(parts: Any, x: jax.Array, *, key: Any, train: bool, **side: Any) -> jax.Array:
    h = parts.embedding(x)
    h = parts.position(h * jnp.sqrt(jnp.asarray(h.shape[-1], h.dtype)), **side)
    return parts.norm(parts.blocks(parts.dropout(h), **side))


def _translate(
    parts: Any,
    x: jax.Array,
    *,
    key: Any,
    train: bool,
    source: jax.Array,
    source_mask: jax.Array | None = None,
    mask: jax.Array | None = None,
) -> jax.Array:
    read = parts.encoder(source, **_given(mask=source_mask))
    return parts.decoder(x, source=read, **_given(source_mask=source_mask, mask=mask))


@documented
class Encoded(NamedTuple):
    """The decoder of a network of `seq2seq` or `transformer`, and what it looks back at.

    decoder: the Layer that writes, which `generate` takes.
    params: its part of the network's.
    state: its part of the network's.
    side: its side inputs, what the encoder has read and the mask of that.
    """

    decoder: Layer
    params: Params
    state: State
    side: dict[str, Any]


def encode(
    layer: Layer, params: Params, state: State, source: Any, source_mask: Any = None
) -> Encoded:
    """The source [B, S], read once, for `generate`:

    decoder, params, state, side = models.encode(layer, params, state, letters, mask)
    start = numpy.full((len(letters), 1), START)
    generate.beam_search(decoder, params, state, start, 30, stop=END, **side)
    """
    parts = dict(layer.info.children)
    if parts.keys() != {"encoder", "decoder"}:
        raise ValueError(
            f"encode: the {layer.info.kind} has no encoder and decoder, as models.seq2seq and "
            "models.transformer have"
        )
    masked = {} if source_mask is None else {"mask": jnp.asarray(source_mask)}
    of_encoder, of_decoder = (
        (select(params, name), select(state, name)) for name in ("encoder", "decoder")
    )
    read = _reading(parts["encoder"])(*of_encoder, jnp.asarray(source), masked)
    side = {"source": read} | ({"source_mask": masked["mask"]} if masked else {})
    return Encoded(parts["decoder"], *of_decoder, side)


@functools.lru_cache(maxsize=32)
def _reading(encoder: Layer) -> Any:
    return jax.jit(lambda params, state, x, side: encoder.apply(params, state, x, **side)[0])
