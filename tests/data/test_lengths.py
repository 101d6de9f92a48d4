from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore import data
from dlcore.data import DataError
from tests.budget import examples

WIDTHS = (3, 5, 8)


def sentences(seed, count, longest=7):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, longest + 1, count)
    mask = np.arange(longest) < lengths[:, None]
    x = np.where(mask, np.arange(1, count + 1)[:, None], 0)
    letters = np.repeat(x[..., None], 2, axis=2)
    return {"x": x, "letters": letters, "mask": mask, "number": np.arange(count)}


@given(seed=st.integers(0, 999), count=st.integers(6, 40), batch_size=st.integers(1, 6))
@examples(60)
def test_every_example_comes_once_whole_in_the_least_width_that_a_batch_allows(
    seed, count, batch_size
):
    given = sentences(seed, count)
    batches = list(data.by_length(given, batch_size, WIDTHS, seed, 0))
    assert len(batches) == count // batch_size
    seen = [number for batch in batches for number in batch["number"].tolist()]
    assert len(set(seen)) == len(seen) == count // batch_size * batch_size
    for batch in batches:
        width = batch["x"].shape[1]
        assert width in WIDTHS
        assert batch["letters"].shape == (batch_size, width, 2)
        for row, number in enumerate(batch["number"]):
            length = given["mask"][number].sum()
            assert batch["mask"][row].sum() == length <= width
            np.testing.assert_array_equal(batch["x"][row, :length], given["x"][number, :length])
            assert not batch["x"][row, length:].any()


def test_most_are_in_their_own_width_and_the_order_follows_from_seed_and_epoch():
    given = sentences(0, 400)
    own = np.searchsorted(WIDTHS, given["mask"].sum(1))

    def orders(seed, epoch):
        return [batch["number"].tolist() for batch in data.by_length(given, 4, WIDTHS, seed, epoch)]

    widths = [
        (WIDTHS[own[number]], batch["x"].shape[1])
        for batch in data.by_length(given, 4, WIDTHS, 0, 0)
        for number in batch["number"]
    ]
    assert sum(one != other for one, other in widths) < 4 * len(WIDTHS)
    assert orders(0, 1) == orders(0, 1)
    assert orders(0, 1) != orders(0, 2) != orders(1, 1)


def test_what_fits_into_no_width_is_refused():
    with pytest.raises(DataError, match=r"has 7 steps, but widths=\(3, 5\)"):
        list(data.by_length(sentences(0, 50), 4, (3, 5), 0, 0))


def test_fewer_than_a_batch_are_refused():
    with pytest.raises(ValueError, match="batch_size=4 is more than the 3 examples"):
        list(data.by_length(sentences(0, 3), 4, WIDTHS, 0, 0))
