from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dlcore import data
from tests.budget import examples

few = st.integers(1, 6)


@given(n=few, delay=few, symbols=few, alphabet=st.integers(2, 6), seed=few)
@examples(30)
def test_what_is_to_be_copied(n, delay, symbols, alphabet, seed):
    drawn = data.copying(n, delay, symbols, alphabet, seed)
    assert {name: (one.dtype, one.shape) for name, one in drawn.items()} == {
        "x": (np.int32, (n, symbols + delay + symbols)),
        "y": (np.int32, (n, symbols)),
    }
    blank, mark = alphabet, alphabet + 1
    for x, y in zip(drawn["x"].tolist(), drawn["y"].tolist(), strict=True):
        assert x == [*y, *[blank] * (delay - 1), mark, *[blank] * symbols]
        assert set(y) <= set(range(alphabet))


@given(n=few, length=st.integers(2, 9), seed=few)
@examples(30)
def test_what_is_to_be_added(n, length, seed):
    drawn = data.adding(n, length, seed)
    assert {name: (one.dtype, one.shape) for name, one in drawn.items()} == {
        "x": (np.float32, (n, length, 2)),
        "y": (np.float32, (n, 1)),
    }
    for x, y in zip(drawn["x"], drawn["y"], strict=True):
        first, second = np.flatnonzero(x[:, 1])
        assert first < length // 2 <= second
        assert set(x[:, 1]) == {0, 1} or length == 2
        assert y == pytest.approx([x[first, 0] + x[second, 0]])


def test_chance():
    """Symbols are uniform, so are the places of marks, and a sum's variance is 1/6."""
    symbols = data.copying(3_000, 1, 2, 4, seed=1)["y"]
    assert stats.chisquare(np.bincount(symbols.ravel())).pvalue > 1e-3
    drawn = data.adding(20_000, 7, seed=1)
    marks = drawn["x"][..., 1].sum(axis=0)
    assert stats.chisquare(marks[:3]).pvalue > 1e-3
    assert stats.chisquare(marks[3:]).pvalue > 1e-3
    assert drawn["y"].mean() == pytest.approx(1, abs=0.01)
    assert drawn["y"].var() == pytest.approx(1 / 6, rel=0.03)


@pytest.mark.parametrize("draw", [data.copying, data.adding])
def test_the_seed_says_what_is_drawn(draw):
    one, again, other = (draw(5, 9, seed=seed) for seed in (3, 3, 4))
    for name in one:
        np.testing.assert_array_equal(one[name], again[name])
        assert not np.array_equal(one[name], other[name])


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: data.copying(0, 5), "n=0: give a whole number at least 1"),
        (lambda: data.copying(5, 0), "delay=0: give a whole number at least 1"),
        (lambda: data.copying(5, 5, alphabet=1), "alphabet=1: give a whole number at least 2"),
        (lambda: data.copying(5, 5, symbols=1.5), "symbols=1.5: give a whole number"),
        (lambda: data.adding(5, 1), "length=1: give a whole number at least 2"),
        (lambda: data.adding(5, 2, seed=-1), "seed=-1: give a whole number at least 0"),
    ],
)
def test_refuses(draw, message):
    with pytest.raises((TypeError, ValueError), match=message):
        draw()
