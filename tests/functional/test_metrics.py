"""Metrics beside scikit-learn's, and at the edges: ties, NaN, padding, empty classes."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sklearn_metrics

from dlcore import functional as F

N, C = 40, 5
GENERATOR = np.random.default_rng(0)
LOGITS = GENERATOR.normal(size=(N, C)).astype(np.float32)
LABELS = GENERATOR.integers(0, C, N).astype(np.int32)
PREDICTIONS = GENERATOR.integers(0, C - 1, N).astype(np.int32)  # the last class is never predicted
WEIGHT = GENERATOR.choice([0, 0.5, 1, 2], N).astype(np.float32)
MATRIX = sklearn_metrics.confusion_matrix(LABELS, PREDICTIONS)
AVERAGES = ["none", "macro", "micro", "weighted"]


def test_accuracy_is_scikit_learns():
    predictions = LOGITS.argmax(-1)
    expected = sklearn_metrics.accuracy_score(LABELS, predictions)
    np.testing.assert_allclose(F.accuracy(LOGITS, LABELS), expected, 1e-6)
    np.testing.assert_allclose(jax.jit(F.accuracy)(LOGITS, LABELS), expected, 1e-6)
    weighted = sklearn_metrics.accuracy_score(LABELS, predictions, sample_weight=WEIGHT)
    np.testing.assert_allclose(F.accuracy(LOGITS, LABELS, weight=WEIGHT), weighted, 1e-6)


def test_accuracy_of_mixed_labels_is_the_share_of_the_predicted_class():
    other = np.roll(LABELS, 1)
    mixed = 0.7 * np.eye(C)[LABELS] + 0.3 * np.eye(C)[other]
    found = jax.jit(F.correct)(LOGITS, mixed.astype(np.float32))
    expected = 0.7 * F.correct(LOGITS, LABELS) + 0.3 * F.correct(LOGITS, other)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(F.correct(LOGITS, np.eye(C)[LABELS]), F.correct(LOGITS, LABELS))
    with_nan = np.where(np.arange(N)[:, None] == 0, np.nan, LOGITS)
    assert F.correct(with_nan, mixed)[0] == 0
    with pytest.raises(ValueError, match=r"correct: labels.* must lie in \[0, 1\]"):
        F.correct(LOGITS, 2 * mixed)


@pytest.mark.parametrize("k", range(1, C + 1))
def test_top_k_accuracy_is_scikit_learns(k):
    top_k = jax.jit(functools.partial(F.top_k_accuracy, k=k))
    expected = [
        sklearn_metrics.top_k_accuracy_score(
            LABELS, LOGITS, k=k, labels=range(C), sample_weight=weight
        )
        if k < C
        else 1.0  # scikit-learn warns that this says nothing
        for weight in (None, WEIGHT)
    ]
    np.testing.assert_allclose(top_k(LOGITS, LABELS), expected[0], 1e-6)
    np.testing.assert_allclose(top_k(LOGITS, LABELS, weight=WEIGHT), expected[1], 1e-6)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    logits=hnp.arrays(np.float32, (4, 6), elements=st.sampled_from([-np.inf, -0.0, 0.0, 1.0])),
    labels=hnp.arrays(np.int32, 4, elements=st.integers(0, 5)),
    k=st.sampled_from([1, 3]),
)
def test_ties_rank_in_the_order_of_the_classes(logits, labels, k):
    first_k = np.argsort(-logits, axis=-1, kind="stable")[:, :k]
    expected = (first_k == labels[:, None]).any(-1)
    hits = jax.jit(F.top_k_correct, static_argnames="k")(logits, labels, k=k)
    assert hits.dtype == jnp.float32
    np.testing.assert_array_equal(hits, expected)
    if k == 1:
        np.testing.assert_array_equal(jax.jit(F.correct)(logits, labels), expected)


def test_an_example_with_a_nan_is_wrong():
    logits = jnp.array([[jnp.nan, 0.0], [0.0, jnp.nan], [1.0, 0.0], [jnp.nan, jnp.nan]])
    for labels in ([0, 0, 0, 0], [1, 1, 0, 1]):
        np.testing.assert_array_equal(F.correct(logits, jnp.array(labels)), [0, 0, 1, 0])
        np.testing.assert_array_equal(F.top_k_correct(logits, jnp.array(labels), 2), [0, 0, 1, 0])


def test_sequences_and_narrow_dtypes():
    logits = jnp.asarray(LOGITS.reshape(4, 10, C), jnp.bfloat16)
    hits = F.correct(logits, LABELS.reshape(4, 10).astype(np.uint8))
    assert hits.dtype == jnp.float32
    expected = np.asarray(logits, np.float32).argmax(-1) == LABELS.reshape(4, 10)
    np.testing.assert_array_equal(hits, expected)


def test_padding_counts_nothing_even_where_it_is_out_of_range():
    weight = jnp.array([1.0, 1.0, 0.0, 0.0])
    logits = jnp.array([[2.0, 1.0], [2.0, 1.0], [jnp.nan, 0.0], [0.0, 1.0]])
    labels = jnp.array([0, 1, -1, -1])
    assert jax.jit(F.accuracy)(logits, labels, weight=weight) == 0.5
    matrix = jax.jit(F.confusion_matrix, static_argnums=2)(
        jnp.array([0, 0, 1, 1]), labels, 2, weight=weight
    )
    np.testing.assert_array_equal(matrix, [[1, 0], [1, 0]])


@pytest.mark.parametrize("label", [-1, 5, 255])
def test_a_label_out_of_range_is_refused_or_nan(label):
    labels = jnp.asarray(LABELS).at[3].set(label)
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
        (lambda: F.f1(jnp.ones([2, 3])), r"f1: the matrix is \(2, 3\)"),
        (lambda: F.f1(MATRIX, average="mean"), "must be one of .*'macro', 'micro', 'weighted'"),
        (lambda: F.perplexity(1.0, base=1), "base is 1"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_dtypes_that_do_not_fit_are_refused():
    with pytest.raises(TypeError, match="correct: logits is int32"):
        F.accuracy(jnp.zeros([3, 2], jnp.int32), jnp.zeros(3, jnp.int32))
    with pytest.raises(TypeError, match="labels are float32, but class indices are integers"):
        F.accuracy(jnp.zeros([3, 2]), jnp.zeros(3))
    with pytest.raises(TypeError, match="predictions are float32"):
        F.confusion_matrix(jnp.zeros(3), jnp.zeros(3, jnp.int32), 2)


def test_confusion_matrix_is_scikit_learns():
    count = jax.jit(F.confusion_matrix, static_argnums=2)
    np.testing.assert_array_equal(count(PREDICTIONS, LABELS, C), MATRIX)
    np.testing.assert_allclose(
        count(PREDICTIONS, LABELS, C, weight=WEIGHT),
        sklearn_metrics.confusion_matrix(LABELS, PREDICTIONS, sample_weight=WEIGHT),
    )
    grid = count(PREDICTIONS.reshape(8, 5), LABELS.reshape(8, 5), C, weight=WEIGHT.reshape(8, 5))
    np.testing.assert_array_equal(grid, count(PREDICTIONS, LABELS, C, weight=WEIGHT))


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_scores_are_scikit_learns(name, average):
    reference = getattr(sklearn_metrics, f"{name}_score")
    score = jax.jit(functools.partial(getattr(F, name), average=average))
    for labels, predictions in [(LABELS, PREDICTIONS), (PREDICTIONS, LABELS)]:
        expected = reference(
            labels,
            predictions,
            labels=range(C),
            average=None if average == "none" else average,
            zero_division=0,
        )
        matrix = sklearn_metrics.confusion_matrix(labels, predictions)
        np.testing.assert_allclose(score(matrix), expected, 1e-6)


@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_scores_of_nothing_are_zero(name):
    for average in AVERAGES:
        np.testing.assert_array_equal(getattr(F, name)(np.zeros([3, 3]), average=average), 0)


def test_perplexity_is_the_number_of_equally_likely_choices():
    for base in (np.e, 2, 10):
        nll = F.cross_entropy(jnp.zeros([1, 7]), jnp.array([3]), base=base)
        np.testing.assert_allclose(jax.jit(F.perplexity, static_argnums=1)(nll, base), 7, 1e-6)
    assert F.perplexity(jnp.float32(1e4)) == jnp.inf
