"""Sampling: one token after another, each drawn from what the network says of the next."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import keys
from dlcore.fields import documented
from dlcore.generate.choice import Rules, check, chosen, penalized
from dlcore.generate.reading import Side, reader
from dlcore.generate.reading import check as check_prompt
from dlcore.keys import Key
from dlcore.names import arguments
from dlcore.nn.describing import describe
from dlcore.nn.layer import Layer, Params, State


@documented
class Sampled(NamedTuple):
    """What was drawn after each of B prompts.

    tokens: int32 [B, steps]; after a row's end `fill`.
    lengths: int32 [B], how many of them are the row's, the one that stopped it among them.
    log_probabilities: float32 [B, steps], of each where it was drawn; 0 after the end.
    """

    tokens: Any
    lengths: Any
    log_probabilities: Any


@arguments()
def sample(
    layer: Layer,
    params: Params,
    state: State,
    prompt: Any,
    steps: int,
    *,
    key: Key | None = None,
    mask: Any = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    stop: int | Sequence[int] = (),
    fill: int = 0,
    **side: Any,
) -> Sampled:
    """`steps` tokens after each row of `prompt` [B, T], drawn one after another.

    The layer gives logits [B, T, V] of what follows each of its tokens, and remembers (`nn.memory`,
    attention needs a context): the prompt is read once, then each token costs one position. One
    compiled loop, which ends when all rows have. What has no room in the context is refused here.

    key: of the draws, token i of the call by fold_in(key, i); none is needed at temperature 0,
        where the most probable token is taken.
    mask: [B, T], True for the real tokens of prompts of several lengths, on the left or the right.
    temperature, top_k, top_p, min_p: see `filtered`.
    repetition_penalty: above 1 makes what is in prompt or text already less likely.
    stop: the token, or the tokens, that end a row. fill: what stands after its end.
    side: side inputs of the layer, the same at each step (`source`, `source_mask`).
    """
    rules = Rules(temperature, top_k, top_p, min_p, repetition_penalty)
    check("sample", rules)
    stops = _stops("sample", stop)
    prompt, mask, steps = check_prompt(
        "sample", layer, params, state, prompt, steps, mask, side, stops
    )
    own, ends = _key("sample", key, temperature), jnp.asarray(stops, jnp.int32)
    given = (params, state, prompt, mask, own, rules, ends, jnp.int32(fill), side)
    return Sampled(*map(np.asarray, _loop(layer, steps)(*given)))


@arguments()
def stream(
    layer: Layer,
    params: Params,
    state: State,
    prompt: Any,
    steps: int,
    *,
    key: Key | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    stop: int | Sequence[int] = (),
    **side: Any,
) -> Iterator[int]:
    """The tokens of `sample` for one prompt [1, T], each as soon as it is drawn.

    It ends after `steps` of them, or after one of `stop`, which is given too.
    """
    rules = Rules(temperature, top_k, top_p, min_p, repetition_penalty)
    check("stream", rules)
    stops = _stops("stream", stop)
    prompt, _, steps = check_prompt(
        "stream", layer, params, state, prompt, steps, None, side, stops
    )
    if len(prompt) != 1:
        raise ValueError(f"stream goes on with one prompt, got {len(prompt)}: sample takes several")
    own = _key("stream", key, temperature)
    return _tokens(layer, params, state, prompt, steps, own, rules, frozenset(stops), side)


def _tokens(
    layer: Layer,
    params: Params,
    state: State,
    prompt: jax.Array,
    steps: int,
    key: Key,
    rules: Rules,
    stop: frozenset[int],
    side: Side,
) -> Iterator[int]:
    begin, step = _compiled(layer)
    token, _, now = begin(params, state, prompt, None, key, rules, side)
    for index in range(1, steps + 1):
        yield int(token[0])
        if int(token[0]) in stop or index == steps:
            return
        token, _, now = step(params, now, token, jnp.int32(index), key, rules, side)


class _Now(NamedTuple):
    """Between two steps: the network's state with its memory, and which tokens were there."""

    state: State
    seen: jax.Array | None  # [B, V], for the penalty


@functools.lru_cache(maxsize=32)
def _drawing(layer: Layer) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`begin` and `step` that draw: each gives the token [B], its log-probability, and a _Now."""
    read = reader(layer)

    def draw(logits: jax.Array, now: _Now, index: Any, key: Key, rules: Rules) -> Any:
        seen = now.seen
        if seen is not None:
            logits = penalized(logits, seen, rules.repetition_penalty)
        token, log_p = chosen(jax.random.fold_in(key, index), logits, rules)
        if seen is not None:
            seen = seen.at[jnp.arange(len(token)), token].set(True)
        return token, log_p, _Now(now.state, seen)

    def begin(
        params: Params, state: State, prompt: Any, mask: Any, key: Key, rules: Rules, side: Side
    ) -> Any:
        logits, state = read.begin(params, state, prompt, mask, side)
        seen = None
        if rules.repetition_penalty is not None:
            real = jnp.ones(prompt.shape, bool) if mask is None else mask
            rows = jnp.arange(len(prompt))[:, None]
            seen = jnp.zeros(logits.shape, bool).at[rows, prompt].max(real)
        return draw(logits, _Now(state, seen), 0, key, rules)

    def step(
        params: Params, now: _Now, token: Any, index: Any, key: Key, rules: Rules, side: Side
    ) -> Any:
        logits, state = read.step(params, now.state, token, side)
        return draw(logits, _Now(state, now.seen), index, key, rules)

    return begin, step


@functools.lru_cache(maxsize=32)
def _compiled(layer: Layer) -> tuple[Callable[..., Any], Callable[..., Any]]:
    begin, step = _drawing(layer)
    return jax.jit(begin), jax.jit(step)


@functools.lru_cache(maxsize=32)
def _loop(layer: Layer, steps: int) -> Callable[..., Any]:
    """All of it as one program."""
    begin, step = _drawing(layer)

    @jax.jit
    def loop(
        params: Params,
        state: State,
        prompt: jax.Array,
        mask: Any,
        key: Key,
        rules: Rules,
        stops: jax.Array,
        fill: jax.Array,
        side: Side,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        token, log_p, now = begin(params, state, prompt, mask, key, rules, side)
        rows = len(prompt)
        tokens = jnp.full((rows, steps), fill).at[:, 0].set(token)
        log_ps = jnp.zeros((rows, steps)).at[:, 0].set(log_p)
        start = (1, now, token, jnp.isin(token, stops), jnp.ones(rows, jnp.int32), tokens, log_ps)

        def goes_on(turn: Any) -> jax.Array:
            index, _, _, ended, *_ = turn
            return (index < steps) & ~jnp.all(ended)

        def turn(turn: Any) -> Any:
            index, now, token, ended, lengths, tokens, log_ps = turn
            token, log_p, now = step(params, now, token, index, key, rules, side)
            tokens = tokens.at[:, index].set(jnp.where(ended, fill, token))
            log_ps = log_ps.at[:, index].set(jnp.where(ended, 0.0, log_p))
            lengths = lengths + (~ended).astype(jnp.int32)
            return index + 1, now, token, ended | jnp.isin(token, stops), lengths, tokens, log_ps

        *_, lengths, tokens, log_ps = jax.lax.while_loop(goes_on, turn, start)
        return tokens, lengths, log_ps

    return loop


def _stops(function: str, stop: Any) -> list[int]:
    """The tokens that end a row."""
    try:
        return [operator.index(one) for one in ([stop] if np.ndim(stop) == 0 else stop)]
    except TypeError:
        raise TypeError(
            f"{function}: stop is {stop!r:.80}, but the numbers of tokens are wanted: "
            f'tokenizer.encode("\\n")'
        ) from None


def _key(function: str, key: Key | None, temperature: float) -> Key:
    if key is not None:
        if np.ndim(keys.check(key)):
            raise ValueError(f"{function}: key is an array of keys {describe(key)}: give one")
        return key
    if temperature != 0:
        raise ValueError(
            f"{function} draws: {function}(…, key=jax.random.key(0)), or temperature=0 for the "
            "most probable tokens"
        )
    return jax.random.key(0)
