"""A conditional random field on a network's outputs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dlcore import functional as F
from dlcore.functional.crf import Chain
from dlcore.keys import Key
from dlcore.names import written
from dlcore.nn.arguments import factory
from dlcore.nn.describing import describe
from dlcore.nn.layer import Layer, Params, State, check_sizes, make


@factory()
def crf(tags: int, *, allowed: tuple[ArrayLike, ArrayLike] | None = None) -> Layer:
    """The `functional.Chain` of each sentence, whose emissions are x [B, T, tags].

    The last layer of a tagger: `train.tagging` learns it, `functional.crf_viterbi` decodes it.
    transitions [tags, tags], start [tags] and end [tags] are learned, from 0 on. Reads `mask`
    [B, T], which the Chain keeps: a step where it is False is passed over.

    allowed: which transitions [tags, tags], from row to column, and which first tags [tags] there
        may be, such as `functional.iob2_allowed(names)`; others have probability 0.
    """
    check_sizes("crf", tags=tags)
    if allowed is not None:
        _check_allowed(allowed, tags)

    def init(key: Key) -> tuple[Params, State]:
        return {
            "transitions": jnp.zeros((tags, tags)),
            "start": jnp.zeros(tags),
            "end": jnp.zeros(tags),
        }, ()

    def apply(
        params: Params,
        state: State,
        x: jax.Array,
        *,
        key: Key | None = None,
        train: bool = False,
        mask: jax.Array | None = None,
    ) -> tuple[Any, State]:
        if x.ndim != 3 or x.shape[-1] != tags:
            raise ValueError(f"crf expected [B, T, {tags}], got {describe(x)}")
        transitions, start = params["transitions"], params["start"]
        if allowed is not None:
            transitions = F.crf_constrained(transitions, allowed[0])
            start = F.crf_constrained(start, allowed[1])

        def each(scores: jax.Array) -> jax.Array:
            return jnp.broadcast_to(scores.astype(x.dtype), (x.shape[0], *scores.shape))

        return Chain(x, each(transitions), each(start), each(params["end"]), mask), state

    return make(crf, init, apply, tags=tags)


def _check_allowed(allowed: Any, tags: int) -> None:
    if not isinstance(allowed, tuple | list) or len(allowed) != 2:
        raise TypeError(
            f"crf: allowed is {written(allowed)}, but two are wanted, (transitions, first tags): "
            "functional.iob2_allowed(names)"
        )
    for what, given, shape in zip(
        ("transitions", "first tags"), allowed, ((tags, tags), (tags,)), strict=True
    ):
        if jnp.shape(given) != shape or jnp.asarray(given).dtype != bool:
            raise ValueError(
                f"crf: allowed {what} are {describe(jnp.asarray(given))}, but "
                f"bool{[*shape]} is wanted"
            )
