"""Linear-chain conditional random fields: which tags a sentence's steps have, all together.

    score(y) = start[y₁] + Σₜ emissions[t, yₜ] + Σₜ transitions[yₜ₋₁, yₜ] + end[y_T]
    p(y) = exp(score(y)) / Σ_y′ exp(score(y′))

for a path y of T tags, one of C each. Lafferty et al. 2001; on a network's outputs Collobert et al.
2011, section 3.3.2, and Lample et al. 2016, section 2.2.

A step where the mask is False is passed over, wherever it stands: y₁ is the first real step's tag,
and yₜ₋₁ that of the real step before. Of no real step there is one path, the empty one, of score 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dlcore.checks import floating, valid, wide_dtype
from dlcore.fields import documented

NEVER = -1e30  # finite: of infinities, logarithms of sums have no gradient


@documented
class Chain(NamedTuple):
    """The scores that a CRF gives to B sentences of at most T steps with C tags.

    emissions: [B, T, C], of each tag at each step.
    transitions: [C, C] or [B, C, C], from a tag (row) to the next (column).
    start: [C] or [B, C], of the first step's tag.
    end: [C] or [B, C], of the last step's tag.
    mask: [B, T], True for real steps; None where all are.
    """

    emissions: jax.Array
    transitions: jax.Array
    start: jax.Array
    end: jax.Array
    mask: jax.Array | None = None


def crf_constrained(scores: ArrayLike, allowed: ArrayLike) -> jax.Array:
    """`scores` where `allowed`, elsewhere −10³⁰: transitions, start or end of a Chain.

    So a path that is not allowed has probability 0, and no gradient flows to its scores. In
    float16, which has no such number, its lowest one.
    """
    scores = floating("crf_constrained", "scores", scores)
    never = max(NEVER, float(jnp.finfo(scores.dtype).min))
    return jnp.where(jnp.asarray(allowed), scores, jnp.asarray(never, scores.dtype))


def crf_log_partition(chain: Chain) -> jax.Array:
    """log Σ_y exp(score(y)) over all paths, [B]: the forward algorithm, step by step."""
    chain, real = _checked("crf_log_partition", chain)

    def step(carry: Any, at: Any) -> tuple[Any, None]:
        alpha, begun = carry
        emission, real = at
        reached = jax.nn.logsumexp(alpha[:, :, None] + chain.transitions, axis=1)
        new = jnp.where(begun, reached, chain.start) + emission
        return (jnp.where(real, new, alpha), begun | real), None

    (alpha, begun), _ = jax.lax.scan(step, _nothing(chain), _by_time(chain, real))
    return jnp.where(begun[:, 0], jax.nn.logsumexp(alpha + chain.end, axis=-1), 0.0)


def crf_score(chain: Chain, tags: ArrayLike) -> jax.Array:
    """score(tags) [B] of paths int [B, T]; what stands at masked steps counts nothing.

    −∞ for a path that `crf_constrained` does not allow. A tag that is none of the C is refused
    where it is concrete; under jit its path's score is NaN.
    """
    chain, real = _checked("crf_score", chain)
    (batch, steps, count), tags = chain.emissions.shape, _tags(chain, real, tags)
    known = valid(
        "crf_score",
        "tags",
        tags,
        lambda tag: (tag >= 0) & (tag < count),
        f"must be one of the {count} tags, 0 … {count - 1}",
    )
    if not steps:
        return jnp.zeros(batch, chain.emissions.dtype)
    before, last = real_before(real)
    came = chain.transitions.reshape(batch, -1)
    came = _taken(came, count * _taken(tags, jnp.maximum(before, 0)) + tags)
    came = jnp.where(before < 0, _taken(chain.start, tags), came)
    emitted = jnp.take_along_axis(chain.emissions, tags[..., None], axis=-1)[..., 0]
    ended = _taken(chain.end, _taken(tags, jnp.maximum(last, 0)))[:, 0]
    total = jnp.sum(jnp.where(real, emitted + came, 0.0), axis=1)
    total = total + jnp.where(last[:, 0] < 0, 0.0, ended)
    total = jnp.where(total < NEVER / 2, -jnp.inf, total)
    return jnp.where(jnp.all(jnp.asarray(known), axis=1), total, jnp.nan)


def crf_loss(chain: Chain, tags: ArrayLike) -> jax.Array:
    """The negative log-likelihood −log p(tags) = log_partition − score of each sentence, [B]."""
    return crf_log_partition(chain) - crf_score(chain, tags)


def crf_marginals(chain: Chain) -> jax.Array:
    """p(yₜ = c) [B, T, C], 0 at masked steps: the log-partition's gradient by the emissions."""

    def total(emissions: jax.Array) -> jax.Array:
        return jnp.sum(crf_log_partition(chain._replace(emissions=emissions)))

    return jax.grad(total)(floating("crf_marginals", "emissions", chain.emissions))


def crf_viterbi(chain: Chain) -> tuple[jax.Array, jax.Array]:
    """(the path of the highest score, int32 [B, T], 0 at masked steps; that score, [B]).

    Of equal paths the one whose tags come first, from the last step on. Viterbi 1967.
    """
    chain, real = _checked("crf_viterbi", chain)
    tags = jnp.arange(chain.emissions.shape[-1], dtype=jnp.int32)

    def step(carry: Any, at: Any) -> tuple[Any, jax.Array]:
        best, begun = carry
        emission, real = at
        scores = best[:, :, None] + chain.transitions
        new = jnp.where(begun, jnp.max(scores, axis=1), chain.start) + emission
        came = jnp.where(begun & real, jnp.argmax(scores, axis=1).astype(jnp.int32), tags)
        return (jnp.where(real, new, best), begun | real), came

    def back(tag: jax.Array, came: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _taken(came, tag[:, None])[:, 0], tag

    (best, begun), came = jax.lax.scan(step, _nothing(chain), _by_time(chain, real))
    best = jnp.where(begun, best + chain.end, 0.0)
    last = jnp.argmax(best, axis=-1).astype(jnp.int32)
    _, path = jax.lax.scan(back, last, came, reverse=True)
    return jnp.where(real, jnp.swapaxes(path, 0, 1), 0), jnp.max(best, axis=-1)


def real_before(real: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(the place of the real step before each, [B, T], and that of the last, [B, 1]); none: −1."""
    places = jnp.where(real, jnp.arange(real.shape[1], dtype=jnp.int32), -1)
    last = jax.lax.cummax(places, axis=1)
    return jnp.pad(last, ((0, 0), (1, 0)), constant_values=-1)[:, :-1], last[:, -1:]


def _checked(function: str, chain: Chain) -> tuple[Chain, jax.Array]:
    """The chain in float32 at least, each sentence with scores of its own, and the mask.

    Emissions at masked steps are 0: what is not finite there stays there.
    """
    emissions = floating(function, "emissions", chain.emissions)
    if emissions.ndim != 3 or not emissions.shape[-1]:
        raise ValueError(f"{function}: emissions are [B, T, C], got {list(emissions.shape)}")
    batch, steps, count = emissions.shape
    dtype = wide_dtype(emissions.dtype)
    each = {"transitions": (count, count), "start": (count,), "end": (count,)}
    scores = {}
    for name, shape in each.items():
        given = floating(function, name, getattr(chain, name)).astype(dtype)
        if given.shape not in (shape, (batch, *shape)):
            raise ValueError(
                f"{function}: {name} are {list(given.shape)}, but {list(shape)}, or one for each "
                f"sentence, fit emissions {list(emissions.shape)}"
            )
        scores[name] = jnp.broadcast_to(given, (batch, *shape))
    real = jnp.ones((batch, steps), bool) if chain.mask is None else jnp.asarray(chain.mask)
    if real.shape != (batch, steps) or real.dtype != bool:
        raise ValueError(
            f"{function}: mask is {real.dtype}{list(real.shape)}, but bool{[batch, steps]} is "
            "wanted, True for real steps"
        )
    return Chain(jnp.where(real[..., None], emissions.astype(dtype), 0.0), **scores), real


def _tags(chain: Chain, real: jax.Array, tags: ArrayLike) -> jax.Array:
    """The tags int32 [B, T] with 0 at masked steps."""
    tags = jnp.asarray(tags)
    if tags.shape != real.shape or not jnp.issubdtype(tags.dtype, jnp.integer):
        raise ValueError(
            f"crf_score: tags are {tags.dtype}{list(tags.shape)}, but integers {list(real.shape)} "
            f"fit emissions {list(chain.emissions.shape)}"
        )
    return jnp.where(real, tags.astype(jnp.int32), 0)


def _nothing(chain: Chain) -> tuple[jax.Array, jax.Array]:
    """What stands before the first step: scores that nobody reads, and that none was real."""
    return jnp.zeros_like(chain.start), jnp.zeros((len(chain.start), 1), bool)


def _by_time(chain: Chain, real: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.swapaxes(chain.emissions, 0, 1), jnp.swapaxes(real, 0, 1)[..., None]


def _taken(x: jax.Array, places: jax.Array) -> jax.Array:
    """x[b, places[b, …]]"""
    return jnp.take_along_axis(x, places, axis=1)
