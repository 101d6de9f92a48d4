"""Verification: whether two belong together, decided by a threshold on a score of the pair.

scores [N] are higher for pairs that seem to belong together (−distance), is_same [N] says which do.
A pair is accepted at its own score and above.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dlcore.checks import floating, is_concrete, same_shape, values_of
from dlcore.fields import documented


@documented
class Roc(NamedTuple):
    """The receiver operating characteristic, from nothing accepted to everything.

    false_accepts: the share of the pairs of two that is accepted, [N + 1], rising from 0 to 1.
    true_accepts: the share of the pairs of one that is.
    thresholds: the score from which on pairs are accepted, falling from ∞.
    """

    false_accepts: jax.Array
    true_accepts: jax.Array
    thresholds: jax.Array


def roc_curve(scores: ArrayLike, is_same: ArrayLike) -> Roc:
    """How many of both kinds are accepted at each score; equal scores give one point several times.

    >>> roc = roc_curve(jnp.array([0.9, 0.8, 0.3]), jnp.array([True, False, True]))
    >>> roc.true_accepts.tolist(), roc.false_accepts.tolist()
    ([0.0, 0.5, 0.5, 1.0], [0.0, 0.0, 1.0, 1.0])
    """
    scores = floating("roc_curve", "scores", scores)
    same_shape("roc_curve", scores=scores, is_same=is_same)
    known = values_of(is_same)
    if scores.ndim != 1 or (is_concrete(known) and (known.all() or not known.any())):
        raise ValueError(
            f"roc_curve: scores {scores.shape} of {known.dtype} pairs, but scores [N] of pairs of "
            "both kinds are wanted"
        )
    order = jnp.argsort(-scores)
    falling, is_true = scores[order], jnp.asarray(is_same, bool)[order]
    accepted = jnp.searchsorted(-falling, -falling, side="right")  # with those of equal scores

    def share(kind: jax.Array) -> jax.Array:
        counts = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(kind, dtype=jnp.int32)])
        return jnp.concatenate([jnp.zeros(1), counts[accepted] / counts[-1]])

    infinite = jnp.full(1, jnp.inf, scores.dtype)
    return Roc(share(~is_true), share(is_true), jnp.concatenate([infinite, falling]))


def roc_auc(scores: ArrayLike, is_same: ArrayLike) -> jax.Array:
    """The area under the ROC curve: the chance that a pair of one scores above a pair of two.

    Where both score the same, that counts half.
    """
    x, y, _ = roc_curve(scores, is_same)
    return jnp.sum((x[1:] - x[:-1]) * (y[1:] + y[:-1])) / 2


def true_accept_rate(
    scores: ArrayLike, is_same: ArrayLike, *, false_accept_rate: float
) -> jax.Array:
    """The largest share of the pairs of one that is accepted while of two at most that rate is.

    Schroff et al. 2015, section 4, where it is called the validation rate.
    """
    if not 0 <= false_accept_rate <= 1:
        raise ValueError(
            f"true_accept_rate: false_accept_rate is {false_accept_rate}, but must lie in [0, 1]"
        )
    x, y, _ = roc_curve(scores, is_same)
    return jnp.max(y, where=x <= false_accept_rate, initial=0)


def equal_error_rate(scores: ArrayLike, is_same: ArrayLike) -> jax.Array:
    """The share of false accepts where that of false rejects is the same, by linear interpolation.

    0 where a threshold parts both kinds, ½ by chance.
    """
    x, y, _ = roc_curve(scores, is_same)
    return jnp.interp(0.0, x - (1 - y), x)


def verification_pairs(distances: ArrayLike, labels: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Every two of N examples as a pair: −distance and whether they are of one class, [N(N − 1)/2].

    distances [N, N], labels [N].
    """
    distances, labels = jnp.asarray(distances), jnp.asarray(labels)
    one, other = jnp.triu_indices(len(labels), 1)
    return -distances[one, other], labels[one] == labels[other]
