"""The embedding of what is counted and not measured: words, characters, classes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dlcore import keys
from dlcore.checks import valid, values_of
from dlcore.keys import Key
from dlcore.nn.arguments import factory
from dlcore.nn.describing import describe
from dlcore.nn.init import Initializer, normal
from dlcore.nn.layer import Layer, Params, State, check_sizes, make


@factory()
def embedding(
    vocabulary: int,
    features: int,
    *,
    padding: int | None = None,
    embedding_init: Initializer = normal(1.0),
) -> Layer:
    """y = embedding[x], for integers x [...] in 0 … vocabulary − 1: a row [features] for each.

    embedding [vocabulary, features] is drawn from N(0, 1), as in PyTorch; Flax divides by
    √features, Keras draws from U(−0.05, 0.05).

    padding: the number that stands for nothing: its y is 0, and nothing is learned of it.

    Raises TypeError for x that are no integers. One outside of the vocabulary is refused where x is
    concrete; in a compiled program its y is NaN, which stops a run.

    The same table as the last layer's kernel (Press and Wolf 2017) is `wire`'s
    `parts.embedding.params["embedding"].T`.
    """
    check_sizes("embedding", vocabulary=vocabulary, features=features)
    if padding is not None and not 0 <= padding < vocabulary:
        raise ValueError(f"embedding: padding is {padding}, but 0 … {vocabulary - 1} are there")

    def init(key: Key) -> tuple[Params, State]:
        table = embedding_init(keys.child(key, "embedding"), (vocabulary, features))
        return {"embedding": table}, ()

    def apply(
        params: Params, state: State, x: Any, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, State]:
        x = values_of(x)
        if not jnp.issubdtype(x.dtype, jnp.integer):
            raise TypeError(f"embedding expected integers, got {describe(x)}: x.astype(jnp.int32)")
        known = valid(
            "embedding",
            "x",
            x,
            lambda x: (x >= 0) & (x < vocabulary),
            f"must be one of the {vocabulary} that are embedded, 0 … {vocabulary - 1}",
        )
        y = jnp.take(params["embedding"], jnp.asarray(x), axis=0, mode="clip")
        nan = jnp.asarray(jnp.nan, y.dtype)
        y = jnp.where(jnp.asarray(known)[..., None], y, nan)
        return (y if padding is None else _without(x, padding, y)), state

    config = {"vocabulary": vocabulary, "features": features, "padding": padding}
    return make(embedding, init, apply, **config)


def _without(x: Any, padding: int, y: jax.Array) -> jax.Array:
    """y with 0 where x is padding."""
    return jnp.where(jnp.asarray(x != padding)[..., None], y, jnp.zeros((), y.dtype))
