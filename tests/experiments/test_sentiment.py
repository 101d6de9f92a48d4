"""Texts told apart: the linear baseline, and what the claims ask for."""

from __future__ import annotations

import pytest

from dlcore import data
from experiments.sequences import sentiment
from tests.experiments.smoke import holds, told_apart


def test_logistic_regression_finds_the_words_that_tell():
    """Where each class has a word of its own."""
    texts = told_apart("questions")
    assert isinstance(texts, data.LabelledTexts)
    own = {
        split: {**getattr(texts, split), "x": 2 + getattr(texts, split)["y"][:, None].repeat(4, 1)}
        for split in ("train", "validation", "test")
    }
    assert sentiment.linear(texts._replace(**own)) == 1
    assert sentiment.cut(texts.train, 2)["x"].shape == (80, 2)


@pytest.mark.parametrize(
    ("opinions", "questions", "expected"),
    [
        ([0.77, 0.78, 0.77], [0.82, 0.86, 0.84], [True] * 5),
        ([0.70, 0.74, 0.7], [0.87, 0.86, 0.84], [False, False, False, False, True]),
        ([0.77, 0.78, 0.77], [0.70, 0.72, 0.69], [True, True, True, False, False]),
        ([0.77], [0.7], []),
    ],
)
def test_claims(opinions, questions, expected):
    def scores(means):
        named = dict(zip(sentiment.KINDS, means, strict=False))
        return {sentiment.LINEAR: [0.83], **{kind: [mean, mean] for kind, mean in named.items()}}

    measured = {"sentence_polarity": scores(opinions), "questions": scores(questions)}
    assert holds(sentiment, measured) == expected
