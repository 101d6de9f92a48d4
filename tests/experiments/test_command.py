from __future__ import annotations

import dataclasses
import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments import command as command_module
from experiments.frame import Claim


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings."""

    figure: float = 1.0
    """What is measured."""
    fail: str = ""
    """How it ends instead."""
    out: Path | None = None
    """Folder."""
    resume: bool = False
    """Go on."""

    def __post_init__(self):
        if self.figure < 0:
            raise ValueError(f"figure must be at least 0, got {self.figure}")


@dataclasses.dataclass(frozen=True)
class Measured:
    figure: float
    nan: float
    nested: dict
    array: np.ndarray = dataclasses.field(repr=False)


ERRORS = {
    "value": ValueError("bad\n  value"),
    "type": TypeError("bad type"),
    "os": FileNotFoundError(2, "No such file or directory", "some/file"),
    "nonfinite": FloatingPointError("not finite"),
    "interrupt": KeyboardInterrupt(),
    "bug": KeyError("bug"),
    "extra": ModuleNotFoundError("No module named 'PIL'", name="PIL"),
}
ERRORS["value"].add_note("in layer\nconv1")


def run(config):
    (config.out / "work").write_text("done")
    if config.fail == "checkpoint":
        (config.out / "checkpoints" / "step-00000003").mkdir(parents=True)
        raise KeyboardInterrupt("interrupted after step 3")
    if config.fail:
        raise ERRORS[config.fail]
    return Measured(config.figure, float("nan"), {"a": (1, np.float32(2))}, np.zeros(3))


@pytest.fixture
def fake(monkeypatch, command):
    """The command line over an experiment of this file."""
    experiment = SimpleNamespace(
        __doc__="It holds.",
        CLAIMS=(Claim("figure", "≥ 1", "someone"),),
        Config=Config,
        run=run,
        figures=lambda result: [result.measured.figure],
        table=lambda result: [("measured",), (result.measured.figure,)],
        plot=lambda result: {"picture": Figure()},
    )
    entry = SimpleNamespace(name="fake", chapter="none", load=lambda: experiment)
    monkeypatch.setattr(command_module.catalogue, "find", lambda name: entry)
    return lambda *argv: command("fake", *argv)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_claim_that_holds_is_0_and_one_that_does_not_is_1(fake):
    status, out, err = fake("--figure", 2)
    assert (status, err) == (0, "")
    assert "measured" in out
    assert "yes" in out
    status, out, _ = fake("--figure", 0.5)
    assert status == 1
    assert "≥ 1" in out
    assert "no" in out.split()


def test_everything_lies_in_the_folder_and_the_result_is_plain_json(fake, tmp_path):
    fake("--figure", 2)
    assert names(tmp_path) == ["runs"]
    assert names(tmp_path / "runs") == ["fake"]
    assert names(tmp_path / "runs" / "fake") == [
        ".experiment",
        "picture.png",
        "result.json",
        "result.md",
        "work",
    ]
    facts = json.loads((tmp_path / "runs/fake/result.json").read_text())
    assert facts["measured"] == {"figure": 2, "nan": None, "nested": {"a": [1, 2]}}
    assert facts["seconds"] > 0
    assert facts["config"] == {"figure": 2, "fail": "", "out": "runs/fake", "resume": False}
    assert facts["claims"][0]["holds"] is True
    assert {"python", "jax", "jaxlib", "numpy", "dlcore"} <= set(facts["versions"])
    assert facts["device"]["platform"]
    assert (tmp_path / "runs/fake/result.md").read_text() == (
        "| measured |\n| ---: |\n| 2 |\n\nClaims\n\n"
        "| claim | expected | measured | holds | source |\n| --- | --- | ---: | --- | --- |\n"
        "| figure | ≥ 1 | 2 | yes | someone |\n"
    )


def test_an_earlier_run_is_moved_aside_and_never_lost(fake, tmp_path):
    for figure in (1, 2, 3):
        status, out, _ = fake("--figure", figure)
        assert status == 0
    assert "runs/fake.2" in out
    figures = {
        path.parent.name: json.loads(path.read_text())["measured"]["figure"]
        for path in tmp_path.glob("runs/*/result.json")
    }
    assert figures == {"fake.1": 1, "fake.2": 2, "fake": 3}


def test_a_run_that_never_began_leaves_the_earlier_one_in_its_place(fake, tmp_path, monkeypatch):
    def refuse(config):
        raise ValueError("no such data")

    fake("--figure", 2)
    monkeypatch.setattr(command_module.catalogue.find("fake").load(), "run", refuse)
    assert fake() == (2, "", "no such data\n")
    assert names(tmp_path / "runs") == ["fake"]
    assert json.loads((tmp_path / "runs/fake/result.json").read_text())["measured"]["figure"] == 2
    assert fake("--out", "new")[0] == 2
    assert names(tmp_path) == ["runs"]


def test_an_unfinished_run_is_gone_on_with_or_left(fake, tmp_path):
    status, _, err = fake("--fail", "checkpoint")
    assert status == 130
    message, _, resume = err.strip().partition("; go on with: ")
    assert message == "interrupted after step 3"
    python, *argv = shlex.split(resume)
    assert Path(python).resolve() == Path(sys.executable).resolve()
    assert argv == ["-m", "experiments", "fake", "--fail", "checkpoint", "--resume"]
    status, _, err = fake()
    assert (status, err.count("\n")) == (2, 1)
    assert "--resume" in err
    assert fake("--resume")[0] == 0
    assert names(tmp_path / "runs") == ["fake"]


def test_a_folder_with_foreign_files_is_left_alone(fake, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "result.json").write_text("precious")
    status, _, err = fake("--out", "mine")
    assert status == 2
    assert "mine" in err
    assert names(tmp_path / "mine") == ["result.json"]
    assert (tmp_path / "mine" / "result.json").read_text() == "precious"


@pytest.mark.parametrize("out", ["/dev/null/runs", "file", "file/below"])
def test_a_folder_that_cannot_be_written_is_refused_before_any_work(fake, tmp_path, out):
    (tmp_path / "file").write_text("")
    status, printed, err = fake("--out", out)
    assert (status, printed, err.count("\n")) == (2, "", 1)
    assert out.split("/runs")[0].split("/below")[0] in err
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        ("value", "bad value in layer conv1\n"),
        ("type", "bad type\n"),
        ("os", "some/file: No such file or directory\n"),
        ("nonfinite", "not finite\n"),
        ("extra", "this needs PIL: pip install 'dlcore[images]'\n"),
    ],
)
def test_bad_input_is_one_line(fake, fail, message):
    assert fake("--fail", fail) == (2, "", message)


def test_an_interrupt_with_nothing_saved_offers_no_resume(fake):
    assert fake("--fail", "interrupt") == (130, "", "interrupted\n")


def test_a_mistake_of_ours_keeps_its_traceback(fake, monkeypatch):
    with pytest.raises(KeyError):
        fake("--fail", "bug")
    monkeypatch.setenv("DLCORE_TRACEBACK", "1")
    with pytest.raises(TypeError):
        fake("--fail", "type")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--figure", "x"], ["--figure", "'x'"]),
        (["--figure", "-1"], ["figure must be at least 0, got -1.0"]),
        (["--figure"], ["--figure"]),
        (["--fgure", "1"], ["--fgure", "did you mean --figure?"]),
        (["--resume", "yes"], ["yes"]),
    ],
)
def test_flags_that_are_wrong_are_one_line(fake, argv, said):
    status, out, err = fake(*argv)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert not set(err) & set("│╭╰─")
    for text in said:
        assert text in err


def test_help_explains_the_flags(fake):
    status, out, err = fake("--help")
    assert (status, err) == (0, "")
    for text in ("It holds.", "--figure", "What is measured.", "--resume", "≥ 1", "someone"):
        assert text in out


@pytest.mark.parametrize("argv", [[], ["saddle", "--help"]])
def test_output_that_nobody_reads_is_a_silent_end(argv, tmp_path):
    """As of `python -m experiments | head -1`, once head has ended."""
    read, write = os.pipe()
    os.close(read)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "experiments", *argv],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(root)},
        cwd=tmp_path,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_result_that_nobody_reads_is_no_claim_that_fails(fake, monkeypatch):
    class Unread(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Unread())
    with pytest.raises(BrokenPipeError):
        fake("--figure", 2)


def test_an_unknown_name_gets_the_nearest(command):
    status, out, err = command("clasify")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "did you mean classify?" in err


def test_without_matplotlib_the_rest_is_there(fake, tmp_path, monkeypatch):
    def missing(result):
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

    monkeypatch.setattr(command_module.catalogue.find("fake").load(), "plot", missing)
    status, out, err = fake()
    assert (status, err) == (0, "")
    assert "pip install 'dlcore[plot]'" in out
    assert names(tmp_path / "runs" / "fake") == [".experiment", "result.json", "result.md", "work"]
