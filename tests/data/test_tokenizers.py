from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore import data
from dlcore.data import DataError
from tests.budget import examples

TEXT = (
    "To be, or not to be: that is the question.\n\n  Whether 'tis nobler — in the mind to suffer "
)
ALL = st.characters(exclude_categories=["Cs"])  # a half of a surrogate pair is no text


@pytest.fixture(scope="module")
def pairs():
    pytest.importorskip("tokenizers", reason="skipped, because tokenizers is not installed")
    return data.byte_pairs([TEXT, TEXT], 300)


@given(text=st.text(ALL))
@examples(100)
def test_byte_pairs_lose_nothing_of_any_text(pairs, text):
    numbers = pairs.encode(text)
    assert numbers.dtype == np.int32
    assert pairs.decode(numbers) == text


@given(text=st.text(st.sampled_from(TEXT)))
@examples(100)
def test_characters_lose_nothing_of_their_text(text):
    letters = data.characters(TEXT)
    assert letters.decode(letters.encode(text)) == text
    assert len(letters.encode(text)) == len(text)


@given(text=st.text(ALL))
@examples(100)
def test_words_cut_any_text_without_loss(text):
    words = data.words(text) if text else data.words("a")
    assert words.decode(words.encode(text)) == text


def test_byte_pairs_join_what_is_frequent(pairs):
    letters = len(TEXT.encode())
    assert len(pairs.encode(TEXT)) < 0.7 * letters
    assert len(pairs) == 300
    assert len(pairs.tokens) == 300


def test_words_that_are_not_known_are_told():
    words = data.words("a b b c c c", size=3)
    assert words.tokens == ("<unk>", " c", " b")
    assert words.decode(words.encode("a b c d")) == "<unk> b c<unk>"
    with pytest.raises(DataError, match="'d' is none of the 3 tokens"):
        data.characters("abc").encode("abcd")


def test_numbers_beyond_and_other_words_are_refused(pairs):
    with pytest.raises(DataError, match="300 is no number of a token: there are 300"):
        pairs.decode([300])
    with pytest.raises(TypeError, match=r"byte_pairs has no vocab_size: write data.byte_pairs\("):
        data.byte_pairs(TEXT, vocab_size=300)


def test_a_description_is_json_and_enough(pairs):
    for one in (data.characters(TEXT), data.words(TEXT), pairs):
        again = data.tokenizer(json.loads(json.dumps(one.description)))
        np.testing.assert_array_equal(again.encode(TEXT), one.encode(TEXT))
        assert again.tokens == one.tokens
        assert repr(again) == repr(one)


def test_a_damaged_description_is_refused():
    for description in ({}, {"kind": "runes"}, {"kind": "characters"}, {"kind": "byte pairs"}):
        with pytest.raises(DataError, match="describes no tokenizer"):
            data.tokenizer(description)
    with pytest.raises(DataError, match="each token once"):
        data.tokenizer({"kind": "characters", "tokens": ["a", "a"]})


@pytest.mark.parametrize("names", [("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")])
def test_gpt2s_files(pairs, names, tmp_path):
    inner = json.loads(pairs.description["json"])["model"]
    (tmp_path / names[0]).write_text(json.dumps(inner["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in inner["merges"])
    (tmp_path / names[1]).write_text(f"#version: 0.2\n{merges}\n")
    read = data.gpt2(tmp_path)
    np.testing.assert_array_equal(read.encode(TEXT), pairs.encode(TEXT))
    (tmp_path / names[0]).write_text("{")
    with pytest.raises(DataError, match="no tokenizer of byte pairs"):
        data.gpt2(tmp_path)
    (tmp_path / names[0]).unlink()
    with pytest.raises(DataError, match=r"vocab\.json and merges\.txt are wanted"):
        data.gpt2(tmp_path)
