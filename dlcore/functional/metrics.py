"""Metrics: how good predictions are, as pure functions of arrays.

Labels are class indices; one out of range is refused where it is concrete and NaN under jit.
`weight` [...] counts an example that many times: 0 for padding.
"""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dlcore.checks import (
    class_rows,
    floating,
    log_base,
    one_hot,
    one_of,
    same_shape,
    unit_interval,
)

Average = Literal["none", "macro", "micro", "weighted"]


def correct(logits: ArrayLike, labels: ArrayLike) -> jax.Array:
    """1.0 for each example whose label has the largest logit, else 0.0: [..., C], [...] -> [...].

    Of equal logits the first counts as the largest, as in argmax. An example with a NaN is wrong.
    Where labels are distributions over the classes [..., C] (mixup's), the share of the class with
    the largest logit: the expected value for a label drawn from it.
    """
    if jnp.ndim(logits) == 0 or jnp.shape(labels) != jnp.shape(logits):
        return _is_among_largest("correct", logits, labels, 1)
    logits = floating("correct", "logits", logits)
    shares = unit_interval("correct", "labels", labels)
    largest = jnp.argmax(logits, axis=-1, keepdims=True)
    share = jnp.take_along_axis(shares, largest, axis=-1)[..., 0]
    return jnp.where(jnp.any(jnp.isnan(logits), axis=-1), 0, share)


def top_k_correct(logits: ArrayLike, labels: ArrayLike, k: int) -> jax.Array:
    """1.0 for each example whose label is among the k largest logits, else 0.0.

    Equal logits rank in the order of their classes, so that k = 1 is `correct`.
    """
    return _is_among_largest("top_k_correct", logits, labels, k)


def accuracy(logits: ArrayLike, labels: ArrayLike, *, weight: ArrayLike | None = None) -> jax.Array:
    """The share of examples whose label has the largest logit: the mean of `correct`.

    >>> float(accuracy(jnp.array([[1.0, 0.0], [3.0, 2.0]]), jnp.array([0, 1])))
    0.5
    """
    return _mean("accuracy", correct(logits, labels), weight)


def top_k_accuracy(
    logits: ArrayLike, labels: ArrayLike, k: int, *, weight: ArrayLike | None = None
) -> jax.Array:
    """The share of examples whose label is among the k largest logits."""
    return _mean("top_k_accuracy", top_k_correct(logits, labels, k), weight)


def confusion_matrix(
    predictions: ArrayLike, labels: ArrayLike, classes: int, *, weight: ArrayLike | None = None
) -> jax.Array:
    """Mᵢⱼ = Σₙ wₙ [tₙ = i] [pₙ = j]: a row for each true class, a column for each predicted one.

    predictions p and labels t are class indices of one shape. Float32, in which counts are exact
    up to 2²⁴ and a label out of range can be NaN. scikit-learn lays the matrix out the same way.

    >>> confusion_matrix(jnp.array([0, 1, 1]), jnp.array([0, 0, 1]), 2).tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """
    same_shape("confusion_matrix", predictions=predictions, labels=labels)
    true = one_hot("confusion_matrix", "labels", labels, classes).reshape(-1, classes)
    predicted = one_hot("confusion_matrix", "predictions", predictions, classes)
    predicted = predicted.reshape(-1, classes)
    if weight is not None:
        same_shape("confusion_matrix", labels=labels, weight=weight)
        true = _weighted(true, jnp.reshape(weight, (-1, 1)))
    return jnp.einsum("ni,nj->ij", true, predicted, precision="highest")


def precision(matrix: ArrayLike, *, average: Average = "none") -> jax.Array:
    """Of the examples predicted as class j, the share that is: Mⱼⱼ / Σᵢ Mᵢⱼ of a confusion matrix.

    `average` is "none" (one value a class, [C]), "macro" (their mean), "weighted" (their mean by
    the number of true examples) or "micro" (Σ numerators / Σ denominators). 0/0 = 0. A class that
    never occurs counts in "macro"; scikit-learn leaves it out unless it is given in `labels`.

    >>> precision(jnp.array([[3.0, 1.0], [0.0, 1.0]])).tolist()
    [1.0, 0.5]
    """
    matrix = _square("precision", matrix)
    return averaged("precision", jnp.diag(matrix), matrix.sum(0), matrix.sum(1), average)


def recall(matrix: ArrayLike, *, average: Average = "none") -> jax.Array:
    """Of the examples of class i, the share that is predicted: Mᵢᵢ / Σⱼ Mᵢⱼ. See `precision`."""
    matrix = _square("recall", matrix)
    return averaged("recall", jnp.diag(matrix), matrix.sum(1), matrix.sum(1), average)


def f1(matrix: ArrayLike, *, average: Average = "none") -> jax.Array:
    """The harmonic mean of precision and recall: 2Mᵢᵢ / (Σⱼ Mᵢⱼ + Σⱼ Mⱼᵢ). See `precision`."""
    matrix = _square("f1", matrix)
    both = matrix.sum(0) + matrix.sum(1)
    return averaged("f1", 2 * jnp.diag(matrix), both, matrix.sum(1), average)


def perplexity(mean_nll: ArrayLike, base: float = math.e) -> jax.Array:
    """base^mean_nll: the number of equally likely choices that would be as hard to predict.

    `mean_nll` is the mean negative log-likelihood (cross-entropy) in that base.

    >>> float(perplexity(3.0, base=2))
    8.0
    """
    return jnp.exp(floating("perplexity", "mean_nll", mean_nll) * log_base("perplexity", base))


def _is_among_largest(function: str, logits: ArrayLike, labels: ArrayLike, k: int) -> jax.Array:
    """Whether fewer than k classes come before the label: larger, or equal and earlier."""
    logits = floating(function, "logits", logits)
    rows = class_rows(function, logits, labels)
    classes = logits.shape[-1]
    if not 1 <= k <= classes:
        raise ValueError(f"{function}: k is {k}, but must lie in 1 … {classes}, the classes")
    true = jnp.max(logits, axis=-1, keepdims=True, where=rows == 1, initial=-jnp.inf)
    is_earlier = jnp.arange(classes) < jnp.argmax(rows, axis=-1, keepdims=True)
    rank = jnp.sum((logits > true) | ((logits == true) & is_earlier), axis=-1)
    is_hit = (rank < k) & ~jnp.any(jnp.isnan(logits), axis=-1)
    is_class = ~jnp.any(jnp.isnan(rows), axis=-1)
    return jnp.where(is_class, is_hit.astype(jnp.float32), jnp.nan)


def _mean(function: str, values: jax.Array, weight: ArrayLike | None) -> jax.Array:
    if weight is None:
        return jnp.mean(values)
    same_shape(function, labels=values, weight=weight)
    return jnp.sum(_weighted(values, weight)) / jnp.sum(jnp.asarray(weight, jnp.float32))


def _weighted(values: jax.Array, weight: ArrayLike) -> jax.Array:
    """weight·values, where padding (weight 0) counts nothing, not even a NaN."""
    weight = jnp.asarray(weight, jnp.float32)
    return jnp.where(weight == 0, 0, weight * values)


def _square(function: str, matrix: ArrayLike) -> jax.Array:
    matrix = jnp.asarray(matrix, jnp.float32)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"{function}: the matrix is {matrix.shape}, but a confusion matrix [C, C] is wanted: "
            f"{function}(confusion_matrix(predictions, labels, classes))"
        )
    return matrix


def averaged(
    function: str, numerator: jax.Array, denominator: jax.Array, support: jax.Array, average: str
) -> jax.Array:
    """Ratios of classes or labels, one by one or as one number; each counts as its support says."""
    scores = _ratio(numerator, denominator)
    choices = {
        "none": lambda: scores,
        "macro": lambda: jnp.mean(scores),
        "micro": lambda: _ratio(jnp.sum(numerator), jnp.sum(denominator)),
        "weighted": lambda: _ratio(jnp.sum(support * scores), jnp.sum(support)),
    }
    return one_of(function, "average", average, choices)()


def _ratio(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """numerator / denominator, and 0/0 = 0."""
    return numerator / jnp.where(denominator == 0, 1, denominator)
