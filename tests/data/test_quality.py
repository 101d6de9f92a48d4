from __future__ import annotations

import numpy as np
import pytest

from dlcore import data


def test_rows_with_a_value_that_is_not_finite_are_found():
    x = np.zeros((6, 2, 3), np.float32)
    x[1, 1, 2], x[4, 0, 0] = np.nan, -np.inf
    y = np.arange(6)
    assert data.nonfinite({"x": x, "y": y}).tolist() == [1, 4]
    assert data.nonfinite({"y": y}).tolist() == []
    assert data.nonfinite({"x": x, "y": np.where(y == 0, np.inf, 1.0)}).tolist() == [0, 1, 4]


def test_duplicates_are_those_that_numpy_finds():
    x = np.random.default_rng(0).integers(0, 2, (40, 2, 3)).astype(np.float32)
    first = np.unique(x.reshape(40, -1), axis=0, return_index=True)[1]
    found = data.duplicates(x)
    assert found.tolist() == sorted(set(range(40)) - set(first.tolist()))
    assert len(found) > 0


@pytest.mark.parametrize("find", [lambda x: data.nonfinite({"x": x}), data.duplicates])
def test_no_examples_are_refused(find):
    with pytest.raises(data.DataError, match="there are no examples"):
        find(np.zeros((0, 3)))
