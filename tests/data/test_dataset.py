from __future__ import annotations

import numpy as np
import pytest

from dlcore.data import DataError, Dataset
from dlcore.data.dataset import hold_out, stratified_order


def split(n=4, shape=(2,), classes=3):
    x = np.linspace(0, 1, n * int(np.prod(shape)), dtype=np.float32).reshape(n, *shape)
    return {"x": x, "y": np.arange(n, dtype=np.int32) % classes}


def dataset(**changes):
    parts = {
        "name": "set",
        "train": split(6),
        "validation": split(2),
        "test": split(3),
        "classes": ("a", "b", "c"),
        "description": "From nowhere.",
    }
    return Dataset(**(parts | changes))


def test_repr_tells_shapes_ranges_and_classes():
    assert repr(dataset()) == (
        "Dataset set: 3 classes (a, b, c)\n"
        "  train       x float32[6, 2] in [0, 1]   y int32[6] in [0, 2]\n"
        "  validation  x float32[2, 2] in [0, 1]   y int32[2] in [0, 1]\n"
        "  test        x float32[3, 2] in [0, 1]   y int32[3] in [0, 2]\n"
        "  From nowhere."
    )


def test_is_frozen():
    with pytest.raises(AttributeError):
        dataset().name = "other"


def bad(**changes):
    return split(6) | changes


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (split(0), "set/train: there are no examples"),
        (bad(y=np.zeros(5, np.int32)), "one and the same leading length"),
        (bad(x=np.float32(1)), "leading axis"),
        ({"x": split()["x"]}, "expected"),
        (bad(z=np.zeros(6)), "expected"),
        (bad(x=np.zeros((6, 2))), r"float32, got float64: .astype\(np.float32\)"),
        (bad(x=np.zeros((6, 2), np.uint8)), "float32, got uint8"),
        (bad(x=np.zeros((6, 3), np.float32)), "differ in shape"),
        (bad(y=np.zeros(6, np.int64)), "labels int32"),
        (bad(y=np.zeros((6, 1), np.int32)), "labels int32"),
        (bad(y=np.zeros(6, bool)), "labels int32"),
        (bad(y=np.array([0, 1, 2, 0, 1, 3], np.int32)), r"\[0, 3\], outside \[0, 2\]"),
        (bad(y=np.array([0, 1, 2, 0, 1, -1], np.int32)), r"\[-1, 2\], outside \[0, 2\]"),
    ],
)
def test_malformed_splits_are_refused_in_one_line(train, message):
    with pytest.raises(DataError, match=message) as error:
        dataset(train=train)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("key", ["x", "y"])
def test_values_that_are_not_finite_are_refused(key, value):
    arrays = {"x": np.zeros((5, 2), np.float32), "y": np.zeros((5, 1), np.float32)}
    good = {name: array.copy() for name, array in arrays.items()}
    arrays[key][3, 0] = value
    with pytest.raises(DataError, match=f"set/test/{key}: holds a value that is not finite"):
        dataset(train=good, validation=good, test=arrays, classes=())


def test_hold_out_takes_the_last():
    arrays = split(6)
    train, validation = hold_out(arrays, 2)
    np.testing.assert_array_equal(train["x"], arrays["x"][[0, 1, 2, 3]])
    np.testing.assert_array_equal(validation["y"], arrays["y"][[4, 5]])


@pytest.mark.parametrize("count", [0, -1, 6])
def test_hold_out_leaves_something_on_both_sides(count):
    with pytest.raises(ValueError, match=f"validation={count}: give a whole number from 1 to 5"):
        hold_out(split(6), count)


def test_stratified_order_keeps_proportions_in_every_stretch():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    order = stratified_order(labels, 3)
    assert sorted(order) == list(range(100))
    for cut in range(10, 101, 10):
        counts = np.bincount(labels[order[:cut]], minlength=3)
        np.testing.assert_allclose(counts, np.array([0.5, 0.3, 0.2]) * cut, atol=1.0)
    assert not np.array_equal(order, stratified_order(labels, 4))
    np.testing.assert_array_equal(order, stratified_order(labels, 3))
