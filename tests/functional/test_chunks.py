"""Chunks beside conlleval's own way: word by word, as its published rules say."""

from __future__ import annotations

import functools
import itertools

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore import functional as F
from tests.budget import examples

NAMES = ("O", "B-X", "I-X", "B-YZ", "I-YZ")
B, T = 6, 7


def begins(last, tag):
    """conlleval's startOfChunk, of IOB tags: (letter, type) before, and here."""
    return tag[0] == "B" or (tag[0] == "I" and (last[0] == "O" or last[1] != tag[1]))


def ends(last, tag):
    """conlleval's endOfChunk: whether the chunk of the word before ends before this one."""
    return last[0] in "BI" and (tag[0] in "BO" or last[1] != tag[1])


def parted(name):
    letter, _, kind = name.partition("-")
    return letter, kind


def conlleval(labels, predictions):
    """[right, found, there], counted as the script does: one pass over the words."""
    right = found = there = 0
    inside = False
    last = [("O", ""), ("O", "")]
    for words in [*zip(labels, predictions, strict=True), ("O", "O")]:
        here = [parted(word) for word in words]
        ended = [ends(*pair) for pair in zip(last, here, strict=True)]
        begun = [begins(*pair) for pair in zip(last, here, strict=True)]
        if inside and all(ended) and last[0][1] == last[1][1]:
            inside, right = False, right + 1
        elif inside and (ended[0] != ended[1] or here[0][1] != here[1][1]):
            inside = False
        if all(begun) and here[0][1] == here[1][1]:
            inside = True
        there, found = there + begun[0], found + begun[1]
        last = here
    return right, found, there


def strict_chunks(tags):
    """{(type, begin, end)}: a B and the I of its type that follow."""
    chunks = set()
    for begin, tag in enumerate(tags):
        if tag[0] == "B":
            end = begin + 1
            while end < len(tags) and tags[end] == f"I-{tag[2:]}":
                end += 1
            chunks.add((tag[2:], begin, end))
    return chunks


@jax.jit
def counted(predictions, labels, mask):
    both = [F.chunk_counts(predictions, labels, NAMES, mask, strict=one) for one in (False, True)]
    return both, F.chunk_f1(both[0])


@given(seed=st.integers(0, 2**16), agreement=st.sampled_from([0.0, 0.6, 0.9]))
@examples(100)
def test_counts_are_conllevals_and_strict_ones_those_of_sets(seed, agreement):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(NAMES), (B, T)).astype(np.int32)
    other = rng.integers(0, len(NAMES), (B, T)).astype(np.int32)
    predictions = np.where(rng.random((B, T)) < agreement, labels, other)
    mask = rng.random((B, T)) < 0.8  # with gaps
    (lenient, strict), f1 = jax.device_get(counted(predictions, labels, mask))
    expected, sets = np.zeros(3), np.zeros(3)
    for row in range(B):
        truth, guess = (
            [NAMES[tag] for tag in tags[row][mask[row]]] for tags in (labels, predictions)
        )
        expected += conlleval(truth, guess)
        found, there = strict_chunks(guess), strict_chunks(truth)
        sets += len(found & there), len(found), len(there)
    assert lenient.tolist() == expected.tolist()
    assert strict.tolist() == sets.tolist()
    np.testing.assert_allclose(f1, 2 * expected[0] / max(expected[1:].sum(), 1), rtol=1e-6)


def test_known_sentences():
    """An I that goes on with nothing is a chunk by conlleval, and none in strict IOB2."""

    counts = jax.jit(functools.partial(F.chunk_counts, names=NAMES), static_argnames="strict")

    def count(predictions, labels, strict=False):
        tags = [
            np.array([[NAMES.index(one) for one in tags.split()]], np.int32)
            for tags in (predictions, labels)
        ]
        return counts(*tags, strict=strict).tolist()

    assert count("I-X I-X O", "B-X I-X O") == [1, 1, 1]
    assert count("I-X I-X O", "B-X I-X O", strict=True) == [0, 0, 1]
    assert count("B-X I-YZ I-YZ", "B-X B-YZ I-YZ") == [2, 2, 2]
    assert count("B-X B-X O", "B-X I-X O") == [0, 2, 1]
    assert count("O O O", "O O O") == [0, 0, 0]
    assert float(F.chunk_f1([0, 0, 0])) == 0


def test_iob2_allows_what_its_definition_says():
    transitions, start = F.iob2_allowed(NAMES)
    for (i, one), (j, two) in itertools.product(enumerate(NAMES), repeat=2):
        assert transitions[i, j] == (two[0] != "I" or (one != "O" and one[2:] == two[2:]))
        assert start[j] == (two[0] != "I")


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: F.iob2_allowed(["O", "X"]), "'X' is no tag of IOB2"),
        (lambda: F.iob2_allowed(["B-"]), "'B-' is no tag of IOB2"),
        (
            lambda: F.chunk_counts(np.zeros(3, np.int32), np.zeros(3, np.int32), NAMES),
            r"\[B, T\], got \[3\]",
        ),
        (lambda: F.chunk_counts(np.zeros((1, 3), int), np.zeros((1, 2), int), NAMES), "differ in"),
    ],
)
def test_refuses(call, told):
    with pytest.raises(ValueError, match=told):
        call()
