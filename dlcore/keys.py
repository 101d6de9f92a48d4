"""Random keys: one rule derives every one of them.

A key is never split. It is folded: with the stream's name, with the number of the step, with the
child's name. So the randomness at any place of a run is a pure function of (seed, step, path), and
inserting a layer changes nobody else's.
"""

from __future__ import annotations

import zlib
from typing import Any

import jax
import jax.numpy as jnp

Key = jax.Array

STREAMS = ("init", "data", "step", "evaluation")


def check(key: Any) -> Key:
    """`key`, if it is a typed one; a raw uint32 key is refused with the corrected call."""
    dtype = getattr(key, "dtype", None)
    if dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
        return key
    given = f"{dtype}{list(key.shape)}" if dtype is not None else repr(key)
    raise TypeError(
        f"expected a typed key, got {given}: "
        "write jax.random.key(0), not jax.random.PRNGKey(0) or 0"
    )


def tag(name: str) -> int:
    """The number that stands for `name` in a key: its CRC-32, the same on every machine."""
    return zlib.crc32(name.encode())


def child(key: Key, name: str) -> Key:
    """The key of the child called `name`: key folded with tag(name)."""
    return jax.random.fold_in(check(key), tag(name))


def stream(seed: int | jax.Array, name: str) -> Key:
    """The root key of one of the four streams of a run, "init", "data", "step", "evaluation".

    `seed` is an integer (it may be traced).
    """
    if name not in STREAMS:
        raise ValueError(f"no random stream is called {name!r}; there are {', '.join(STREAMS)}")
    return child(jax.random.key(jnp.asarray(seed, dtype=jnp.uint32)), name)
