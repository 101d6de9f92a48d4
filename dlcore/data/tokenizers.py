"""Texts as numbers and back: by characters, by words, by pairs of bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data import files
from dlcore.data.dataset import DataError, check_count
from dlcore.data.vocabulary import Vocabulary, checked, vocabulary
from dlcore.names import arguments

# A word with the blank before it, signs likewise, and what other blanks there are: nothing is lost.
WORD = re.compile(r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s+")
_BYTES = 1 << 24  # of a tokenizer's file, at most: GPT-2's has 1 MB


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """Two functions and what they are made of.

    encode: of a text the numbers int32 [T] of its tokens.
    decode: of numbers [T] the text; decode(encode(text)) == text, where all tokens are known.
    tokens: each token as it is written, by number.
    description: what `tokenizer` makes it anew of, JSON for the metadata of a weights file.
    """

    encode: Callable[[str], np.ndarray]
    decode: Callable[[Any], str]
    tokens: tuple[str, ...]
    description: dict[str, Any]

    def __len__(self) -> int:
        """How many tokens there are."""
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"Tokenizer({self.description['kind']}, {len(self.tokens):,} tokens)"


@arguments()
def characters(text: str) -> Tokenizer:
    """A token for each character of `text`, in their order; others are refused.

    >>> letters = characters("hello")
    >>> letters.encode("hole").tolist(), letters.decode([1, 0])
    ([1, 3, 2, 0], 'he')
    """
    return _of(Vocabulary(tuple(sorted(set(text)))), "characters")


@arguments()
def words(
    text: str, *, size: int | None = None, minimum: int = 1, unknown: str = "<unk>"
) -> Tokenizer:
    """A token for each word of `text`, with the blank before it, and for each run of signs.

    size, minimum: as in `vocabulary`. unknown: what others become, in the text too.
    """
    known = vocabulary(WORD.findall(text), size=size, minimum=minimum, unknown=unknown)
    return _of(known, "words")


@arguments()
def byte_pairs(texts: str | Iterable[str], size: int) -> Tokenizer:
    """Up to `size` tokens by byte-pair encoding: the 256 bytes, then the most frequent pair, …

    They are fewer where no pair is left. Of any text nothing is lost, but what no file can hold (a
    lone surrogate). Sennrich et al. 2016, on bytes as in GPT-2 (Radford et al. 2019,
    section 2.2). Needs tokenizers: pip install 'dlcore[text]'.
    """
    check_count("size", size, 257)
    library = _library()
    trained = library.Tokenizer(library.models.BPE())
    trained.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=size,
        show_progress=False,
        initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
    )
    trained.train_from_iterator([texts] if isinstance(texts, str) else texts, trainer)
    return _byte_pairs(trained)


@arguments()
def gpt2(folder: str | Path) -> Tokenizer:
    """GPT-2's, from the files `vocab.json` and `merges.txt` (or `encoder.json`, `vocab.bpe`)."""
    library = _library()
    names = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
    place = files.located(folder)
    for pair in names:
        paths = [place / name for name in pair]
        if all(map(files.is_file, paths)):
            break
    else:
        raise DataError(f"{place}: vocab.json and merges.txt are wanted, as GPT-2 has them")
    try:
        known = json.loads(files.read(paths[0], _BYTES))
        lines = files.read(paths[1], _BYTES).decode().splitlines()
        merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
        read = library.Tokenizer(library.models.BPE(known, merges))
    except DataError:
        raise
    except Exception as error:  # a damaged file may be anything
        raise files.damaged(place, f"no tokenizer of byte pairs ({error})") from None
    read.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    read.decoder = library.decoders.ByteLevel()
    return _byte_pairs(read)


def tokenizer(description: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer of this `description`, which a weights file may hold in its metadata.

    models.save(path, layer, params, state, {"tokenizer": letters.description})
    about = interop.weights.load(path)[1]
    letters = data.tokenizer(about["tokenizer"])
    """
    try:
        kind = description["kind"]
        if kind in ("characters", "words"):
            known = Vocabulary(tuple(description["tokens"]), description.get("unknown"))
            return _of(known, kind)
        if kind == "byte pairs":
            return _byte_pairs(_library().Tokenizer.from_str(description["json"]))
    except DataError:
        raise
    except Exception as error:  # a file may say anything
        raise DataError(f"describes no tokenizer ({error!s:.200})") from None
    raise DataError(f"describes no tokenizer: kind is {kind!r:.80}")


def _of(known: Vocabulary, kind: str) -> Tokenizer:
    def encode(text: str) -> np.ndarray:
        return known.encode(text if kind == "characters" else WORD.findall(text))

    def decode(numbers: Any) -> str:
        return "".join(known.decode(numbers))

    description: dict[str, Any] = {"kind": kind, "tokens": list(known.tokens)}
    if known.unknown is not None:
        description["unknown"] = known.unknown
    return Tokenizer(encode, decode, known.tokens, description)


def _byte_pairs(inner: Any) -> Tokenizer:
    def encode(text: str) -> np.ndarray:
        return np.array(inner.encode(text).ids, np.int32)

    def decode(numbers: Any) -> str:
        known = checked(numbers, inner.get_vocab_size())
        return str(inner.decode(known.tolist(), skip_special_tokens=False))

    tokens = tuple(inner.id_to_token(number) for number in range(inner.get_vocab_size()))
    return Tokenizer(encode, decode, tokens, {"kind": "byte pairs", "json": inner.to_str()})


def _library() -> Any:
    try:
        import tokenizers
        from tokenizers import decoders, models, pre_tokenizers, trainers
    except ImportError:
        raise DataError("byte pairs need tokenizers: pip install 'dlcore[text]'") from None
    del decoders, models, pre_tokenizers, trainers  # imported, they are parts of tokenizers
    return tokenizers
