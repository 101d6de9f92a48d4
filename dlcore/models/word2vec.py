"""word2vec: vectors of words, learned from the words beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import keys, nn
from dlcore.checks import valid, values_of
from dlcore.keys import Key
from dlcore.models._huffman import huffman
from dlcore.names import arguments, written
from dlcore.nn.arguments import factory
from dlcore.nn.describing import describe
from dlcore.nn.layer import Params, State, check_sizes, make

# (words [B, C], key) -> (rows of "output" read [B, …], loss(x [B, T, D], those rows, weight
# [B, T, C]) -> Σ weight·ℓ(x, word))
Output = Callable[[jax.Array, Key], tuple[jax.Array, Callable[..., jax.Array]]]


@factory()
def word2vec(vocabulary: int, features: int) -> nn.Layer:
    """Two tables [vocabulary, features]: y = input[x] are the vectors of the words x [...].

    input is drawn from U(−½, ½) / features, output is 0, as in the program word2vec. Only input is
    used afterwards; output is what the words beside are predicted with (of hierarchical softmax its
    nodes, in the last row nothing).

    They are trained by `train.row_step` on stretches of text (`data.blocks`), batch["x"] int
    [B, window + T + window], −1 outside of the text:

        output = models.negative_sampling(counts)
        step = train.row_step(models.skip_gram(output, window=5), optim.linear(0.025, 0.0001, n))
        state = train.train_state(models.word2vec(len(counts), 100), optax.identity())

    An update moves each word by the sum over the places where the batch has it. So batches are
    small (32 stretches of 16 words), and smaller where the vocabulary is.

    Mikolov et al. 2013a, 2013b.
    """
    check_sizes("word2vec", vocabulary=vocabulary, features=features)

    def init(key: Key) -> tuple[Params, State]:
        shape = (vocabulary, features)
        drawn = jax.random.uniform(keys.child(key, "input"), shape, minval=-0.5, maxval=0.5)
        return {"input": drawn / features, "output": jnp.zeros(shape)}, ()

    def apply(
        params: Params, state: State, x: Any, *, key: Key | None = None, train: bool = False
    ) -> tuple[jax.Array, State]:
        x = values_of(x)
        if not jnp.issubdtype(x.dtype, jnp.integer):
            raise TypeError(f"word2vec expected integers, got {describe(x)}: x.astype(jnp.int32)")
        return params["input"].at[x].get(mode="fill", wrap_negative_indices=False), state

    return make(word2vec, init, apply, vocabulary=vocabulary, features=features)


# ------------------------------------------------------------------------------ what is predicted


@arguments()
def skip_gram(output: Output, *, window: int = 5) -> Callable[..., Any]:
    """The objective of `train.row_step` in which each word predicts those beside it.

    Σₜ Σ_c ℓ(input[wₜ], w_c) over 0 < |c − t| ≤ rₜ, where rₜ is drawn from 1 … window: near words
    count more. ℓ is the output's: `negative_sampling` or `hierarchical_softmax`. The weight is the
    number of pairs (t, c).

    window: that of the stretches too, `data.blocks(…, halo=window)`: from their shape alone nobody
        can tell another one.

    The program word2vec turns round who predicts whom, which is the same set of pairs but for rₜ.
    """

    _check("skip_gram", output, window)

    def objective(batch: Any, *, key: Key) -> tuple[Any, Callable[[Any], Any]]:
        words = batch["x"]
        near = _near(words, window, keys.child(key, "window"))
        read, loss = output(words, keys.child(key, "output"))

        def total(rows: Any) -> tuple[jax.Array, jax.Array]:
            return loss(rows["input"], rows["output"], near), near.sum()

        return {"input": words[:, window : words.shape[1] - window], "output": read}, total

    return objective


@arguments()
def cbow(output: Output, *, window: int = 5) -> Callable[..., Any]:
    """The objective of `train.row_step` in which the words beside it predict each word.

    Σₜ ℓ(x̄ₜ, wₜ), where x̄ₜ is the mean of input[w_c] over the c that `skip_gram` has. The weight is
    the number of words that have one beside them. (The continuous bag of words.)

    The gradient is that of the mean. The program word2vec leaves out its 1/n: what its rate of 0.05
    does there, some 0.3 does here.
    """

    _check("cbow", output, window)

    def objective(batch: Any, *, key: Key) -> tuple[Any, Callable[[Any], Any]]:
        words = batch["x"]
        near = _near(words, window, keys.child(key, "window"))
        count = near.sum(-1, keepdims=True)
        size = near.shape[1]
        own = jnp.where(count > 0, jnp.eye(size), 0.0)
        read, loss = output(words[:, window : window + size], keys.child(key, "output"))

        def total(rows: Any) -> tuple[jax.Array, jax.Array]:
            x = jnp.einsum("btc,bcd->btd", near / jnp.maximum(count, 1), rows["input"])
            return loss(x, rows["output"], own), own.sum()

        return {"input": words, "output": read}, total

    return objective


def _check(function: str, output: Any, window: int) -> None:
    check_sizes(function, window=window)
    if not callable(output):
        raise TypeError(
            f"{function} got {written(output)} as output, but how a word is predicted is wanted: "
            f"models.{function}(models.negative_sampling(counts))"
        )


def _near(words: jax.Array, window: int, key: Key) -> jax.Array:
    """Which words [B, T, window + T + window] are beside each: 1.0 within a distance drawn."""
    size = words.shape[1] - 2 * window if words.ndim == 2 else 0
    if size < 1:
        raise ValueError(
            f"word2vec: x is {describe(words)}, but stretches of text with {window} words on "
            f"either side are wanted: data.blocks(texts, length=16, halo={window})"
        )
    bits = jax.random.bits(key, (len(words), size, 1))
    reach = (bits % window + 1).astype(jnp.int32)
    distance = jnp.abs(jnp.arange(words.shape[1]) - window - jnp.arange(size)[:, None])
    real = words >= 0
    real = real[:, None] & real[:, window : window + size, None]
    return ((distance > 0) & (distance <= reach) & real).astype(jnp.float32)


# --------------------------------------------------------------------------------------- outputs


@arguments()
def negative_sampling(
    counts: np.ndarray, *, negatives: int = 5, shared: int = 16, power: float = 0.75
) -> Output:
    """ℓ(x, w) = −ln σ(x·output[w]) − Σₖ ln σ(−x·output[nₖ]): w is told from k = negatives others.

    The nₖ are drawn from P(n) ∝ counts[n]^power. Mikolov et al. 2013b, equation 4. Departures: all
    words of a stretch share the same `shared` of them, with the weight negatives / shared, whose
    mean is the same; so the pairs of a stretch are products of matrices. And w itself may be drawn,
    as in the paper; the program passes over it.

    counts: how often each of the V words was seen, [V].
    """
    check_sizes("negative_sampling", negatives=negatives, shared=shared)
    if not 0 <= power < np.inf:
        raise ValueError(f"negative_sampling: power is {power}, but 0 or more is wanted")
    counts = _checked("negative_sampling", counts)
    share = np.cumsum(counts**power)
    edges = np.minimum(share / share[-1] * 2.0**32, 2.0**32 - 1).astype(np.uint32)

    def output(words: jax.Array, key: Key) -> tuple[jax.Array, Callable[..., jax.Array]]:
        words = _known("negative_sampling", words, len(counts))
        bits = jax.random.bits(key, (len(words), shared))
        noise = jnp.searchsorted(jnp.asarray(edges), bits, side="right").astype(jnp.int32)
        size = words.shape[1]

        def loss(x: jax.Array, y: jax.Array, weight: jax.Array) -> jax.Array:
            logits = jnp.einsum("btd,bcd->btc", x, y)
            positive = jnp.sum(weight * _softplus(-logits[..., :size]))
            times = weight.sum(-1, keepdims=True) * (negatives / shared)
            return positive + jnp.sum(times * _softplus(logits[..., size:]))

        return jnp.concatenate([words, noise], 1), loss

    return output


@arguments()
def hierarchical_softmax(counts: np.ndarray) -> Output:
    """ℓ(x, w) = −Σⱼ ln σ(sⱼ x·output[nⱼ]) along w's way down a Huffman tree: −ln P(w | x).

    At the inner node nⱼ the way goes left (sⱼ = 1) with the probability σ(x·output[nⱼ]), so that
    P sums to one over the words; a word costs the length of its way and not V. Mikolov et al.
    2013b, equation 3.

    counts: how often each of the V words was seen, [V].
    """
    counts = _checked("hierarchical_softmax", counts)
    nodes, signs = huffman(counts)

    def output(words: jax.Array, key: Key) -> tuple[jax.Array, Callable[..., jax.Array]]:
        words = _known("hierarchical_softmax", words, len(counts))
        read = jnp.asarray(nodes).at[words].get(mode="fill", fill_value=_NOWHERE)
        sign = jnp.asarray(signs)[words]

        def loss(x: jax.Array, y: jax.Array, weight: jax.Array) -> jax.Array:
            logits = jnp.einsum("btd,bcld->btcl", x, y)
            by_node = jnp.abs(sign)[:, None] * _softplus(-sign[:, None] * logits)
            return jnp.sum(weight * by_node.sum(-1))

        return read, loss

    return output


def _softplus(x: jax.Array) -> jax.Array:
    """−ln σ(−x), whose derivative at 0 is ½. With jax.nn's a run takes a fifth longer."""
    is_positive = x > 0
    return jnp.where(is_positive, x, 0) + jnp.log1p(jnp.exp(jnp.where(is_positive, -x, x)))


def _checked(function: str, counts: Any) -> np.ndarray:
    counts = np.asarray(counts, np.float64)
    is_count = (counts >= 0) & (counts < np.inf)
    if counts.ndim != 1 or len(counts) < 2 or not is_count.all() or not counts.any():
        raise ValueError(
            f"{function}: counts is {list(counts.shape)}, but how often each of two or more words "
            "was seen, [V] numbers ≥ 0, not all 0, is wanted: numpy.bincount(ids, minlength=V)"
        )
    return counts


_NOWHERE = np.iinfo(np.int32).max  # a row that no table has


def _known(function: str, words: Any, count: int) -> jax.Array:
    """`words`; one that was not counted is refused, in a compiled program it has no row."""
    known = valid(function, "x", words, lambda words: words < count, f"counts has {count} words")
    return jnp.where(known, words, _NOWHERE)
