from __future__ import annotations

import ast
import dataclasses
import itertools
from collections import Counter
from pathlib import Path

import pytest
from rich.cells import cell_len

from experiments import catalogue, frame
from tests.experiments.smoke import TOOLS

ENTRIES = {entry.name: entry for entry in catalogue.entries()}


def test_the_list_has_every_file_of_every_chapter_once():
    files = {path.stem for path in catalogue.FOLDER.glob("*/*.py")}
    assert set(ENTRIES) == {name for name in files if not name.startswith("_")}
    assert {"classify", "predict", "bench"} <= set(ENTRIES)
    assert max(Counter(entry.name for entry in catalogue.entries()).values()) == 1


# No Config takes these, of any kind.
ABSURD = {"int": ["x", "1.5", str(10**20), "-1"], "float": ["x", "nan", "1e400", "1e39"]}


@pytest.mark.parametrize("name", ENTRIES)
def test_the_help_fits_a_terminal_and_shows_every_default(name, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(catalogue, "find", ENTRIES.get)
    status, out, err = command(name, "--help")
    assert (status, err) == (0, "")
    assert max(map(cell_len, out.splitlines())) <= 80
    assert out.startswith(f"usage: python -m experiments {name} ")
    for field in dataclasses.fields(ENTRIES[name].load().Config):
        assert f"--{field.name.replace('_', '-')}" in out or field.name in ("images", "prompt")
    assert out.count("(default:") >= len(dataclasses.fields(ENTRIES[name].load().Config))


@pytest.mark.parametrize("name", ENTRIES)
def test_absurd_numbers_are_one_line(name, command, monkeypatch):
    monkeypatch.setattr(frame, "run", None)  # nothing runs
    monkeypatch.setattr(catalogue, "find", ENTRIES.get)
    fields = dataclasses.fields(ENTRIES[name].load().Config)
    numbers = [(f, kind) for f in fields for kind in ABSURD if kind in f.type.split("[")[0]]
    assert numbers
    for field, kind in numbers:
        for value in ABSURD[kind]:
            flag = f"--{field.name.replace('_', '-')}"
            status, out, err = command(name, *["a.png"] * (name == "predict"), flag, value)
            assert (status, out, err.count("\n")) == (2, "", 1)
            assert flag in err or field.name in err


@pytest.mark.parametrize("name", ENTRIES)
def test_every_experiment_has_its_parts_and_its_fields_are_explained(name):
    experiment = ENTRIES[name].load()
    assert 20 < len(ENTRIES[name].claim) <= 100
    for part in ("run", "figures", "table", "plot"):
        assert callable(getattr(experiment, part))
    assert experiment.Config.__dataclass_params__.frozen
    assert bool(experiment.CLAIMS) == (name not in TOOLS)
    if name not in TOOLS:
        assert isinstance(experiment.SMOKE, experiment.Config)
    assert len({one.what for one in experiment.CLAIMS}) == len(experiment.CLAIMS)
    for one in experiment.CLAIMS:
        assert one.what
        assert one.source
        assert one.holds(float("nan")) is False  # and what is expected can be read
    body = next(
        node
        for node in ast.parse(Path(experiment.__file__).read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == "Config"
    ).body
    for field, after in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(after, ast.Expr), f"{field.target.id} has no docstring"


def test_the_list_shows_chapters_and_claims_and_imports_no_experiment(process):
    code = (
        "import sys; from experiments.command import main; main([]);"
        "sys.exit(any(name in sys.modules for name in ('jax', 'numpy', 'matplotlib')))"
    )
    child = process("-c", code)
    out, err = child.communicate()
    assert (child.returncode, err) == (0, "")
    for entry in ENTRIES.values():
        assert f"{entry.name} " in out
        assert entry.claim in out
        assert f"\n{entry.chapter}\n" in out


def test_a_claim_is_the_first_line_of_a_docstring(tmp_path):
    (tmp_path / "chapter").mkdir()
    (tmp_path / "chapter" / "one.py").write_text('"""It holds.\n\nMore.\n"""\nimport nowhere\n')
    (tmp_path / "chapter" / "_part.py").write_text('"""A part."""')
    assert catalogue.entries(tmp_path) == [catalogue.Entry("chapter", "one", "It holds.")]


def test_the_claims_of_all_are_told_before_anything_runs(command):
    status, out, err = command("--claims")
    assert (status, err) == (0, "")
    told = " ".join("".join(one for one in out if one not in "┃│┏┓┗┛━┳┻╇┡┩─┴└┘").split())
    for entry in ENTRIES.values():
        for one in entry.load().CLAIMS:
            assert one.what.split()[0] in told
