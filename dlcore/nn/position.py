"""Positions added to a sequence: a learned vector for each place, or waves."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import functional as F
from dlcore import keys
from dlcore.checks import is_concrete
from dlcore.keys import Key
from dlcore.nn.arguments import factory
from dlcore.nn.describing import describe
from dlcore.nn.init import Initializer, normal
from dlcore.nn.layer import Layer, Params, State, check_sizes, make, with_info
from dlcore.nn.places import after, cleaned, places
from dlcore.nn.remembering import left, remembered


@factory()
def position(length: int, features: int, *, embedding_init: Initializer = normal(0.02)) -> Layer:
    """yₜ = xₜ + embedding[t], for x [B, T, features] and a learned embedding [length, features].

    Reads `mask` [B, T]: places count the real steps alone, so that padding on the left moves
    nothing. It remembers how many steps it has seen. Where a sequence is longer than `length`, it
    is refused; in a compiled program that goes on from a memory y is NaN there.
    """
    check_sizes("position", length=length, features=features)

    def init(key: Key) -> tuple[Params, State]:
        table = embedding_init(keys.child(key, "embedding"), (length, features))
        return {"embedding": table}, ()

    def apply(
        params: Params,
        state: State,
        x: jax.Array,
        *,
        key: Key | None = None,
        train: bool = False,
        mask: jax.Array | None = None,
    ) -> tuple[Any, State]:
        x, before = _begin("position", features, state, x, mask)
        check_length("position", x, before, length)
        where = places(x, mask, before)
        added = jnp.take(params["embedding"], where, axis=0, mode="clip").astype(x.dtype)
        y = x + jnp.where((where < length)[..., None], added, jnp.nan)
        return y, left(state, {"at": after(x, mask, before)})

    layer = make(position, init, apply, length=length, features=features)
    return with_info(layer, memory=nothing_seen)


@factory()
def sinusoidal(features: int, *, base: float = 10_000.0) -> Layer:
    """yₜ = xₜ + `functional.sinusoidal`(t), for x [B, T, features]: nothing is learned.

    Reads `mask` and remembers as `position` does; no sequence is too long. Vaswani et al. 2017,
    section 3.5.
    """
    check_sizes("sinusoidal", features=features)
    F.sinusoidal(0, features, base=base)  # refuses an odd number

    def apply(
        params: Params,
        state: State,
        x: jax.Array,
        *,
        key: Key | None = None,
        train: bool = False,
        mask: jax.Array | None = None,
    ) -> tuple[Any, State]:
        x, before = _begin("sinusoidal", features, state, x, mask)
        waves = F.sinusoidal(places(x, mask, before), features, base=base)
        return x + waves.astype(x.dtype), left(state, {"at": after(x, mask, before)})

    layer = make(sinusoidal, lambda key: ((), ()), apply, features=features, base=base)
    return with_info(layer, memory=nothing_seen)


def nothing_seen(batch: int) -> dict[str, jax.Array]:
    """The memory of what counts its steps."""
    return {"at": jnp.zeros(batch, jnp.int32)}


class LengthError(ValueError):
    """Raised for an axis that is exported for any size, and may be `length` at most."""

    def __init__(self, message: str, *, axis: str = "", length: int = 0) -> None:
        super().__init__(message)
        self.axis, self.length = axis, length


def check_length(kind: str, x: jax.Array, before: jax.Array | None, length: int) -> None:
    """Refuses what is longer than `length`, together with what was seen before if that is known."""
    seen = 0
    if before is not None and is_concrete(before):
        seen = int(np.max(np.asarray(before), initial=0))
    try:
        is_long = seen + x.shape[1] > length
    except jax.errors.InconclusiveDimensionOperation:
        axis = str(x.shape[1])
        message = f"{kind} is made for {length} steps, got {axis}, which may be more"
        raise LengthError(message, axis=axis, length=length) from None
    if is_long:
        after = f" after {seen} that it has seen" if seen else ""
        raise ValueError(f"{kind} is made for {length} steps, got {x.shape[1]}{after}")


def _begin(
    kind: str, features: int, state: State, x: jax.Array, mask: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    if x.ndim != 3 or x.shape[-1] != features:
        raise ValueError(f"{kind} expected [B, T, {features}], got {describe(x)}")
    return cleaned(kind, x, mask), remembered(state, nothing_seen(x.shape[0]), x)["at"]
