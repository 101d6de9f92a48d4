from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn import metrics as sk

from dlcore import functional as F

RNG = np.random.default_rng(0)
N, D, C, A = 30, 6, 5, 4
X = RNG.normal(size=(N, D))
LABELS = RNG.integers(0, C, N)
S = RNG.normal(size=(C, A))


def test_eszsl_is_at_the_least_of_its_objective(x64):
    def objective(v):
        y = 2 * np.eye(C)[LABELS] - 1
        parts = X @ v @ S.T - y, 0.3 * v @ S.T, 0.5 * X @ v, 0.15 * v
        return sum(jnp.sum(jnp.square(part)) for part in parts)

    @jax.jit
    def slope(x, s):
        v = F.eszsl(x, LABELS, s, gamma=0.3**2, lambda_=0.5**2)
        return jax.grad(objective)(v), v

    gradient, kernel = slope(X, S)
    assert kernel.shape == (D, A)
    np.testing.assert_allclose(gradient, 0, atol=1e-9)


def test_eszsl_names_classes_that_it_has_not_seen():
    """Features are a linear map of the attributes, under noise: 10 of 40 classes are held out."""
    rng = np.random.default_rng(1)
    signatures = 2 * rng.integers(0, 2, (40, 12)).astype(np.float32) - 1
    labels = np.repeat(np.arange(40), 20)
    x = signatures[labels] @ rng.normal(size=(12, 16)) + 0.3 * rng.normal(size=(800, 16))
    x = x.astype(np.float32)
    seen = labels < 30
    kernel = jax.jit(F.eszsl)(x[seen], labels[seen], signatures[:30])
    guess = 30 + np.argmax(x[~seen] @ kernel @ signatures[30:].T, axis=1)
    assert sk.accuracy_score(labels[~seen], guess) > 0.5  # by chance 0.1


def test_the_nearest_signature_has_the_largest_logit():
    y = RNG.normal(size=(7, A)).astype(np.float32)
    expected = -cdist(y, S, "sqeuclidean")
    np.testing.assert_allclose(jax.jit(F.nearness)(y, S.astype(np.float32)), expected, 1e-5, 1e-5)


def test_generalized_accuracy_is_scikit_learns_by_class():
    logits = RNG.normal(size=(N, C)).astype(np.float32) + np.eye(C, dtype=np.float32)[LABELS]
    unseen = np.array([False, True, False, True, False])
    accuracy = jax.jit(F.generalized_accuracy)
    for penalty in (0.0, 1.5, 100.0):
        found = accuracy(logits, LABELS, unseen, penalty=penalty)
        guess = np.argmax(logits - np.where(unseen, 0, penalty), axis=1)
        recall = sk.recall_score(LABELS, guess, average=None, labels=range(C), zero_division=0)
        seen, other = recall[~unseen].mean(), recall[unseen].mean()
        np.testing.assert_allclose(found[:2], [seen, other], 1e-6)
        harmonic = 2 * seen * other / (seen + other) if seen + other else 0
        np.testing.assert_allclose(found.harmonic, harmonic, 1e-6)


def test_a_class_without_examples_does_not_count():
    logits, labels = np.eye(4, dtype=np.float32)[[0, 0, 2]], np.array([0, 1, 2])
    found = jax.jit(F.generalized_accuracy)(logits, labels, np.arange(4) > 1)
    assert [float(value) for value in found[:2]] == [0.5, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.eszsl(X, LABELS, S, gamma=0), "gamma is 0, but must be positive"),
        (lambda: F.eszsl(X, LABELS, S[0]), r"signatures \(4,\), but features \[N, D\]"),
        (lambda: F.eszsl(X, LABELS + 1, S), "must be one of the 5 classes"),
        (lambda: F.nearness(X, S), r"outputs \(30, 6\) and signatures \(5, 4\)"),
        (lambda: F.generalized_accuracy(X[:, :C], LABELS, [0, 1]), r"unseen is int64\[2\]"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
