"""The objective of metric learning, and what is said where the embeddings collapse."""

from __future__ import annotations

import functools
import math
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore import functional as F
from dlcore.checks import is_concrete
from dlcore.fields import documented
from dlcore.functional.metric_learning import Mining, check_triplet
from dlcore.keys import Key
from dlcore.names import arguments
from dlcore.nn.layer import Layer, Params, State, read_by
from dlcore.train.metrics import mean
from dlcore.train.objective import Batch, Objective, check_columns

_COLLAPSED = 0.2  # of the margin: embeddings nearer to each other hardly move the loss from it


class CollapseWarning(UserWarning):
    """All examples have nearly the same embedding."""


@documented
class Distance(NamedTuple):
    """A mean distance, which says so where it is next to nothing.

    total: Σ distances.
    weight: how many they are.
    margin: as often what the loss is where all embeddings are equal.
    """

    total: jax.Array
    weight: jax.Array
    margin: jax.Array

    def value(self) -> jax.Array:
        """total / weight; a CollapseWarning where that is less than a fifth of the margin."""
        if is_concrete(self.total) and self.total < _COLLAPSED * self.margin:
            # The same words each time: Python then says them once, not at every epoch.
            warnings.warn(
                "the embeddings have collapsed: all are nearly equal, so the loss stands at the "
                f"margin, {self.margin / self.weight:.3g}: lower the learning rate, or begin with "
                'mining="semi_hard" or "batch_all"',
                CollapseWarning,
                stacklevel=2,
            )
        return self.total / self.weight


@arguments()
def metric_learning(
    layer: Layer,
    *,
    mining: Mining = "batch_all",
    margin: float | None = 0.2,
    squared: bool = True,
) -> Objective:
    """The triplet loss of the layer's embeddings [B, D], with the classes y [B]: FaceNet's.

    Which triplets of a batch are compared, and by what, `functional.triplet` says; that it holds
    several examples of each of several classes, `data.per_class`. Beside the loss stand "active",
    the share of the triplets that still have a gradient, and "distance", the mean of any two
    examples' (squared) distance, as it is in the loss. Where that is far below the margin the
    embeddings have collapsed, the loss stands at the margin and learning does too, as with the
    hardest triplets from the start (Schroff et al. 2015, section 3.2): a CollapseWarning says so
    when the metrics are read.

    Loss and share are means over batches, since what a triplet is depends on the batch.
    """
    check_triplet("metric_learning", mining, margin)
    loss = functools.partial(F.triplet, mining=mining, margin=margin, squared=squared)
    distances = F.squared_distances if squared else F.distances
    at_collapse = math.log(2) if margin is None else margin

    def objective(
        params: Params, state: State, batch: Batch, *, key: Key | None = None, train: bool = False
    ) -> tuple[jax.Array, tuple[State, dict[str, Any]]]:
        check_columns(layer, batch)
        side = read_by(layer, batch)
        embeddings, state = layer.apply(params, state, batch["x"], key=key, train=train, **side)
        weight = batch.get("weight")
        mined = loss(embeddings, batch["y"], weight=weight)
        measured = {
            "loss": mean(mined.loss[None]),
            "active": mean(mined.active[None]),
            "distance": _apart(distances(embeddings), weight, at_collapse),
        }
        return mined.loss, (state, measured)

    return objective


def _apart(d: jax.Array, weight: jax.Array | None, margin: float) -> Distance:
    """The distance d [B, B] between any two different examples that count."""
    counted = jnp.ones(len(d), bool) if weight is None else weight > 0
    total, count = mean(d, counted[:, None] & counted & ~jnp.eye(len(d), dtype=bool))
    return Distance(total, count, margin * count)
