"""Objectives: what is minimised, and measured.

    objective(params, state, batch, *, key=None, train=False) -> (loss, (state, metrics))

A batch is a dict of arrays with one leading axis, here `{"x": inputs, "y": targets}`, and where
examples count unequally (padding counts 0) `"weight"` [B], or [B, T] where a sequence has a loss
at each place. Beside them stand the side inputs that the layer reads: `"mask"` [B, T], True for the
real steps of a sequence, of which alone there is a loss.

An objective that names `states` gets there the train states that `alternate` trains beside its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dlcore import functional as F
from dlcore.functional.crf import Chain
from dlcore.keys import Key
from dlcore.names import arguments, written
from dlcore.nn import side_inputs
from dlcore.nn.describing import describe
from dlcore.nn.layer import Layer, Params, State, read_by
from dlcore.train.metrics import MetricFunction, labels_of, mean, mean_of

Batch = dict[str, Any]  # of arrays
Objective = Callable[..., tuple[jax.Array, tuple[State, dict[str, Any]]]]


@arguments()
def supervised(
    layer: Layer,
    loss: Callable[[jax.Array, jax.Array], jax.Array],
    metrics: dict[str, MetricFunction] | None = None,
) -> Objective:
    """The mean of `loss(outputs, y)`, [B] or [B, T], and `metrics` beside it.

    The batch's other columns are the layer's side inputs; one that it does not read is refused. A
    loss [B, T] counts where the `mask` is True, unless a weight [B, T] says how often.
    """
    further = check_metrics("supervised", metrics)
    if "loss" in further:
        raise ValueError('a metric cannot be called "loss", which is what is minimised')

    def objective(
        params: Params, state: State, batch: Batch, *, key: Key | None = None, train: bool = False
    ) -> tuple[jax.Array, tuple[State, dict[str, Any]]]:
        check_columns(layer, batch)
        side = read_by(layer, batch)
        outputs, state = layer.apply(params, state, batch["x"], key=key, train=train, **side)
        values = loss(outputs, batch["y"])
        weight = _counted(batch, values)
        measured = {"loss": mean(values, weight)}
        for name, metric in further.items():
            measured[name] = metric(outputs, batch["y"], weight)
        return measured["loss"].value(), (state, measured)

    return objective


def _counted(batch: Batch, values: jax.Array) -> jax.Array | None:
    """How often each of `values` counts, [B] or [B, T]."""
    weight, mask = batch.get("weight"), batch.get("mask")
    if mask is None or mask.shape != values.shape[:2] or getattr(weight, "ndim", 0) > 1:
        return weight
    return mask if weight is None else jnp.where(mask, weight[:, None], 0)


def check_metrics(function: str, metrics: Any) -> Mapping[str, MetricFunction]:
    """The metrics by name, {} for None; refused is what is none."""
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping) or not all(map(callable, metrics.values())):
        raise TypeError(
            f"{function}: metrics is {written(metrics)}, but functions by name are wanted: "
            'metrics={"perplexity": train.metrics.perplexity}'
        )
    return metrics


def check_objective(objective: Any) -> None:
    """Refuses what is no objective: a layer, or what comes of one."""
    if isinstance(objective, Layer):
        raise TypeError(
            "a Layer is no objective, which says what is minimised: "
            "train.classification(layer), train.regression(layer), train.supervised(layer, loss)"
        )
    wanted = "an objective is called as objective(params, state, batch, key=key, train=True)"
    if not callable(objective):
        given = "an optimizer: make_step(objective, optimizer)"
        if not hasattr(objective, "update"):
            given = f"a {type(objective).__name__}: give the function, not what it returns"
        raise TypeError(f"{wanted}, got {given}")
    if not {"key", "train"} <= side_inputs.keywords(objective):
        name = getattr(objective, "__name__", type(objective).__name__)
        raise TypeError(
            f"{wanted}, but {name} takes no key and train: one is made by "
            f"train.classification(layer), or begins def {name}(params, state, batch, *, key=None, "
            "train=False)"
        )


def reads_states(objective: Objective) -> bool:
    """Whether the objective names `states`, the train states that are trained beside its own."""
    return "states" in side_inputs.named(objective)


def check_columns(layer: Layer, batch: Batch, wanted: Sequence[str] = ("x", "y")) -> None:
    """Refuses a column that is missing, and one that nobody reads: a misspelt mask would train
    unmasked.
    """
    for name in wanted:
        if name not in batch:
            raise ValueError(f'the data have no "{name}", but only {", ".join(batch) or "nothing"}')
    reads = {"x", "y", "weight", "begins", *wanted, *layer.info.reads}
    for name in batch:
        if name not in reads:
            raise ValueError(
                f"the data have a column that neither the objective nor the {layer.info.kind} "
                f"reads, {side_inputs.unread(name, reads)}"
            )


def beside(layer: Layer, batch: Batch, wanted: Sequence[str] = ("x",)) -> dict[str, Any]:
    """The side inputs that `layer` reads. Its `label` is y, where no column is called so."""
    if "label" in layer.info.reads and "label" not in batch and "y" in batch:
        batch = {**batch, "label": batch["y"]}
    check_columns(layer, batch, wanted)
    return read_by(layer, batch)


@arguments()
def classification(
    layer: Layer,
    *,
    label_smoothing: float = 0.0,
    auxiliary_weight: float = 0.3,
    metrics: dict[str, MetricFunction] | None = None,
) -> Objective:
    """Cross-entropy of the layer's logits [B, C] with labels y [B], and accuracy.

    Of a sequence logits [B, T, C] and labels [B, T] are those of each step; at a step of weight 0,
    or where the mask is False, the label may be any number.

    label_smoothing: in training y becomes (1 − ε)y + ε/C. In evaluation the loss is that of the
        labels as they are, so that losses compare whatever ε was trained with (PyTorch and Keras
        leave that to whoever writes the second loss).

    Where a layer gives several (logits, *auxiliary), as GoogLeNet's heads in training, the loss is
    that of the logits plus auxiliary_weight times that of each other (Szegedy et al. 2014, section
    5), and the metrics are those of the logits.
    """
    plain = functools.partial(F.cross_entropy, reduction="none")
    smoothed = functools.partial(plain, label_smoothing=label_smoothing)

    def loss(one: Callable[..., jax.Array], outputs: Any, labels: jax.Array) -> jax.Array:
        logits, *auxiliary = _heads(outputs)
        total = one(logits, labels)
        for other in auxiliary:
            total = total + auxiliary_weight * one(other, labels)
        return total

    measured = {"accuracy": mean_of(F.correct), **check_metrics("classification", metrics)}
    measured = {name: _of_first(metric) for name, metric in measured.items()}
    training = supervised(layer, functools.partial(loss, smoothed), measured)
    evaluation = supervised(layer, functools.partial(loss, plain), measured)

    def objective(
        params: Params, state: State, batch: Batch, *, key: Key | None = None, train: bool = False
    ) -> tuple[jax.Array, tuple[State, dict[str, Any]]]:
        one = training if train else evaluation
        return one(params, state, _with_real_labels(batch), key=key, train=train)

    return objective


def _with_real_labels(batch: Batch, axes: int = 0) -> Batch:
    """The batch with the label 0 where a step [B, T] is none, which may have any other.

    axes: how many the label of one step has.
    """
    if "y" not in batch:
        return batch
    y = jnp.asarray(batch["y"])
    weight = _counted(batch, y)
    if weight is None or weight.ndim != 2 or y.ndim < 2 + axes or weight.shape != y.shape[:2]:
        return batch
    counts = weight.astype(bool).reshape(weight.shape + (1,) * (y.ndim - 2))
    return {**batch, "y": jnp.where(counts, y, jnp.zeros_like(y))}


def _heads(outputs: Any) -> tuple[Any, ...]:
    if isinstance(outputs, Chain | dict):
        given = "a Chain" if isinstance(outputs, Chain) else "several outputs"
        raise TypeError(
            f"classification takes logits, but the layer gives {given}: train.tagging(layer)"
        )
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _of_first(metric: MetricFunction) -> MetricFunction:
    """`metric` of the first of several outputs."""
    return lambda outputs, targets, weight: metric(_heads(outputs)[0], targets, weight)


@arguments()
def binary_classification(
    layer: Layer, *, metrics: dict[str, MetricFunction] | None = None
) -> Objective:
    """Binary cross-entropy of the layer's logit [B, 1] with y [B] in {0, 1}, and accuracy."""

    def loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
        if logits.shape[-1] != 1:
            raise ValueError(
                f"binary_classification needs one logit, [B, 1], but the {layer.info.kind} gives "
                f"{describe(logits)}: train.classification is for two outputs and more"
            )
        return F.binary_cross_entropy(logits[..., 0], labels, reduction="none")

    def correct(logits: jax.Array, labels: jax.Array) -> jax.Array:
        return (logits[..., 0] > 0) == (labels > 0)

    further = check_metrics("binary_classification", metrics)
    return supervised(layer, loss, {"accuracy": mean_of(correct), **further})


@arguments()
def multilabel_classification(
    layer: Layer, *, metrics: dict[str, MetricFunction] | None = None
) -> Objective:
    """−Σ log p of C labels of which any number may be true, given the layer's logits [B, C].

    y [B, C] is True, or 1, for those that are: binary cross-entropy summed over the labels, each
    for itself (PyTorch and Keras take the mean over labels). Measured are `f1`, micro-averaged, and
    `exact_match`, the share of examples of which all labels are right. Of a sequence logits and y
    are [B, T, C], and each step counts as an example; where the mask is False y may be anything.
    A y between 0 and 1 is a probability in the loss, and true above ½ in what is measured.

    Macro-averaged F1: metrics={"macro": metrics.labels_of(metrics.MacroLabelF1)}, of
    `train.metrics`.
    """
    loss = functools.partial(label_nats, "multilabel_classification", "y")

    def exact(logits: jax.Array, labels: jax.Array) -> jax.Array:
        return F.exact_match(logits > 0, labels.astype(jnp.float32) > 0.5)

    further = check_metrics("multilabel_classification", metrics)
    measured = {"f1": labels_of(), "exact_match": mean_of(exact), **further}
    objective = supervised(layer, loss, measured)

    def of_real_labels(
        params: Params, state: State, batch: Batch, **how: Any
    ) -> tuple[jax.Array, tuple[State, dict[str, Any]]]:
        return objective(params, state, _with_real_labels(batch, axes=1), **how)

    return functools.wraps(objective)(of_real_labels)


def label_nats(function: str, name: str, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """−log p of which of C labels are true, [..., C] → [...], each drawn for itself."""
    if logits.ndim < 2 or logits.shape != labels.shape:
        raise ValueError(
            f"{function}: {name} {list(labels.shape)} has to say of each of the logits "
            f"{list(logits.shape)} whether its label is true"
        )
    rows = (one.reshape(-1, one.shape[-1]) for one in (logits, labels))
    return F.binary_cross_entropy(*rows, reduction="none").reshape(logits.shape[:-1])


@arguments()
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
        {"absolute_error": absolute, **check_metrics("regression", metrics)},
    )


@arguments()
def regularized(objective: Objective, penalty: Callable[[Params], jax.Array]) -> Objective:
    """`objective` with penalty(params) added to its loss: `optim.l2(1e-4, mask="**/kernel")`.

    The metric "loss" stays that of the data alone, comparable between training and validation; the
    penalty is measured beside it, as "penalty".
    """

    @functools.wraps(objective)
    def sum_of_both(
        params: Params, state: State, batch: Batch, **how: Any
    ) -> tuple[jax.Array, tuple[State, dict[str, Any]]]:
        loss, (state, measured) = objective(params, state, batch, **how)
        if "penalty" in measured:
            raise ValueError('regularized: the objective measures a "penalty" already')
        added = jnp.asarray(penalty(params), loss.dtype)
        return loss + added, (state, {**measured, "penalty": mean(added[None])})

    return sum_of_both
