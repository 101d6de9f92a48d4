"""Pronunciation: what of attention is measured, and what the claims ask for."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.choice import BadInput
from experiments.sequences import pronunciation
from experiments.sequences.pronunciation import Measured, Score
from tests.experiments.smoke import holds, spoken


def test_what_moves_on_is_monotone():
    """Each step a place further, backwards, and where all look at the same two places in turn."""
    assert pronunciation.monotony(np.eye(5)) == pytest.approx(1)
    assert pronunciation.monotony(np.eye(5)[::-1]) == pytest.approx(-1)
    assert abs(pronunciation.monotony(np.eye(2)[[0, 1, 0, 1, 0]])) < 0.1


def test_words_that_are_too_long_are_left_out():
    """And what is left is cut: one step more is written than read, the end."""
    config = pronunciation.Config(letters=3)
    arrays, words = pronunciation.short(spoken(), "test", config)
    assert len(words) == 64
    assert arrays["source"].shape == (64, 3)
    assert arrays["x"].shape == (64, 4)
    longer = spoken()._replace(test={**spoken().test, "mask": np.arange(64)[:, None] < [9] * 4})
    assert pronunciation.short(longer, "test", config)[1] == words


def test_the_end_is_no_phoneme_and_the_nearest_right_one_counts():
    assert pronunciation.ended(np.array([5, 6, 2])).tolist() == [5, 6]
    score = pronunciation.scored([["A", "B"], ["C"]], [(("A",), ("A", "B")), (("C", "D"),)])
    assert score == Score(1 / 4, 1 / 2)


@pytest.mark.parametrize(
    ("changes", "correlation", "expected"),
    [
        ({}, 0.95, [True] * 5),
        ({"additive": Score(0.2, 0.4)}, 0.5, [False, False, False, False, True]),
        ({"additive, beams": Score(0.1, 0.5)}, 0.95, [True, True, True, True, False]),
    ],
)
def test_claims(changes, correlation, expected):
    scores = {
        "additive": Score(0.1, 0.4),
        "additive, beams": Score(0.1, 0.39),
        "multiplicative": Score(0.11, 0.4),
        "no attention": Score(0.15, 0.5),
        **changes,
    }
    assert holds(pronunciation, Measured(scores, correlation, [])) == expected
    alone = {name: score for name, score in scores.items() if name.startswith("additive")}
    assert len(holds(pronunciation, Measured(alone, correlation, []))) == 3


def test_additive_attention_is_what_others_are_compared_with():
    with pytest.raises(BadInput, match="networks needs additive"):
        pronunciation.Config(networks=("transformer",))
