"""Swap and deletion of words as numbers: ids int [T], `pad` from the end of the words on.

They keep their length, so they run under jit and vmap, inside a training step. Synonyms and
insertions need the words, and room: they are for `words`, before the numbers.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from dlcore import keys
from dlcore.data.augment._checks import check_range
from dlcore.keys import Key


def random_swap(key: Key, ids: jax.Array, rate: float | jax.Array = 0.1, pad: int = 0) -> jax.Array:
    """n = ⌈rate·words⌉ times two of the words exchanged. See `words.random_swap`."""
    length = _length("random_swap", ids, rate, pad)
    n = jnp.where(length > 1, jnp.ceil(rate * length.astype(jnp.float32)), 0).astype(jnp.int32)

    def swap(number: jax.Array, ids: jax.Array) -> jax.Array:
        step = jax.random.fold_in(keys.check(key), number)
        i = jax.random.randint(keys.child(step, "one"), (), 0, length)
        ahead = jax.random.randint(keys.child(step, "other"), (), 1, length)
        j = (i + ahead) % length
        return ids.at[i].set(ids[j]).at[j].set(ids[i])

    return lax.fori_loop(0, n, swap, ids)


def random_deletion(
    key: Key, ids: jax.Array, rate: float | jax.Array = 0.1, pad: int = 0
) -> jax.Array:
    """The words without those that are lost, each with probability `rate`; one at least stays.

    What stays moves together, and `pad` follows. See `words.random_deletion`.
    """
    length = _length("random_deletion", ids, rate, pad)
    place = jnp.arange(ids.shape[0])
    chance = jax.random.uniform(keys.check(key), ids.shape, jnp.float32)
    # The luckiest word stays in any case.
    luckiest = jnp.argmax(jnp.where(place < length, chance, -1))
    kept = (place < length) & ((chance >= rate) | (place == luckiest))
    return jnp.where(place < kept.sum(), ids[jnp.argsort(~kept, stable=True)], pad)


def _length(function: str, ids: jax.Array, rate: float | jax.Array, pad: int) -> jax.Array:
    """The number of words, int32."""
    check_range(function, "rate", rate, 0, 1)
    if ids.ndim != 1 or not jnp.issubdtype(ids.dtype, jnp.integer):
        raise ValueError(
            f"{function}: ids are {ids.dtype}{list(ids.shape)}, but integers [T] are wanted: "
            "each(…) takes a batch"
        )
    return jnp.sum(ids != pad, dtype=jnp.int32)
