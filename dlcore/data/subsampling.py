"""Frequent words, of which most are left out before word vectors are learned."""

from __future__ import annotations

import numpy as np


def keep_probability(counts: np.ndarray, threshold: float = 1e-3) -> np.ndarray:
    """How likely each occurrence of a word is kept, [V]: min(1, √(t/f) + t/f), f = count / Σ count.

    That of the program word2vec; Mikolov et al. 2013b, equation 5, have √(t/f). With threshold = 0
    all are kept.
    """
    counts = np.asarray(counts, np.float64)
    if counts.ndim != 1 or not counts.size or not np.all((counts > 0) & (counts < np.inf)):
        raise ValueError(
            f"subsampling: counts is {list(counts.shape)}, but how often each of V words was seen, "
            "[V] numbers above 0, is wanted: numpy.bincount(ids)"
        )
    if not 0 <= threshold <= 1:
        raise ValueError(f"subsampling: threshold is {threshold}, but a share in [0, 1] is wanted")
    if threshold == 0:
        return np.ones(len(counts))
    share = threshold * counts.sum() / counts
    return np.minimum(1, np.sqrt(share) + share)


def subsample(
    ids: np.ndarray, counts: np.ndarray, *, threshold: float = 1e-3, seed: int = 0
) -> np.ndarray:
    """The words of a text that are kept, each by chance: ids int [T] without the others.

    counts: of each of the vocabulary's words, [V]. The program word2vec draws anew in each pass
    over the text; for that join the texts of several seeds.

    >>> subsample(np.zeros(1000, np.int32), [1_000_000, 1]).size < 50
    True
    """
    keep = keep_probability(counts, threshold)[ids]
    return ids[np.random.default_rng(seed).random(len(ids), np.float32) < keep]
