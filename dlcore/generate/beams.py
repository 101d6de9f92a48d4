"""Beam search: the most probable of whole sequences, among a few that are followed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import nn
from dlcore.fields import documented
from dlcore.generate.reading import Side, check, reader
from dlcore.names import arguments
from dlcore.nn.layer import Layer, Params, State, check_sizes


@documented
class Beams(NamedTuple):
    """The best sequences after each of B prompts, the best first.

    tokens: int32 [B, beams, steps]; after a sequence's end `fill`.
    lengths: int32 [B, beams], the end mark counted.
    scores: float32 [B, beams], log-probability / lp(length); −∞ where fewer were found.
    """

    tokens: Any
    lengths: Any
    scores: Any


@arguments()
def beam_search(
    layer: Layer,
    params: Params,
    state: State,
    prompt: Any,
    steps: int,
    *,
    beams: int = 4,
    length_penalty: float = 0.6,
    stop: int | None = None,
    mask: Any = None,
    fill: int = 0,
    **side: Any,
) -> Beams:
    """The sequences Y of up to `steps` tokens after `prompt` with the highest score, as found.

    score(Y) = Σₜ log p(yₜ | prompt, y₁ … yₜ₋₁) / lp(|Y|), where lp(n) = ((5 + n) / 6)^α with
    α = length_penalty ≥ 0; 0 is none. |Y| counts the end mark `stop`. What has not ended after
    `steps` counts as it stands. At each step the `beams` most probable open sequences are followed.

    It ends as soon as no open sequence could still be among the best, whatever follows: its
    log-probability can but fall, and no length divides it by more than lp(steps). So nothing is
    lost by it. Prompt, mask and side inputs are those of `sample`. Wu et al. 2016, section 7 (whose
    coverage penalty is left out).
    """
    check_sizes("beam_search", beams=beams)
    if not length_penalty >= 0:
        raise ValueError(f"beam_search: length_penalty is {length_penalty}, but ≥ 0 is wanted")
    ends = () if stop is None else (stop,)
    prompt, mask, steps = check(
        "beam_search", layer, params, state, prompt, steps, mask, side, ends
    )
    end = jnp.int32(-1 if stop is None else stop)
    search = _search(layer, steps, beams)
    found = search(params, state, prompt, mask, end, jnp.float32(length_penalty), side)
    tokens, lengths, scores = map(np.asarray, found)
    return Beams(np.where(np.arange(steps) < lengths[..., None], tokens, fill), lengths, scores)


class _Turn(NamedTuple):
    """Open sequences, with the log-probability of each, and those that ended, with their scores."""

    length: jax.Array
    state: State  # of B · beams rows
    tokens: jax.Array  # [B, beams, steps]
    log_p: jax.Array  # [B, beams]
    ended: jax.Array  # [B, beams, steps]
    lengths: jax.Array  # [B, beams]
    scores: jax.Array  # [B, beams]


@functools.lru_cache(maxsize=32)
def _search(layer: Layer, steps: int, beams: int) -> Callable[..., Any]:
    read = reader(layer)

    @jax.jit
    def search(
        params: Params,
        state: State,
        prompt: jax.Array,
        mask: Any,
        end: jax.Array,
        alpha: jax.Array,
        side: Side,
    ) -> Any:
        rows = len(prompt)
        many = jax.tree.map(lambda leaf: jnp.repeat(leaf, beams, axis=0), dict(side))

        def lp(length: Any) -> jax.Array:
            return jnp.asarray((5 + length) / 6, jnp.float32) ** alpha

        def extended(turn: _Turn, logits: jax.Array, state: State) -> _Turn:
            """With each open sequence's best next tokens; those that end stand aside."""
            log_p = jax.nn.log_softmax(logits.astype(jnp.float32)).reshape(rows, beams, -1)
            total = turn.log_p[..., None] + log_p
            best, where = jax.lax.top_k(total.reshape(rows, -1), 2 * beams)
            source, token = where // total.shape[-1], (where % total.shape[-1]).astype(jnp.int32)
            tokens = _rows(turn.tokens, source).at[:, :, turn.length].set(token)
            length = turn.length + 1
            is_end = token == end
            score = jnp.where(is_end, best / lp(length), -jnp.inf)
            ended = _best(
                beams,
                jnp.concatenate([turn.scores, score], 1),
                jnp.concatenate([turn.ended, tokens], 1),
                jnp.concatenate([turn.lengths, jnp.full_like(source, length)], 1),
            )
            log_p, open_tokens, source = _best(
                beams, jnp.where(is_end, -jnp.inf, best), tokens, source
            )
            flat = (jnp.arange(rows)[:, None] * beams + source).reshape(-1)
            rest, memory = nn.parted(state)
            memory = jax.tree.map(lambda leaf: leaf[flat], memory)
            scores, ended_tokens, lengths = ended
            return _Turn(
                length,
                nn.joined(rest, memory),
                open_tokens,
                log_p,
                ended_tokens,
                lengths,
                scores,
            )

        def may_improve(turn: _Turn) -> jax.Array:
            bound = jnp.max(turn.log_p, 1) / lp(steps)
            return (turn.length < steps) & jnp.any(bound > jnp.min(turn.scores, 1))

        def go_on(turn: _Turn) -> _Turn:
            token = turn.tokens[:, :, turn.length - 1].reshape(-1)
            return extended(turn, *read.step(params, turn.state, token, many))

        logits, state = read.begin(params, state, prompt, mask, side)
        rest, memory = nn.parted(state)
        memory = jax.tree.map(lambda leaf: jnp.repeat(leaf, beams, axis=0), memory)
        nothing = jnp.full((rows, beams), -jnp.inf)
        none = jnp.zeros((rows, beams, steps), jnp.int32)
        start = _Turn(
            jnp.int32(0),
            nn.joined(rest, memory),
            none,
            nothing.at[:, 0].set(0.0),
            none,
            jnp.zeros((rows, beams), jnp.int32),
            nothing,
        )
        first = extended(start, jnp.repeat(logits, beams, axis=0), start.state)
        last = jax.lax.while_loop(may_improve, go_on, first)
        still = jnp.where(last.length == steps, last.log_p / lp(steps), -jnp.inf)
        scores, tokens, lengths = _best(
            beams,
            jnp.concatenate([last.scores, still], 1),
            jnp.concatenate([last.ended, last.tokens], 1),
            jnp.concatenate([last.lengths, jnp.full_like(last.lengths, steps)], 1),
        )
        return tokens, jnp.where(scores > -jnp.inf, lengths, 0), scores

    return search


def _rows(x: jax.Array, index: jax.Array) -> jax.Array:
    """x [B, K, …] at index [B, N] of its second axis."""
    return jax.vmap(lambda row, where: row[where])(x, index)


def _best(count: int, scores: jax.Array, *others: jax.Array) -> tuple[jax.Array, ...]:
    """The highest scores [B, count], and what belongs to them."""
    best, where = jax.lax.top_k(scores, count)
    return best, *(_rows(one, where) for one in others)
