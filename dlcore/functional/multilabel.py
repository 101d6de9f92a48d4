"""Several labels at once: of C labels any number may be true of an example.

predictions and labels are bool [..., C]; those of logits are `logits > 0`, a probability above ½.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dlcore.checks import same_shape, valid
from dlcore.functional.metrics import Average, averaged


def label_counts(
    predictions: ArrayLike, labels: ArrayLike, *, weight: ArrayLike | None = None
) -> jax.Array:
    """Of each label, how often it was found and is true, found, and true: float32 [3, C].

    `weight` [...] counts an example that many times. Row 0 by row 1 is the precision of each label,
    row 0 by row 2 its recall.

    >>> label_counts([[True, True], [False, True]], [[True, False], [True, True]]).tolist()
    [[1.0, 1.0], [1.0, 2.0], [2.0, 1.0]]
    """
    found, true = _sets("label_counts", predictions, labels)
    counted = jnp.stack([found & true, found, true]).astype(jnp.float32)
    if weight is not None:
        weight = jnp.asarray(weight, jnp.float32)
        same_shape("label_counts", examples=true[..., 0], weight=weight)
        counted = jnp.where(weight[..., None] == 0, 0, counted * weight[..., None])
    return jnp.sum(counted, axis=range(1, counted.ndim - 1))


def label_f1(counts: ArrayLike, *, average: Average = "micro") -> jax.Array:
    """2 · right / (found + true) of `label_counts`; 0/0 = 0.

    `average` is "micro" (of the sums over labels), "macro" (the mean of the labels' own),
    "weighted" (that mean by how often each is true) or "none" ([C]). A label that is never true nor
    found counts as 0 in "macro", as in scikit-learn.

    >>> float(label_f1([[1.0, 1.0], [1.0, 2.0], [2.0, 1.0]]))
    0.6666666865348816
    """
    counts = jnp.asarray(counts, jnp.float32)
    if counts.ndim != 2 or len(counts) != 3:
        raise ValueError(
            f"label_f1: counts are {list(counts.shape)}, but [3, C] is wanted: "
            "label_f1(label_counts(predictions, labels))"
        )
    right, found, true = counts
    return averaged("label_f1", 2 * right, found + true, true, average)


def exact_match(predictions: ArrayLike, labels: ArrayLike) -> jax.Array:
    """1.0 for each example of which all C labels are right, else 0.0: [..., C] -> [...].

    Its mean is what scikit-learn calls subset accuracy.
    """
    found, true = _sets("exact_match", predictions, labels)
    return jnp.all(found == true, axis=-1).astype(jnp.float32)


def hamming_loss(predictions: ArrayLike, labels: ArrayLike) -> jax.Array:
    """The share of the C labels that are wrong, of each example: [..., C] -> [...]."""
    found, true = _sets("hamming_loss", predictions, labels)
    return jnp.mean(found != true, axis=-1, dtype=jnp.float32)


def _sets(function: str, predictions: ArrayLike, labels: ArrayLike) -> Any:
    """Both as bool [..., C]; numbers, which may be logits, are refused unless they are integers."""
    arrays = {"predictions": jnp.asarray(predictions), "labels": jnp.asarray(labels)}
    same_shape(function, **arrays)
    for name, array in arrays.items():
        if array.ndim == 0:
            raise ValueError(f"{function}: {name} is one number, but an axis of labels is wanted")
        if jnp.issubdtype(array.dtype, jnp.inexact):
            raise TypeError(
                f"{function}: {name} are {array.dtype}, but True or False is wanted: {name} > 0 of "
                "logits, > 0.5 of probabilities"
            )
        if array.dtype != bool:
            valid(function, name, array, lambda x: (x == 0) | (x == 1), "must be 0 or 1")
    return tuple(array.astype(bool) for array in arrays.values())
