"""Phrases: words that stand beside each other more often than chance has it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

from dlcore.data.dataset import check_count


def phrase_scores(
    texts: Iterable[Sequence[str]], *, minimum: int = 5, discount: float | None = None
) -> dict[tuple[str, str], float]:
    """How much two words a b are a phrase: N · (count(ab) − δ) / (count(a) · count(b)).

    N is the number of words, δ the discount: without it rare words would make phrases by chance.
    Mikolov et al. 2013b, equation 6, have no N; it makes the score one of texts of any length, as
    in the program word2phrase, whose δ is `minimum`, as here by default.

    minimum: how often each word must have been seen. Pairs that score 0 or less are left out.
    """
    check_count("minimum", minimum, 1)
    discount = minimum if discount is None else discount
    words: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    for text in texts:
        words.update(text)
        pairs.update(itertools.pairwise(text))
    total = words.total()
    return {
        (a, b): total * (count - discount) / (words[a] * words[b])
        for (a, b), count in pairs.items()
        if count > discount and min(words[a], words[b]) >= minimum
    }


def join_phrases(
    text: Sequence[str], scores: dict[tuple[str, str], float], *, threshold: float = 100.0
) -> list[str]:
    """The text with "new_york" for "new", "york" where the score is above the threshold.

    From left to right, and no word is in two phrases. Longer ones come by another pass over what
    this one gave, with a lower threshold.

    >>> join_phrases(["in", "new", "york"], {("new", "york"): 200.0})
    ['in', 'new_york']
    """
    joined, at = [], 0
    while at < len(text):
        is_last = at + 1 == len(text)
        is_phrase = not is_last and scores.get((text[at], text[at + 1]), 0.0) > threshold
        width = 2 if is_phrase else 1
        joined.append("_".join(text[at : at + width]))
        at += width
    return joined
