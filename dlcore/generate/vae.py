"""What a variational autoencoder has learned: codes and data from one another, and likelihoods.

A layer here has the parts `encoder`, which gives a `functional.Gaussian` [B, L], and `decoder`,
which gives a distribution of x: `models.vae`, `models.conditional_vae`, or a `wire` of one's own.
Their side inputs, such as the label of a conditional one, are given by name.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import functional as F
from dlcore import keys
from dlcore.keys import Key
from dlcore.names import arguments
from dlcore.nn.combinators import parts_of
from dlcore.nn.describing import describe
from dlcore.nn.layer import Layer, Params, State

PARTS = ("encoder", "decoder")


@arguments()
def encode(layer: Layer, params: Params, state: State, x: Any, **side: Any) -> F.Gaussian:
    """q(z|x) of each x [B, …]: `.mean` is its code [B, L]."""
    return _applied("encode", layer, "encoder", params, state, jnp.asarray(x), side)


@arguments()
def decode(layer: Layer, params: Params, state: State, z: Any, **side: Any) -> Any:
    """p(x|z) of each code z [B, L]: `.mean` are the pictures, `.sample(key)` draws pixels."""
    return _applied("decode", layer, "decoder", params, state, jnp.asarray(z), side)


@arguments()
def sample(
    layer: Layer, params: Params, state: State, count: int, *, key: Key, **side: Any
) -> np.ndarray:
    """`count` examples of p(x) = ∫ p(x|z) p(z) dz, as the mean of p(x|z) for each z ~ N(0, 1).

    So a pixel is grey where p(x|z) does not know it; the pixels themselves are
    `decode(layer, params, state, z).sample(key)`. How long z is says the argument `latent` of the
    model; a layer of one's own is given its codes by `decode`.
    """
    length = layer.info.config.get("latent")
    if length is None:
        raise ValueError(
            f"sample: how long a code of this {layer.info.kind} is nobody knows: "
            "decode(layer, params, state, jax.random.normal(key, (count, length))).mean"
        )
    z = jax.random.normal(keys.check(key), (_count("sample", "count", count), length))
    return np.asarray(decode(layer, params, state, z, **side).mean)


@arguments()
def log_prob(
    layer: Layer,
    params: Params,
    state: State,
    x: Any,
    *,
    key: Key,
    samples: int = 5000,
    **side: Any,
) -> np.ndarray:
    """log p(x) of each x [N, …], [N] in nats, by importance sampling with k = `samples` codes each.

    log (1/k) Σᵢ p(x|zᵢ) p(zᵢ) / q(zᵢ|x) with zᵢ ~ q(z|x): its mean lies below the true one, the
    less the larger k is. Rezende et al. 2014, appendix E; Burda et al. 2016, section 5, with k =
    5,000. A report states k, how many examples, and how their pixels were binarised.

    Refused is what has no likelihood: grey values for a Bernoulli, and `likelihood="grey"`.
    """
    x = jnp.asarray(x)
    given = _arrays("log_prob", x, side)
    samples = _count("log_prob", "samples", samples)
    estimate, found, size = _estimator(layer, samples), [], min(_SLAB, len(x))
    for start in range(0, len(x), size):
        rows = jnp.arange(start, start + size) % len(x)  # filled up, so that one shape is compiled
        slab, own = x[rows], {name: one[rows] for name, one in given.items()}
        if start == 0:
            _check_likelihood(layer, params, state, slab, own)
        found.append(estimate(params, state, keys.check(key), rows.astype(jnp.uint32), slab, own))
    nats = np.concatenate(found)[: len(x)]
    if np.isnan(nats).any():  # outside of a compiled program the reason is said in words
        bad = np.flatnonzero(np.isnan(nats))[:1]
        one, own = x[bad], {name: side[bad] for name, side in given.items()}
        _reconstructed(layer, params, state, one, own).log_prob(one)
    return nats


_SLAB, _ROWS = 50, 1000  # examples of a compiled call, and codes that are decoded together


@functools.lru_cache(maxsize=32)
def _estimator(layer: Layer, samples: int) -> Callable[..., jax.Array]:
    rows = min(samples, _ROWS)

    def of_one(params: Params, state: State, key: Key, at: Any) -> jax.Array:
        index, x, side = at
        own = jax.random.fold_in(key, index)
        parts = parts_of(layer, PARTS, params, state)
        side = {name: one[None] for name, one in side.items()}
        many = functools.partial(jax.tree.map, lambda leaf: jnp.repeat(leaf, rows, axis=0))
        q, sides, xs = many((parts.encoder(x[None], **side), side, x[None]))

        def turn(total: jax.Array, turn: jax.Array) -> tuple[jax.Array, None]:
            z = q.sample(jax.random.fold_in(own, turn))
            log_w = q.log_weight(z, parts.decoder(z, **sides).log_prob(xs))
            is_one = turn * rows + jnp.arange(rows) < samples
            log_w = jnp.where(is_one, log_w, -jnp.inf)
            more = jax.scipy.special.logsumexp(log_w).astype(total.dtype)
            return jnp.logaddexp(total, more), None

        turns = jnp.arange(-(-samples // rows))
        total, _ = jax.lax.scan(turn, jnp.asarray(-jnp.inf, jnp.float32), turns)
        return total - math.log(samples)

    @jax.jit
    def estimate(
        params: Params, state: State, key: Key, rows: jax.Array, x: jax.Array, side: Any
    ) -> jax.Array:
        return jax.lax.map(functools.partial(of_one, params, state, key), (rows, x, side))

    return estimate


def _check_likelihood(layer: Layer, params: Params, state: State, x: jax.Array, side: Any) -> None:
    """Refuses a decoder that gives no distribution."""
    p = jax.eval_shape(lambda *trees: _reconstructed(layer, *trees), params, state, x, side)
    if not hasattr(p, "sample"):
        raise ValueError(
            f"log_prob: the decoder of this {layer.info.kind} gives a {type(p).__name__}, which is "
            'no likelihood: train one with likelihood="bernoulli" on data.binarised, or "gaussian"'
        )


def _reconstructed(layer: Layer, params: Params, state: State, x: jax.Array, side: Any) -> Any:
    """p(x|z) with the mean of q(z|x)."""
    parts = parts_of(layer, PARTS, params, state)
    return parts.decoder(parts.encoder(x, **side).mean, **side)


# ------------------------------------------------------------------------------- ways through codes


def interpolate(start: Any, end: Any, steps: int, *, spherical: bool = True) -> np.ndarray:
    """`steps` codes from `start` to `end`, [L] or [B, L] each, both among them: [steps, …].

    spherical: along the arc between their directions, with the length changing evenly, so that
        codes between two of N(0, 1) are as long as such codes are (White 2016); else along a line.
    """
    a, b = (np.asarray(one, np.float32) for one in (start, end))
    if a.shape != b.shape:
        raise ValueError(f"interpolate: start {a.shape} and end {b.shape} differ in shape")
    t = np.linspace(0, 1, _count("interpolate", "steps", steps), dtype=np.float32)
    t = t.reshape(-1, *[1] * a.ndim)
    if not spherical:
        return (1 - t) * a + t * b
    lengths = [np.linalg.norm(one, axis=-1, keepdims=True) for one in (a, b)]
    units = [one / np.maximum(length, 1e-12) for one, length in zip((a, b), lengths, strict=True)]
    cosine = np.clip(np.sum(units[0] * units[1], axis=-1, keepdims=True), -1, 1)
    angle = np.arccos(cosine)
    is_line = np.sin(angle) < 1e-4  # nearly the same or opposite directions have no one arc
    sine = np.where(is_line, 1, np.sin(angle))
    shares = np.sin((1 - t) * angle) / sine, np.sin(t * angle) / sine
    length = (1 - t) * lengths[0] + t * lengths[1]
    arc = length * (shares[0] * units[0] + shares[1] * units[1])
    return np.where(is_line, (1 - t) * a + t * b, arc).astype(np.float32)


def plane(side: int, length: int = 2, axes: tuple[int, int] = (0, 1)) -> np.ndarray:
    """side² codes [side², length] that walk a plane of the prior, row by row from the top left.

    Along `axes` they are the quantiles of N(0, 1), so that all places are equally likely; the other
    numbers are 0. Kingma and Welling 2014, figure 4.
    """
    from scipy.stats import norm

    side = _count("plane", "side", side)
    quantiles = norm.ppf((np.arange(side) + 0.5) / side)
    z = np.zeros((side, side, length), np.float32)
    z[..., axes[0]] = quantiles[None, :]
    z[..., axes[1]] = quantiles[::-1, None]
    return z.reshape(side * side, length)


# --------------------------------------------------------------------------------- what is shared


@functools.lru_cache(maxsize=64)
def _compiled(layer: Layer, name: str) -> Callable[..., Any]:
    """(params, state, x, side) -> what the part of that name gives, in evaluation."""

    @jax.jit
    def of_part(params: Params, state: State, x: jax.Array, side: dict[str, Any]) -> Any:
        return parts_of(layer, PARTS, params, state)[name](x, **side)

    return of_part


def _applied(
    function: str, layer: Layer, name: str, params: Params, state: State, x: jax.Array, side: Any
) -> Any:
    """What the part gives; where that is NaN, what it refuses outside of a compiled program."""
    given = _arrays(function, x, side)
    found = _compiled(layer, name)(params, state, x, given)
    if given and any(bool(jnp.any(jnp.isnan(leaf))) for leaf in found):
        parts_of(layer, PARTS, params, state)[name](x, **given)  # a label out of range, in words
    return found


def _arrays(function: str, x: jax.Array, side: dict[str, Any]) -> dict[str, jax.Array]:
    """The side inputs, of which each has to have one row for each of x."""
    if x.ndim == 0 or not len(x):
        raise ValueError(f"{function} was given no examples, but {describe(x)}")
    arrays = {name: jnp.asarray(one) for name, one in side.items()}
    for name, one in arrays.items():
        if one.ndim == 0 or len(one) != len(x):
            raise ValueError(
                f"{function}: {name} is {describe(one)}, but one for each of the {len(x)} examples "
                f"is wanted: numpy.full({len(x)}, {name})"
            )
    return arrays


def _count(function: str, name: str, value: Any) -> int:
    """`value` as an int of 1 or more."""
    try:
        count = operator.index(value)
    except TypeError:
        count = 0
    if count < 1:
        raise ValueError(f"{function}: {name} is {value!r:.80}, but a whole number ≥ 1 is wanted")
    return count
