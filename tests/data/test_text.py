from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore import data
from dlcore.data import DataError, text
from tests.budget import examples

PLAY = "First Citizen:\nBefore we proceed any further, hear me speak.\n" * 5


@pytest.fixture
def play(tmp_path, monkeypatch):
    """A file in the place of the real one."""
    (tmp_path / "input.txt").write_text(PLAY)
    monkeypatch.setattr(text, "SHA256", hashlib.sha256(PLAY.encode()).hexdigest())
    return tmp_path


def test_the_last_tenth_is_for_validation(play):
    corpus = data.tiny_shakespeare(play)
    assert corpus.train + corpus.validation == PLAY
    assert len(corpus.train) == int(0.9 * len(PLAY))
    assert repr(corpus).startswith("Corpus tiny_shakespeare: 274 and 31 characters")


def test_another_file_is_refused(play):
    (play / "input.txt").write_text(PLAY.replace("we", "he"))
    with pytest.raises(DataError, match=r"input.txt: the content is not tiny Shakespeare's"):
        data.tiny_shakespeare(play)


def test_the_real_one(shared_data):
    corpus = data.tiny_shakespeare(shared_data)
    assert (len(corpus.train), len(corpus.validation)) == (1_003_854, 111_540)
    assert len(data.characters(corpus.train + corpus.validation)) == 65


@given(count=st.integers(2, 30), length=st.integers(1, 29), stride=st.none() | st.integers(1, 9))
@examples(60)
def test_windows_are_what_lies_there_and_what_follows(count, length, stride):
    numbers = np.arange(count) * 3
    if count <= length:
        with pytest.raises(DataError, match="need more than"):
            data.windows(numbers, length, stride=stride)
        return
    windows = data.windows(numbers, length, stride=stride)
    starts = range(0, count - length, stride or length)
    np.testing.assert_array_equal(windows["x"], [numbers[i : i + length] for i in starts])
    np.testing.assert_array_equal(windows["y"], [numbers[i + 1 : i + 1 + length] for i in starts])


@given(count=st.integers(2, 30), length=st.integers(1, 9))
@examples(40)
def test_padding_leaves_nothing_over(count, length):
    numbers = np.arange(1, count + 1)
    windows = data.windows(numbers, length, padding=0)
    real = windows["weight"] > 0
    np.testing.assert_array_equal(windows["x"][real], numbers[:-1])
    np.testing.assert_array_equal(windows["y"][real], numbers[1:])
    assert not windows["x"][~real].any()
    assert (~real).sum() < length


def test_windows_by_streams_follow_each_other():
    windows = data.windows(np.arange(41), 5)
    first, second, *_ = data.streams(len(windows["x"]), 2, 0, 0)
    np.testing.assert_array_equal(windows["x"][second, 0], windows["y"][first, -1])


def test_views_are_no_copies_and_host_data():
    numbers = np.arange(100, dtype=np.int32)
    windows = data.windows(numbers, 10, stride=1)
    assert np.shares_memory(windows["x"], numbers)
    batch = data.HostData(windows).gather(np.array([3, 89]))
    np.testing.assert_array_equal(batch["y"][:, 0], [4, 90])


def test_refuses():
    with pytest.raises(TypeError, match=r"windows: integers \[T\] are wanted, got float64\[3\]"):
        data.windows(np.ones(3), 1)
    with pytest.raises(ValueError, match="length=0"):
        data.windows([1, 2], 0)
    with pytest.raises(ValueError, match="follow each other: no stride"):
        data.windows([1, 2], 1, stride=1, padding=0)
    with pytest.raises(DataError, match="need 2 numbers at least, got 1"):
        data.windows([1], 1, padding=0)
