"""An n-gram model of characters, interpolated as Witten and Bell do."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Counts(NamedTuple):
    """Of one length of context: sorted codes, how often each was there, and before how many others.

    grams: (code, count) of context and what follows; contexts: (code, count, distinct followers).
    """

    grams: tuple[np.ndarray, np.ndarray]
    contexts: tuple[np.ndarray, np.ndarray, np.ndarray]


class NGram(NamedTuple):
    """The counts for contexts of 0, 1, … characters, of so many different ones."""

    characters: int
    counts: tuple[Counts, ...]


def fit(numbers: np.ndarray, characters: int, order: int) -> NGram:
    """The model of `order` characters, the one that follows among them; numbers [T] are below
    `characters`, and characters^order below 2⁶³.
    """
    return NGram(characters, tuple(_count(numbers, characters, length) for length in range(order)))


def log_likelihood(model: NGram, numbers: np.ndarray) -> np.ndarray:
    """log p(numbers[t] | those before it) [T], as far back as there are some.

    p(c | h) = (n(h c) + d(h) · p(c | h′)) / (n(h) + d(h)), where n counts, d(h) is how many
    different characters were seen after the context h, and h′ is h without its first; below all
    stands the uniform distribution. Witten and Bell 1991, method C.
    """
    p = np.full(len(numbers), 1 / model.characters)
    for length, counts in enumerate(model.counts):
        contexts, grams = _codes(numbers, model.characters, length)
        n_gram = _found(*counts.grams, grams)
        n, d = (_found(counts.contexts[0], column, contexts) for column in counts.contexts[1:])
        seen = n > 0
        here = p[length:]
        here[seen] = (n_gram[seen] + d[seen] * here[seen]) / (n[seen] + d[seen])
    return np.log(p)


def _count(numbers: np.ndarray, characters: int, length: int) -> Counts:
    _, grams = _codes(numbers, characters, length)
    codes, count = np.unique(grams, return_counts=True)
    contexts, first = np.unique(codes // characters, return_index=True)
    n = np.add.reduceat(count, first)
    distinct = np.diff([*first, len(codes)])
    return Counts((codes, count), (contexts, n, distinct))


def _codes(numbers: np.ndarray, characters: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Each context of that length, and with what follows it, as one number."""
    context = np.zeros(len(numbers) - length, np.int64)
    for back in range(length):
        context = context * characters + numbers[back : len(numbers) - length + back]
    return context, context * characters + numbers[length:]


def _found(codes: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The value of each wanted code, 0 where it was not seen."""
    place = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
    return np.where(codes[place] == wanted, values[place], 0)
