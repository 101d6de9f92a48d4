from __future__ import annotations

import numpy as np
import pytest

from dlcore import data
from dlcore.data.dataset import SPLITS


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def rows(arrays):
    """Examples as (image, label), in their order."""
    return [(x.tobytes(), int(y)) for x, y in zip(arrays["x"], arrays["y"], strict=True)]


@pytest.mark.parametrize("chosen", [["7", "1", "4"], [7, 1, 4], (np.int64(7), "1", 4)])
def test_classes_are_relabelled_in_the_order_given(digits, chosen):
    some = data.classes(digits, chosen)
    assert some.classes == ("7", "1", "4")
    assert "Only the classes 7, 1, 4." in some.description
    for split in SPLITS:
        expected = [
            (x, [7, 1, 4].index(y)) for x, y in rows(getattr(digits, split)) if y in (7, 1, 4)
        ]
        assert rows(getattr(some, split)) == expected
        assert getattr(some, split)["y"].dtype == np.int32


def test_two_halves_are_the_whole(digits):
    halves = [data.classes(digits, range(start, start + 5)) for start in (0, 5)]
    assert sum(len(half.train["y"]) for half in halves) == len(digits.train["y"])
    assert all(set(half.train["y"]) == set(range(5)) for half in halves)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["1", "eight"], "no class of digits is called 'eight'; there are: 0, 1, 2"),
        ([10], "class=10: give a whole number from 0 to 9"),
        ([-1], "class=-1"),
        ([1, "1"], "classes: chosen is .*, but different classes are wanted"),
        ([], "but different classes are wanted"),
    ],
)
def test_classes_that_there_are_not(digits, chosen, message):
    with pytest.raises(ValueError, match=message) as error:
        data.classes(digits, chosen)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("per_class", [1, 20, 100])
def test_subset_is_balanced_and_of_train_only(digits, per_class):
    some = data.subset(digits, per_class, seed=3)
    assert np.bincount(some.train["y"]).tolist() == [per_class] * 10
    everything = rows(digits.train)
    places = [everything.index(row) for row in rows(some.train)]
    assert places == sorted(set(places))  # none twice, and in their order
    assert some.validation is digits.validation
    assert some.test is digits.test
    assert some.classes == digits.classes


def test_subset_is_a_function_of_the_seed_and_smaller_ones_are_part_of_larger(digits):
    sets = [set(rows(data.subset(digits, n, seed=5).train)) for n in (5, 20, 100)]
    assert sets[0] < sets[1] < sets[2]
    assert sets[1] == set(rows(data.subset(digits, 20, seed=5).train))
    assert sets[1] != set(rows(data.subset(digits, 20, seed=6).train))


def test_every_example_can_be_drawn(digits):
    few = data.classes(digits, [0])
    drawn = {row for seed in range(60) for row in rows(data.subset(few, 20, seed).train)}
    assert drawn == set(rows(few.train))


def test_more_than_there_are(digits):
    counts = np.bincount(digits.train["y"])
    with pytest.raises(
        ValueError,
        match=f"subset: per_class is 200, but there are {counts.min()} training examples of the "
        f"class {counts.argmin()}",
    ):
        data.subset(digits, 200)
    with pytest.raises(ValueError, match="per_class=0: give a whole number at least 1"):
        data.subset(digits, 0)


@pytest.mark.parametrize("function", [lambda d: data.classes(d, [0]), lambda d: data.subset(d, 1)])
def test_a_regression_has_no_classes(function):
    with pytest.raises(ValueError, match="diabetes is a regression, but"):
        function(data.load("diabetes"))


def test_transform_changes_x_in_every_split(digits):
    small = data.transform(digits, lambda x: data.rgb(data.resize(x, 5)))
    for split in SPLITS:
        ours, given = getattr(small, split), getattr(digits, split)
        expected = np.repeat(data.resize(given["x"], 5), 3, axis=-1)
        np.testing.assert_array_equal(ours["x"], expected)
        assert ours["y"] is given["y"]
    assert digits.train["x"].shape == (1_257, 8, 8, 1)


def test_transform_is_checked(digits):
    with pytest.raises(data.DataError, match="digits/train/x: expected float32, got float64"):
        data.transform(digits, lambda x: x.astype(np.float64))
