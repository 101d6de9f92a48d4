"""Stretches of a text with what is around them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from dlcore.data.dataset import check_count

OUTSIDE = -1  # of the text: the number of no word


def _numbers(text: Any) -> np.ndarray:
    numbers = np.asarray(text)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise TypeError(
            f"blocks: a text is {numbers.dtype}{[*numbers.shape]}, but its words are integers [T]: "
            "blocks([numbers], …) takes several texts"
        )
    return numbers.astype(np.int32)


def blocks(texts: Iterable[np.ndarray], length: int, halo: int) -> np.ndarray:
    """Texts int32 [T] cut into rows int32 [N, halo + length + halo], one after another.

    Each word is in the middle of one row, and in the halo of others: what is within `halo` of a
    word is in its row. −1 is outside of the text, so nothing sees from one text into the next.

    >>> blocks([np.array([7, 8, 9])], length=2, halo=1)
    array([[-1,  7,  8,  9],
           [ 8,  9, -1, -1]], dtype=int32)
    """
    length, halo = check_count("length", length, 1), check_count("halo", halo, 0)
    texts = [_numbers(text) for text in texts]
    gap = np.full(halo, OUTSIDE, np.int32)
    joined = np.concatenate([part for text in texts for part in (gap, text)] + [gap])
    count = max(1, -(-(len(joined) - 2 * halo) // length))
    line = np.full(count * length + 2 * halo, OUTSIDE, np.int32)
    line[: len(joined)] = joined
    rows = np.lib.stride_tricks.sliding_window_view(line, length + 2 * halo)[::length]
    return np.ascontiguousarray(rows)
