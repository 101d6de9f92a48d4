"""What is wrong with examples by themselves; wrong labels are `search.cross_validate`'s to find."""

from __future__ import annotations

import numpy as np

from dlcore.data import forms
from dlcore.data.dataset import Arrays


def nonfinite(examples: Arrays) -> np.ndarray:
    """The rows, in order, that hold a NaN or an infinity in any of the arrays."""
    columns = {name: np.asarray(forms.array(one, name)) for name, one in examples.items()}
    bad = np.zeros(forms.check_leading("nonfinite", columns), bool)
    for column in columns.values():
        bad |= ~np.isfinite(column.reshape(len(bad), -1)).all(axis=1)
    return np.flatnonzero(bad)


def duplicates(x: np.ndarray) -> np.ndarray:
    """The rows of x [N, ...], in order, that are equal to an earlier one, bit for bit.

    A duplicate counts twice in training, and on both sides of a split it is a leak.
    """
    x = forms.array(x, "duplicates: x")
    forms.check_leading("duplicates", {"x": x})
    seen: set[bytes] = set()
    repeated = []
    for row, example in enumerate(x):
        content = np.ascontiguousarray(example).tobytes()
        if content in seen:
            repeated.append(row)
        seen.add(content)
    return np.array(repeated, np.intp)
