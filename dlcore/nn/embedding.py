"""The embedding of what is counted and not measured: words, characters, classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore import keys
from dlcore.checks import valid, values_of
from dlcore.fields import documented
from dlcore.functional import identity
from dlcore.keys import Key
from dlcore.nn.arguments import factory
from dlcore.nn.describing import describe
from dlcore.nn.init import Initializer, normal
from dlcore.nn.layer import Layer, Params, State, check_sizes, make
from dlcore.nn.observing import is_observed


@documented
class Rows(NamedTuple):
    """The rows table[index] [..., D], which whoever reads them gathers.

    A batch of characters has many more places than the table has rows, so that what is computed of
    each row alone, as the product with a kernel, costs less before they are gathered.

    table: [V, D].
    index: integers [...] in 0 … V − 1; for another one the row is NaN.
    """

    table: Any
    index: Any

    def __getattr__(self, name: str) -> Any:
        """Refused: who wants more than their form wants an array."""
        raise AttributeError(
            f"Rows have no {name!r}: they are for rnn, lstm and gru, which gather them. Before any "
            "other layer leave gathered=False out of nn.embedding"
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the rows."""
        return (*self.index.shape, self.table.shape[-1])

    @property
    def dtype(self) -> Any:
        """That of the rows."""
        return self.table.dtype

    def gathered(self, function: Callable[[jax.Array], jax.Array] = identity) -> jax.Array:
        """function(table[index]) for a function of each row alone, as function(table)[index] where
        the table has fewer rows than there are places.
        """
        places = self.index.size
        if isinstance(places, int) and len(self.table) < places:  # else exported for any number
            return _taken(function(self.table), self.index)
        return function(_taken(self.table, self.index))


def _taken(table: jax.Array, index: jax.Array) -> jax.Array:
    return jnp.take(table, index, axis=0, mode="fill", fill_value=jnp.nan)


@factory()
def embedding(
    vocabulary: int,
    features: int,
    *,
    padding: int | None = None,
    gathered: bool = True,
    embedding_init: Initializer = normal(1.0),
) -> Layer:
    """y = embedding[x], for integers x [...] in 0 … vocabulary − 1: a row [features] for each.

    embedding [vocabulary, features] is drawn from N(0, 1), as in PyTorch; Flax divides by
    √features, Keras draws from U(−0.05, 0.05).

    padding: the number that stands for nothing: its y is 0, and nothing is learned of it.
    gathered: False leaves that to what follows, which is `rnn`, `lstm` or `gru`: y is `Rows`. An
        observer (`nn.observed`) sees them gathered.

    Raises TypeError for x that are no integers. One outside of the vocabulary is refused where x is
    concrete; in a compiled program its y is NaN, which stops a run.

    The same table as the last layer's kernel (Press and Wolf 2017) is `wire`'s
    `parts.embedding.params["embedding"].T`; `summary` says that it is tied.
    """
    check_sizes("embedding", vocabulary=vocabulary, features=features)
    if padding is not None and not 0 <= padding < vocabulary:
        raise ValueError(f"embedding: padding is {padding}, but 0 … {vocabulary - 1} are there")
    if padding is not None and not gathered:
        raise ValueError(
            "embedding: padding is no row of the table: leave it or gathered=False out"
        )

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
        index = jnp.where(jnp.asarray(known), jnp.asarray(x).astype(jnp.int32), vocabulary)
        rows = Rows(params["embedding"], index)
        if not (gathered or is_observed()):
            return rows, state
        y = rows.gathered()
        return (y if padding is None else _without(x, padding, y)), state

    config = {"vocabulary": vocabulary, "features": features, "padding": padding}
    config |= {} if gathered else {"gathered": False}
    return make(embedding, init, apply, **config)


def _without(x: Any, padding: int, y: jax.Array) -> jax.Array:
    """y with 0 where x is padding."""
    return jnp.where(jnp.asarray(x != padding)[..., None], y, jnp.zeros((), y.dtype))
