"""Chunking: what a linear CRF sees, and what the claims ask for."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.sequences import chunking
from tests.experiments.smoke import holds


def test_a_linear_crf_sees_the_words_about_a_word():
    examples = {"x": np.array([[5, 6, 7, 0]]), "pos": np.array([[1, 2, 3, 0]])}
    first, second, _ = chunking.seen(examples, 0, 3)
    assert {"x0=5", "x1=6", "x-1=<", "x-1=<|5", "x0=5|6", "pos-2=<|<|1", "pos0=1|2|3"} <= {*first}
    assert {"x-1=5", "x0=6", "x1=7", "x2=>", "pos1=3|>", "pos-1=1|2|3"} <= {*second}
    assert len(first) == len(second) == 1 + (5 + 2) + (5 + 4 + 3)


def test_a_difference_is_of_the_same_sentences():
    rng = np.random.default_rng(0)
    there = rng.integers(1, 9, 200).astype(float)
    right = there - rng.integers(0, 2, 200)
    one = np.stack([right, there, there], axis=-1)
    same = chunking.difference(one[None], one[None])
    assert same == chunking.Difference([0.0], 0.0, 0.0)
    better = np.stack([there, there, there], axis=-1)
    found = chunking.difference(np.stack([better, one]), one[None])
    gain = 1 - right.sum() / there.sum()
    np.testing.assert_allclose(found.by_seed, [gain, 0])
    assert 0 < found.low < gain / 2 < found.high


@pytest.mark.parametrize(
    ("crf", "linear", "shared", "expected"),
    [
        (0.94, [0.93], [0.92], [True, True, True, True]),
        (0.93, [0.94], [0.90], [False, True, False, False]),
        (0.94, [], [], [True, True]),  # python-crfsuite is not there, sharing=0
    ],
)
def test_claims_follow_the_measurements(crf, linear, shared, expected):
    f1 = {chunking.CRF: [crf], chunking.SOFTMAX: [0.92]}
    f1 |= {chunking.LINEAR: linear} if linear else {}
    f1 |= {chunking.ALONE: [0.91], chunking.SHARED: shared} if shared else {}
    strict = dict.fromkeys(f1, 0.9)
    assert holds(chunking, chunking.Measured(f1, strict, {}, [])) == expected
