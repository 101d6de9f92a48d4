"""A loader's batches in fit, run and evaluate: the order is its own, an epoch can be read again."""

from __future__ import annotations

import itertools
import re
import threading

import chex
import jax
import numpy as np
import pytest

from dlcore import data, nn, optim, train
from dlcore.data import BatchError, Loader

N, B, PER_EPOCH = 64, 16, 4


def batches_of(examples, read=None):
    """The batches that `fit` takes from the examples themselves, as somebody else's loader."""

    def batches(epoch):
        if read is not None:
            read.append(epoch)
        for rows in data.batches(len(examples["y"]), B, 0, epoch):
            yield {name: leaf[rows] for name, leaf in examples.items()}

    return batches


def reading():
    return [one for one in threading.enumerate() if one.name.startswith("dlcore-prefetch")]


@pytest.fixture
def loader(blobs):
    return Loader(batches_of(blobs(N)), PER_EPOCH)


def test_it_trains_as_its_examples_do(problem, blobs, loader):
    step, state = problem()
    how = {"epochs": 3, "every": 3}
    *_, whole = train.fit(step, state, data.HostData(blobs(N)), batch_size=B, **how)
    records = list(train.fit(step, state, loader, **how))
    assert [one.step for one in records] == [3, 4, 6, 8, 9, 12]
    chex.assert_trees_all_equal(whole.state, records[-1].state)
    assert not reading()


def test_a_run_that_goes_on_within_an_epoch_trains_on_nothing_twice(problem, blobs, tmp_path):
    step, state = problem()
    read = []
    loader = Loader(batches_of(blobs(N), read), PER_EPOCH)
    how = {"epochs": 3, "visible": False}
    whole = train.run(step, state, loader, validation=loader, **how)
    assert read == [0, 0, 0, 1, 0, 2, 0]  # the first for its form; epoch 0 in validation too
    for record in train.fit(step, state, loader, epochs=3, every=1):
        if record.step == 6:
            middle, totals = record.state, record.totals
            break
    assert not reading()
    *_, last = train.fit(step, middle, loader, epochs=3, totals=totals)
    chex.assert_trees_all_equal(whole.state.params, last.state.params)
    assert last.metrics["loss"] == whole.history[-1]["loss"]

    def stop(record):
        if record.step == 8:
            raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        train.run(step, state, loader, validation=loader, out=tmp_path, callback=stop, **how)
    resumed = train.run(step, state, loader, validation=loader, out=tmp_path, resume=True, **how)
    chex.assert_trees_all_equal(whole.state, resumed.state)
    other = Loader(batches_of(blobs(N, seed=1)), PER_EPOCH)
    with pytest.raises(ValueError, match="on other data of the same shape"):
        train.run(step, state, other, validation=loader, out=tmp_path, resume=True, **how)


def test_evaluation_counts_every_example_once(problem, blobs):
    step, state = problem()
    examples = blobs(40)
    parts = [{name: leaf[rows] for name, leaf in examples.items()} for rows in ROWS]
    ragged = Loader(lambda epoch: iter(parts), len(parts))
    got = train.evaluate(step.objective, state.params, state.state, ragged)
    wanted = train.evaluate(step.objective, state.params, state.state, examples)
    chex.assert_trees_all_close(got, wanted, rtol=1e-6)


ROWS = [np.arange(0, 16), np.arange(16, 32), np.arange(32, 40)]


def test_what_is_remembered_goes_on_as_the_loader_says():
    """Its windows are those of `streams`, and begin anew with each epoch."""
    x = np.random.default_rng(0).normal(size=(8, 5, 3)).astype(np.float32)
    examples = {"x": x, "y": x.sum(-1, keepdims=True)}
    layer = nn.serial(nn.rnn(3, 4), nn.linear(4, 1))
    optimizer = optim.sgd(0.1)
    step = train.make_step(train.regression(layer), optimizer)
    state = train.train_state(layer, optimizer, carry=nn.memory(layer, 2))
    table = data.streams(8, 2, 0, 0)

    def windows(epoch):
        return ({name: leaf[rows] for name, leaf in examples.items()} for rows in table)

    host = data.HostData(examples)
    *_, whole = train.fit(step, state, host, epochs=2, batch_size=2, order=data.streams)
    *_, last = train.fit(step, state, Loader(windows, 4), epochs=2)
    chex.assert_trees_all_equal(whole.state, last.state)


def test_the_rows_of_a_batch_that_is_not_finite(problem, blobs):
    step, state = problem()
    examples = blobs(N)
    batch, place = np.argwhere(data.batches(N, B, 0, 0) == 33)[0]
    examples["x"][33] = np.nan
    loader = Loader(batches_of(examples), PER_EPOCH)
    message = rf"at step {batch}: the batch's x .*\(rows {place}\)"
    with pytest.raises(train.NonFiniteLossError, match=message):
        list(train.fit(step, state, loader, epochs=3))
    assert not reading()


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (lambda epoch: 3, "batches(0) is a int, but an iterable is wanted"),
        (lambda epoch: [(np.ones((2, 4)), np.ones(2))], "batch 0 of batches(0) is a pair"),
        (lambda epoch: [{"x": np.ones((2, 4))}], 'no "y"'),
        (lambda epoch: [{"x": ["a", "b"], "y": [0, 1]}], "batch 0 of batches(0)['x'] holds text"),
    ],
)
def test_bad_batches_are_named_before_the_first_step(problem, batches, message):
    step, state = problem()
    with pytest.raises((BatchError, ValueError), match=re.escape(message)):
        train.fit(step, state, Loader(batches, 3), epochs=2)


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ([], r"batches\(1\) has ended after 2 batches, but steps_per_epoch=4"),
        ([{"x": np.ones((B, 5), "f"), "y": np.zeros(B, int)}], r"has x float32\[B, 5\].*, others"),
        ([{"x": np.ones((B, 4), "f"), "y": np.zeros(3, int)}], r"batch 2 of batches\(1\).*length"),
    ],
)
def test_a_bad_batch_later_on_is_named_by_epoch_and_place(problem, blobs, end, message):
    step, state = problem()
    good = batches_of(blobs(N))

    def batches(epoch):
        return good(0) if epoch == 0 else itertools.chain(itertools.islice(good(0), 2), end)

    records = train.fit(step, state, Loader(batches, PER_EPOCH), epochs=2)
    assert next(records).step == PER_EPOCH
    with pytest.raises(BatchError, match=message):
        next(records)
    assert not reading()


def test_what_is_no_loader_and_where_none_is_read(problem, blobs, loader):
    step, state = problem()
    generator = batches_of(blobs(N))(0)
    with pytest.raises(TypeError, match=r"data\.Loader\(lambda epoch: batches, steps_per_epoch="):
        Loader(generator, 3)
    with pytest.raises(TypeError, match=r"data\.Loader\(lambda epoch: batches, steps_per_epoch="):
        train.fit(step, state, generator, epochs=1)
    with pytest.raises(TypeError, match=r"data\.Loader\(batches, steps_per_epoch=100\)"):
        train.fit(step, state, loader.batches, epochs=1)
    with pytest.raises(ValueError, match="steps_per_epoch=0: give a whole number at least 1"):
        Loader(loader.batches, 0)
    with pytest.raises(ValueError, match="order of their own"):
        train.fit(step, state, loader, epochs=1, order=data.streams)
    with pytest.raises(TypeError, match="a Loader, which only fit, run and evaluate read"):
        train.predict(nn.linear(4, 3), state.params, state.state, loader)


def test_a_loader_of_tensors(torch, problem, blobs):
    """PyTorch's own, whose sampler is seeded by the epoch."""
    step, state = problem()
    examples = blobs(N)
    pairs = torch.utils.data.TensorDataset(
        torch.from_numpy(examples["x"]), torch.from_numpy(examples["y"])
    )

    def batches(epoch):
        shuffled = torch.Generator().manual_seed(epoch)
        loader = torch.utils.data.DataLoader(pairs, B, shuffle=True, generator=shuffled)
        return ({"x": x, "y": y} for x, y in loader)

    losses = [
        record.metrics["loss"]
        for record in train.fit(step, state, Loader(batches, PER_EPOCH), epochs=4)
    ]
    assert losses[-1] < losses[0]
    assert jax.tree.all(jax.tree.map(lambda leaf: np.isfinite(leaf).all(), losses))


def test_batches_may_differ_in_length_where_it_is_said():
    """A program for each length."""
    rng = np.random.default_rng(0)
    lengths = np.array([3, 5, 3, 5])

    def batches(epoch):
        for length in lengths:
            x = rng.normal(size=(B, length, 2)).astype(np.float32)
            yield {"x": x, "y": np.zeros((B, length), np.int32)}

    layer = nn.linear(2, 3)
    optimizer = optim.sgd(0.1)
    step = train.make_step(train.tagging(layer), optimizer)
    state = train.train_state(layer, optimizer)
    *_, last = train.fit(step, state, Loader(batches, 4, lengths_differ=True), epochs=1)
    assert last.step == 4
    with pytest.raises(BatchError, match=r"batch 1 .* has x float32\[B, 5, 2\]"):
        list(train.fit(step, state, Loader(batches, 4), epochs=1))
