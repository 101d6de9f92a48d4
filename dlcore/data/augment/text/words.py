"""Easy data augmentation of sentences: synonyms, insertion, swap, deletion.

A sentence is a list of words; it stays as it was, and a new list comes back. Each is a function of
a typed key like every augmentation, though it runs on the host. n = ⌈rate·words⌉ words are changed,
Wei and Zou 2019, section 2, where it is max(1, ⌊rate·words⌋); here a rate of 0 changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

import jax
import numpy as np

from dlcore import keys
from dlcore.data.augment._checks import check_range
from dlcore.data.augment.text.thesaurus import Thesaurus
from dlcore.keys import Key

Words = Sequence[str]


def each(augmentation: Callable[[Key, Words], list[str]]) -> Callable[..., list[list[str]]]:
    """`augmentation` of every sentence by itself, the i-th with the key folded with i."""

    def of_all(key: Key, sentences: Sequence[Words]) -> list[list[str]]:
        return [
            augmentation(jax.random.fold_in(keys.check(key), i), words)
            for i, words in enumerate(sentences)
        ]

    return of_all


def random_synonyms(
    key: Key,
    words: Words,
    thesaurus: Thesaurus,
    rate: float = 0.1,
    stop_words: Collection[str] = (),
) -> list[str]:
    """n words that the thesaurus knows, no stop words, each replaced by one of its synonyms.

    Where it knows fewer, those. A phrase becomes several words. Words are looked up as they are
    written. The paper replaces every occurrence of a word, here it is one.
    """
    rng, n = _start("random_synonyms", key, words, rate)
    known = _known(words, thesaurus, stop_words)
    chosen = set(rng.permutation(known)[:n].tolist())
    return [
        part
        for i, word in enumerate(words)
        for part in (_synonym(rng, word, thesaurus) if i in chosen else [word])
    ]


def random_insertion(
    key: Key,
    words: Words,
    thesaurus: Thesaurus,
    rate: float = 0.1,
    stop_words: Collection[str] = (),
) -> list[str]:
    """n times a synonym of one of the words, no stop word, put in anywhere."""
    rng, n = _start("random_insertion", key, words, rate)
    known = _known(words, thesaurus, stop_words)
    new = list(words)
    for _ in range(n if known else 0):
        place = rng.integers(len(new) + 1)
        new[place:place] = _synonym(rng, words[int(rng.choice(known))], thesaurus)
    return new


def random_swap(key: Key, words: Words, rate: float = 0.1) -> list[str]:
    """n times two of the words exchanged."""
    rng, n = _start("random_swap", key, words, rate)
    new = list(words)
    for _ in range(n if len(words) > 1 else 0):
        i, j = rng.choice(len(new), 2, replace=False)
        new[i], new[j] = new[j], new[i]
    return new


def random_deletion(key: Key, words: Words, rate: float = 0.1) -> list[str]:
    """The words without those that are lost, each with probability `rate`; one at least stays."""
    rng, _ = _start("random_deletion", key, words, rate)
    kept = rng.random(len(words)) >= rate
    if len(words) and not kept.any():
        kept[rng.integers(len(words))] = True
    return [word for word, keep in zip(words, kept, strict=True) if keep]


def _start(function: str, key: Key, words: Words, rate: float) -> tuple[np.random.Generator, int]:
    """The key as a generator of numpy's, and n."""
    check_range(function, "rate", rate, 0, 1)
    if isinstance(words, str):
        raise TypeError(f"{function}: words is a string, but a list of words is wanted: .split()")
    rng = np.random.default_rng(np.asarray(jax.random.key_data(keys.check(key))))
    return rng, math.ceil(rate * len(words))


def _known(words: Words, thesaurus: Thesaurus, stop_words: Collection[str]) -> list[int]:
    """The places of the words that have synonyms."""
    return [i for i, word in enumerate(words) if thesaurus.get(word) and word not in stop_words]


def _synonym(rng: np.random.Generator, word: str, thesaurus: Thesaurus) -> list[str]:
    synonyms = thesaurus[word]
    return synonyms[int(rng.integers(len(synonyms)))].split()
