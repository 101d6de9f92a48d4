"""The experiments on search and on data: sweeps, cross-validation, bad data, structure."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest

from dlcore import data
from dlcore.data import Dataset
from experiments.generalisation import architecture, bad_data, cross_validation, sweep

SMOKE = {
    "architecture": architecture.Config.smoke(),
    "bad_data": bad_data.Config.smoke(),
    "cross_validation": cross_validation.Config.smoke(),
    "sweep": sweep.Config.smoke(),
}
load = data.load


def drawn(name, root=None, **options):
    """Noise in the place of MNIST; what comes along as it is."""
    if name != "mnist":
        return load(name)

    def part(count, seed):
        x = np.random.default_rng(seed).random((count, 28, 28, 1), dtype=np.float32)
        return {"x": x, "y": (np.arange(count) % 10).astype(np.int32)}

    return Dataset(name, part(300, 0), part(40, 1), part(60, 2), tuple("0123456789"), "noise")


@pytest.fixture(scope="module")
def results():
    """The result of each experiment's smoke form."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", drawn)
        return {name: module(name).run(config) for name, config in SMOKE.items()}


def module(name):
    return importlib.import_module(f"experiments.generalisation.{name}")


@pytest.mark.parametrize("name", SMOKE)
def test_measures_draws_and_prints(results, name):
    from rich.console import Console

    result = results[name]
    assert result.claims
    assert all(np.isfinite(one.measured) for one in result.claims if "spread" not in one.what)
    for figure in module(name).plot(result).values():
        assert figure.axes[0].has_data()
    console = Console(width=120)
    with console.capture() as printed:
        console.print(result)
    assert len(printed.get().splitlines()) > 3


def test_a_sweep_has_the_losses_of_fits(results):
    assert all(one.difference < 1e-5 for one in results["sweep"].races)
    assert all(one.ratio > 0 for one in results["sweep"].races)


def test_races_are_judged_by_their_ratios():
    def claims(sweeps, chosen):
        races = [
            sweep.Race("small", 64, sweeps, 0.1, 1.0, 1.0, 1e-6),
            sweep.Race("large", 4, sweeps, 0.1, 1.0, 1.0, 1e-6),
        ]
        result = sweep.Result(races, [], [], np.zeros(0), {}, chosen, 0.5, 0.0, [], None)
        return [one.holds for one in sweep.claims(result)]

    assert claims(0.4, 0.6) == [True, True, True, True]
    assert claims(1.0, 0.5) == [False, False, True, False]


def test_bad_rows_are_found_and_labels_are_really_wrong():
    clean = drawn("mnist").train
    assert bad_data.found_by_comparison(clean) == (True, True)
    rows, noisy = bad_data.mislabelled(clean, 0.1)
    assert len(rows) == 30
    assert np.flatnonzero(noisy["y"] != clean["y"]).tolist() == rows.tolist()


def test_the_share_found_counts_the_planted(results):
    result = results["bad_data"]
    assert result.planted == 10
    assert result.found[-1] == pytest.approx(0.1)  # of all, one in ten is wrong
    assert result.precision == result.found[9]


def test_cross_validation_claims_follow_the_draws():
    def draws(folds, firsts, chosen_loss):
        accuracies = [
            np.array([[a, b, 0.7], [0, 0, 0]]) for a, b in zip(folds, firsts, strict=True)
        ]
        losses = np.array([[1.0, 1.0, 1.0], [0.5, 0.5, chosen_loss]])
        return [cross_validation.Draw(one, losses) for one in accuracies]

    def holds(*given):
        config = cross_validation.Config.smoke()
        result = cross_validation.Result(draws(*given), 0.0, [], config)
        return [one.holds for one in cross_validation.claims(result)]

    assert holds([0.69, 0.71], [0.6, 0.8], 0.9) == [True, True, True]
    assert holds([0.8, 0.9], [0.7, 0.71], 1.1) == [False, False, False]


def test_architecture_claims_compare_rates_and_depths():
    config = dataclasses.replace(
        architecture.Config.smoke(), depths=(1, 8), widths=(4, 8), rates=(0.01, 0.1)
    )

    def holds(shallow, deep):
        accuracies = np.array([[shallow, shallow], [deep, deep]])
        result = architecture.Result(accuracies, {}, 0.0, 0.0, [], config)
        return [one.holds for one in architecture.claims(result)]

    assert holds([0.8, 0.9], [0.7, 0.1]) == [True, True, True]
    assert holds([0.8, 0.7], [0.85, 0.9]) == [False, True, False]
    assert holds([0.8, 0.9], [0.8, 0.9]) == [False, False, False]


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
