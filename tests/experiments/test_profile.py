from __future__ import annotations

import pytest

from dlcore.analysis import Profile, Row
from experiments.speed import profile


def row(path, flops, forward, backward, share=0.0):
    return Row(path, "", "", flops, forward, backward, share)


def made(conv=0.8, layers=(3.0, 5.0), network=(4.0, 4.0)):
    """A Profile of two kinds of layers: conv has most of the arithmetic and that share."""
    kinds = row("batch_norm", 10, 1.0, 2.0, 1 - conv), row("conv", 100, 2.0, 3.0, conv)
    sums = row("layers", 110, *layers), row("network", 120, *network), row("left", 10, 0.0, 0.0)
    return Profile(tuple(row(f"conv{i}", i, i, i) for i in range(12)), kinds, *sums, "float32[1]")


@pytest.mark.parametrize(
    ("doctored", "holds"),
    [
        ({}, [True, True, True]),
        ({"conv": 0.7}, [False, True, True]),
        ({"layers": (1.0, 4.0)}, [True, False, True]),
        ({"network": (1.0, 4.0)}, [True, True, False]),
    ],
)
def test_claims_are_of_what_was_measured(doctored, holds):
    found = profile.claims("net", made(**doctored))
    assert [one.holds for one in found] == holds
    assert found[0].what == "net: share of conv"


def test_the_dearest_layers_are_shown_first():
    result = profile.Result("net", made(), 1.0, 0.25, [])
    assert [one.path for one in result.dearest] == [f"conv{i}" for i in range(11, 1, -1)]
    text = str(result.__rich__())
    assert "conv11" in text
    assert "\nconv1 " not in text
    assert "one by one 8,000.000 ms, as one program 8,000.000 ms; a step of fit 1,000.000" in text
    assert text.endswith("other processes took 25% of the CPUs")


def test_the_smoke_run_measures_and_draws():
    result = profile.run(profile.Config.smoke())
    assert [one.path for one in result.profile.rows] == [
        "flatten1", "linear1", "tanh1", "linear2", "tanh2", "linear3",
    ]  # fmt: skip
    assert result.profile.input == "float32[32, 2]"
    assert 0 < result.step < 1
    left, right = profile.plot(result).axes
    assert [text.get_text() for text in left.get_yticklabels()] == [
        *(one.path for one in result.profile.by_kind), "layers", "network",
    ]  # fmt: skip
    assert len(right.patches) == 2 * 6
    longest = max(bar.get_x() + bar.get_width() for bar in right.patches)
    assert longest == pytest.approx(1e3 * result.dearest[0].seconds)


@pytest.mark.parametrize(
    ("flags", "said"),
    [(["--network", "lenet"], "did you mean lenet5?"), (["--rounds", "0"], "rounds")],
)
def test_bad_input_is_one_line(command, flags, said):
    status, _, err = command("profile", *flags)
    assert (status, err.count("\n")) == (2, 1)
    assert said in err
