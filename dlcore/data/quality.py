"""What is wrong with examples by themselves; wrong labels are `search.cross_validate`'s to find."""

from __future__ import annotations

import numpy as np

from dlcore.data.dataset import Arrays, check_leading


def nonfinite(examples: Arrays) -> np.ndarray:
    """The rows, in order, that hold a NaN or an infinity in any of the arrays."""
    n = check_leading("nonfinite", examples)
    bad = np.zeros(n, bool)
    for array in examples.values():
        bad |= ~np.isfinite(array.reshape(n, -1)).all(axis=1)
    return np.flatnonzero(bad)


def duplicates(x: np.ndarray) -> np.ndarray:
    """The rows of x [N, ...], in order, that are equal to an earlier one, bit for bit.

    A duplicate counts twice in training, and on both sides of a split it is a leak.
    """
    check_leading("duplicates", {"x": x})
    seen: set[bytes] = set()
    repeated = []
    for row, example in enumerate(x):
        content = np.ascontiguousarray(example).tobytes()
        if content in seen:
            repeated.append(row)
        seen.add(content)
    return np.array(repeated, np.intp)
