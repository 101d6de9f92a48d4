"""Losses of embeddings: those of one class shall lie near each other, those of others apart.

A batch is embeddings x [B, D] with the class of each, labels [B]; distances are Euclidean. Which
pairs or triplets of the batch are compared is called mining.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from dlcore.checks import floating, is_concrete, one_of, wide_dtype
from dlcore.fields import documented
from dlcore.functional.activations import relu, softplus

Mining = Literal["batch_all", "batch_hard", "semi_hard"]


@documented
class Mined(NamedTuple):
    """What a loss of a batch of embeddings says.

    loss: the loss itself.
    active: the share of its terms that are above 0: of those alone there is a gradient.
    """

    loss: jax.Array
    active: jax.Array


def squared_distances(x: ArrayLike) -> jax.Array:
    """dᵢⱼ = ‖xᵢ − xⱼ‖² of x [B, D]: [B, B], symmetric, exactly 0 for i = j.

    As ‖xᵢ‖² + ‖xⱼ‖² − 2xᵢ·xⱼ about the mean of x: one product instead of B²·D differences, and off
    by the rounding of the largest ‖xᵢ − mean‖², which two equal rows may keep.
    """
    x = _embeddings("squared_distances", x)
    x = x - lax.stop_gradient(jnp.mean(x, 0))  # distances do not change with it
    products = jnp.matmul(x, x.T, precision="highest")
    squares = jnp.diagonal(products)
    return relu(squares[:, None] + squares - 2 * products)


def distances(x: ArrayLike) -> jax.Array:
    """√`squared_distances`, whose gradient is 0 where the distance is."""
    squared = squared_distances(x)
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)


def triplet(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    mining: Mining = "batch_all",
    margin: float | None = 0.2,
    squared: bool = True,
    weight: ArrayLike | None = None,
) -> Mined:
    """The mean of max(0, d(a, p) − d(a, n) + margin) over triplets of a batch.

    Of a triplet the anchor a and the positive p are two examples of one class, the negative n is of
    another. d is the squared distance, or the distance itself (`squared=False`).

    mining: which triplets.
        "batch_all": all of them, of which the mean is over the active ones, above 0 (Hermans et al.
        2017, equation 6, and section 2: the others would only water it down).
        "batch_hard": for each anchor its farthest positive and nearest negative (their equation 5).
        "semi_hard": for each anchor and positive the nearest negative beyond the positive (Schroff
        et al. 2015, section 3.2, equation 4); where all are nearer the farthest, as in TensorFlow
        Addons.
    margin: how much farther the negative shall be; None is the soft margin, log(1 + exp(d(a, p) −
        d(a, n))), under which every triplet is active (Hermans et al. 2017, section 2).
    weight: [B], how often an anchor counts; an example of weight 0 is in no triplet.

    Without any triplet the loss is 0. PyTorch's TripletMarginLoss takes triplets that are mined
    already, and adds 1e-6 to each difference.
    """
    check_triplet("triplet", mining, margin)
    mine = _MINING[mining]
    positive, negative, weight = _pairs("triplet", embeddings, labels, weight)
    d = squared_distances(embeddings) if squared else distances(embeddings)
    gap, is_triplet = mine(d, positive, negative)
    gap = jnp.where(is_triplet, gap, 0)
    values = softplus(gap) if margin is None else relu(gap + margin)
    counts = jnp.where(is_triplet, jnp.expand_dims(weight, tuple(range(1, gap.ndim))), 0)
    return _mean(values, counts, of_active=mining == "batch_all")


def check_triplet(function: str, mining: Any, margin: Any) -> None:
    """Refuses what `triplet` does not know."""
    one_of(function, "mining", mining, _MINING)
    if margin is not None and is_concrete(margin) and not margin >= 0:
        raise ValueError(f"{function}: margin is {margin}, but 0 or more is wanted, or None")


def contrastive(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    margin: float = 1.0,
    weight: ArrayLike | None = None,
) -> Mined:
    """The mean over all pairs of d² for two of one class, max(0, margin − d)² for two of others.

    d is their distance. Hadsell et al. 2006, equation 4, without its factor ½.

    weight: [B]; a pair counts the product of its two.

    Without any pair the loss is 0.
    """
    if is_concrete(margin) and not margin > 0:
        raise ValueError(f"contrastive: margin is {margin}, but must be positive")
    positive, negative, weight = _pairs("contrastive", embeddings, labels, weight)
    d = distances(embeddings)
    values = jnp.where(positive, squared_distances(embeddings), jnp.square(relu(margin - d)))
    return _mean(values, jnp.where(positive | negative, weight[:, None] * weight, 0))


def _all_triplets(
    d: jax.Array, positive: jax.Array, negative: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """d(a, p) − d(a, n) [B, B, B], and where there is such a triplet."""
    return d[:, :, None] - d[:, None, :], positive[:, :, None] & negative[:, None, :]


def _hardest_of_anchors(
    d: jax.Array, positive: jax.Array, negative: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The same for each anchor [B]."""
    farthest = jnp.max(d, 1, where=positive, initial=0)
    return farthest - _nearest(d, negative), positive.any(1) & negative.any(1)


def _semi_hard_of_pairs(
    d: jax.Array, positive: jax.Array, negative: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The same for each anchor and positive [B, B]."""
    beyond = negative[:, None, :] & (d[:, None, :] > d[:, :, None])
    next_one = _nearest(jnp.broadcast_to(d[:, None, :], beyond.shape), beyond)
    farthest = jnp.max(d, 1, where=negative, initial=0)[:, None]
    chosen = jnp.where(beyond.any(-1), next_one, farthest)
    return d - chosen, positive & negative.any(1)[:, None]


_MINING: dict[str, Callable[..., tuple[jax.Array, jax.Array]]] = {
    "batch_all": _all_triplets,
    "batch_hard": _hardest_of_anchors,
    "semi_hard": _semi_hard_of_pairs,
}


def _nearest(d: jax.Array, which: jax.Array) -> jax.Array:
    """The least of the last axis where `which`, finite also where there is none."""
    return jnp.min(d, -1, where=which, initial=jnp.finfo(d.dtype).max)


def _mean(values: jax.Array, counts: jax.Array, of_active: bool = False) -> Mined:
    """Σ counts·values / Σ counts, of the terms above 0 alone or of all; 0/0 = 0."""
    counts = counts.astype(values.dtype)
    total = jnp.sum(counts)
    active = jnp.sum(jnp.where(values > 0, counts, 0))
    loss = jnp.sum(counts * values) / _or_one(active if of_active else total)
    return Mined(loss, active / _or_one(total))


def _or_one(count: jax.Array) -> jax.Array:
    return jnp.where(count == 0, 1, count)


def _embeddings(function: str, x: ArrayLike) -> jax.Array:
    x = floating(function, "embeddings", x)
    if x.ndim != 2:
        raise ValueError(
            f"{function}: embeddings are {x.shape}, but one for each example, [B, D], is wanted"
        )
    return x.astype(wide_dtype(x.dtype))


def _pairs(
    function: str, embeddings: ArrayLike, labels: Any, weight: ArrayLike | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Which pairs [B, B] are of one class, which of two, and the weight [B] of each example."""
    count, labels = len(_embeddings(function, embeddings)), jnp.asarray(labels)
    weight = jnp.ones(count) if weight is None else jnp.asarray(weight, jnp.float32)
    for name, given in (("labels", labels), ("weight", weight)):
        if given.shape != (count,):
            raise ValueError(
                f"{function}: {name} {given.shape}, but one for each of the {count} embeddings, "
                f"({count},), is wanted"
            )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"{function}: labels are {labels.dtype}, but class indices are integers: "
            "labels.astype(jnp.int32)"
        )
    counted = (weight > 0)[:, None] & (weight > 0)
    same = labels[:, None] == labels
    return same & counted & ~jnp.eye(count, dtype=bool), ~same & counted, weight
