from __future__ import annotations

import os
import threading
import zlib
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dlcore import data
from dlcore.data import HostData, batching
from dlcore.data.batching import BatchError
from tests.budget import examples

SEEDS = st.integers(0, 2**32 - 1)
EPOCHS = st.integers(0, 2**31 - 1)


@given(n=st.integers(1, 200), seed=SEEDS, epoch=EPOCHS)
@examples(100)
def test_order_is_a_permutation(n, seed, epoch):
    order = data.order(n, seed, epoch)
    assert order.dtype == np.int32
    assert sorted(order.tolist()) == list(range(n))


def test_order_of_very_many():
    n = 2**20 + 3
    order = data.order(n, 1, 1)
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    assert abs(np.corrcoef(order, np.arange(n))[0, 1]) < 0.01


@given(first=st.tuples(SEEDS, EPOCHS), second=st.tuples(SEEDS, EPOCHS))
@examples(100)
def test_order_is_a_function_of_seed_and_epoch(first, second):
    a, b = (data.order(64, seed, epoch) for seed, epoch in (first, second))
    assert np.array_equal(a, b) == (first == second)
    np.testing.assert_array_equal(a, data.order(64, np.uint32(first[0]), first[1]))


def test_order_is_sorted_random_bits():
    """NumPy keeps the stream of a bit generator; a run that is resumed depends on it."""
    n, epoch = 10, 3
    drawn = np.random.Philox(key=[7, zlib.crc32(b"data")])
    bits = [drawn.random_raw(12) for _ in range(epoch + 1)][epoch][:n]
    assert data.order(n, 7, epoch).tolist() == np.argsort(bits >> np.uint64(4)).tolist()
    assert data.order(10, 7, 3).tolist() == [6, 8, 5, 7, 4, 2, 0, 3, 1, 9]


def test_every_order_is_as_likely():
    orders = [data.order(4, 0, epoch) for epoch in range(2_400)]
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("n", [1, 2, 7, 12])
def test_batches_of_several_epochs_are_those_of_each(n):
    together = data.batches(n, 1, 5, 2, epochs=3)
    one_by_one = np.concatenate([data.batches(n, 1, 5, epoch) for epoch in (2, 3, 4)])
    np.testing.assert_array_equal(together, one_by_one)


@pytest.mark.parametrize(("n", "batch_size"), [(10, 3), (12, 4), (7, 7), (5, 1)])
def test_batches_are_the_order_in_rows(n, batch_size):
    rows = data.batches(n, batch_size, 1, 2)
    order = data.order(n, 1, 2).tolist()
    expected = [order[i : i + batch_size] for i in range(0, n - batch_size + 1, batch_size)]
    assert rows.tolist() == expected
    assert len(rows) == data.batches_per_epoch(n, batch_size)
    assert rows.dtype == np.int32


@pytest.mark.parametrize(
    ("n", "batch_size", "message"),
    [
        (50, 64, "batch_size=64 is more than the 50 examples: give batch_size=50 or less"),
        (50, 0, "batch_size=0: give a whole number at least 1"),
        (50, -1, "batch_size=-1"),
        (0, 1, "n=0"),
    ],
)
def test_impossible_batches(n, batch_size, message):
    with pytest.raises(ValueError, match=message):
        data.batches(n, batch_size, 0, 0)


# Data on the host.


class Slow:
    """A source of 100 examples that records who gathers what, and stumbles over `broken`.

    `reached` is set when `wanted` batches have been gathered.
    """

    def __init__(self, broken=None, wanted=0):
        self.broken, self.gathered, self.threads = broken, [], set()
        self.wanted, self.reached = wanted, threading.Event()

    def __len__(self):
        return 100

    def gather(self, indices):
        self.gathered.append(indices.tolist())
        self.threads.add(threading.current_thread())
        if self.broken in indices:
            raise OSError(f"cannot read example {self.broken}")
        if len(self.gathered) == self.wanted:
            self.reached.set()
        return {"x": indices * 10}


ROWS = [[i, i + 1] for i in range(0, 40, 2)]


def workers():
    return [t for t in threading.enumerate() if t.name.startswith("dlcore-prefetch")]


@pytest.mark.parametrize("depth", [1, 2, 50])
def test_prefetch_is_gather_in_order(depth):
    source = Slow()
    batches = list(data.prefetch(source, np.array(ROWS), depth=depth))
    assert [batch["x"].tolist() for batch in batches] == [[10 * a, 10 * b] for a, b in ROWS]
    assert source.gathered == ROWS
    assert len(source.threads) == 1
    assert threading.current_thread() not in source.threads
    assert not workers()


def test_prefetch_is_lazy_and_reads_depth_ahead():
    source, rows = Slow(wanted=4), iter(ROWS)
    batches = data.prefetch(source, rows, depth=3)
    assert source.gathered == []
    next(batches)
    assert source.reached.wait(60)  # though nobody asked for the other three
    assert len(list(rows)) == 20 - 4  # and a fifth was not handed over
    batches.close()


def test_prefetch_closes_when_the_consumer_stops():
    source = Slow()
    for position, _ in enumerate(data.prefetch(source, ROWS)):
        if position == 3:
            break
    assert not workers()  # so no more will be gathered
    assert len(source.gathered) <= 6


def test_prefetch_of_nothing():
    assert list(data.prefetch(Slow(), [])) == []


def test_the_workers_exception_comes_with_the_position():
    batches = data.prefetch(Slow(broken=11), ROWS)
    assert len(list(islice(batches, 5))) == 5
    with pytest.raises(OSError, match="cannot read example 11") as error:
        next(batches)
    assert error.value.__notes__ == ["while gathering batch 5 (the first is 0) on the host"]
    assert not workers()


class Odd(Slow):
    """A source that gives `batch` in the place of its fourth."""

    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def gather(self, indices):
        found = super().gather(indices)
        if len(self.gathered) < 4:
            return found
        return self.batch(indices) if callable(self.batch) else self.batch


def stop(indices):
    raise StopIteration


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (
            lambda rows: {"x": rows[:1]},
            r"Odd.gather\(indices\) has {'x': 1} examples, but 2 were ask",
        ),
        (lambda rows: {"x": rows, "y": rows[:1]}, r"has {'x': 2, 'y': 1} examples, but 2 were"),
        ({"x": np.zeros(())}, r"has {'x': None} examples, but 2"),
        ({}, r"has {} examples, but 2 were asked for"),
        (stop, r"Odd.gather\(indices\) has stopped: give every batch that is asked for"),
        (None, r"Odd.gather\(indices\) is of type NoneType, but a dict of arrays is wanted"),
        (lambda rows: (rows, rows), r"Odd.gather\(indices\) is a pair, but a dict of arrays is"),
        ({"x": ["a", "b"]}, r"Odd.gather\(indices\)\['x'\] holds text"),
    ],
)
def test_a_batch_of_another_form_than_was_asked_for(batch, message):
    batches = data.prefetch(Odd(batch), ROWS)
    assert len(list(islice(batches, 3))) == 3
    with pytest.raises(BatchError, match=rf"^batch 3 \(the first is 0\): .*{message}") as error:
        next(batches)
    assert "\n" not in str(error.value)
    assert not workers()
    source = Odd(batch)
    source.gathered = [0, 0, 0]
    with pytest.raises(BatchError, match=message):  # as evaluation asks, with nothing read ahead
        HostData(source).gather(np.array([4, 5]))


@pytest.mark.parametrize(
    ("batch", "form"),
    [
        (lambda rows: {"x": rows * 1.5}, r"x float64\[B\]"),
        (lambda rows: {"x": rows[:, None]}, r"x int64\[B, 1\]"),
        (lambda rows: {"y": rows}, r"y int64\[B\]"),
        (lambda rows: {"x": rows, "y": rows}, r"x int64\[B\], y int64\[B\]"),
    ],
)
def test_a_batch_of_another_form_than_the_first(batch, form):
    batches = data.prefetch(Odd(batch), ROWS)
    assert len(list(islice(batches, 3))) == 3
    message = rf"^batch 3 \(the first is 0\) has {form}, others x int64\[B\]$"
    with pytest.raises(BatchError, match=message):
        next(batches)
    assert not workers()


def test_the_last_batch_may_be_shorter_if_it_was_asked_to_be():
    batches = data.prefetch(Slow(), [[1, 2], [3]])
    assert [batch["x"].tolist() for batch in batches] == [[10, 20], [30]]


def test_prefetch_never_forks(monkeypatch):
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("forked"))
    assert len(list(data.prefetch(Slow(), ROWS))) == 20


def test_prefetch_needs_a_depth():
    with pytest.raises(ValueError, match="depth=0: give a whole number at least 1"):
        data.prefetch(Slow(), ROWS, depth=0)


def test_host_data_gathers_arrays_and_memory_maps(tmp_path):
    images = np.random.default_rng(0).random((100, 3, 3), np.float32)
    images.tofile(tmp_path / "images")
    mapped = np.memmap(tmp_path / "images", np.float32, "r", shape=images.shape)
    host = HostData({"x": mapped, "y": np.arange(100, dtype=np.int32)})
    assert len(host) == 100
    rows = np.asarray(data.batches(100, 8, 0, 0))
    for indices, batch in zip(rows, data.prefetch(host, rows), strict=True):
        assert type(batch["x"]) is np.ndarray
        np.testing.assert_array_equal(batch["x"], np.stack([images[i] for i in indices]))
        np.testing.assert_array_equal(batch["y"], indices)


def test_host_data_of_a_source():
    host = HostData(Slow())
    assert len(host) == 100
    assert host.gather(np.array([4, 2]))["x"].tolist() == [40, 20]


@pytest.mark.parametrize("source", [{"x": np.zeros((5, 2))}, Slow()])
@pytest.mark.parametrize("index", [-1, 100, 5_000])
def test_host_data_refuses_indices_that_would_wrap(source, index):
    host = HostData(source)
    with pytest.raises(IndexError, match=f"index {index} is outside the {len(host)} examples"):
        host.gather(np.array([0, index]))


@pytest.mark.parametrize(
    "arrays",
    [{}, {"x": np.zeros(0)}, {"x": np.zeros(3), "y": np.zeros(4)}, {"x": np.zeros(())}],
)
def test_host_data_refuses_ragged_and_empty(arrays):
    with pytest.raises(data.DataError, match="HostData"):
        HostData(arrays)


# Batches of so many classes and so many examples of each.

LABELS = np.repeat([3, 5, 7, 11], [5, 4, 9, 6])


@given(seed=SEEDS, epoch=EPOCHS, classes=st.integers(1, 4), each=st.integers(1, 4))
@examples(60)
def test_per_class_batches_hold_different_examples_of_different_classes(seed, epoch, classes, each):
    order, size = data.per_class(LABELS, classes=classes, examples=each), classes * each
    if size > len(LABELS):
        return
    table = batching.rows(order, len(LABELS), size, seed, epoch)
    assert table.shape == (len(LABELS) // size, size)
    for row in table:
        labels = LABELS[row].reshape(classes, each)
        assert (labels == labels[:, :1]).all()
        assert len(set(labels[:, 0])) == classes
        assert len(set(row)) == size
    np.testing.assert_array_equal(table, order(len(LABELS), size, seed, epoch))
    others = [order(len(LABELS), size, seed, epoch + 1), order(len(LABELS), size, seed ^ 1, epoch)]
    assert size > 12 or any((table != other).any() for other in others)


def test_per_class_draws_all_classes_and_their_examples_alike():
    order = data.per_class(LABELS, classes=2, examples=3)
    tables = np.stack([order(len(LABELS), 6, 0, epoch) for epoch in range(1_000)])
    drawn = np.bincount(LABELS[tables[..., ::3]].ravel(), minlength=12)[[3, 5, 7, 11]]
    assert stats.chisquare(drawn).pvalue > 1e-3
    counts = np.bincount(tables.ravel(), minlength=len(LABELS))
    for label in (3, 5, 7, 11):
        assert stats.chisquare(counts[label == LABELS]).pvalue > 1e-3


def test_a_class_goes_through_its_examples_before_it_shuffles_anew():
    order = data.per_class(LABELS[:9], classes=2, examples=2)  # five and four, in two batches
    table = order(9, 4, 0, 0)
    assert len(set(table.ravel())) == table.size


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.per_class(LABELS, classes=5, examples=2), "classes=5: .* from 1 to 4"),
        (
            lambda: data.per_class(LABELS, classes=2, examples=5),
            "examples=5, but class 5 has 4: give examples=4 or less, or leave the class out",
        ),
        (lambda: data.per_class(LABELS + 0.5, classes=2, examples=2), r"labels are float64\[24\]"),
        (
            lambda: batching.rows(data.per_class(LABELS, classes=2, examples=3), 24, 8, 0, 0),
            r"2 classes × 3 examples, but .* batches of 8: fit\(…, batch_size=6, order=",
        ),
        (
            lambda: batching.rows(data.per_class(LABELS, classes=2, examples=3), 23, 6, 0, 0),
            "24 labels .* but the data have 23 examples",
        ),
    ],
)
def test_per_class_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
