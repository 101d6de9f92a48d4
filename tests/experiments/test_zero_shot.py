"""The experiment on classes without examples: its features, and who is held out."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from dlcore import data
from dlcore.analysis import WordVectors
from dlcore.data import Vocabulary
from experiments.choice import BadInput
from experiments.sequences import word2vec, zero_shot
from tests.experiments import smoke
from tests.experiments.smoke import holds


def test_features_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    picture = rng.random((32, 32, 3), np.float32)
    dictionary = rng.normal(size=(108, 2)).astype(np.float32)
    found = zero_shot.quarters(picture, dictionary)
    sums = np.zeros((2, 2, 2))
    for i in range(0, 27, 2):
        for j in range(0, 27, 2):
            patch = picture[i : i + 6, j : j + 6].astype(float).ravel()
            patch = (patch - patch.mean()) / np.sqrt(patch.var() + 0.001)
            sums[int(i >= 14), int(j >= 14)] += np.maximum(patch @ dictionary - 0.25, 0)
    np.testing.assert_allclose(found, sums.ravel() / 7**2, rtol=1e-4)


def test_a_class_that_was_never_seen_is_found_by_its_name():
    """Features that are the signatures leave no doubt; labels of the unseen are never read."""
    rng = np.random.default_rng(0)
    signatures = np.linalg.qr(rng.normal(size=(8, 8)))[0][:6].astype(np.float32)
    signatures[4:] = signatures[:4].reshape(2, 2, 8).sum(1) / np.sqrt(2)  # like those seen
    y = np.repeat(np.arange(6, dtype=np.int32), 20)
    x = signatures[y] + 0.01 * rng.normal(size=(120, 8)).astype(np.float32)
    pair = zero_shot.held_out(("horse", "ship"), 0, (x, x), (y, y), signatures)
    assert pair.accuracy == 1.0
    moved = np.where(y >= 4, 9 - y, y)  # horse and ship changed about
    learned = zero_shot.held_out(("horse", "ship"), 0, (x, x), (moved, y), signatures)
    assert learned == pair


def test_a_name_of_several_words_lies_between_them():
    vectors = WordVectors(Vocabulary(("polar", "bear")), np.float32([[3, 0], [0, 1]]))
    names = ("polar+bear", "bear", "giant+panda")
    found = zero_shot.of_names(vectors, names)
    np.testing.assert_allclose(found, [[0.5**0.5] * 2, [0, 1], [0, 0]], rtol=1e-6)


def test_an_animal_is_found_where_its_name_says_what_it_is_like():
    """Vectors that are the attributes, turned, leave no doubt; drawn ones are found by chance."""
    rng = np.random.default_rng(0)
    signatures = rng.integers(0, 2, (30, 12)).astype(np.float32)
    turned = signatures @ np.linalg.qr(rng.normal(size=(12, 12)))[0].astype(np.float32)
    unseen = np.arange(30) < 10
    assert zero_shot.identified(turned, signatures, unseen) >= 0.9
    drawn = rng.normal(size=(20, 30, 12)).astype(np.float32)
    assert np.mean([zero_shot.identified(x, signatures, unseen) for x in drawn]) < 0.25


def test_too_few_words_are_refused():
    text = SimpleNamespace(vocabulary=Vocabulary(("dog", "horse")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word2vec, "read", lambda settings: text)
        patch.setattr(word2vec, "ours", lambda text, settings: None)
        patch.setattr(data, "load", lambda name, root: None)
        patch.setattr(data, "animals_with_attributes", smoke.animals)
        with pytest.raises(BadInput, match="only 2 of the animals have a vector: give 1,000,000"):
            zero_shot.run(zero_shot.Config(words=1_000))


def test_claims():
    def pairs(accuracy, unseen, harmonic):
        ways = (0.5, unseen, 0.1), (0.4, 0.4, harmonic)
        return [zero_shot.Pair(names, 0, accuracy, *ways) for names in zero_shot.PAIRS]

    good = zero_shot.Measured(pairs(0.6, 0.05, 0.4), [0.3], [0.3], 31, 6)
    assert holds(zero_shot, good) == [True] * 5
    bad = zero_shot.Measured(pairs(0.5, 0.2, 0.1), [0.1], [0.3], 31, 6)
    assert holds(zero_shot, bad) == [False] * 5
