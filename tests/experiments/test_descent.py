"""The chapter on descent: what parts of its experiments compute, and what their claims ask for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dlcore import search, train
from experiments import frame
from experiments.descent import (
    _curve,
    _rates,
    asynchronous,
    averages,
    batch_norm,
    communication,
    finite_differences,
    hessian_free,
    hogwild,
    initialisation,
    input_scaling,
    learning_rate,
    local_minima,
    optimizers,
    programs,
    rare_features,
    ravine,
    saddle,
    schedules,
    second_order,
    terrain,
)
from tests.experiments.smoke import drawn, holds


def verdicts(result):
    return {one.what: one.holds for one in result.claims}


@pytest.mark.slow
def test_what_is_exact_holds_on_any_data(smoke):
    """Algebra does not ask for more data or time."""
    assert verdicts(smoke("asynchronous"))[
        "τ = 0: largest difference to the losses of plain descent"
    ]
    start = verdicts(smoke("initialisation"))
    for what in (
        "LSUV: largest |σ − 1| of a linear layer",
        "constant start: units of a layer differ after training",
        "zero start: largest change, all but the output's bias",
        "zero start: change of the output's bias",
    ):
        assert start[what]
    scaling = verdicts(smoke("input_scaling"))
    assert all(holds for what, holds in scaling.items() if "turned" in what or "κ" in what)


# ------------------------------------------------------------------------------------- curves


def test_a_loss_is_reached_between_two_measurements():
    losses = np.array([3.0, 2.0, 1.0, 1.5, np.inf])
    assert _curve.reached([10, 20, 30, 40, 50], losses, 1.25) == 27.5
    assert _curve.reached([10, 20, 30, 40, 50], losses, 5.0) == 10
    assert _curve.reached([10, 20, 30, 40, 50], losses, 0.5) == np.inf


def test_a_diverged_run_is_infinite_from_there_on():
    from dlcore import nn, optim

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
    right = asynchronous.Measured([[2, 1], [2, 9]], 0.0, good)
    wrong = asynchronous.Measured([[2, 1], [3, 1]], 1e-9, bad)
    assert holds(asynchronous, right, config) == [True] * 5
    assert holds(asynchronous, wrong, config) == [False] * 5


def test_communication_claims_compare_exchanges():
    def arm(period, needed, loss):
        return communication.Arm(period, 0.1, [1], [loss], needed)

    good, bad = [arm(1, 100, 0.1), arm(8, 15, 0.15)], [arm(1, 100, 0.1), arm(8, 50, 0.1)]
    assert holds(communication, good) == [True, True]
    assert holds(communication, bad) == [False, False]


@pytest.mark.slow
def test_hogwild_meets_as_often_as_it_should_and_that_is_checked(smoke):
    arms = smoke("hogwild").measured
    assert arms[0].conflicts[-1] > 5 * arms[1].conflicts[-1] > 0
    wrong = [arm._replace(losses=[1.0, 1.0], conflicts=[0.5] * 2) for arm in arms]
    assert holds(hogwild, wrong) == [True, False, False]


def test_hogwild_draws_different_features_for_both_classes():
    index, rows = hogwild.draw(100, 0, hogwild.SMOKE)
    assert all(len(set(row)) == hogwild.FEATURES for row in index.tolist())
    assert set(rows["y"].tolist()) == {-1.0, 1.0}


@pytest.mark.slow
def test_initialisation_claims_see_a_signal_that_dies_or_grows(smoke):
    arms = smoke("initialisation").measured.arms
    assert len(arms) == 2 * len(initialisation.STARTS)
    flat = [arm._replace(deviations=[1.0, 1.0], units_differ=1.0, loss=1.0) for arm in arms]
    measured = initialisation.Measured(flat, {})
    found = verdicts(frame.Result(initialisation, initialisation.Config(), measured))
    assert found["relu, √(2/N), He: growth of σ a layer"]
    assert not found["relu, 2/√N, He as the lecture writes it: the same"]
    assert not found["tanh, N(0, 0.01²): σ of the last layer / the first"]
    assert not found["constant start: units of a layer differ after training"]
    assert not found["relu, training loss: N(0, 0.01²) / He"]


@pytest.mark.slow
def test_input_scaling_has_the_condition_number_of_the_hessian(smoke):
    """Of the regression's raw inputs, against JAX's Hessian of the squared error."""
    import jax
    import jax.numpy as jnp

    problem = input_scaling.regression(input_scaling.SMOKE)
    x, y = (jnp.asarray(problem.train[name]) for name in "xy")

    def loss(w):
        return jnp.mean((x @ w[:2, None] + w[2] - y) ** 2)

    eigenvalues = np.linalg.eigvalsh(np.asarray(jax.hessian(loss)(jnp.zeros(3)), np.float64))
    (raw,) = (
        arm
        for arm in smoke("input_scaling").measured
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

    assert holds(batch_norm, arms(0.3, 50, 0.05)) == [True] * 6
    assert holds(batch_norm, arms(0.03, 200, 0.2)) == [False] * 6


def test_ravine_counts_until_f_stays_low():
    """Gradient descent on ½(u² + κv²): both coordinates by their own factor, to the rate's grid."""
    found = ravine.walk(0.0, "gradient descent", ravine.Config(rates=13, updates=300))
    u, v = ravine.CONDITION**0.5, 1.0
    values = []
    for _ in range(301):
        values.append((u**2 + ravine.CONDITION * v**2) / 2)
        u, v = u * (1 - found.rate), v * (1 - ravine.CONDITION * found.rate)
    low = [value < 0.01 * values[0] for value in values]
    assert not low[found.updates - 1]
    assert all(low[found.updates :])


def test_terrain_claims_follow_the_ways():
    straight = terrain.walk("beale", "RMSProp", terrain.SMOKE)
    same = {place: dict.fromkeys(terrain.OPTIMIZERS, straight) for place in terrain.TERRAINS}
    assert holds(terrain, same) == [False] * 5


def test_averages_are_numpys():
    values = np.random.default_rng(0).normal(size=50).astype(np.float32)
    v, expected = 0.0, []
    for value in values:
        v = 0.9 * v + 0.1 * value
        expected.append(v)
    np.testing.assert_allclose(averages.averaged(0.9, values), expected, rtol=1e-4, atol=1e-5)
    weights = 1 - 0.9 ** np.arange(1, 51)
    corrected = averages.averaged(0.9, values, corrected=True)
    np.testing.assert_allclose(corrected, expected / weights, rtol=1e-4, atol=1e-5)


def test_learning_rate_claims_need_a_best_rate_between():
    losses = {"0.01": [1.0], "0.1": [0.9], "1": [0.8], "10": [0.7], "100": [0.1]}
    measured = learning_rate.Measured(1.9, 2.1, {}, losses)
    assert holds(learning_rate, measured) == [False, False, True, False]
    losses |= {"1000": [float("nan")]}
    assert holds(learning_rate, learning_rate.Measured(1.997, 2.003, {}, losses)) == [True] * 4


def test_saddle_claims_follow_index_and_updates():
    updates = {name: [10, 20, 30, 40, 50, 60] for name in saddle.OPTIMIZERS}
    minima = [saddle.Flat(loss, 0.0) for loss in (0.1, 0.2, 0.3)]
    assert holds(saddle, saddle.Measured(updates, minima)) == [False] * 6


def test_local_minima_claims_compare_with_plain_descent():
    same = dict.fromkeys(local_minima.METHODS, local_minima.Ends(0.5, 1.0, []))
    stuck = dict.fromkeys(local_minima.WIDTHS, 0.3)
    ends = dict.fromkeys(local_minima.TERRAINS, same)
    assert holds(local_minima, local_minima.Measured(ends, stuck)) == [False] * 5


@pytest.mark.slow
def test_programs_end_where_they_must(smoke):
    """By hand: the corner (1, 3) of the linear program, and the end of the chord of the convex."""
    ends = smoke("programs").measured
    assert ends["linear"].values == [pytest.approx(-7)]
    np.testing.assert_allclose(ends["linear"].places, [[1, 3]], atol=2e-3)
    x = np.array([2, 1]) * 2 / 5**0.5
    np.testing.assert_allclose(ends["convex"].places, [x], atol=2e-3)


@pytest.mark.slow
def test_finite_differences_take_two_values_a_weight(smoke):
    """A value at least, and the copies of the weights beside it: no more than three times as many
    operations."""
    for one in smoke("finite_differences").measured:
        values = 2 * one.weights * one.value
        assert values < one.operations["finite differences"] < 3 * values


@pytest.mark.slow
def test_hessian_free_memory_is_far_from_the_hessians(smoke):
    for one in smoke("hessian_free").measured.memory:
        assert 4 * one.parameters < one.bytes < 0.01 * 4 * one.parameters**2


def test_hessian_free_claims_follow_memory_and_losses():
    memory = [hessian_free.Memory(count, 4 * count**2) for count in (10, 100)]
    losses = {"Newton-CG": [1.0, 0.5, 0.01], "gradient descent": [1.0, 0.7, 0.005, 0.0]}
    measured = hessian_free.Measured(memory, losses)
    result = frame.Result(hessian_free, hessian_free.Config(), measured)
    assert [one.holds for one in result.claims] == [False] * 4
    assert result.claims[-1].measured == 0.5
    assert hessian_free.until([1.0, 0.5, 0.01]) == 2
    assert hessian_free.until([1.0, 0.5]) == np.inf


def test_schedules_theory_is_the_product():
    """Π(1 − α₀/kᵖ) in float64."""
    for power in (1, 2):
        product = np.prod(1 - schedules.ALPHA / np.arange(1, 1001.0) ** power)
        got, expected = schedules.remaining(power, 1000)
        assert got == pytest.approx(product, rel=1e-3)
        assert got == pytest.approx(expected, rel=2e-3)


def test_rare_words_are_counted_in_training_alone():
    texts = ["a b", "b c", "c b", "d d", "a d", "x", "c", "b", "a", "d"]
    bags = rare_features.bags_of_words(texts, np.arange(10, dtype=np.int32), 10)
    assert bags.counts.tolist() == [2, 3, 2, 2]  # a, b, c, d: of the first five
    assert bags.parts["train"]["x"].tolist()[3] == [0, 0, 0, 1]
    assert [len(part["y"]) for part in bags.parts.values()] == [5, 1, 4]


def test_second_order_knows_who_rises():
    config = second_order.SMOKE
    assert second_order.rises(1.0, config) == 1.0
    assert second_order.uphill("absolute", config) == 0.0


def test_the_best_rate_is_chosen_on_validation():
    def trial(rate, seed, loss, stopped=None):
        arm = {"learning_rate": rate, "seed": seed, "optimizer": "a"}
        row = {"epoch": 1, "step": 1, "loss": 0.0, "validation_loss": loss}
        return search.Trial(arm, [row], None, stopped)

    trials = [trial(1.0, 0, 0.1), trial(1.0, 1, 0.9), trial(0.1, 0, 0.4), trial(0.1, 1, 0.4)]
    lost = [trial(2.0, 0, 0.0), trial(2.0, 1, 0.0, stopped=3)]
    found = search.Sweep([*trials, *lost], "validation_loss", "min")
    assert [one.configuration["learning_rate"] for one in _rates.at_best_rate(found)] == [0.1, 0.1]
    diverged = search.Sweep(lost, "validation_loss", "min")
    with pytest.raises(FloatingPointError, match="diverges at every rate"):
        _rates.at_best_rate(diverged, optimizer="a")


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
        (lambda: optimizers.Config(optimizers=("Adm",)), "no optimizer is called 'Adm', did you"),
        (lambda: finite_differences.Config(widths=(8, 4)), "widths are at least two that grow"),
        (lambda: terrain.Config(updates=10), "updates must be at least 120"),
        (lambda: programs.Config(starts=0), "starts must be at least 5"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
