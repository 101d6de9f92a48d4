"""Retrieval: each of N examples asks for those of its class among all others, nearest first.

distances [N, N], labels [N]. Nobody finds itself; who is alone in its class asks for nothing, and
is left out. Equal distances rank in the order of the examples.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dlcore.checks import floating


def recall_at_k(distances: ArrayLike, labels: ArrayLike, k: int = 1) -> jax.Array:
    """The share of the examples that have one of their class among their k nearest.

    Song et al. 2016, section 5.
    """
    found, asks = _found("recall_at_k", distances, labels)
    if not 1 <= k < len(found):
        raise ValueError(
            f"recall_at_k: k is {k}, but must lie in 1 … {len(found) - 1}, the other examples"
        )
    return jnp.mean(found[:, :k].any(1), where=asks)


def mean_average_precision(distances: ArrayLike, labels: ArrayLike) -> jax.Array:
    """The mean over the examples of their average precision.

    That is the mean over the examples of one's class of the share of such among all that are no
    farther: (1/R) Σₖ foundₖ · (found₁ + … + foundₖ) / k, where R are found.
    """
    found, asks = _found("mean_average_precision", distances, labels)
    found = found.astype(jnp.float32)
    precision = jnp.cumsum(found, axis=1) / jnp.arange(1, found.shape[1] + 1, dtype=jnp.float32)
    average = jnp.sum(found * precision, axis=1) / jnp.maximum(jnp.sum(found, axis=1), 1)
    return jnp.mean(average, where=asks)


def _found(function: str, distances: ArrayLike, labels: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Whether the k-th nearest is of the same class, [N, N − 1], and who has any such."""
    d, labels = floating(function, "distances", distances), jnp.asarray(labels)
    count = len(labels)
    if labels.ndim != 1 or d.shape != (count, count):
        raise ValueError(
            f"{function}: distances {d.shape} and labels {labels.shape}, but [N, N] and [N] are "
            "wanted: functional.distances(embeddings)"
        )
    nearest = jnp.argsort(jnp.where(jnp.eye(count, dtype=bool), jnp.inf, d), axis=1)[:, :-1]
    found = labels[nearest] == labels[:, None]
    return found, found.any(1)
