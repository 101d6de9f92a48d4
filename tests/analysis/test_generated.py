"""Distances of real and generated examples: closed forms, brute force, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

from dlcore import analysis
from tests.budget import examples

RNG = np.random.default_rng(0)


@given(seed=st.integers(0, 10_000))
@examples(20)
def test_the_frechet_distance_is_that_of_the_moments(seed):
    rng = np.random.default_rng(seed)
    real = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4))
    other = rng.normal(size=(40, 4)) @ rng.normal(size=(4, 4)) + rng.normal(size=4)
    one, two = np.cov(real.T), np.cov(other.T)
    root = np.trace(sqrtm(one @ two).real)
    means = np.square(real.mean(0) - other.mean(0)).sum()
    expected = means + np.trace(one) + np.trace(two) - 2 * root
    found = analysis.frechet_distance(real, other)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found, analysis.frechet_distance(other, real), rtol=1e-6)
    np.testing.assert_allclose(analysis.frechet_distance(real, real), 0, atol=1e-8)


def test_it_falls_with_n_where_both_are_the_same():
    small, large = (
        np.mean([analysis.frechet_distance(*RNG.normal(size=(2, n, 5))) for _ in range(20)])
        for n in (20, 200)
    )
    assert large < small / 5


def test_precision_and_recall_are_those_of_all_pairs():
    real, other = RNG.normal(size=(60, 3)), 2 * RNG.normal(size=(50, 3))

    def among(points, others, k=3):
        radii = np.sort(cdist(others, others), axis=1)[:, k]
        return np.mean((cdist(points, others) <= radii).any(1))

    found = analysis.precision_recall(real, other)
    np.testing.assert_allclose(found, (among(other, real), among(real, other)))
    assert found[0] < found[1]  # spread out twice as wide: many lie outside, most are reached


def test_bad_examples_cost_precision_and_sameness_recall():
    real, good = RNG.normal(size=(2, 400, 2))
    far = analysis.precision_recall(real, good + 20)
    same = analysis.precision_recall(real, np.repeat(good[:4], 100, axis=0) + 1e-3 * good)
    assert far == (0.0, 0.0)
    assert same[0] > 0.8
    assert same[1] < 0.2
    assert min(analysis.precision_recall(real, good)) > 0.9


def test_quality():
    real, good = RNG.normal(size=(2, 100, 2))
    probabilities = np.eye(4)[np.arange(100) % 2]
    found = analysis.quality(real, good, probabilities, np.zeros(100))
    assert (found.n, found.recognised) == (100, 0.5)
    np.testing.assert_allclose(found.shares, [0.5, 0.5, 0, 0])
    np.testing.assert_allclose(found.entropy, np.log(2))
    assert found.frechet == analysis.frechet_distance(real, good)
    assert (found.precision, found.recall) == analysis.precision_recall(real, good)
    assert analysis.quality(real, good, probabilities).recognised is None


def test_refuses():
    real = RNG.normal(size=(10, 2))
    with pytest.raises(ValueError, match="as many of each are wanted"):
        analysis.quality(real, real[:5], np.ones((5, 3)))
    with pytest.raises(ValueError, match=r"probabilities are \[7, 3\], but one row for each of"):
        analysis.quality(real, real, np.ones((7, 3)))
    with pytest.raises(ValueError, match=r"wanted \[n\] labels, got \[10, 1\]"):
        analysis.quality(real, real, np.ones((10, 3)), np.zeros((10, 1)))
    with pytest.raises(ValueError, match=r"real \[10, 2\] and generated \[10, 3\]"):
        analysis.frechet_distance(real, np.ones((10, 3)))
    with pytest.raises(ValueError, match="finite features"):
        analysis.precision_recall(real, np.full((10, 2), np.nan))
    with pytest.raises(ValueError, match="neighbours=10: give a whole number from 1 to 9"):
        analysis.precision_recall(real, real, neighbours=10)
