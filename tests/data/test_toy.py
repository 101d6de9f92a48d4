from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import cKDTree
from sklearn.datasets import make_circles, make_moons

from dlcore import data

CLASSIFICATION = ("xor", "circles", "gaussians", "spiral", "moons")
REGRESSION = ("plane", "bumps")
ALL = (*CLASSIFICATION, *REGRESSION)


def train(name, **options):
    arrays = data.load(name, **options).train
    return arrays["x"], arrays["y"]


@pytest.mark.parametrize("name", ALL)
def test_shapes_and_seeds(name):
    loaded = data.load(name, n=31, noise=0.1, seed=5)
    for arrays in (loaded.train, loaded.validation, loaded.test):
        assert arrays["x"].shape == (31, 2)
        assert arrays["y"].shape == ((31,) if name in CLASSIFICATION else (31, 1))
    x, y = loaded.train.values()
    again_x, again_y = train(name, n=31, noise=0.1, seed=5)
    np.testing.assert_array_equal(x, again_x)
    np.testing.assert_array_equal(y, again_y)
    assert not np.array_equal(x, loaded.test["x"])
    assert not np.array_equal(loaded.validation["x"], loaded.test["x"])
    assert not np.array_equal(x, train(name, n=31, noise=0.1, seed=6)[0])


@pytest.mark.parametrize("name", ALL)
def test_the_global_generator_is_left_alone(name):
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    data.load(name)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_both_classes_are_there_in_like_numbers(name):
    _, y = train(name, n=1_000)
    assert stats.binomtest(int(y.sum()), 1_000).pvalue > 1e-3


def test_xor():
    x, y = train("xor", noise=0)
    assert [int((a > 0) != (b > 0)) for a, b in x] == y.tolist()


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("circles", make_circles(4_000, factor=0.5)),
        ("moons", make_moons(4_000)),
    ],
)
def test_curves_are_scikit_learns(name, oracle):
    x, y = train(name, noise=0, n=2_000)
    points, labels = oracle
    for label in (0, 1):
        ours, theirs = x[y == label], points[labels == label]
        assert cKDTree(theirs).query(ours)[0].max() < 3e-3  # ours lie on their curve
        assert cKDTree(ours).query(theirs)[0].max() < 5e-2  # and cover it


def test_spiral():
    x, y = train("spiral", noise=0)
    for (a, b), label in zip(x.astype(float), y, strict=True):
        angle = 1.75 * 2 * np.pi * np.hypot(a, b) + label * np.pi
        np.testing.assert_allclose(
            [a, b], np.hypot(a, b) * np.array([np.cos(angle), np.sin(angle)]), atol=1e-5
        )


def test_gaussians():
    x, y = train("gaussians", noise=0.7, n=2_000)
    scores = (x - (2 * y - 1)[:, None]) / 0.7
    assert stats.kstest(scores.ravel(), "norm").pvalue > 1e-3


def test_plane():
    x, y = train("plane")
    np.testing.assert_allclose(y[:, 0], [(a + b) / 2 for a, b in x], atol=1e-6)


def test_bumps():
    x, y = train("bumps", n=50)
    signs = {(-0.6, -0.4): 1, (0, -0.4): -1, (0.6, -0.4): 1}
    signs |= {(-0.6, 0.4): -1, (0, 0.4): 1, (0.6, 0.4): -1}
    for (a, b), value in zip(x.astype(float), y[:, 0], strict=True):
        expected = sum(
            sign * np.exp(-((a - p) ** 2 + (b - q) ** 2) / 0.125) for (p, q), sign in signs.items()
        )
        np.testing.assert_allclose(value, expected, atol=1e-6)


@pytest.mark.parametrize("name", REGRESSION)
def test_noise_of_a_regression_is_on_the_target(name):
    x, y = train(name, noise=0.3, n=2_000)
    assert np.abs(x).max() <= 1
    if name == "plane":
        assert stats.kstest((y[:, 0] - x.mean(1)) / 0.3, "norm").pvalue > 1e-3
    assert np.var(y) > np.var(train(name, n=2_000)[1]) + 0.05


@pytest.mark.parametrize("name", ["circles", "plane"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 1}, "n=1: give a whole number at least 2"),
        ({"n": 0}, "n=0"),
        ({"noise": -0.1}, "noise=-0.1"),
        ({"noise": float("nan")}, "noise=nan"),
        ({"noise": float("inf")}, "noise=inf"),
        ({"noise": "loud"}, "noise='loud'"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        data.load(name, **options)


def test_a_count_that_is_not_whole():
    with pytest.raises(TypeError, match=r"n=2.5: give a whole number, such as n=2"):
        data.load("xor", n=2.5)
