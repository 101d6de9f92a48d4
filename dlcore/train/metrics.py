"""Metrics that merge: a metric holds sums, merges by adding them, forms its value at the end.

So an average over batches of unequal or padded size is exact, and what is no average at all
(perplexity, F1) is formed from the whole data set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import functional as F
from dlcore.fields import documented
from dlcore.nn.describing import describe

Numbers = dict[str, float | np.ndarray]


@documented
class Mean(NamedTuple):
    """A weighted mean, as two sums whose ratio it is.

    total: Σ weight·value.
    weight: Σ weight.
    """

    total: jax.Array
    weight: jax.Array

    def value(self) -> jax.Array:
        """total / weight"""
        return self.total / self.weight


@documented
class Perplexity(NamedTuple):
    """exp of a mean negative log-likelihood.

    total: Σ weight·value.
    weight: Σ weight.
    """

    total: jax.Array
    weight: jax.Array

    def value(self) -> jax.Array:
        """exp(total / weight)"""
        return jnp.exp(self.total / self.weight)


@documented
class Confusion(NamedTuple):
    """Which classes are taken for which.

    counts: of examples, [true class, predicted class].
    """

    counts: jax.Array

    def value(self) -> jax.Array:
        """The matrix of counts."""
        return self.counts


@documented
class F1(NamedTuple):
    """The macro-averaged F1, as the confusion matrix that it is formed of.

    counts: of examples, [true class, predicted class].
    """

    counts: jax.Array

    def value(self) -> jax.Array:
        """The unweighted mean over classes of 2·precision·recall / (precision + recall)."""
        return F.f1(self.counts, average="macro")


Metric = Any  # a NamedTuple of sums with `value()`
MetricFunction = Callable[[jax.Array, jax.Array, jax.Array | None], Metric]


@documented
class ChunkF1(NamedTuple):
    """The F1 of chunks, as the counts that it is formed of.

    counts: right, found, and there, [3], of `functional.chunk_counts`.
    """

    counts: jax.Array

    def value(self) -> jax.Array:
        """2 · right / (found + there)"""
        return F.chunk_f1(self.counts)


@documented
class LabelF1(NamedTuple):
    """The F1 of labels of which any number may be true, as the counts that it is formed of.

    counts: of each label, right, found and true, [3, C], of `functional.label_counts`.
    """

    counts: jax.Array

    def value(self) -> jax.Array:
        """Σ 2 · right / Σ (found + true), over all labels: micro-averaged."""
        return F.label_f1(self.counts)


@documented
class MacroLabelF1(NamedTuple):
    """The mean of the labels' own F1, as the counts that it is formed of.

    counts: of each label, right, found and true, [3, C], of `functional.label_counts`.
    """

    counts: jax.Array

    def value(self) -> jax.Array:
        """The mean over labels of 2 · right / (found + true)."""
        return F.label_f1(self.counts, average="macro")


def mean(values: jax.Array, weight: jax.Array | None = None) -> Mean:
    """The Mean of per-example `values` [B, …], of which each example counts `weight` [B] times."""
    values = values.astype(jnp.float32)
    if weight is None:
        return Mean(jnp.sum(values), jnp.asarray(values.size, jnp.float32))
    if weight.shape != values.shape[: weight.ndim]:
        raise ValueError(
            f"the weight is {describe(weight)}, but the first axes of what it weighs, "
            f"{describe(values)}, are wanted: [B], or [B, T] for a loss at each place"
        )
    weight = jnp.broadcast_to(
        weight.astype(jnp.float32).reshape(weight.shape + (1,) * (values.ndim - weight.ndim)),
        values.shape,
    )
    counted = jnp.where(weight == 0, 0, values * weight)  # what does not count may be NaN
    return Mean(jnp.sum(counted), jnp.sum(weight))


def sums(values: jax.Array, weight: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """(Σ weight·value of each number of an example [K], Σ weight), of `values` [B, …]: numbers that
    are formed of means over examples.
    """
    rows = values.reshape(len(values), -1).astype(jnp.float32)
    weight = jnp.ones(len(rows)) if weight is None else weight.astype(jnp.float32)
    counted = jnp.where(weight[:, None] == 0, 0, rows * weight[:, None])
    return jnp.sum(counted, axis=0), jnp.sum(weight)


def mean_of(per_example: Callable[[jax.Array, jax.Array], jax.Array]) -> MetricFunction:
    """The metric function that averages `per_example(outputs, targets)` [B, …]."""
    return lambda outputs, targets, weight: mean(per_example(outputs, targets), weight)


def perplexity(logits: jax.Array, labels: jax.Array, weight: jax.Array | None) -> Perplexity:
    """The metric function of exp(mean cross-entropy), e.g. of a language model [B, T, C]."""
    return Perplexity(*mean(F.cross_entropy(logits, labels, reduction="none"), weight))


def confusion_of(classes: int, metric: Callable[[jax.Array], Metric] = Confusion) -> MetricFunction:
    """The metric function that counts predicted against true classes, for Confusion or F1."""

    def counts(logits: jax.Array, labels: jax.Array, weight: jax.Array | None) -> Metric:
        return metric(F.confusion_matrix(jnp.argmax(logits, -1), labels, classes, weight=weight))

    return counts


def chunks_of(names: Sequence[str], *, strict: bool = False) -> MetricFunction:
    """The metric function of ChunkF1 of tags [B, T] with these names, for `train.tagging`.

    Of sentences only whether they count is read from the weight, and not how often.
    """

    def counts(tags: jax.Array, labels: jax.Array, weight: jax.Array | None) -> Metric:
        mask = None if weight is None else weight > 0
        return ChunkF1(F.chunk_counts(tags, labels, names, mask, strict=strict))

    return counts


def labels_of(metric: Callable[[jax.Array], Metric] = LabelF1) -> MetricFunction:
    """The metric function of LabelF1 or MacroLabelF1 of logits [..., C] and labels [..., C]."""

    def counts(logits: jax.Array, labels: jax.Array, weight: jax.Array | None) -> Metric:
        return metric(F.label_counts(logits > 0, labels.astype(jnp.float32) > 0.5, weight=weight))

    return counts


def values(metrics: dict[str, Metric]) -> Numbers:
    """The metrics as plain numbers (a matrix as a NumPy array), the loss first."""
    sums = jax.device_get(metrics)  # once, and before the arithmetic: a dispatch costs more than it
    numbers = {name: np.asarray(metric.value()) for name, metric in sums.items()}
    names = sorted(numbers, key=lambda name: (name != "loss", name))
    return {
        name: float(numbers[name]) if np.ndim(numbers[name]) == 0 else numbers[name]
        for name in names
    }


_TAKEN = ("step", "epoch", "seconds")


def check(metrics: dict[str, Metric]) -> None:
    """Refuses metrics that a record could not hold: of a name that it has itself, or no sums."""
    for name, metric in metrics.items():
        if name in _TAKEN or name.startswith("validation_"):
            raise ValueError(
                f"a metric cannot be called {name!r}: a record has {', '.join(_TAKEN)} and "
                "validation_… of its own"
            )
        if not callable(getattr(metric, "value", None)):
            raise TypeError(
                f"the metric {name!r} gave {describe(metric)}, but sums with value() are wanted: "
                "train.metrics.mean(values, weight)"
            )


def zeros_like(shapes: dict[str, Metric]) -> dict[str, Metric]:
    """Metrics of these shapes that have seen nothing."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def merge(one: dict[str, Metric], other: dict[str, Metric]) -> dict[str, Metric]:
    """The metrics of both parts together."""
    return jax.tree.map(jnp.add, one, other)
