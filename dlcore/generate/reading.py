"""A network that is read token by token: how it begins, and its next step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import nn
from dlcore.checks import is_concrete
from dlcore.fields import documented
from dlcore.names import written
from dlcore.nn import fitting, remembering, side_inputs
from dlcore.nn.describing import describe
from dlcore.nn.layer import Layer, Params, State

Side = Mapping[str, Any]


@documented
class Reader(NamedTuple):
    """Two functions that give the logits [B, V] of what follows, and the state with its memory.

    begin: of (params, state, prompt [B, T], mask, side), without a memory.
    step: of (params, state, token [B], side), from the state on that either gave.
    """

    begin: Callable[..., tuple[jax.Array, State]]
    step: Callable[..., tuple[jax.Array, State]]


def reader(layer: Layer) -> Reader:
    """How `layer` is read: pure functions of params, state, tokens, mask and side inputs."""

    def begin(
        params: Params, state: State, prompt: jax.Array, mask: jax.Array | None, side: Side
    ) -> tuple[jax.Array, State]:
        state = nn.joined(state, nn.memory(layer, len(prompt)))
        own = {} if mask is None else {"mask": mask}
        logits, state = layer.apply(params, state, prompt, **own, **side)
        return _last(logits, mask), state

    def step(params: Params, state: State, token: jax.Array, side: Side) -> tuple[jax.Array, State]:
        logits, state = layer.apply(params, state, token[:, None], **side)
        return logits[:, -1], state

    return Reader(begin, step)


def _last(logits: jax.Array, mask: jax.Array | None) -> jax.Array:
    """What stands after the last real token of each row."""
    if mask is None:
        return logits[:, -1]
    places = jnp.where(mask, jnp.arange(mask.shape[1]), -1)
    last = jnp.max(places, axis=1)
    return jnp.take_along_axis(logits, jnp.maximum(last, 0)[:, None, None], axis=1)[:, 0]


def check(
    function: str,
    layer: Layer,
    params: Params,
    state: State,
    prompt: Any,
    steps: Any,
    mask: Any,
    side: Side,
    stops: Sequence[int] = (),
) -> tuple[jax.Array, Any, int]:
    """The prompt int32 [B, T], its mask and steps; refused, with the reason, is what cannot be gone
    on with.

    So is what would overflow: the whole, prompt and steps, is applied in the abstract first.
    """
    if isinstance(prompt, str):
        raise TypeError(
            f"{function}: the prompt is text; its numbers are wanted, one row a sequence: "
            "tokenizer.encode(text)[None]"
        )
    side_inputs.check(f"{function}: the {layer.info.kind}", side, layer.info.reads - {"mask"})
    prompt = _array(function, "prompt", prompt)
    if prompt.ndim != 2 or not jnp.issubdtype(prompt.dtype, jnp.integer) or not prompt.size:
        fix = ": prompt[None] is one of one sequence" if prompt.ndim == 1 and prompt.size else ""
        raise ValueError(
            f"{function}: prompt is {describe(prompt)}, but integers [B, T] are wanted, B ≥ 1 and "
            f"T ≥ 1{fix}"
        )
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise ValueError(f"{function}: steps is {steps!r}, but ≥ 1, an integer, is wanted")
    if mask is not None:
        mask = _array(function, "mask", mask)
        _check_mask(function, layer, prompt, mask)
    fitting.check(f"{function}: the {layer.info.kind}", layer.init, params, state)
    remembering.refuse(function, state)
    nn.memory(layer, 1)  # refuses what has none
    whole = jax.ShapeDtypeStruct((len(prompt), prompt.shape[1] + int(steps) - 1), prompt.dtype)
    shape = jax.eval_shape(lambda *all: layer.apply(*all, **side)[0], params, state, whole)
    if getattr(shape, "ndim", 0) != 3:
        raise ValueError(
            f"{function}: the {layer.info.kind} gives {describe(shape)}, but logits [B, T, V] of "
            "the next token after each are wanted"
        )
    for what, tokens in (("the prompt has", prompt), ("stop has", stops)):
        _check_tokens(f"{function}: {what}", tokens, shape.shape[-1])
    return prompt.astype(jnp.int32), mask, int(steps)


def _array(function: str, name: str, value: Any) -> jax.Array:
    """`value` as an array."""
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"{function}: the {name} {written(value)} is no array [B, T]: fill shorter rows up, "
            f"and give mask=, True for their real tokens"
        ) from None


def _check_tokens(what: str, tokens: Any, count: int) -> None:
    """Refuses a token that the network does not tell from others, which would become NaN."""
    if not is_concrete(tokens):
        return
    tokens = np.asarray(tokens, int)
    foreign = tokens[(tokens < 0) | (tokens >= count)]
    if foreign.size:
        raise ValueError(
            f"{what} the token {int(foreign[0])}, but the network knows 0 … {count - 1}: is it of "
            "another tokenizer?"
        )


def _check_mask(function: str, layer: Layer, prompt: jax.Array, mask: Any) -> None:
    if "mask" not in layer.info.reads:
        raise ValueError(f"{function}: the {layer.info.kind} reads no mask: give equal lengths")
    if mask.shape != prompt.shape or mask.dtype != bool:
        raise ValueError(
            f"{function}: mask is {describe(mask)}, but bool {list(prompt.shape)} is wanted, True "
            "for the real tokens of the prompt"
        )
    if is_concrete(mask) and not np.asarray(mask).any(axis=1).all():
        raise ValueError(f"{function}: a row of the mask has no real token to begin with")
