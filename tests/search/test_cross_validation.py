from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.model_selection import StratifiedKFold

from dlcore import nn, optim, search, train
from dlcore.search import space
from tests.problems import make_blobs

N, FOLDS = 63, 4  # three folds of 16 and one of 15
OPTIONS = {"epochs": 3, "folds": FOLDS, "batch_size": 12}


LAYER = nn.linear(4, 3)
OBJECTIVE = train.classification(LAYER)


def build(h):
    return LAYER, OBJECTIVE, optim.sgd(h.get("learning_rate", 0.1))


@pytest.fixture(scope="module")
def results():
    configurations = space.grid(learning_rate=[0.01, 0.3], seed=[4])
    return make_blobs(N), search.cross_validate(build, configurations, make_blobs(N), **OPTIONS)


@pytest.mark.slow
def test_each_fold_is_a_fit_on_the_others(results):
    examples, crossed = results
    for result in crossed:
        layer, objective, optimizer = build(result.configuration)
        step = train.make_step(objective, optimizer)
        for k in (0, FOLDS - 1):
            rows, outside = np.flatnonzero(result.fold != k)[:47], np.flatnonzero(result.fold == k)
            state = train.train_state(layer, optimizer, seed=4)
            part = {name: leaf[rows] for name, leaf in examples.items()}
            *_, last = train.fit(step, state, part, epochs=3, batch_size=12)
            held_out = {name: leaf[outside] for name, leaf in examples.items()}
            params = last.state.params
            expected = train.evaluate(objective, params, (), held_out)
            for name, value in expected.items():
                assert result.folds[name][k] == pytest.approx(value, rel=1e-5)
            logits = train.predict(layer, params, (), held_out).astype(np.float64)
            logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
            losses = -logits[np.arange(len(outside)), held_out["y"]]
            np.testing.assert_allclose(result.losses[outside], losses, rtol=1e-4, atol=1e-6)


def test_every_example_is_held_out_once_in_proportion(results):
    examples, (result, _) = results
    assert np.bincount(result.fold).tolist() == [16, 16, 16, 15]
    labels = examples["y"]
    counts = np.array([np.bincount(labels[result.fold == k], minlength=3) for k in range(FOLDS)])
    theirs = StratifiedKFold(FOLDS).split(labels, labels)
    expected = np.array([np.bincount(labels[rows], minlength=3) for _, rows in theirs])
    assert np.abs(counts - expected.mean(axis=0)).max() <= 1


def test_mean_and_standard_error(results):
    result = results[1][0]
    for name, values in result.folds.items():
        assert result.means[name] == pytest.approx(values.mean())
        assert result.errors[name] == pytest.approx(stats.sem(values))


def test_the_mean_of_the_losses_is_that_of_the_folds(results):
    result = results[1][0]
    sizes = np.bincount(result.fold)
    assert result.losses.mean() == pytest.approx((result.folds["loss"] * sizes).sum() / N, rel=1e-5)


def test_planted_labels_are_the_first_suspects():
    examples = make_blobs(120)
    wrong = np.arange(0, 120, 15)
    labels = examples["y"].copy()
    labels[wrong] = (labels[wrong] + 1) % 3
    (result,) = search.cross_validate(
        build, [{}], {**examples, "y": labels}, epochs=20, batch_size=12
    )
    assert sorted(result.suspects.tolist()) == list(range(120))
    places = np.argsort(result.suspects)  # of every example among the suspects
    assert np.sum(places[wrong] < 16) >= 7  # by chance one; the classes overlap
    assert result.suspects[0] in wrong


def test_targets_that_are_no_labels_are_dealt_at_random():
    x = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    layer = nn.linear(2, 2)
    parts = layer, train.regression(layer), optim.sgd(0.3)
    (result,) = search.cross_validate(
        lambda h: parts, [{}], {"x": x, "y": x}, epochs=30, folds=3, batch_size=5
    )
    assert np.bincount(result.fold).tolist() == [10, 10, 10]
    assert result.means["loss"] < 0.01


def test_prints_a_row_for_each_fold(results):
    from rich.console import Console

    console = Console(width=80)
    with console.capture() as printed:
        console.print(results[1][0])
    assert "±" in printed.get()
    assert len(printed.get().splitlines()) == FOLDS + 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"folds": 1}, "folds=1"), ({"epochs": 0}, "epochs=0"), ({"batch_size": 48}, "batch_size=48")],
)
def test_refuses(changes, message, blobs):
    with pytest.raises(ValueError, match=message):
        search.cross_validate(build, [{}], blobs(N), **OPTIONS | changes)
