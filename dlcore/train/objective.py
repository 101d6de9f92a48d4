"""Objectives: what is minimised, and measured.

    objective(params, state, batch, *, key=None, train=False) -> (loss, (state, metrics))

A batch is a dict of arrays with one leading axis, here `{"x": inputs, "y": targets}`, and where
examples count unequally (padding counts 0) `"weight"` [B].
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from dlcore import functional as F
from dlcore.keys import Key
from dlcore.nn.layer import Layer, Params, State
from dlcore.train.metrics import MetricFunction, mean, mean_of

Batch = dict[str, Any]  # of arrays
Objective = Callable[..., tuple[jax.Array, tuple[State, dict[str, Any]]]]


def supervised(
    layer: Layer,
    loss: Callable[[jax.Array, jax.Array], jax.Array],
    metrics: dict[str, MetricFunction] | None = None,
) -> Objective:
    """The mean of `loss(outputs, y)` [B] over the examples, and `metrics` beside it."""
    metrics = metrics or {}

    def objective(
        params: Params, state: State, batch: Batch, *, key: Key | None = None, train: bool = False
    ) -> tuple[jax.Array, tuple[State, dict[str, Any]]]:
        outputs, state = layer.apply(params, state, batch["x"], key=key, train=train)
        weight = batch.get("weight")
        measured = {"loss": mean(loss(outputs, batch["y"]), weight)}
        for name, metric in metrics.items():
            measured[name] = metric(outputs, batch["y"], weight)
        return measured["loss"].value(), (state, measured)

    return objective


def classification(
    layer: Layer,
    *,
    label_smoothing: float = 0.0,
    metrics: dict[str, MetricFunction] | None = None,
) -> Objective:
    """Cross-entropy of the layer's logits [B, C] with labels y [B], and accuracy."""
    loss = functools.partial(F.cross_entropy, label_smoothing=label_smoothing, reduction="none")
    return supervised(layer, loss, {"accuracy": mean_of(F.correct), **(metrics or {})})


def binary_classification(
    layer: Layer, *, metrics: dict[str, MetricFunction] | None = None
) -> Objective:
    """Binary cross-entropy of the layer's logit [B, 1] with y [B] in {0, 1}, and accuracy."""

    def loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
        return F.binary_cross_entropy(logits[..., 0], labels, reduction="none")

    def correct(logits: jax.Array, labels: jax.Array) -> jax.Array:
        return (logits[..., 0] > 0) == (labels > 0)

    return supervised(layer, loss, {"accuracy": mean_of(correct), **(metrics or {})})


def regression(
    layer: Layer,
    *,
    loss: Callable[..., jax.Array] = F.squared_error,
    metrics: dict[str, MetricFunction] | None = None,
) -> Objective:
    """Squared error of the layer's outputs with targets y of the same shape, and absolute error.

    `loss` is any loss of `functional` that takes `reduction`, such as `functional.huber`.
    """
    absolute = mean_of(functools.partial(F.absolute_error, reduction="none"))
    return supervised(
        layer,
        functools.partial(loss, reduction="none"),
        {"absolute_error": absolute, **(metrics or {})},
    )
