from __future__ import annotations

import dataclasses

import pytest

from experiments.basics import bench


@pytest.mark.parametrize("name", bench.NAMES)
def test_both_sides_train_the_same_network(name, standard_promotion):
    """Round by round the mean losses agree, and they fall."""
    network = bench.networks()[name]._replace(batch=16, steps=8, epochs=2)
    fit, bare = (list(turns(network, 2)) for turns in (bench.fit_turns, bench.bare_turns))
    assert fit == pytest.approx(bare, rel=1e-3)
    assert fit[1] < fit[0]


def test_the_smoke_run_measures_and_draws(tmp_path):
    config = dataclasses.replace(bench.Config.smoke(), out=tmp_path)
    result = bench.run(config)
    (row,) = result.rows
    assert len(row.fit) == len(row.bare) == config.rounds
    assert row.fit_first_step_seconds > 0
    assert [one.what for one in result.claims] == ["fit / bare, playground"]
    assert result.claims[0].measured == pytest.approx(row.ratio)
    lines = (tmp_path / "bench.md").read_text().splitlines()
    assert {line.count("|") for line in lines[:3]} == {7}
    assert "playground (32)" in lines[2]
    assert len(bench.plot(result).axes) == 1


def test_networks_that_compute_something_else_are_not_compared(monkeypatch):
    networks = bench.networks()
    other = networks["playground"]._replace(forward=lambda p, x: 2 * bench.playground(p, x))
    monkeypatch.setattr(bench, "networks", lambda: networks | {"playground": other})
    with pytest.raises(RuntimeError, match="losses"):
        bench.compare("playground", 1)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--networks", "mlp,lenet"], "did you mean lenet5?"),
        (["--networks", ""], "no network is called ''"),
        (["--rounds", "0"], "rounds"),
    ],
)
def test_bad_input_is_one_line(command, flags, said):
    status, _, err = command("bench", *flags)
    assert (status, err.count("\n")) == (2, 1)
    assert said in err
