"""Asynchronous descent, first weights, inputs and batch norm, each on a few drawn images."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest

from dlcore import data
from dlcore.data import Dataset
from experiments.descent import (
    _curve,
    asynchronous,
    batch_norm,
    communication,
    hogwild,
    initialisation,
    input_scaling,
)

NAMES = (
    "asynchronous",
    "batch_norm",
    "communication",
    "hogwild",
    "initialisation",
    "input_scaling",
)
BUILT_IN = data.load


def drawn(name, root=None, **options):
    """Ten patterns and noise in the place of MNIST."""
    if name != "mnist":
        return BUILT_IN(name)
    patterns = np.random.default_rng(0).random((10, 28, 28, 1))

    def part(count, seed):
        y = (np.arange(count) % 10).astype(np.int32)
        noise = np.random.default_rng(seed).random((count, 28, 28, 1))
        return {"x": (0.7 * patterns[y] + 0.3 * noise).astype(np.float32), "y": y}

    return Dataset(name, part(600, 1), part(100, 2), part(100, 3), tuple("0123456789"), "drawn")


@pytest.fixture(scope="module")
def results():
    """The result of each experiment's smoke form."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", drawn)
        return {name: module(name).run(module(name).Config.smoke()) for name in NAMES}


def module(name):
    return importlib.import_module(f"experiments.descent.{name}")


@pytest.mark.parametrize("name", NAMES)
def test_measures_draws_and_prints(results, name):
    from rich.console import Console

    result = results[name]
    assert result.claims
    assert all(np.isfinite(one.measured) for one in result.claims)
    figures = module(name).plot(result)
    for figure in figures.values() if isinstance(figures, dict) else [figures]:
        assert figure.axes[0].has_data()
    console = Console(width=120)
    with console.capture() as printed:
        console.print(result)
    assert len(printed.get().splitlines()) > 3


def verdicts(result):
    return {one.what: one.holds for one in result.claims}


def test_what_is_exact_holds_on_any_data(results):
    """Algebra does not ask for more data or time."""
    assert verdicts(results["asynchronous"])["τ = 0: largest difference to plain descent"]
    start = verdicts(results["initialisation"])
    for what in (
        "LSUV: largest |σ − 1|",
        "constant: units differ",
        "zero: largest change but of the last bias",
        "zero: change of the last bias",
    ):
        assert start[what]
    scaling = verdicts(results["input_scaling"])
    assert all(holds for what, holds in scaling.items() if "turned" in what or "κ" in what)


# ------------------------------------------------------------------------------------- curves


def test_a_loss_is_reached_between_two_measurements():
    losses = np.array([3.0, 2.0, 1.0, 1.5, np.inf])
    assert _curve.reached([10, 20, 30, 40, 50], losses, 1.25) == 27.5
    assert _curve.reached([10, 20, 30, 40, 50], losses, 5.0) == 10
    assert _curve.reached([10, 20, 30, 40, 50], losses, 0.5) == np.inf


def test_a_diverged_run_is_infinite_from_there_on(results):
    from dlcore import nn, optim, train

    layer, optimizer = nn.serial(nn.flatten, nn.linear(784, 1)), optim.sgd(1e3)
    rows = drawn("mnist").train
    examples = {"x": rows["x"], "y": np.ones((600, 1), np.float32)}
    step = train.make_step(train.regression(layer), optimizer)
    losses, state = _curve.curve(step, train.train_state(layer, optimizer), examples, 3, 20)
    assert np.isinf(losses).all()
    assert int(state.step) < 30


# ------------------------------------------------------------------------------------- claims


def test_the_fastest_rate_is_that_whose_loss_is_down_first():
    config = asynchronous.Config(epochs=2, rates=(0.1, 0.2, 0.4))
    losses = np.array([[0.5, 0.2], [0.3, 0.1], [np.inf, np.inf]])
    rate, seconds = asynchronous.fastest(losses, np.arange(1.0, 9.0), config)
    assert rate == 0.2
    assert seconds == pytest.approx(4 + 4 * 0.05 / 0.2)


def test_asynchronous_claims_follow_the_measurements():
    config = asynchronous.Config(staleness=(0, 8), workers=(1, 4), rates=(0.1, 0.2))

    def fleet(workers, seconds, synchronous):
        return asynchronous.Fleet(workers, workers - 1.0, 0.1, seconds, 0.1, synchronous)

    good = [fleet(1, 100.0, 100.0), fleet(4, 30.0, 60.0)]
    bad = [fleet(1, 100.0, 100.0), fleet(4, 60.0, 50.0)]
    assert all(one.holds for one in asynchronous.claims([[2, 1], [2, 9]], 0.0, good, config))
    assert not any(one.holds for one in asynchronous.claims([[2, 1], [3, 1]], 1e-9, bad, config))


def test_communication_claims_compare_exchanges():
    def arm(period, needed, loss):
        return communication.Arm(period, 0.1, [1], [loss], needed)

    good = communication.claims([arm(1, 100, 0.1), arm(8, 15, 0.15)])
    assert [one.holds for one in good] == [True, True]
    bad = communication.claims([arm(1, 100, 0.1), arm(8, 50, 0.1)])
    assert [one.holds for one in bad] == [False, False]


def test_hogwild_meets_as_often_as_it_should_and_that_is_checked(results):
    arms = results["hogwild"].arms
    assert arms[0].conflicts[-1] > 5 * arms[1].conflicts[-1] > 0
    wrong = [arm._replace(losses=[1.0, 1.0], conflicts=[0.5] * 2) for arm in arms]
    assert [one.holds for one in hogwild.claims(wrong)] == [True, False, False]
    index, rows = hogwild.draw(100, 0, hogwild.Config.smoke())
    assert all(len(set(row)) == hogwild.FEATURES for row in index.tolist())
    assert set(rows["y"].tolist()) == {-1.0, 1.0}


def test_initialisation_claims_see_a_signal_that_dies_or_grows(results):
    arms = results["initialisation"].arms
    assert len(arms) == 2 * len(initialisation.STARTS)
    flat = [arm._replace(deviations=[1.0, 1.0], units_differ=1.0, loss=1.0) for arm in arms]
    holds = {one.what: one.holds for one in initialisation.claims(flat)}
    assert holds["relu, √(2/N), He: growth of σ a layer"]
    assert not holds["relu, 2/√N: the same"]
    assert not holds["tanh, N(0, 0.01²): σ, last / first layer"]
    assert not holds["constant: units differ"]
    assert not holds["relu, loss: N(0, 0.01²) / He"]


def test_input_scaling_has_the_condition_number_of_the_hessian(results):
    """Of the regression's raw inputs, against JAX's Hessian of the squared error."""
    import jax
    import jax.numpy as jnp

    problem = input_scaling.regression(input_scaling.Config.smoke())
    x, y = (jnp.asarray(problem.train[name]) for name in "xy")

    def loss(w):
        return jnp.mean((x @ w[:2, None] + w[2] - y) ** 2)

    eigenvalues = np.linalg.eigvalsh(np.asarray(jax.hessian(loss)(jnp.zeros(3)), np.float64))
    (raw,) = (
        arm
        for arm in results["input_scaling"].arms
        if (arm.problem, arm.form) == ("regression", "raw")
    )
    assert raw.condition == pytest.approx(eigenvalues[-1] / eigenvalues[0], rel=0.01)
    rates = np.array(input_scaling.RATES) / eigenvalues[-1]
    assert np.abs(rates / raw.rate - 1).min() < 1e-3


def test_batch_norm_claims_compare_the_two():
    def arm(activation, normalised, rate, updates, gap):
        return batch_norm.Arm(activation, normalised, rate, updates, 1.0, 1.0, 1 - gap, [1.0])

    def arms(*with_norm):
        return [
            one
            for name in batch_norm.ACTIVATIONS
            for one in (arm(name, False, 0.1, 100, 0.1), arm(name, True, *with_norm))
        ]

    assert all(one.holds for one in batch_norm.claims(arms(0.3, 50, 0.05)))
    assert not any(one.holds for one in batch_norm.claims(arms(0.03, 200, 0.2)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: asynchronous.Config(workers=(2, 4)), "workers are rising numbers from 1 on"),
        (lambda: asynchronous.Config(staleness=(0,)), "staleness are rising numbers from 0 on"),
        (lambda: asynchronous.Config(images=10), "images must be at least"),
        (lambda: communication.Config(periods=(1, 2)), "periods begin with 1 and have 8"),
        (lambda: hogwild.Config(processors=(4,)), "processors are 1 and more"),
        (lambda: initialisation.Config(depth=1), "depth must be at least 2"),
        (lambda: input_scaling.Config(steps=1), "steps must be at least 4"),
        (lambda: batch_norm.Config(target=0), "target must be more than 0"),
        (lambda: dataclasses.replace(hogwild.Config(), sizes=(5,)), "sizes must be at least 20"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
