"""The experiment on word vectors: what its claims ask for, and what it reads."""

from __future__ import annotations

import numpy as np
import pytest

from dlcore import data
from experiments.sequences import word2vec, zero_shot
from tests.experiments.smoke import holds


def learned(library, seconds, scores, grammar):
    spearman = dict(zip(word2vec.SETS.values(), scores, strict=True))
    sections = {"family": (1, 1), "gram1": (grammar, 100), "gram2": (0, 100)}
    return word2vec.Learned(library, 0, seconds, spearman, sections)


def measured(*learned):
    return word2vec.Measured(1_000, 10, list(learned), {}, {})


def test_claims_follow_the_measurements():
    own = learned("dlcore", 1.0, (0.3, 0.3, 0.2), 20)
    assert own.grammar == 0.1
    peer = learned("gensim", 4.0, (0.31, 0.31, 0.21), 22)
    assert holds(word2vec, measured(own, peer)) == [True] * 7
    better = learned("gensim", 2.0, (0.4, 0.4, 0.3), 60)
    assert holds(word2vec, measured(own, better)) == [True] * 2 + [False] * 5
    assert holds(word2vec, measured(learned("dlcore", 1.0, (0, -0.1, 0), 1))) == [False] * 2


def test_as_many_words_are_read_as_are_asked_for(monkeypatch):
    texts = {"a": "to be or not to be", "b": "to be to be to be", "c": "to be"}
    monkeypatch.setattr(data, "novels", lambda root: texts)
    text = word2vec.read(word2vec.Config(words=1_000))
    assert text.vocabulary.tokens == ("to", "be")
    assert [one.tolist() for one in text.novels] == [[0, 1, 0, 1], [0, 1] * 3, [0, 1]]
    np.testing.assert_array_equal(text.counts, [6, 6])
    assert [*word2vec.opened(None, 8)] == [texts["a"].split(), ["to", "be"], []]


@pytest.mark.slow
def test_the_smoke_form_reads_what_it_says(smoke):
    result = smoke("word2vec")
    assert {one.library for one in result.measured.learned} >= {"dlcore"}
    assert result.measured.words == 2_000
    words = {*" ".join(word2vec.MAP.values()).split(), *zero_shot.CLASSES}
    assert result.measured.vocabulary == len(words)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"words": 10}, "words must be at least 1000"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be more than 0"),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        word2vec.Config(**settings)
