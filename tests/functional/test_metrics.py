"""Metrics beside scikit-learn's, and at the edges: ties, NaN, padding, empty classes."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sklearn_metrics

from dlcore import functional as F
from tests.budget import examples

N, C = 40, 5
GENERATOR = np.random.default_rng(0)
LOGITS = GENERATOR.normal(size=(N, C)).astype(np.float32)
LABELS = GENERATOR.integers(0, C, N).astype(np.int32)
PREDICTIONS = GENERATOR.integers(0, C - 1, N).astype(np.int32)  # the last class is never predicted
WEIGHT = GENERATOR.choice([0, 0.5, 1, 2], N).astype(np.float32)
MATRIX = sklearn_metrics.confusion_matrix(LABELS, PREDICTIONS)
AVERAGES = ["none", "macro", "micro", "weighted"]
correct, accuracy = jax.jit(F.correct), jax.jit(F.accuracy)
top_k_correct = jax.jit(F.top_k_correct, static_argnames="k")
confusion_matrix = jax.jit(F.confusion_matrix, static_argnums=2)


def test_accuracy_is_scikit_learns():
    predictions = LOGITS.argmax(-1)
    expected = sklearn_metrics.accuracy_score(LABELS, predictions)
    weighted = sklearn_metrics.accuracy_score(LABELS, predictions, sample_weight=WEIGHT)
    np.testing.assert_allclose(accuracy(LOGITS, LABELS), expected, 1e-6)
    np.testing.assert_allclose(accuracy(LOGITS, LABELS, weight=WEIGHT), weighted, 1e-6)


def test_accuracy_of_mixed_labels_is_the_share_of_the_predicted_class():
    other = np.roll(LABELS, 1)
    mixed = (0.7 * np.eye(C)[LABELS] + 0.3 * np.eye(C)[other]).astype(np.float32)
    found = correct(LOGITS, mixed)
    expected = 0.7 * correct(LOGITS, LABELS) + 0.3 * correct(LOGITS, other)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(correct(LOGITS, np.eye(C)[LABELS]), correct(LOGITS, LABELS))
    with_nan = np.where(np.arange(N)[:, None] == 0, np.nan, LOGITS)
    assert correct(with_nan, mixed)[0] == 0
    with pytest.raises(ValueError, match=r"correct: labels.* must lie in \[0, 1\]"):
        F.correct(LOGITS, 2 * mixed)


@pytest.mark.parametrize("k", range(1, C + 1))
def test_top_k_accuracy_is_scikit_learns(k):
    expected = [
        sklearn_metrics.top_k_accuracy_score(
            LABELS, LOGITS, k=k, labels=range(C), sample_weight=weight
        )
        if k < C
        else 1.0  # scikit-learn warns that this says nothing
        for weight in (None, WEIGHT)
    ]

    @jax.jit
    def plain_and_weighted(logits, labels):
        return [F.top_k_accuracy(logits, labels, k=k, weight=weight) for weight in (None, WEIGHT)]

    np.testing.assert_allclose(plain_and_weighted(LOGITS, LABELS), expected, 1e-6)


@examples(25)
@given(
    logits=hnp.arrays(np.float32, (4, 6), elements=st.sampled_from([-np.inf, -0.0, 0.0, 1.0])),
    labels=hnp.arrays(np.int32, 4, elements=st.integers(0, 5)),
    k=st.sampled_from([1, 3]),
)
def test_ties_rank_in_the_order_of_the_classes(logits, labels, k):
    first_k = np.argsort(-logits, axis=-1, kind="stable")[:, :k]
    expected = (first_k == labels[:, None]).any(-1)
    hits = top_k_correct(logits, labels, k=k)
    assert hits.dtype == jnp.float32
    np.testing.assert_array_equal(hits, expected)
    if k == 1:
        np.testing.assert_array_equal(correct(logits, labels), expected)


def test_an_example_with_a_nan_is_wrong():
    logits = np.array([[np.nan, 0], [0, np.nan], [1, 0], [np.nan, np.nan]], np.float32)
    for labels in np.array([[0, 0, 0, 0], [1, 1, 0, 1]]):
        np.testing.assert_array_equal(correct(logits, labels), [0, 0, 1, 0])
        np.testing.assert_array_equal(top_k_correct(logits, labels, k=2), [0, 0, 1, 0])


def test_sequences_and_narrow_dtypes():
    logits = LOGITS.reshape(4, 10, C).astype(jnp.bfloat16)
    hits = correct(logits, LABELS.reshape(4, 10).astype(np.uint8))
    assert hits.dtype == jnp.float32
    expected = logits.astype(np.float32).argmax(-1) == LABELS.reshape(4, 10)
    np.testing.assert_array_equal(hits, expected)


def test_padding_counts_nothing_even_where_it_is_out_of_range():
    weight = np.array([1, 1, 0, 0], np.float32)
    logits = np.array([[2, 1], [2, 1], [np.nan, 0], [0, 1]], np.float32)
    labels = np.array([0, 1, -1, -1])
    assert accuracy(logits, labels, weight=weight) == 0.5
    matrix = confusion_matrix(np.array([0, 0, 1, 1]), labels, 2, weight=weight)
    np.testing.assert_array_equal(matrix, [[1, 0], [1, 0]])


@pytest.mark.parametrize("label", [-1, 5, 255])
def test_a_label_out_of_range_is_refused_or_nan(label):
    labels = np.where(np.arange(N) == 3, np.int32(label), LABELS)
    message = rf"labels\[3\] is {label}, but must be one of the 5 classes"
    metrics = {
        "correct": F.correct,
        "accuracy": F.accuracy,
        "top_2": functools.partial(F.top_k_correct, k=2),
        "confusion_matrix": lambda logits, labels: F.confusion_matrix(PREDICTIONS, labels, C),
    }
    for metric in metrics.values():
        with pytest.raises(ValueError, match=message):
            metric(LOGITS, labels)
    traced = jax.jit(lambda labels: {name: m(LOGITS, labels) for name, m in metrics.items()})(
        labels
    )
    only_the_third = np.arange(N) == 3
    np.testing.assert_array_equal(np.isnan(traced["correct"]), only_the_third)
    np.testing.assert_array_equal(np.isnan(traced["top_2"]), only_the_third)
    assert np.isnan(traced["accuracy"])
    assert np.isnan(traced["confusion_matrix"]).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.accuracy(LOGITS, LABELS[:, None]), r"\(40, 1\).*labels\.reshape\(\(40,\)\)"),
        (lambda: F.accuracy(LOGITS, LABELS[1:]), r"labels \(39,\) do not fit outputs \(40, 5\)"),
        (lambda: F.accuracy(LOGITS, LABELS, weight=WEIGHT[:, None]), r"weight \(40, 1\)"),
        (lambda: F.top_k_correct(LOGITS, LABELS, 6), "k is 6, but must lie in 1 … 5"),
        (lambda: F.top_k_correct(LOGITS, LABELS, 0), "k is 0"),
        (lambda: F.confusion_matrix(LOGITS, LABELS, C), r"predictions \(40, 5\) and labels"),
        (lambda: F.confusion_matrix(PREDICTIONS, LABELS, 4), "must be one of the 4 classes"),
        (lambda: F.confusion_matrix(PREDICTIONS, LABELS, C, weight=WEIGHT[1:]), r"\(39,\)"),
        (lambda: F.f1(np.ones([2, 3])), r"f1: the matrix is \(2, 3\)"),
        (lambda: F.f1(MATRIX, average="mean"), "must be one of .*'macro', 'micro', 'weighted'"),
        (lambda: F.perplexity(1.0, base=1), "base is 1"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_dtypes_that_do_not_fit_are_refused():
    with pytest.raises(TypeError, match="correct: logits is int32"):
        F.accuracy(np.zeros([3, 2], np.int32), np.zeros(3, np.int32))
    with pytest.raises(TypeError, match="labels are float32, but class indices are integers"):
        F.accuracy(np.zeros([3, 2], np.float32), np.zeros(3, np.float32))
    with pytest.raises(TypeError, match="predictions are float32"):
        F.confusion_matrix(np.zeros(3, np.float32), np.zeros(3, np.int32), 2)


def test_confusion_matrix_is_scikit_learns():
    np.testing.assert_array_equal(confusion_matrix(PREDICTIONS, LABELS, C), MATRIX)
    np.testing.assert_allclose(
        confusion_matrix(PREDICTIONS, LABELS, C, weight=WEIGHT),
        sklearn_metrics.confusion_matrix(LABELS, PREDICTIONS, sample_weight=WEIGHT),
    )
    predictions, labels, weight = (a.reshape(8, 5) for a in (PREDICTIONS, LABELS, WEIGHT))
    grid = confusion_matrix(predictions, labels, C, weight=weight)
    np.testing.assert_array_equal(grid, confusion_matrix(PREDICTIONS, LABELS, C, weight=WEIGHT))


@functools.cache
def scores(name):
    """Compiled: a confusion matrix to the score of that name in every average."""
    score = getattr(F, name)
    return jax.jit(lambda matrix: {average: score(matrix, average=average) for average in AVERAGES})


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_scores_are_scikit_learns(name, average):
    reference = getattr(sklearn_metrics, f"{name}_score")
    for labels, predictions in [(LABELS, PREDICTIONS), (PREDICTIONS, LABELS)]:
        expected = reference(
            labels,
            predictions,
            labels=range(C),
            average=None if average == "none" else average,
            zero_division=0,
        )
        matrix = sklearn_metrics.confusion_matrix(labels, predictions)
        np.testing.assert_allclose(scores(name)(matrix)[average], expected, 1e-6)


@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_scores_of_nothing_are_zero(name):
    for score in scores(name)(np.zeros([C, C], int)).values():
        np.testing.assert_array_equal(score, 0)


@pytest.mark.parametrize("base", [np.e, 2, 10])
def test_perplexity_is_the_number_of_equally_likely_choices(base):
    @jax.jit
    def choices(logits, labels):
        return F.perplexity(F.cross_entropy(logits, labels, base=base), base)

    np.testing.assert_allclose(choices(np.zeros([1, 7], np.float32), np.array([3])), 7, 1e-6)


def test_perplexity_of_a_large_loss_is_infinite():
    assert F.perplexity(np.float32(1e4)) == np.inf
