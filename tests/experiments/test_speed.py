"""The chapter on speed: what its experiments measure, and what their claims ask for."""

from __future__ import annotations

import pytest

from dlcore.analysis import Profile, Row
from experiments.frame import Result
from experiments.speed import bench, growth, profile
from tests.experiments.smoke import holds


@pytest.mark.slow
def test_bench_compares_fit_with_a_peer(smoke):
    result = smoke("bench")
    (row,) = result.measured.rows
    fit, bare = row.sides.values()
    assert len(fit.speeds) == len(bare.speeds) == bench.SMOKE.rounds
    assert fit.parameters == bare.parameters == 105
    assert fit.loss == pytest.approx(bare.loss, rel=1e-3)
    for side in (fit, bare):
        assert side.first_step_seconds > 0
        assert 0 < side.growth < side.memory
    assert [one.what for one in result.claims] == ["playground: fit / the fastest peer"]
    assert result.claims[0].measured == pytest.approx(row.ratio("hand-written JAX step"))
    # 2 · 32 · (2·8 + 8·8 + 8) multiply-adds forward, again as many for the kernels' gradients, and
    # for those of the inputs of the last two layers; a little more for everything else.
    products = 2 * 32 * (2 * 88 + 72)
    assert products < row.flops < 2 * products
    head, line = result.tables["Speed"]
    assert head[1:3] == ("dlcore fit", "hand-written JAX step")
    assert line[0] == "playground (32)"
    assert line[-1] is None  # no framework ran
    assert len(bench.plot(result).axes) == 1


@pytest.mark.slow
def test_growth_measures_steps_epochs_and_memory(smoke):
    result = smoke("growth")
    steps, epochs, (memory,) = result.measured
    assert [len(one.seconds) for one in steps] == [2]
    assert all(seconds > 0 for one in (*steps, epochs) for seconds in one.seconds)
    assert memory.steps[-1] > 10 * memory.steps[growth.ROUNDS - 1]
    assert [one.what.partition(":")[0] for one in result.claims] == [
        "mlp_batch",
        "slope of seconds an epoch against examples",
        "playground",
    ]
    assert len(growth.plot(result).axes) == 3


def test_a_slope_is_the_power_by_which_time_grows():
    cubes = growth.Series("cubes", [1.0, 2.0, 4.0], [3.0, 24.0, 192.0])
    assert cubes.slope == pytest.approx(3)


def test_memory_is_compared_after_it_has_settled():
    settled = [100, 190, 200] + [200] * 26 + [202]
    assert growth.Memory("one", list(range(30)), settled).growth == pytest.approx(0.01)


def test_the_arithmetic_grows_as_the_networks_do():
    config = growth.Config(factors=(1, 2), batches=(16, 64))

    def ends(name):
        return [growth.operations(*point) for point in growth.GROWING[name](config)]

    for name in ("mlp_batch", "conv_batch"):
        first, last = ends(name)
        assert last == pytest.approx(4 * first, rel=0.02)
    first, last = ends("mlp_depth")  # a product of 128×256 and 256×256 more: forward, twice back
    assert last - first == pytest.approx(3 * 2 * 128 * 256 * 256, rel=0.02)
    first, last = ends("conv_width")  # the second convolution has 4 times as many, the first twice
    assert 2 < last / first < 4


def test_profile_takes_a_network_apart(smoke):
    result = smoke("profile")
    found = result.measured
    assert [one.path for one in found.profile.rows] == [
        "flatten1", "linear1", "tanh1", "linear2", "tanh2", "linear3",
    ]  # fmt: skip
    assert found.profile.input == "float32[32, 2]"
    assert 0 < found.step < 1
    left, right = profile.plot(result).axes
    assert [text.get_text() for text in left.get_yticklabels()] == [
        *(one.path for one in found.profile.by_kind), "layers", "network",
    ]  # fmt: skip
    assert len(right.patches) == 2 * 6
    longest = max(bar.get_x() + bar.get_width() for bar in right.patches)
    assert longest == pytest.approx(1e3 * found.dearest[0].seconds)


def row(path, flops, forward, backward, share=0.0):
    return Row(path, "", "", flops, forward, backward, share)


def made(conv=0.8, layers=(3.0, 5.0), network=(4.0, 4.0)):
    """A Profile of two kinds of layers: conv has most of the arithmetic and that share."""
    kinds = row("batch_norm", 10, 1.0, 2.0, 1 - conv), row("conv", 100, 2.0, 3.0, conv)
    sums = row("layers", 110, *layers), row("network", 120, *network), row("left", 10, 0.0, 0.0)
    return Profile(tuple(row(f"conv{i}", i, i, i) for i in range(12)), kinds, *sums, "float32[1]")


@pytest.mark.parametrize(
    ("doctored", "verdicts"),
    [
        ({}, [True, True]),
        ({"conv": 0.7}, [False, True]),
        ({"layers": (1.0, 4.0)}, [True, False]),
        ({"network": (1.0, 4.0)}, [True, False]),
    ],
)
def test_claims_are_of_what_was_measured(doctored, verdicts):
    assert holds(profile, profile.Measured(made(**doctored), 1.0, None)) == verdicts


def test_the_dearest_layers_are_shown_first():
    measured = profile.Measured(made(), 1.0, 0.25)
    assert [one.path for one in measured.dearest] == [f"conv{i}" for i in range(11, 1, -1)]
    (_, lines), (text, _) = Result(profile, profile.Config(), measured).tables.items()
    paths = [line[0] for line in lines][1:]
    assert paths[:2] == ["conv11", "conv10"]
    assert paths[-4:] == ["batch_norm", "conv", "layers", "network"]
    assert "conv1" not in paths
    assert text == ("A step of fit takes 1,000.000 ms. Other processes took 25% of the CPUs.")


@pytest.mark.parametrize(
    ("name", "flags", "said"),
    [
        ("growth", ["--growing", "mlp_wide"], "did you mean mlp_width?"),
        ("growth", ["--factors", "2", "2"], "factors"),
        ("growth", ["--seconds", "0"], "seconds"),
        ("profile", ["--network", "lenet"], "did you mean lenet5?"),
        ("profile", ["--rounds", "0"], "rounds"),
    ],
)
def test_bad_input_is_one_line(command, name, flags, said):
    status, _, err = command(name, *flags)
    assert (status, err.count("\n")) == (2, 1)
    assert said in err
