"""The chapter on generalisation: what parts compute, and what claims ask for."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from dlcore import models, train
from experiments.generalisation import (
    architecture,
    augmentation,
    augmentation_text,
    averaging,
    bad_data,
    cross_validation,
    data_efficiency,
    dropout,
    early_stopping,
    penalties,
    sweep,
    synthetic_data,
)
from experiments.generalisation._enlarged import enlarged
from experiments.generalisation._labels import mislabelled
from tests.experiments.smoke import drawn, holds

# ------------------------------------------------------------------------------------ search, data


@pytest.mark.slow
def test_a_sweep_has_the_losses_of_fits(smoke):
    assert all(one.difference < 1e-5 for one in smoke("sweep").measured.races)
    assert all(one.ratio > 0 for one in smoke("sweep").measured.races)


def test_races_are_judged_by_their_ratios():
    def judged(sweeps, chosen):
        races = [
            sweep.Race("small", 64, sweeps, 0.1, 1.0, 1.0, 1e-6),
            sweep.Race("large", 4, sweeps, 0.1, 1.0, 1.0, 1e-6),
        ]
        return holds(sweep, sweep.Measured(races, [], [], np.zeros(0), {}, chosen, 0.5))

    assert judged(0.4, 0.6) == [True, True, True, True]
    assert judged(1.0, 0.5) == [False, False, True, False]


def test_bad_rows_are_found_and_labels_are_really_wrong():
    clean = drawn("mnist").train
    assert bad_data.found_by_comparison(clean) == (True, True)
    rows, noisy = bad_data.mislabelled(clean, 0.1)
    assert len(rows) == 60
    assert np.flatnonzero(noisy["y"] != clean["y"]).tolist() == rows.tolist()


@pytest.mark.slow
def test_the_share_found_counts_the_planted(smoke):
    measured = smoke("bad_data").measured
    assert measured.planted == 10
    assert measured.found[-1] == pytest.approx(0.1)  # of all, one in ten is wrong
    assert measured.precision == measured.found[9]


def test_cross_validation_claims_follow_the_draws():
    def draws(folds, firsts, chosen_loss):
        accuracies = [
            np.array([[a, b, 0.7], [0, 0, 0]]) for a, b in zip(folds, firsts, strict=True)
        ]
        losses = np.array([[1.0, 1.0, 1.0], [0.5, 0.5, chosen_loss]])
        return [cross_validation.Draw(one, losses) for one in accuracies]

    good = draws([0.69, 0.71], [0.6, 0.8], 0.9)
    assert holds(cross_validation, good) == [True, True, True]
    bad = draws([0.8, 0.9], [0.7, 0.71], 1.1)
    assert holds(cross_validation, bad) == [False, False, False]


def test_architecture_claims_compare_rates_and_depths():
    config = architecture.Config(depths=(1, 8), widths=(4, 8), rates=(0.01, 0.1))

    def claims(shallow, deep):
        accuracies = np.array([[shallow, shallow], [deep, deep]])
        return holds(architecture, architecture.Measured(accuracies, {}, 0.0), config)

    assert claims([0.8, 0.9], [0.7, 0.1]) == [True, True, True]
    assert claims([0.8, 0.7], [0.85, 0.9]) == [False, True, False]
    assert claims([0.8, 0.9], [0.8, 0.9]) == [False, False, False]


# ------------------------------------------------------------------------------------- penalties


@pytest.mark.parametrize("shares", [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)])
def test_a_penalty_is_that_of_lecture_b(shares):
    theta = np.array([1.0, -3.0, 0.5])
    a, b = shares
    expected = 7 / (2 * 20) * (a * np.abs(theta).sum() + b * np.square(theta).sum())
    penalty = penalties.penalty(7.0, a, b, examples=20)
    assert float(penalty({"linear": {"kernel": theta}})) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_the_proximal_path_has_zeros_and_the_subgradient_none(smoke):
    ways = smoke("penalties").measured.ways
    assert ways["L1"].zeros[0] == 0
    assert ways["L1"].zeros[-1] > 0.5
    assert ways["L1, subgradient"].zeros == [0, 0, 0]


def test_noise_has_the_values_of_the_pixels_and_not_their_order():
    part = {"x": np.random.default_rng(0).random((30, 2, 2, 1)), "y": np.arange(30)}
    both = penalties.with_noise(part, seed=1)
    pixels, noise = np.split(both["x"], 2, axis=1)
    np.testing.assert_array_equal(pixels, part["x"].reshape(30, 4))
    np.testing.assert_array_equal(np.sort(noise, 0), np.sort(pixels, 0))
    assert np.abs(np.corrcoef(pixels[:, 0], noise[:, 0])[0, 1]) < 0.6


# --------------------------------------------------------------------------------------- dropout


@pytest.mark.slow
def test_dropconnect_drops_in_training_alone():
    layer = dropout.network(8)
    objective = train.classification(layer)
    params, state = layer.init(jax.random.key(0))
    batch = first_digits(20)
    dropped = dropout.dropconnect(objective)
    plain, _ = objective(params, state, batch)
    assert dropped(params, state, batch, key=None, train=False)[0] == plain
    losses = [
        float(dropped(params, state, batch, key=jax.random.key(seed), train=True)[0])
        for seed in range(3)
    ]
    assert len({*losses, float(plain)}) == 4


@pytest.mark.slow
def test_no_unit_knocked_out_changes_nothing_and_all_leave_the_bias(smoke):
    assert dropout.SMOKE.knocked_out == [0, 1, 2, 3, 4, 5, 6, 7]
    for arm in smoke("dropout").measured.arms.values():
        assert arm.robustness[0] == pytest.approx(1 - arm.error)


def test_dropout_claims_follow_the_measurements():
    def arm(error, kept, losses):
        return dropout.Arm([error], [0.9] * 4 + [kept] * 4, losses)

    low = {"training, with dropout": [2.0], "training, without dropout": [0.5], "validation": [1.0]}
    high = {**low, "validation": [3.0]}
    good = dict(
        zip(
            dropout.ARMS,
            [arm(e, k, low) for e, k in ((0.05, 0.5), (0.04, 0.8), (0.03, 0.8), (0.04, 0.8))],
            strict=True,
        )
    )
    assert holds(dropout, dropout.Measured(good, [0.9], 0.9)) == [True] * 7
    bad = dict(
        zip(
            dropout.ARMS,
            [arm(e, k, high) for e, k in ((0.05, 0.8), (0.06, 0.5), (0.07, 0.8), (0.06, 0.8))],
            strict=True,
        )
    )
    assert holds(dropout, dropout.Measured(bad, [0.9], 0.8)) == [False] * 7


# -------------------------------------------------------------------------------- early stopping


def test_rules_are_applied_to_the_recorded_losses():
    validation = np.array([3.0, 2.0, 1.0, 1.5, 1.6, 0.5])
    run = {"curves": {"validation": validation, "test": np.arange(6) / 10}}
    assert early_stopping.stopped([run], train.EarlyStopping(patience=2)) == (5, 3, 0.2)
    assert early_stopping.stopped([run], train.EarlyStopping(patience=9)) == (6, 6, 0.5)


def test_half_way_lies_between_epochs():
    assert early_stopping.half_way([1.0, 0.7, 0.3, 0.0]) == pytest.approx(1.5)


@pytest.mark.slow
def test_distances_and_linear_shares_begin_and_end_where_they_must(smoke):
    result = smoke("early_stopping")
    for way in result.measured.distances.values():
        assert len(way) == result.config.epochs + 1
        assert (way[0], way[-1]) == (1, 0)
    for shares in result.measured.linear.values():
        assert all(0 < share < 1 for share in shares)


def test_a_fifth_of_the_labels_is_drawn_anew():
    examples = {"y": np.zeros(5_000, np.int32)}
    wrong = mislabelled(examples, 0.2)["y"] != 0
    assert wrong.mean() == pytest.approx(0.2 * 0.9, abs=0.03)


# ---------------------------------------------------------------------------------- augmentation


def test_enlarged_has_the_examples_first_and_the_same_labels():
    examples = first_digits(10)
    seen = enlarged(examples, augmentation.MOVES["shift"], 4, seed=0)
    assert len(seen["y"]) == 40
    np.testing.assert_array_equal(seen["x"][:10], examples["x"])
    np.testing.assert_array_equal(seen["y"], np.tile(examples["y"], 4))
    assert not (seen["x"][10:20] == seen["x"][20:30]).all()


def test_an_arm_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="no arm is called 'shifts', did you mean shift"):
        augmentation.Config(arms=("shifts",))


def test_words_used_alike_are_synonyms():
    kinds = [("good", "film"), ("fine", "film"), ("cold", "soup"), ("warm", "soup")] * 5
    vocabulary = ["good", "fine", "cold", "warm", "film", "soup"]
    near = augmentation_text.synonyms_by_use([list(pair) for pair in kinds], vocabulary)
    assert near["good"][0] == "fine"
    assert near["warm"][0] == "cold"


def test_bags_hold_each_known_word_once():
    bags = augmentation_text.sparse_bags([["b", "a", "b", "x"], []], ["a", "b", "c"])
    assert bags.toarray().tolist() == [[1, 1, 0], [0, 0, 0]]


def test_sentences_are_altered_in_turn():
    def mark(name):
        return lambda key, words: [*words, name]

    seen = augmentation_text.enlarged([["a"], ["b"]], [mark("1"), mark("2")], seed=0)
    assert seen[:2] == [["a"], ["b"]]
    assert seen[2:6] == [["a", "1"], ["b", "1"], ["a", "2"], ["b", "2"]]
    assert len(seen) == 20


# ------------------------------------------------------------------------------- data efficiency


def test_upright_takes_the_slant_out():
    image = np.zeros((1, 28, 28, 1), np.float32)
    for y in range(6, 22):
        image[0, y, 14 + (y - 14) // 2] = 1  # two down, one to the right
    before, after = (slope(one[0, ..., 0]) for one in (image, data_efficiency.upright(image)))
    assert before == pytest.approx(0.5, abs=0.03)
    assert abs(after) < 0.06
    assert data_efficiency.upright(image).sum() == image.sum()


def slope(image):
    y, x = np.nonzero(image)
    return np.polyfit(y, x, 1)[0]


def test_features_are_directions_of_edges():
    stripes = np.zeros((2, 28, 28, 1), np.float32)
    stripes[0, :, ::4] = 1  # upright: gradients along x
    stripes[1, ::4] = 1
    found = data_efficiency.features(stripes)
    assert found.shape == (2, 4, 4, 9)
    np.testing.assert_allclose(np.square(found).sum((1, 2, 3)), 1, rtol=1e-5)
    assert found[0, ..., 1:].sum() == 0
    assert found[1].sum() == pytest.approx(found[1, ..., 4].sum())
    assert not data_efficiency.features(np.zeros_like(stripes)).any()


# -------------------------------------------------------------------------------- synthetic data


def test_printed_digits_stand_in_the_middle():
    printed = synthetic_data.printed()
    assert len(printed["y"]) >= 130
    rows = printed["x"].max((2, 3)) > 0
    assert not rows[:, :4].any()
    assert not rows[:, 24:].any()
    assert rows[:, 5:23].all()
    pairs = {one.tobytes() for one in printed["x"]}
    assert len(pairs) == len(printed["y"])
    ink = {digit: printed["x"][printed["y"] == digit].sum() for digit in (1, 8)}
    assert ink[8] > 1.3 * ink[1]


@pytest.mark.slow
def test_moved_digits_keep_their_labels_and_differ():
    originals = {
        "x": np.random.default_rng(0).random((2, 28, 28, 1), np.float32),
        "y": np.arange(2),
    }
    moved = synthetic_data.moved(originals, 4)
    assert moved["y"].tolist() == [0, 1, 0, 1]
    assert not np.allclose(moved["x"][0], moved["x"][2])


def test_real_digits_are_half_of_what_is_joined():
    synthetic = {"x": np.zeros(6), "y": np.arange(6)}
    joined = synthetic_data.joined(synthetic, {"x": np.ones(2), "y": np.array([8, 9])})
    assert joined["x"].sum() == 6
    assert joined["y"][6:].tolist() == [8, 9, 8, 9, 8, 9]
    alone = synthetic_data.joined(synthetic, {"x": np.ones(0), "y": np.zeros(0)})
    assert alone["y"].tolist() == [*range(6), *range(6)]


def test_no_real_digits_come_first():
    with pytest.raises(ValueError, match="real is"):
        dataclasses.replace(synthetic_data.Config(), real=(100, 1_000))


def first_digits(count):
    return {name: leaf[:count] for name, leaf in drawn("mnist").train.items()}


# ------------------------------------------------------------------------------------- averaging


def test_curvature_is_the_trace_of_the_hessian():
    layer = models.linear((2, 2, 1), classes=3)
    examples = {"x": drawn("mnist").train["x"][:9, :2, :2], "y": np.arange(9, dtype=np.int32) % 3}
    params, _ = layer.init(jax.random.key(0))
    x = examples["x"].reshape(9, 4)
    p = np.exp(x @ params["linear1"]["kernel"])
    p /= p.sum(-1, keepdims=True)
    # Of the mean of logsumexp(Wx + b) − …: Σₖ pₖ(1 − pₖ)(‖x‖² + 1), the 1 for the bias.
    trace = np.mean((p * (1 - p)).sum(-1) * (np.square(x).sum(-1) + 1))
    measured = float(averaging.curvature(layer, params, examples, 3_000))
    assert measured == pytest.approx(trace, rel=0.05)


def test_averaging_claims_follow_the_measurements():
    arms = {name: averaging.Arm([0.9], [5.0]) for name in averaging.PAPERS}
    good = {"SGD": averaging.Arm([0.8], [10.0]), **arms}
    assert holds(averaging, good) == [True] * 6
    bad = {"SGD": averaging.Arm([0.9], [4.0]), **arms}
    assert holds(averaging, bad) == [False] * 6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sweep.Config(configurations=1), "configurations must be at least 2"),
        (lambda: architecture.Config(depths=(4, 2)), "depths are rising numbers"),
        (lambda: bad_data.Config(share=1.0), "share must be in"),
        (lambda: cross_validation.Config(decays=(0.1, 1.0)), "the first of decays is 0"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
