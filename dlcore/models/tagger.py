"""A tagger: words and their letters, a bidirectional LSTM, a CRF for each kind of tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dlcore import functional as F
from dlcore import nn
from dlcore.models._model import model
from dlcore.nn.init import normal

Tags = int | Sequence[str]  # how many there are, or their names

OF_LETTERS = 16, 32  # features of a letter, and of a word by its letters
OF_POS = 32
SMALL = normal(0.3)


@model
def tagger(
    words: int = 10_000,
    letters: int = 100,
    tags: Tags | Mapping[str, Tags] = 17,
    *,
    pos: int | None = None,
    crf: bool = True,
    features: int = 100,
    hidden: int = 100,
    dropout: float = 0.4,
) -> nn.Layer:
    """The tags of sentences, as `train.tagging` learns them: a `functional.Chain` for each.

    | part     | of x [B, T] and `letters` [B, T, L]                          | parameters |
    |----------|--------------------------------------------------------------|------------|
    | words    | embedding of `features`                                      |  1,000,000 |
    | spelling | embedding 16, conv 32 @ 3, relu, the largest over the letters |      3,168 |
    | lstm     | bidirectional, hidden to either side                         |    186,400 |
    | tags     | linear, crf                                                  |      3,740 |

    1,193,308 parameters. Dropout stands before and after the LSTM. Number 0 of words and letters is
    padding; reads `mask` [B, T]. After Ma and Hovy 2016. Departure: letters are not dropped.

    tags: how many there are, or their names, of which a CRF allows what IOB2 does, where they are
        IOB2's. Of several kinds by name the output is a dict of these names: one trunk, many heads.
    pos: the number of parts of speech, where they are given: reads `pos` [B, T], embedded in 32.
    crf: whether a kind's tags are scored as paths; else the output is logits [B, T, tags].

    Raises ValueError for sizes below 1.
    """
    inputs = [
        nn.named("words", nn.embedding(words, features, padding=0, embedding_init=SMALL)),
        nn.named("spelling", spelling(letters)),
    ]
    if pos is not None:
        speech = nn.serial(of_pos, nn.embedding(pos, OF_POS, embedding_init=SMALL))
        inputs.append(nn.named("pos", speech))
    width = features + OF_LETTERS[1] + (0 if pos is None else OF_POS)
    return nn.serial(
        nn.named("inputs", nn.concat(*inputs)),
        nn.dropout(dropout),
        nn.named("lstm", nn.lstm(width, hidden, bidirectional=True)),
        nn.dropout(dropout),
        nn.named("tags", heads(2 * hidden, tags, crf)),
    )


def spelling(letters: int) -> nn.Layer:
    """A word by its letters [B, T, L]: what is found most clearly at any of them, [B, T, 32]."""
    features, outputs = OF_LETTERS
    return nn.serial(
        of_letters,
        nn.embedding(letters, features, padding=0),
        nn.conv(features, outputs, (1, 3), padding="SAME"),
        F.relu,
        largest_over_letters,
    )


def heads(features: int, tags: Tags | Mapping[str, Tags], crf: bool) -> nn.Layer:
    """The head of one kind of tags, or of each."""
    if not isinstance(tags, Mapping):
        return head(features, tags, crf)
    kinds = tuple(tags)

    def by_kind(*outputs: Any) -> dict[str, Any]:
        return dict(zip(kinds, outputs, strict=True))

    each = [nn.named(kind, head(features, tags[kind], crf)) for kind in kinds]
    return nn.branch(by_kind, *each)


def head(features: int, tags: Tags, crf: bool) -> nn.Layer:
    """Scores of one kind of tags, and of their paths."""
    names = () if isinstance(tags, int) else tuple(tags)
    count = tags if isinstance(tags, int) else len(names)
    scores = nn.linear(features, count)
    if not crf:
        return scores
    is_iob2 = names and all(name == "O" or name.startswith(("B-", "I-")) for name in names)
    return nn.serial(scores, nn.crf(count, allowed=F.iob2_allowed(names) if is_iob2 else None))


def of_letters(x: jax.Array, *, letters: jax.Array) -> jax.Array:
    """The letters in the place of the words."""
    return letters


def of_pos(x: jax.Array, *, pos: jax.Array) -> jax.Array:
    """The parts of speech in the place of the words."""
    return pos


def largest_over_letters(x: jax.Array) -> jax.Array:
    """[B, T, L, D] → [B, T, D]: the largest over the letters."""
    return jnp.max(x, axis=2)
