from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

from dlcore import generate, models

V, STEPS, END = 4, 3, 0
LAYER = models.gru_lm(V, 6, 10)
PARAMS, STATE = LAYER.init(jax.random.key(4))
PARAMS = jax.tree.map(lambda leaf: leaf * 4, PARAMS)
PROMPT = np.array([[1, 2], [3, 3], [2, 0]], np.int32)


def sequences():
    """All that end with END, or are of full length."""
    for length in range(1, STEPS + 1):
        for one in itertools.product(range(V), repeat=length):
            if END not in one[:-1] and (length == STEPS or one[-1] == END):
                yield one


def by_enumeration(alpha):
    """For each prompt the sequences by their score, the best first."""
    known = [*sequences()]
    padded = np.array([[*one, *[0] * (STEPS - len(one))] for one in known], np.int32)
    apply = jax.jit(lambda x: jax.nn.log_softmax(LAYER.apply(PARAMS, STATE, x)[0]))
    for prompt in PROMPT:
        text = np.concatenate([np.tile(prompt, (len(known), 1)), padded], 1)
        log_p = np.asarray(apply(text))
        scores = [
            sum(log_p[row, 1 + t, token] for t, token in enumerate(one))
            / ((5 + len(one)) / 6) ** alpha
            for row, one in enumerate(known)
        ]
        order = np.argsort(scores)[::-1]
        yield [known[i] for i in order], np.array(scores)[order]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_with_beams_for_all_it_is_the_best_of_all(alpha):
    beams = V**STEPS
    found = generate.beam_search(
        LAYER, PARAMS, STATE, PROMPT, STEPS, beams=beams, length_penalty=alpha, stop=END, fill=-1
    )
    for row, (wanted, scores) in enumerate(by_enumeration(alpha)):
        np.testing.assert_allclose(found.scores[row, :5], scores[:5], rtol=1e-4)
        for rank in range(5):
            length = found.lengths[row, rank]
            assert tuple(found.tokens[row, rank, :length]) == wanted[rank]
            assert (found.tokens[row, rank, length:] == -1).all()


def test_one_beam_is_the_most_probable_token_each_time():
    one = generate.beam_search(LAYER, PARAMS, STATE, PROMPT, 6, beams=1)
    greedy = generate.sample(LAYER, PARAMS, STATE, PROMPT, 6, temperature=0)
    np.testing.assert_array_equal(one.tokens[:, 0], greedy.tokens)
    total = greedy.log_probabilities.sum(1) / (11 / 6) ** 0.6
    np.testing.assert_allclose(one.scores[:, 0], total, rtol=1e-4)


def test_more_beams_find_no_worse():
    scores = [
        generate.beam_search(LAYER, PARAMS, STATE, PROMPT, 6, beams=beams, stop=END).scores[:, 0]
        for beams in (1, 8)
    ]
    assert (scores[1] >= scores[0] - 1e-5).all()


def test_refuses():
    with pytest.raises(ValueError, match="beam_search needs beams ≥ 1"):
        generate.beam_search(LAYER, PARAMS, STATE, PROMPT, 3, beams=0)
    with pytest.raises(ValueError, match="length_penalty is -1, but ≥ 0"):
        generate.beam_search(LAYER, PARAMS, STATE, PROMPT, 3, length_penalty=-1)
    with pytest.raises(TypeError, match="takes an integer or None as stop, got \\[0\\]: write"):
        generate.beam_search(LAYER, PARAMS, STATE, PROMPT, 3, stop=[0])
    with pytest.raises(TypeError, match="takes a number as length_penalty, got 'a'"):
        generate.beam_search(LAYER, PARAMS, STATE, PROMPT, 3, length_penalty="a")
    with pytest.raises(TypeError, match=r"does not read 'key'\. It reads no side inputs"):
        generate.beam_search(LAYER, PARAMS, STATE, PROMPT, 3, key=jax.random.key(0))
