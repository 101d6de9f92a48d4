from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore.data import DataError, Vocabulary, vocabulary
from tests.budget import examples


@given(tokens=st.lists(st.sampled_from("abcdefg")), minimum=st.integers(1, 3))
@examples(60)
def test_the_most_frequent_come_first(tokens, minimum):
    counts = Counter(tokens)
    known = vocabulary(tokens, minimum=minimum, first=["<pad>"], unknown="<unk>")
    assert known.tokens[:2] == ("<pad>", "<unk>")
    assert {*known.tokens[2:]} == {token for token in counts if counts[token] >= minimum}
    found = [counts[token] for token in known.tokens[2:]]
    assert found == sorted(found, reverse=True)
    wanted = [token if counts[token] >= minimum else "<unk>" for token in tokens]
    assert known.decode(known.encode(tokens)) == wanted


def test_size_counts_what_comes_first():
    known = vocabulary("aaabbc", size=3, unknown="?")
    assert known.tokens == ("?", "a", "b")
    assert repr(known) == "Vocabulary(3 tokens: '?', 'a', 'b', unknown='?')"
    np.testing.assert_array_equal(known.encode("cab"), [0, 1, 2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Vocabulary(()), "at least one token"),
        (lambda: Vocabulary((1, 2)), "all of them are texts"),
        (lambda: Vocabulary(("a", "b", "a")), "each token once, but 'a' is there again"),
        (lambda: Vocabulary(("a",), unknown="u"), "unknown='u' is none"),
        (lambda: Vocabulary(("a",)).encode("ab"), "'b' is none of the 1 tokens"),
        (lambda: Vocabulary(("a",)).encode(iter("ab")), "'b' is none of the 1 tokens"),
        (lambda: Vocabulary(("a",)).decode([0, -1]), "-1 is no number of a token"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(DataError, match=message):
        call()


@pytest.mark.parametrize("numbers", [[0.5], [[0]], 0, "a"])
def test_refuses_what_are_no_numbers(numbers):
    with pytest.raises(TypeError, match="decode: the numbers of tokens are integers"):
        Vocabulary(("a",)).decode(numbers)
    assert Vocabulary(("a",)).decode([]) == []


def test_other_libraries_words_are_corrected():
    with pytest.raises(TypeError, match=r"vocabulary has no min_count: write data.vocabulary"):
        vocabulary("aab", min_count=2)
