"""The experiments on optimisation itself, each in its smoke form on a few drawn images."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from dlcore import data, plot, train
from dlcore.data import Dataset
from experiments.descent import (
    _rates,
    averages,
    finite_differences,
    hessian_free,
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

NAMES = (
    "averages",
    "batches",
    "finite_differences",
    "gradient_noise",
    "hessian_free",
    "learning_rate",
    "local_minima",
    "optimizers",
    "programs",
    "rare_features",
    "ravine",
    "saddle",
    "schedules",
    "second_order",
    "terrain",
)
# What needs no data is small enough for its claims to hold in the smoke form too.
EXACT = ("averages", "finite_differences", "programs", "ravine", "second_order", "terrain")
load = data.load


def drawn(name, root=None, **options):
    """Noise with a bright bar at the height of its class, in the place of MNIST."""
    if name != "mnist":
        return load(name, root, **options)

    def part(count, seed):
        y = (np.arange(count) % 10).astype(np.int32)
        x = np.random.default_rng(seed).random((count, 28, 28, 1), dtype=np.float32)
        x[np.arange(count), 2 * y] = 1
        return {"x": x, "y": y}

    return Dataset(name, part(220, 0), part(40, 1), part(60, 2), tuple("0123456789"), "bars")


def told(root):
    """Sentences of an opinion or of a plot, with words that nobody else has."""
    rng = np.random.default_rng(0)
    labels = (np.arange(200) % 2).astype(np.int32)
    kinds = (["he", "dies"], ["i", "laughed"])
    rare = [chr(97 + k // 26) + chr(97 + k % 26) * 3 for k in range(300)]
    words = [[*kinds[y], *rng.choice(rare[y::2], 3)] for y in labels]
    return [" ".join(one) for one in words], labels


def module(name):
    return importlib.import_module(f"experiments.descent.{name}")


@pytest.fixture(scope="module")
def results():
    """The result of each experiment's smoke form."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", drawn)
        patch.setattr(rare_features, "sentences", told)
        return {name: module(name).run(module(name).Config.smoke()) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_measures_draws_and_prints(results, name, tmp_path):
    from rich.console import Console

    result = results[name]
    assert result.claims
    assert all(np.isfinite(one.measured) for one in result.claims)
    drawn = module(name).plot(result)
    for stem, figure in (drawn if isinstance(drawn, dict) else {name: drawn}).items():
        path = tmp_path / f"{stem}{plot.suffix(figure)}"
        plot.save(figure, path)
        assert path.stat().st_size < 2_000_000
    console = Console(width=120)
    with console.capture() as printed:
        console.print(result)
    assert len(printed.get().splitlines()) > 3


@pytest.mark.parametrize("name", EXACT)
def test_theorems_hold_in_the_small_too(results, name):
    assert [one.what for one in results[name].claims if not one.holds] == []


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
    config = terrain.Config.smoke()
    walks = {p: {n: terrain.walk(p, n, config) for n in terrain.OPTIMIZERS} for p in ("beale",)}
    straight = walks["beale"]["RMSProp"]
    same = {place: dict.fromkeys(terrain.OPTIMIZERS, straight) for place in terrain.TERRAINS}
    assert not any(one.holds for one in terrain.claims(same))


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
    assert [one.holds for one in learning_rate.claims(1.9, 2.1, losses)] == [
        False,
        False,
        True,
        False,
    ]
    losses |= {"1000": [float("nan")]}
    assert all(one.holds for one in learning_rate.claims(1.997, 2.003, losses))


def test_saddle_claims_follow_index_and_updates():
    updates = {name: [10, 20, 30, 40, 50, 60] for name in saddle.OPTIMIZERS}
    minima = [saddle.Flat(loss, 0.0) for loss in (0.1, 0.2, 0.3)]
    assert not any(one.holds for one in saddle.claims(updates, minima))


def test_local_minima_claims_compare_with_plain_descent():
    same = dict.fromkeys(local_minima.METHODS, local_minima.Ends(0.5, 1.0, []))
    stuck = dict.fromkeys(local_minima.WIDTHS, 0.3)
    ends = dict.fromkeys(local_minima.TERRAINS, same)
    assert not any(one.holds for one in local_minima.claims(ends, stuck))


def test_programs_end_where_they_must(results):
    """By hand: the corner (1, 3) of the linear program, and the end of the chord of the convex."""
    ends = results["programs"].ends
    assert ends["linear"].values == [pytest.approx(-7)]
    np.testing.assert_allclose(ends["linear"].places, [[1, 3]], atol=2e-3)
    x = np.array([2, 1]) * 2 / 5**0.5
    np.testing.assert_allclose(ends["convex"].places, [x], atol=2e-3)


def test_finite_differences_take_two_values_a_weight(results):
    """A value at least, and the copies of the weights beside it: no more than three times as many
    operations."""
    for one in results["finite_differences"].costs:
        values = 2 * one.weights * one.value
        assert values < one.operations["finite differences"] < 3 * values


def test_hessian_free_memory_is_far_from_the_hessians(results):
    for one in results["hessian_free"].memory:
        assert 4 * one.parameters < one.bytes < 0.01 * 4 * one.parameters**2
    memory = [hessian_free.Memory(count, 4 * count**2) for count in (10, 100)]
    losses = {"Newton-CG": [1.0, 0.5, 0.01], "gradient descent": [1.0, 0.7, 0.005, 0.0]}
    claims = hessian_free.claims(memory, losses)
    assert not any(one.holds for one in claims)
    assert claims[-1].measured == 0.5
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
    config = second_order.Config.smoke()
    assert second_order.rises(1.0, config) == 1.0
    assert second_order.uphill("absolute", config) == 0.0


def test_the_best_rate_is_chosen_on_validation():
    def trial(rate, seed, loss, stopped=None):
        arm = {"learning_rate": rate, "seed": seed, "optimizer": "a"}
        row = {"epoch": 1, "step": 1, "loss": 0.0, "validation_loss": loss}
        return train.Trial(arm, [row], None, stopped)

    trials = [trial(1.0, 0, 0.1), trial(1.0, 1, 0.9), trial(0.1, 0, 0.4), trial(0.1, 1, 0.4)]
    lost = [trial(2.0, 0, 0.0), trial(2.0, 1, 0.0, stopped=3)]
    found = train.Sweep([*trials, *lost], "validation_loss", "min")
    assert [one.configuration["learning_rate"] for one in _rates.at_best_rate(found)] == [0.1, 0.1]
    diverged = train.Sweep(lost, "validation_loss", "min")
    with pytest.raises(FloatingPointError, match="diverges at every rate"):
        _rates.at_best_rate(diverged, optimizer="a")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optimizers.Config(optimizers=("Adm",)), "no optimizer is called 'Adm', did you"),
        (lambda: finite_differences.Config(widths=(8, 4)), "widths are at least two that grow"),
        (lambda: terrain.Config(updates=10), "updates must be at least 120"),
        (lambda: programs.Config(starts=0), "starts must be at least 5"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
