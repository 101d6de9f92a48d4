"""Chunks: stretches of a sentence that have a type, told by a tag for each step.

Tags are IOB2's: "B-NP" begins a chunk of type NP, "I-NP" goes on with it, "O" is outside of all.
Names of tags stand in the order of their numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from dlcore.checks import same_shape
from dlcore.functional.crf import real_before


def iob2_allowed(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """What IOB2 allows: (transitions bool [C, C], from tag to tag; first tags bool [C]).

    "I-X" comes after "B-X" or "I-X" alone, and never first.

    >>> iob2_allowed(["O", "B-X", "I-X"])[0].tolist()
    [[True, True, False], [True, True, True], [True, True, True]]
    """
    outside, begins, types = _kinds(names)
    free = outside | begins
    return free[None, :] | (~outside[:, None] & (types[:, None] == types[None, :])), free


def chunk_counts(
    predictions: ArrayLike,
    labels: ArrayLike,
    names: Sequence[str],
    mask: ArrayLike | None = None,
    *,
    strict: bool = False,
) -> jax.Array:
    """[chunks found that are right, chunks found, chunks that are there], float32 [3].

    predictions and labels are tags int [B, T]. A chunk is right where both have one of the same
    type, begin and end. Steps where the mask [B, T] is False are passed over.

    A chunk begins at every B, and, by the rule of the shared task's conlleval (Tjong Kim Sang and
    Buchholz 2000), at an I that goes on with none of its type; `strict`: such an I, with what goes
    on with it, is in no chunk, as in seqeval's strict IOB2.
    """
    same_shape("chunk_counts", predictions=predictions, labels=labels)
    labels = jnp.asarray(labels)
    if labels.ndim != 2:
        raise ValueError(f"chunk_counts: tags are [B, T], got {list(labels.shape)}")
    real = jnp.ones(labels.shape, bool) if mask is None else jnp.asarray(mask)
    same_shape("chunk_counts", labels=labels, mask=real)
    found = _chunks(jnp.asarray(predictions), real, names, strict)
    there = _chunks(labels, real, names, strict)
    right = found.ends & there.ends & (found.begin == there.begin) & (found.type == there.type)
    return jnp.stack([jnp.sum(one, dtype=jnp.float32) for one in (right, found.ends, there.ends)])


def chunk_f1(counts: ArrayLike) -> jax.Array:
    """2 · right / (found + there) of `chunk_counts`, summed over all sentences; 0/0 = 0.

    >>> float(chunk_f1([3, 4, 5]))
    0.6666666865348816
    """
    right, found, there = jnp.asarray(counts, jnp.float32)
    return 2 * right / jnp.maximum(found + there, 1)


class _Chunks(NamedTuple):
    """Whether a chunk ends at a step, where the one there began, and its type, [B, T] each."""

    ends: jax.Array
    begin: jax.Array
    type: jax.Array


def _chunks(tags: jax.Array, real: jax.Array, names: Sequence[str], strict: bool) -> _Chunks:
    outside, begins, types = (jnp.asarray(kind)[tags] for kind in _kinds(names))
    if not tags.shape[1]:
        return _Chunks(real, tags, tags)
    before, _ = real_before(real)

    def at(places: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.take_along_axis(x, jnp.maximum(places, 0), axis=1)

    same = (before >= 0) & ~at(before, outside) & (at(before, types) == types)
    goes_on = ~outside & ~begins & same
    begin = jnp.where(real & ~outside & ~goes_on, jnp.arange(tags.shape[1]), -1)
    begin = jax.lax.cummax(begin, axis=1)
    after = tags.shape[1] - 1 - real_before(real[:, ::-1])[0][:, ::-1]  # T where there is none
    is_last = (after == tags.shape[1]) | ~at(jnp.minimum(after, tags.shape[1] - 1), goes_on)
    ends = real & ~outside & is_last
    return _Chunks(ends & at(begin, begins) if strict else ends, begin, types)


def _kinds(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each tag whether it is outside, whether it begins a chunk, and the number of its type."""
    for name in names:
        if name != "O" and (name[:2] not in ("B-", "I-") or len(name) < 3):
            raise ValueError(f'{name!r} is no tag of IOB2: "O", "B-TYPE" and "I-TYPE" are')
    types = list(dict.fromkeys(name[2:] for name in names))
    return (
        np.array([name == "O" for name in names]),
        np.array([name[0] == "B" for name in names]),
        np.array([types.index(name[2:]) for name in names], np.int32),
    )
