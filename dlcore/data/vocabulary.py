"""A vocabulary: the tokens that are known, by number."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlcore.data.dataset import DataError, check_count
from dlcore.names import arguments


@dataclass(frozen=True)
class Vocabulary:
    """Tokens (characters, words, tags) by number: token i is tokens[i].

    >>> letters = Vocabulary(("<unk>", "a", "b"), unknown="<unk>")
    >>> letters.encode("abc")
    array([1, 2, 0], dtype=int32)
    >>> letters.decode([2, 1])
    ['b', 'a']

    tokens: each of them once.
    unknown: the one that stands for all others, or None: others are refused.
    """

    tokens: tuple[str, ...]
    unknown: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", tuple(self.tokens))
        if not self.tokens or not all(isinstance(token, str) for token in self.tokens):
            raise DataError("a vocabulary has at least one token, and all of them are texts")
        twice = [token for token, count in Counter(self.tokens).items() if count > 1]
        if twice:
            raise DataError(f"a vocabulary has each token once, but {twice[0]!r} is there again")
        if self.unknown is not None and self.unknown not in self.numbers:
            raise DataError(f"unknown={self.unknown!r} is none of the vocabulary's tokens")

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.tokens[:5])) + (", …" if len(self) > 5 else "")
        unknown = "" if self.unknown is None else f", unknown={self.unknown!r}"
        return f"Vocabulary({len(self):,} tokens: {shown}{unknown})"

    @functools.cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each token."""
        return {token: number for number, token in enumerate(self.tokens)}

    def encode(self, tokens: Iterable[str]) -> np.ndarray:
        """The numbers int32 [T] of T tokens; those of a text are its characters.

        Raises DataError for a token that is not known, where `unknown` is None.
        """
        tokens, numbers = [*tokens], self.numbers
        other = None if self.unknown is None else numbers[self.unknown]
        found = [numbers.get(token, other) for token in tokens]
        if other is None and None in found:
            token = next(token for token in tokens if token not in numbers)
            raise DataError(f"{token!r} is none of the {len(self):,} tokens of the vocabulary")
        return np.array(found, np.int32)

    def decode(self, numbers: Any) -> list[str]:
        """The tokens of these numbers [T]."""
        return [self.tokens[number] for number in checked(numbers, len(self))]


def checked(numbers: Any, count: int) -> np.ndarray:
    """Numbers [T] of tokens, of which there are `count`; refused is what is none."""
    numbers = np.asarray(numbers)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise TypeError(
            f"decode: the numbers of tokens are integers [T], got {numbers.dtype}"
            f"{[*numbers.shape]}: one sequence at a time"
        )
    outside = numbers[(numbers < 0) | (numbers >= count)] if numbers.size else numbers
    if outside.size:
        raise DataError(f"{outside[0]} is no number of a token: there are {count:,}")
    return numbers


@arguments()
def vocabulary(
    tokens: Iterable[str],
    *,
    size: int | None = None,
    minimum: int = 1,
    first: Iterable[str] = (),
    unknown: str | None = None,
) -> Vocabulary:
    """The vocabulary of the tokens seen, the most frequent first (equal ones as seen first).

    size: how many there are at most. minimum: how often one must have been seen. first: tokens that
    come before them, such as "<pad>" (a text is one), and unknown, where there is one.
    """
    first = (first,) if isinstance(first, str) else first
    special = list(dict.fromkeys([*first, *([] if unknown is None else [unknown])]))
    if size is not None:
        check_count("size", size, len(special) + 1)
    minimum = check_count("minimum", minimum, 1)
    counts = Counter(tokens)
    often = [token for token, count in counts.most_common() if count >= minimum]
    known = [*special, *(token for token in often if token not in special)]
    return Vocabulary(tuple(known[:size]), unknown)
