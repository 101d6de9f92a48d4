"""Verification and retrieval beside scikit-learn's curves and scores."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.spatial.distance import cdist
from sklearn import metrics as sk
from sklearn.neighbors import NearestNeighbors

from dlcore import functional as F
from tests.budget import examples

N = 12


@jax.jit
def verified(scores, is_same):
    return {
        "auc": F.roc_auc(scores, is_same),
        "equal_error_rate": F.equal_error_rate(scores, is_same),
        "curve": F.roc_curve(scores, is_same),
        "rates": [F.true_accept_rate(scores, is_same, false_accept_rate=r) for r in (0, 0.1, 1)],
    }


@examples(40)
@given(
    scores=st.lists(st.integers(-3, 3), min_size=N, max_size=N),  # of which many are equal
    kinds=st.lists(st.booleans(), min_size=N, max_size=N).filter(lambda k: 0 < sum(k) < N),
)
def test_verification_is_scikit_learns(scores, kinds):
    scores, kinds = np.array(scores, np.float32), np.array(kinds)
    found = verified(scores, kinds)
    x, y, thresholds = sk.roc_curve(kinds, scores, drop_intermediate=False)
    np.testing.assert_allclose(found["auc"], sk.roc_auc_score(kinds, scores), atol=1e-6)
    for rate, accepted in zip((0, 0.1, 1), found["rates"], strict=True):
        np.testing.assert_allclose(accepted, y[x <= rate].max(), atol=1e-6)
    error = brentq(lambda e: 1 - e - np.interp(e, *rising(x, y)), 0, 1)
    np.testing.assert_allclose(found["equal_error_rate"], error, atol=1e-5)
    points = np.unique(np.stack(found["curve"], axis=1), axis=0)  # once each, in sklearn's order
    expected = np.stack([x, y, thresholds], axis=1)
    np.testing.assert_allclose(points[np.lexsort(-points.T[2:])], expected, atol=1e-6)


def rising(x, y):
    """The curve as one of x, to which a little of y is added where it rises straight up."""
    return x + 1e-9 * y, y


def test_what_is_apart_has_no_errors():
    found = verified(np.array([0, 1, 2, 3], np.float32), np.array([False, False, True, True]))
    assert (found["auc"], found["equal_error_rate"]) == (1, 0)
    assert [float(rate) for rate in found["rates"]] == [1, 1, 1]


def test_pairs_are_every_two_once():
    d = np.arange(9, dtype=np.float32).reshape(3, 3)
    scores, is_same = F.verification_pairs(d, np.array([4, 5, 4]))
    assert scores.tolist() == [-1, -2, -5]
    assert is_same.tolist() == [False, True, False]


X = np.random.default_rng(0).normal(size=(N, 2)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 3, 1])  # 3 is alone


def test_recall_is_that_of_scikit_learns_neighbours():
    asks = LABELS != 3
    recall = jax.jit(F.recall_at_k, static_argnames="k")
    for k in (1, 2, 5):
        nearest = NearestNeighbors(n_neighbors=k).fit(X).kneighbors(return_distance=False)
        found = (LABELS[nearest] == LABELS[:, None]).any(1)
        np.testing.assert_allclose(
            recall(cdist(X, X).astype(np.float32), LABELS, k=k), found[asks].mean(), 1e-6
        )


def test_mean_average_precision_is_scikit_learns():
    d = cdist(X, X).astype(np.float32)
    scores = [
        sk.average_precision_score(np.delete(LABELS[i] == LABELS, i), -np.delete(d[i], i))
        for i in range(N)
        if LABELS[i] != 3
    ]
    found = jax.jit(F.mean_average_precision)(d, LABELS)
    np.testing.assert_allclose(found, np.mean(scores), 1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.roc_auc(np.ones(3, np.float32), np.ones(3, bool)), "pairs of both kinds"),
        (lambda: F.roc_auc(np.ones(3, np.float32), np.ones(2, bool)), "differ in shape"),
        (
            lambda: F.true_accept_rate(X[:, 0], LABELS > 0, false_accept_rate=2),
            r"false_accept_rate is 2, but must lie in \[0, 1\]",
        ),
        (lambda: F.recall_at_k(cdist(X, X), LABELS, k=N), "k is 12, but must lie in 1 … 11"),
        (lambda: F.recall_at_k(X, LABELS), r"distances \(12, 2\) and labels \(12,\)"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
