from __future__ import annotations

import functools
import importlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dlcore import data, keys, models, nn, optim, train
from dlcore.models._huffman import huffman
from tests.budget import examples

module = importlib.import_module("dlcore.models.word2vec")

WINDOW, SHARED, NEGATIVES, WORDS, FEATURES = 2, 3, 5, 9, 4
COUNTS = np.array([40, 20, 9, 7, 5, 4, 3, 2, 1])
OUTPUTS = {
    "negative sampling": models.negative_sampling(COUNTS, negatives=NEGATIVES, shared=SHARED),
    "hierarchical softmax": models.hierarchical_softmax(COUNTS),
}
CONTEXTS = {"skip-gram": models.skip_gram, "cbow": models.cbow}
EVERY = list(itertools.product(CONTEXTS, OUTPUTS))


def key():
    return jax.random.key(3)


def stretches():
    """Three texts of 7, 1 and 4 words, in stretches of 5."""
    rng = np.random.default_rng(0)
    return data.blocks([rng.integers(0, WORDS, size) for size in (7, 1, 4)], 5, WINDOW)


def tables(seed=1):
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(size=(WORDS, FEATURES)).astype(np.float32) for name in ("input", "output")
    }


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@functools.cache
def drawn():
    """The windows and the noise that the objectives draw by the key."""
    x = stretches()

    @jax.jit
    def draw(x):
        near = module._near(x, WINDOW, keys.child(key(), "window"))
        return near, OUTPUTS["negative sampling"](x, keys.child(key(), "output"))[0]

    near, rows = map(np.asarray, draw(x))
    return near, rows[:, x.shape[1] :]


def pairs():
    """(stretch, places of the words beside, place) of every word that has some."""
    near, _ = drawn()
    for b, t in itertools.product(range(near.shape[0]), range(near.shape[1])):
        if near[b, t].any():
            yield b, np.flatnonzero(near[b, t]), t + WINDOW


def predictions(context):
    """(stretch, the words whose mean predicts, the word predicted), one by one."""
    x = stretches()
    for b, beside, t in pairs():
        if context == "cbow":
            yield b, x[b, beside], x[b, t]
        else:
            yield from ((b, x[b, [t]], x[b, c]) for c in beside)


def told_apart(output, b, word):
    """(rows of the output table, +1 where they should be near, weight), one by one."""
    if output == "hierarchical softmax":
        nodes, signs = huffman(COUNTS)
        return [(n, s, 1.0) for n, s in zip(nodes[word], signs[word], strict=True) if s]
    noise = drawn()[1][b]
    return [(word, 1, 1.0), *((n, -1, NEGATIVES / SHARED) for n in noise)]


def plain(context, output, params):
    """The loss, pair by pair, and the gradient as the program word2vec writes it by hand."""
    params = {name: table.astype(np.float64) for name, table in params.items()}
    loss, grads = 0.0, {name: np.zeros_like(table) for name, table in params.items()}
    for b, predicting, word in predictions(context):
        x = params["input"][predicting].mean(0)
        for row, sign, weight in told_apart(output, b, word):
            logit = sign * (x @ params["output"][row])
            loss -= weight * np.log(sigmoid(logit))
            slope = -sign * weight * sigmoid(-logit)
            for one in predicting:
                grads["input"][one] += slope * params["output"][row] / len(predicting)
            grads["output"][row] += slope * x
    return loss, grads


@pytest.mark.parametrize(("context", "output"), EVERY)
@pytest.mark.parametrize("start", ["drawn", "zero"])
def test_loss_and_gradient_are_those_of_every_pair(context, output, start):
    """At logits of 0 too, where every run begins."""
    objective = CONTEXTS[context](OUTPUTS[output], window=WINDOW)
    params = tables()
    if start == "zero":
        params["output"] *= 0

    loss, grads, weight = jax.jit(functools.partial(dense, objective))(params)
    expected, by_hand = plain(context, output, params)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for name in grads:
        np.testing.assert_allclose(grads[name], by_hand[name], rtol=1e-4, atol=1e-5)
    assert weight == len([*predictions(context)])


def dense(objective, params):
    """(loss, gradient by whole tables, weight)"""

    def loss(params):
        rows, of_rows = objective({"x": jnp.asarray(stretches())}, key=key())
        return of_rows({name: params[name][rows[name]] for name in rows})

    (total, weight), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return total, grads, weight


def test_windows_reach_as_far_as_is_drawn():
    """Evenly from 1 to the window, on both sides alike, and to no place outside of the text."""
    text = np.arange(20_000, dtype=np.int32) % WORDS
    near = np.asarray(jax.jit(lambda x: module._near(x, 4, key()))(data.blocks([text], 10, 4)))
    inner = near[1:-1].reshape(-1, 10, 18)
    sides = np.stack([inner[:, t, t : t + 9] for t in range(10)], 1)
    assert not sides[..., 4].any()
    np.testing.assert_array_equal(sides, sides[..., ::-1])
    reach = sides[..., 5:].sum(-1).astype(int)
    np.testing.assert_array_equal(sides[..., 5:], np.arange(4) < reach[..., None])
    assert stats.chisquare(np.bincount(reach.ravel())[1:]).pvalue > 1e-3
    assert near[0, 0, :4].sum() == 0


def noise_counts(output):
    rows = jax.jit(lambda words: output(words, key())[0])(np.zeros((1, 1), np.int32))
    return np.bincount(np.asarray(rows)[0, 1:], minlength=WORDS)


def test_noise_is_drawn_by_the_power_of_the_counts():
    seen = noise_counts(models.negative_sampling(COUNTS, shared=40_000, power=0.75))
    expected = COUNTS**0.75 / np.sum(COUNTS**0.75) * seen.sum()
    assert stats.chisquare(seen, expected).pvalue > 1e-3


def test_a_word_never_seen_is_no_noise():
    seen = noise_counts(models.negative_sampling([0, 3, 0, 1, 0], shared=4_000))
    assert np.flatnonzero(seen).tolist() == [1, 3]


# --------------------------------------------------------------------------- hierarchical softmax


def test_probabilities_of_the_tree_sum_to_one():
    x = np.random.default_rng(0).normal(size=(1, 1, FEATURES)).astype(np.float32)

    @jax.jit
    def likelihoods(table):
        rows, loss = OUTPUTS["hierarchical softmax"](jnp.arange(WORDS)[None], key())
        return jax.vmap(lambda w: jnp.exp(-loss(x, table[rows], w[None, None])))(jnp.eye(WORDS))

    total = np.asarray(likelihoods(3 * tables()["output"]))
    np.testing.assert_allclose(total.sum(), 1, rtol=1e-5)
    assert total.min() >= 0


@functools.cache
def cheapest(counts):
    """The least Σ count · length over all trees: whichever two are joined first."""
    if len(counts) == 1:
        return 0
    costs = []
    for i, j in itertools.combinations(range(len(counts)), 2):
        rest = [count for k, count in enumerate(counts) if k not in (i, j)]
        joined = counts[i] + counts[j]
        costs.append(joined + cheapest(tuple(sorted([*rest, joined]))))
    return min(costs)


@examples(40)
@given(st.lists(st.integers(0, 30), min_size=2, max_size=6))
def test_no_tree_is_cheaper_than_huffmans(counts):
    nodes, signs = huffman(counts)
    lengths = np.abs(signs).sum(1)
    assert counts @ lengths == cheapest(tuple(sorted(counts)))
    assert np.sum(2.0**-lengths) == 1
    ways = {
        tuple((int(n), int(s)) for n, s in zip(*way, strict=True) if s)
        for way in zip(nodes, signs, strict=True)
    }
    assert len(ways) == len(counts)
    assert {n for way in ways for n, _ in way} == set(range(len(counts) - 1))
    assert (nodes[:, 0] == len(counts) - 2).all()


# --------------------------------------------------------------------------------- layer and runs


def begin(context="skip-gram", output="negative sampling", rate=0.05):
    step = train.row_step(CONTEXTS[context](OUTPUTS[output], window=WINDOW), rate)
    return step, train.train_state(models.word2vec(WORDS, FEATURES), optax.identity(), seed=4)


def test_the_layer_reads_its_first_table():
    layer = models.word2vec(WORDS, FEATURES)
    params, state = layer.init(jax.random.key(0))
    assert np.abs(params["input"]).max() <= 0.5 / FEATURES
    assert np.abs(params["input"]).max() > 0.4 / FEATURES
    assert not params["output"].any()
    y, _ = layer.apply(params, state, np.array([[3, 0]]))
    np.testing.assert_array_equal(y, params["input"][np.array([[3, 0]])])
    assert np.isnan(layer.apply(params, state, np.array([-1, WORDS]))[0]).all()


def test_a_run_resumes_to_the_same_bits(tmp_path):
    step, state = begin(rate=optim.linear(0.05, 0.001, 9))
    how = {"batch_size": 2, "out": tmp_path, "visible": False}
    batch = {"x": stretches()}
    train.run(step, state, batch, epochs=2, **how)
    resumed = train.run(step, state, batch, epochs=4, resume=True, **how).state
    whole = train.run(step, state, batch, epochs=4, **how | {"out": None}).state
    assert resumed.step == whole.step == 8
    for name in ("input", "output"):
        np.testing.assert_array_equal(resumed.params[name], whole.params[name])
        assert not np.array_equal(whole.params[name], state.params[name])


def test_validation_is_a_function_of_the_state():
    step, state = begin()
    x = {"x": stretches()}
    with pytest.raises(TypeError, match="no objective of its own: let `validation` be a function"):
        [*train.fit(step, state, x, epochs=1, batch_size=2, validation=x)]

    def measure(state):
        return {"length": float(jnp.abs(state.params["output"]).max())}

    (record,) = train.fit(step, state, x, epochs=1, batch_size=2, validation=measure)
    assert record.validation["length"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(("context", "output"), EVERY)
def test_learns_which_words_stand_together(context, output):
    """Words of one kind stand among their own, never among the other's: even or odd."""
    rng = np.random.default_rng(0)
    texts = [2 * rng.integers(0, 20, 60) + kind for kind in (0, 1) for _ in range(60)]
    counts = np.bincount(np.concatenate(texts))
    outputs = {"negative sampling": models.negative_sampling, "hierarchical softmax": tree}
    step = train.row_step(CONTEXTS[context](outputs[output](counts), window=3), 0.05)
    state = train.train_state(models.word2vec(40, 6), optax.identity())
    first, *_, last = train.fit(
        step, state, {"x": data.blocks(texts, 10, 3)}, epochs=20, batch_size=2
    )
    assert last.metrics["loss"] < first.metrics["loss"]
    vectors = np.asarray(last.state.params["input"])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    is_same = np.equal.outer(np.arange(40) % 2, np.arange(40) % 2)
    assert cosines[is_same].mean() > cosines[~is_same].mean() + 0.3


tree = models.hierarchical_softmax


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.word2vec(0, 3), "word2vec needs vocabulary ≥ 1"),
        (lambda: models.negative_sampling([3]), "how often each of two or more words"),
        (lambda: models.negative_sampling(COUNTS, shared=0), "negative_sampling needs shared ≥ 1"),
        (lambda: models.hierarchical_softmax([3, -1]), "how often each of two or more words"),
        (lambda: models.word2vec(9, vector_size=3), "write models.word2vec\\(9, features=3\\)"),
        (
            lambda: models.negative_sampling(COUNTS, negative=2),
            "write models.negative_sampling\\(.*negatives=2\\)",
        ),
        (lambda: models.negative_sampling([0, 0]), "negative_sampling: counts is .*, not all 0"),
        (
            lambda: models.negative_sampling(COUNTS, power=-1),
            "power is -1, but 0 or more is wanted",
        ),
        (lambda: models.negative_sampling(COUNTS, power="a"), "takes a number as power, got 'a'"),
        (lambda: models.skip_gram(tree(COUNTS), window=0), "skip_gram needs window ≥ 1"),
        (lambda: models.skip_gram(COUNTS), r"skip_gram\(models.negative_sampling\(counts\)\)"),
        (
            lambda: models.cbow(tree(COUNTS), window=1)({"x": np.full((1, 3), 99)}, key=key()),
            r"hierarchical_softmax: x\[0, 0\] is 99, but counts has",
        ),
        (lambda: models.skip_gram(), "skip_gram needs output: write models.skip_gram"),
        (
            lambda: models.cbow(tree(COUNTS))({"x": jnp.zeros((2, 10), jnp.int32)}, key=key()),
            r"x is int32\[2, 10\], but stretches of text with 5 words on either side are wanted",
        ),
        (
            lambda: models.word2vec(2, 2).apply(*models.word2vec(2, 2).init(key()), np.ones(2)),
            "word2vec expected integers, got float64",
        ),
    ],
)
def test_refuses(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_it_is_a_layer_among_others():
    assert isinstance(models.word2vec(3, 2), nn.Layer)
    assert "word2vec(vocabulary=3, features=2)" in repr(models.word2vec(3, 2))
