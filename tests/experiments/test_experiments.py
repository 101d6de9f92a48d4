"""Every experiment in its smoke form: it measures, claims, prints tables and draws pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dlcore import plot
from experiments import catalogue, output
from tests.experiments.smoke import names
from tests.pictures import faults

# What needs no data is small enough for its claims to hold in the smoke form too.
EXACT = {"averages", "finite_differences", "programs", "ravine", "second_order", "terrain"}


@pytest.mark.parametrize("name", names())
def test_smoke(name, smoke, tmp_path):
    """It claims what can be measured, draws pictures whose text can be read, and prints a table."""
    from rich.console import Console

    result = smoke(name)
    assert result.claims or name == "classify"  # whose claims are of full runs
    assert all(np.isfinite(one.measured) for one in result.claims if "spread" not in one.what)
    if name in EXACT:
        assert [one.what for one in result.claims if not one.holds] == []
    figures = catalogue.find(name).load().plot(result)
    for stem, figure in (figures if isinstance(figures, dict) else {name: figures}).items():
        path = tmp_path / f"{stem}{plot.suffix(figure)}"
        plot.save(figure, path)
        assert path.stat().st_size < 2_000_000
        assert faults(getattr(figure, "_fig", figure)) == []  # an animation's figure
    output.write_result(tmp_path, name, result)
    assert json.loads((tmp_path / "result.json").read_text())["measured"]
    for shown in result.tables.values():
        assert len({len(line) for line in shown}) <= 1
    console = Console(width=120)
    with console.capture() as printed:
        console.print(result)
    assert len(printed.get().splitlines()) > 3
