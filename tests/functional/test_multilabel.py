"""Labels of which any number may be true, beside scikit-learn."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from dlcore import functional as F
from tests.budget import examples

N, C = 30, 6
AVERAGES = ("none", "macro", "micro", "weighted")


@jax.jit
def measured(predictions, labels, weight):
    counts = F.label_counts(predictions, labels, weight=weight)
    f1 = {average: F.label_f1(counts, average=average) for average in AVERAGES}
    return (
        counts,
        f1,
        F.exact_match(predictions, labels),
        F.hamming_loss(predictions, labels),
        F.label_counts(predictions, labels),
    )


@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
@examples(40)
def test_all_are_scikit_learns(seed, share):
    rng = np.random.default_rng(seed)
    found, true = (rng.random((N, C)) < share for _ in range(2))
    weight = rng.choice([0.5, 1, 2, 0], N).astype(np.float32)
    counts, f1, exact, hamming, plain = measured(found, true, weight)
    for average in AVERAGES:
        name = None if average == "none" else average
        how = {"average": name, "sample_weight": weight, "zero_division": 0}
        expected = sk.f1_score(true, found, **how)
        np.testing.assert_allclose(f1[average], expected, rtol=1e-5, atol=1e-6)
    matrices = sk.multilabel_confusion_matrix(true, found)
    by_hand = [matrices[:, 1, 1], matrices[:, :, 1].sum(1), matrices[:, 1].sum(1)]
    np.testing.assert_array_equal(plain, by_hand)
    assert counts.dtype == np.float32
    np.testing.assert_allclose(exact.mean(), sk.accuracy_score(true, found), rtol=1e-6)
    np.testing.assert_allclose(hamming.mean(), sk.hamming_loss(true, found), rtol=1e-5)


def test_any_axes_stand_before_the_labels():
    rng = np.random.default_rng(0)
    found, true = (rng.integers(0, 2, (4, 5, C)) for _ in range(2))
    weight = rng.random((4, 5)) < 0.5
    *_, exact, hamming, plain = measured(found, true, weight)
    assert exact.shape == hamming.shape == (4, 5)
    flat = measured(found.reshape(20, C), true.reshape(20, C), weight.reshape(20))
    np.testing.assert_array_equal(plain, flat[-1])
    np.testing.assert_allclose(measured(found, true, weight)[0], flat[0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.exact_match(np.ones((2, 3)), np.ones((2, 3), bool)), TypeError, "logits"),
        (lambda: F.label_counts(np.ones(2, bool), np.ones(3, bool)), ValueError, "differ in shape"),
        (lambda: F.exact_match([[-1, 1]], [[1, 1]]), ValueError, r"predictions\[0, 0\] is -1"),
        (lambda: F.hamming_loss(True, False), ValueError, "one number"),
        (lambda: F.label_f1(np.ones((2, 3))), ValueError, r"\[2, 3\], but \[3, C\] is wanted"),
        (lambda: F.label_f1(np.ones((3, 2)), average="samples"), ValueError, "must be one of"),
        (
            lambda: F.label_counts(
                np.ones((2, 3), bool), np.ones((2, 3), bool), weight=np.ones(3, np.float32)
            ),
            ValueError,
            "differ in shape",
        ),
    ],
)
def test_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call()
