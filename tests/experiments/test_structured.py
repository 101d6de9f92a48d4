"""The experiment on labels that belong together: its sets, its scores, its claims."""

from __future__ import annotations

import numpy as np
from sklearn import metrics as sk

from experiments.sequences import structured
from tests.experiments.smoke import holds

SETS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0]], bool)


def test_sets_are_numbered_and_what_is_none_of_them_is_told():
    features = np.array([[[1, 1, 0], [0, 0, 0]], [[1, 0, 0], [0, 1, 1]]], bool)
    np.testing.assert_array_equal(structured.numbered(features, SETS), [[2, 0], [1, -1]])


def test_scores_are_scikit_learns_on_the_real_words():
    rng = np.random.default_rng(0)
    test = {
        "mask": rng.random((4, 5)) < 0.7,
        "pos": rng.integers(0, 4, (4, 5)),
        "morphology": SETS[rng.integers(0, 3, (4, 5))],
    }
    real = test["mask"]
    true = test["morphology"][real]
    logits = {"pos": rng.normal(size=(4, 5, 4)), "set": rng.normal(size=(4, 5, 3))}
    found = structured.scored(logits, test, SETS)
    chosen = SETS[logits["set"].argmax(-1)[real]]
    assert found.pos == np.mean(logits["pos"].argmax(-1)[real] == test["pos"][real])
    how = {"zero_division": 0}
    expected = [
        sk.accuracy_score(true, chosen),
        sk.f1_score(true, chosen, average="micro", **how),
        sk.f1_score(true, chosen, average="macro", **how),
        sk.hamming_loss(true, chosen),
        0,
    ]
    np.testing.assert_allclose(found[1:], expected, rtol=1e-6)
    each = structured.scored({"morphology": rng.normal(size=(4, 5, 3))}, test, SETS)
    assert each.pos is None
    assert 0 < each.new < 1
    assert structured.scored({"pos": logits["pos"]}, test, SETS) == structured.Score(found.pos)


def test_claims():
    def measured(together, apart):
        each = structured.Score(None, apart, 0.9, 0.5, 0.1, 1 - apart)
        both = structured.Score(together, together, 0.9, 0.5, 0.1, 0.0)
        scores = {
            structured.POS: [structured.Score(0.9)],
            structured.EACH: [each],
            structured.SETS: [structured.Score(None, 0.9, 0.9, 0.5, 0.1, 0.0)],
            structured.both(0.1): [structured.Score(0.9, 0.8)],
            structured.both(1): [both],
            structured.both(3): [structured.Score(together - 0.01, 0.9)],
        }
        return structured.Measured(scores, 0.01)

    assert holds(structured, measured(0.9, 0.8)) == [True] * 5
    assert holds(structured, measured(0.8, 0.995)) == [False] * 4 + [True]
