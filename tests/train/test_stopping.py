from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore.train import EarlyStopping
from tests.budget import examples

scores = st.lists(st.floats(-100, 100), min_size=1, max_size=30)


def play(stopping, values):
    progress = stopping.start()
    for step, value in enumerate(values, 1):
        progress = stopping.update(progress, value, step)
        if stopping.is_over(progress):
            return progress, step
    return progress, None


@examples(100)
@given(scores)
def test_the_best_is_the_first_of_the_least(values):
    progress, _ = play(EarlyStopping(), values)
    assert progress.best == min(values)
    assert progress.step == values.index(min(values)) + 1


@examples(100)
@given(scores)
def test_max_is_min_of_the_negatives(values):
    up, end = play(EarlyStopping(mode="max", patience=3), values)
    down, other_end = play(EarlyStopping(mode="min", patience=3), [-v for v in values])
    assert (up.best, up.step, end) == (-down.best, down.step, other_end)


@pytest.mark.parametrize(
    ("values", "patience", "min_delta", "end"),
    [
        ([3, 2, 1, 1, 1], 2, 0.0, 5),
        ([3, 2, 1, 0], 1, 0.0, None),
        ([3, 2.9, 2.8, 2.7], 2, 0.5, 3),
        ([-1, -2, -3, -2, -2], 2, 0.0, 5),
        ([1, math.nan, math.nan], 2, 0.0, 3),
        ([math.nan, 5, 4, 5], 1, 0.0, 1),
    ],
)
def test_patience(values, patience, min_delta, end):
    assert play(EarlyStopping(patience=patience, min_delta=min_delta), values)[1] == end


@pytest.mark.parametrize(
    "arguments", [{"mode": "least"}, {"patience": 0}, {"min_delta": -1.0}, {"min_delta": math.nan}]
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        EarlyStopping(**arguments)
