"""The objective of taggers: a tag, or several of one kind or of many, for each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from dlcore import functional as F
from dlcore.functional.crf import Chain
from dlcore.keys import Key
from dlcore.names import arguments, written
from dlcore.nn.layer import Layer, Params, State, read_by
from dlcore.train.metrics import Mean, MetricFunction, mean, mean_of
from dlcore.train.objective import Batch, Objective, check_columns, check_metrics, label_nats


@arguments()
def tagging(
    layer: Layer,
    labels: str | Mapping[str, float] = "y",
    *,
    metrics: Mapping[str, MetricFunction] | None = None,
) -> Objective:
    """The mean over sentences of −log p(tags), and in evaluation the accuracy of the tags.

    The layer's outputs are a `functional.Chain`, as those of `nn.crf`, or logits [B, T, C], by
    which each step's tag is drawn for itself: −log p is the sum of the steps' cross-entropies. A
    step where the column `mask` [B, T] is False is none; `weight` [B] counts sentences.

    labels: the column of the right tags, integers [B, T], or bool [B, T, C] where any number of the
        C tags of a step may be true, each with a logit of its own; or where the layer gives a dict
        of outputs, several columns named as these are, each with the weight of its loss in the sum.
    metrics: further ones, of the first kind of tags: metric(tags, labels, weight), all [B, T], the
        first two bool [B, T, C] where any number may be true.
    """
    weights = _weights(labels)
    metrics = check_metrics("tagging", metrics)

    def objective(
        params: Params, state: State, batch: Batch, *, key: Key | None = None, train: bool = False
    ) -> tuple[jax.Array, tuple[State, dict[str, Any]]]:
        check_columns(layer, batch, wanted=("x", *weights, *({"mask"} & batch.keys())))
        side = read_by(layer, batch)
        outputs, state = layer.apply(params, state, batch["x"], key=key, train=train, **side)
        outputs = {labels: outputs} if isinstance(labels, str) else _named(outputs, weights)
        mask, weight = batch.get("mask"), batch.get("weight")
        if mask is not None and mask.dtype != bool:
            raise TypeError(f"tagging: mask is {mask.dtype}, but True (a real step) is wanted")
        losses = {
            name: mean(_loss(name, outputs[name], batch[name], mask), weight) for name in weights
        }
        total = sum((weights[name] * losses[name].total for name in weights), jnp.float32(0))
        measured: dict[str, Any] = {"loss": Mean(total, next(iter(losses.values())).weight)}
        if not train:
            tags = {name: tags_of(outputs[name], batch[name].ndim == 3) for name in weights}
            measured |= _measured(tags, batch, metrics)
        return measured["loss"].value(), (state, measured)

    return objective


def _weights(labels: Any) -> dict[str, float]:
    """The weight of each kind of tags, by its column."""
    if isinstance(labels, str):
        return {labels: 1.0}
    if not isinstance(labels, Mapping) or not labels:
        raise TypeError(
            f"tagging: labels is {written(labels)}, but a column is wanted, or several with their "
            'weights: {"part_of_speech": 1.0, "chunk": 0.5}'
        )
    return dict(labels)


def _named(outputs: Any, names: Mapping[str, float]) -> dict[str, Any]:
    """Outputs by name, refused where there is none for a kind of tags."""
    known = outputs if isinstance(outputs, dict) else {}
    for name in names:
        if name not in known:
            given = f"outputs {', '.join(known)}" if known else "one output"
            raise ValueError(
                f"tagging: labels has {name!r}, but the layer gives {given}: "
                + ("name the labels so" if known else "give the name of its column alone")
            )
    return known


def tags_of(outputs: Chain | jax.Array, several: bool = False) -> jax.Array:
    """The most likely tags int32 [B, T]: the best path of a Chain, of logits the largest ones.

    several: whether any number may be true of a step: bool [B, T, C].
    """
    if isinstance(outputs, Chain):
        return F.crf_viterbi(outputs)[0]
    if several:
        return outputs > 0
    return jnp.argmax(outputs, axis=-1).astype(jnp.int32)


def _loss(
    name: str, outputs: Chain | jax.Array, labels: jax.Array, mask: jax.Array | None
) -> jax.Array:
    """−log p(labels) of each sentence, [B]."""
    if isinstance(outputs, Chain):
        return F.crf_loss(outputs if mask is None else outputs._replace(mask=mask), labels)
    if mask is None:
        return jnp.sum(_of_steps(name, outputs, labels), axis=1)
    labels = jnp.asarray(labels)
    real = mask[..., None] if labels.ndim == 3 else mask
    nats = _of_steps(name, outputs, jnp.where(real, labels, jnp.zeros_like(labels)))
    return jnp.sum(jnp.where(mask, nats, 0.0), axis=1)


def _of_steps(name: str, outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """−log p of the tag, or of the set of tags, of each step: [B, T]."""
    if labels.ndim == 3:
        if labels.dtype != bool:
            raise TypeError(
                f"tagging: {name} is {labels.dtype}, but of several tags of a step True or False "
                f"is wanted for each: {name}.astype(bool)"
            )
        return label_nats("tagging", name, outputs, labels)
    return F.cross_entropy(outputs, labels, reduction="none")


def _measured(
    tags: dict[str, jax.Array], batch: Batch, metrics: Mapping[str, MetricFunction]
) -> dict[str, Any]:
    """The accuracy of each kind of tags, and what else is measured of the first."""
    first = next(iter(tags))
    mask = batch.get("mask", jnp.ones(tags[first].shape[:2], bool))
    weight = jnp.where(mask, batch.get("weight", jnp.ones(len(mask)))[:, None], 0)
    name_of = "accuracy".format if len(tags) == 1 else "{}_accuracy".format
    measured = {
        name_of(name): mean_of(F.exact_match if one.ndim == 3 else jnp.equal)(
            one, batch[name], weight
        )
        for name, one in tags.items()
    }
    return measured | {
        name: metric(tags[first], batch[first], weight) for name, metric in metrics.items()
    }
