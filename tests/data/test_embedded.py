from __future__ import annotations

import hashlib

import jax
import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits

from dlcore import data

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def test_digits_are_scikit_learns_each_once(digits):
    x = np.concatenate([getattr(digits, split)["x"] for split in SPLITS])
    y = np.concatenate([getattr(digits, split)["y"] for split in SPLITS])
    ours = sorted((image.tobytes(), label) for image, label in zip(x * 16, y, strict=True))
    images, labels = load_digits(return_X_y=True)
    theirs = zip(images.astype(np.float32), labels, strict=True)
    assert ours == sorted((image.tobytes(), label) for image, label in theirs)
    assert len({image for image, _ in ours}) == 1_797  # so no picture is in two splits


def test_digits_splits_are_stratified_and_fixed(digits):
    counts = [np.bincount(getattr(digits, split)["y"]) for split in SPLITS]
    sizes = np.array([1_257, 180, 360])
    assert [count.sum() for count in counts] == sizes.tolist()
    for count, size in zip(counts, sizes, strict=True):
        np.testing.assert_allclose(count, np.sum(counts, axis=0) * size / 1_797, atol=1.01)
    digest = hashlib.sha256(digits.test["x"].tobytes() + digits.test["y"].tobytes())
    assert digest.hexdigest()[:16] == "3de885979c95e992"


def test_digits_resized(digits):
    large = data.load("digits", size=28)
    assert large.train["x"].shape == (1_257, 28, 28, 1)
    assert large.train["x"].min() >= 0
    assert large.train["x"].max() <= 1
    expected = jax.image.resize(digits.test["x"], (360, 28, 28, 1), "bilinear")
    np.testing.assert_allclose(large.test["x"], expected, atol=1e-6)
    np.testing.assert_array_equal(large.test["y"], digits.test["y"])


@pytest.mark.parametrize("size", [0, -3, 2_000])
def test_digits_of_an_impossible_size(size):
    with pytest.raises(ValueError, match=f"size={size}: give a whole number from 1 to 1024"):
        data.load("digits", size=size)


def test_diabetes_is_scikit_learns_standardised_on_train():
    loaded = data.load("diabetes")
    parts = [getattr(loaded, split) for split in SPLITS]
    assert [part["x"].shape for part in parts] == [(266, 10), (88, 10), (88, 10)]
    assert [part["y"].shape for part in parts] == [(266, 1), (88, 1), (88, 1)]
    for array in loaded.train.values():
        np.testing.assert_allclose(array.mean(0, dtype=np.float64), 0, atol=1e-6)
        np.testing.assert_allclose(array.std(0, dtype=np.float64), 1, atol=1e-6)
    mean, std = (
        float(word.split("·")[0].strip(",."))
        for word in loaded.description.split("score = ")[1].split(" + ")
    )
    scores = np.concatenate([part["y"][:, 0] for part in parts]) * std + mean
    x, y = load_diabetes(return_X_y=True, scaled=False)
    np.testing.assert_allclose(np.sort(scores), np.sort(y), atol=1e-2)
    rows = np.column_stack([np.concatenate([part["x"] for part in parts]), scores])
    theirs = np.column_stack([x, y])
    np.testing.assert_allclose(np.corrcoef(rows.T), np.corrcoef(theirs.T), atol=1e-5)
