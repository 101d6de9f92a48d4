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
from jax.errors import JaxRuntimeError
from matplotlib.figure import Figure

from dlcore.data.dataset import DataError
from dlcore.train import NonFiniteLossError
from experiments import command as command_module
from experiments import output
from experiments.choice import BadInput
from experiments.frame import Claim


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings."""

    figure: float = 1.0
    """What is measured."""
    fail: str = ""
    """How it ends instead."""
    count: int = 1
    """A number."""
    several: tuple[int, ...] = (1, 2)
    """Numbers."""
    out: Path | None = None
    """Folder."""
    root: Path | None = None
    """Another."""
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
    "value": BadInput("bad\n  value"),
    "data": DataError("bad data"),
    "os": FileNotFoundError(2, "No such file or directory", "some/file"),
    "nonfinite": NonFiniteLossError("not finite", step=1, path=None, state=None),
    "memory": MemoryError("Unable to allocate 7 TiB"),
    "device": JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"),
    "interrupt": KeyboardInterrupt(),
    "key": KeyError("bug"),
    "type": TypeError("bug"),
    "bug": ValueError("bug"),
    "xla": JaxRuntimeError("INTERNAL: bug"),
    "broken": BrokenPipeError(32, "Broken pipe"),
    "extra": ModuleNotFoundError("No module named 'PIL'", name="PIL"),
}
ERRORS["value"].add_note("in layer\nconv1")


WRITTEN = [".experiment", "picture.png", "result.json", "result.md", "work"]


def run(config):
    (config.out / "work").write_text("done")
    if config.fail == "checkpoint" and not config.resume:
        (config.out / "checkpoints" / "step-00000003").mkdir(parents=True)
        raise KeyboardInterrupt("interrupted after step 3")
    if config.fail == "warn":
        print("2 ≥ 1", file=sys.stderr)
    elif config.fail in ERRORS:
        raise ERRORS[config.fail]
    return Measured(config.figure, float("nan"), {"a": (1, np.float32(2))}, np.zeros(3))


def entry():
    """The experiment of this file."""
    experiment = SimpleNamespace(
        __doc__="It holds.",
        CLAIMS=(Claim("figure", "≥ 1", "someone"),),
        Config=Config,
        run=run,
        figures=lambda result: [result.measured.figure],
        table=lambda result: [("measured",), (result.measured.figure,)],
        plot=lambda result: {"picture": Figure()},
    )
    return SimpleNamespace(name="fake", chapter="none", load=lambda: experiment)


@pytest.fixture
def fake(monkeypatch, command):
    """The command line over it."""
    found = entry()
    monkeypatch.setattr(command_module.catalogue, "find", lambda name: found)
    return lambda *argv: command("fake", *argv)


def refuse(config):
    raise ERRORS[config.fail]


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
    assert names(tmp_path / "runs" / "fake") == WRITTEN
    facts = json.loads((tmp_path / "runs/fake/result.json").read_text())
    assert facts["measured"] == {"figure": 2, "nan": None, "nested": {"a": [1, 2]}}
    assert facts["seconds"] > 0
    assert facts["config"] == output.plain(Config(figure=2.0, out=Path("runs/fake")))
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
    fake("--figure", 2)
    monkeypatch.setattr(command_module.catalogue.find("fake").load(), "run", refuse)
    assert fake("--fail", "data") == (2, "", "bad data\n")
    assert fake("--fail", "interrupt") == (130, "", "interrupted\n")
    with pytest.raises(ValueError, match="bug"):
        fake("--fail", "bug")
    assert names(tmp_path / "runs") == ["fake"]
    assert json.loads((tmp_path / "runs/fake/result.json").read_text())["measured"]["figure"] == 2
    assert fake("--fail", "data", "--out", "new")[0] == 2
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
        ("data", "bad data\n"),
        ("os", "some/file: No such file or directory\n"),
        ("nonfinite", "not finite\n"),
        ("memory", "Unable to allocate 7 TiB\n"),
        ("device", "RESOURCE_EXHAUSTED: Out of memory\n"),
        ("broken", "Broken pipe\n"),
        ("extra", "this needs PIL: pip install 'dlcore[images]'\n"),
    ],
)
def test_bad_input_is_one_line(fake, fail, message):
    assert fake("--fail", fail) == (2, "", message)


def test_an_interrupt_with_nothing_saved_offers_no_resume(fake):
    assert fake("--fail", "interrupt") == (130, "", "interrupted\n")


@pytest.mark.parametrize("fail", ["key", "type", "bug", "xla"])
def test_a_mistake_of_ours_keeps_its_traceback(fake, fail):
    with pytest.raises(type(ERRORS[fail]), match="bug"):
        fake("--fail", fail)


def test_bad_input_has_a_traceback_on_demand(fake, monkeypatch):
    monkeypatch.setenv("DLCORE_TRACEBACK", "1")
    with pytest.raises(BadInput):
        fake("--fail", "value")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--figure", "x"], "--figure takes FLOAT, got 'x'"),
        (["--figure", "1", "2"], "--figure takes FLOAT, got '1 2'"),
        (["--figure=x"], "--figure takes FLOAT, got 'x'"),
        (["--figure"], "--figure takes FLOAT, got ''"),
        (["--figure", "-1"], "figure must be at least 0, got -1.0"),
        (["--figure", "1e400"], "figure must be a number that 32 bits hold, got inf"),
        (["--figure", "nan"], "figure must be a number that 32 bits hold, got nan"),
        (["--count", "9" * 20], f"count must fit into 32 bits, got {'9' * 20}"),
        (["--count", "9" * 5000], f"--count takes INT, got '{'9' * 79}"),
        (["--several"], "several needs at least one number"),
        (["--several", "1", "2147483648"], "several must fit into 32 bits, got 2147483648"),
        (["--fgure", "1"], "no flag is called '--fgure', did you mean --figure?"),
        (["-figure", "1"], "no flag is called '-figure', did you mean --figure?"),
        (["--FIGURE=1"], "no flag is called '--FIGURE', did you mean --figure?"),
        (["--resume", "yes"], "--resume takes no value, got 'yes'"),
        (["stray"], "'stray' stands after no flag"),
        (["--out=~nosuchuser/x"], "~nosuchuser/x: Could not determine home directory."),
    ],
)
def test_flags_that_are_wrong_are_one_line(fake, argv, said):
    assert fake(*argv) == (2, "", f"{said}\n")


def test_a_line_is_cut_at_a_readable_length(fake):
    status, _, err = fake("--out", "o" * 5000)
    assert status == 2
    assert len(err) < 520
    assert err.endswith("File name too long\n")


def test_a_folder_may_lie_at_home(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert fake("--out=~/mine")[0] == 0
    assert names(tmp_path) == ["home"]
    assert names(tmp_path / "home") == ["mine"]


def test_help_explains_the_flags(fake):
    status, out, err = fake("--help")
    assert (status, err) == (0, "")
    for text in ("It holds.", "--figure", "What is measured.", "--resume", "≥ 1", "someone"):
        assert text in out


def test_a_run_goes_on_as_it_was_begun(fake, tmp_path):
    """--resume alone takes the folder's Config, and other flags than it has are refused."""
    begun = ("--figure", "0.1", "--several", "5", "6", "--root", "data")
    assert fake(*begun, "--fail", "checkpoint")[0] == 130
    experiment = command_module.catalogue.find("fake").load()
    seen = []
    experiment.run = lambda config: seen.append(config) or Measured(2, 0, {}, np.zeros(1))
    assert fake("--resume", "--figure", "0.1")[0] == 0
    assert seen == [
        Config(0.1, "checkpoint", 1, (5, 6), Path("runs/fake"), Path("data"), resume=True)
    ]
    assert fake("--resume", "--root", "elsewhere")[0] == 0
    assert seen[1].root == Path("elsewhere")
    status, out, err = fake("--resume", "--several", "5")
    assert (status, out) == (2, "")
    assert err == (
        "the run was begun with several=(5, 6), not (5,): go on with it without --several, or "
        "choose a new folder with --out\n"
    )


def test_a_run_that_could_not_go_on_keeps_its_config(fake, tmp_path):
    (tmp_path / "runs" / "fake").mkdir(parents=True)
    marker = tmp_path / "runs/fake/.experiment"
    marker.write_text('fake\n{"figure": 2.0, "fail": "data"}\n')
    experiment = command_module.catalogue.find("fake").load()
    experiment.run = refuse
    assert fake("--resume") == (2, "", "bad data\n")
    assert output.settings(marker.parent)["figure"] == 2


@pytest.mark.parametrize("marker", ["fake\n", "fake\n[1]", "fake\n{", "fake\n{}\n"])
def test_a_run_of_which_no_config_is_known_goes_on_as_it_is_told(fake, tmp_path, marker):
    fake("--fail", "checkpoint")
    (tmp_path / "runs/fake/.experiment").write_text(marker)
    assert fake("--resume", "--figure", "3")[0] == 0
    assert json.loads((tmp_path / "runs/fake/result.json").read_text())["measured"]["figure"] == 3


def test_the_folder_of_another_experiment_is_left_alone(fake, tmp_path):
    fake()
    (tmp_path / "runs/fake/.experiment").write_text("other\n")
    status, _, err = fake("--out", "runs/fake", "--resume")
    assert (status, err.count("\n")) == (2, 1)
    assert "is a run of 'other'" in err


def test_the_folder_where_one_is_cannot_be_moved_aside(fake, tmp_path, monkeypatch):
    fake()
    monkeypatch.chdir(tmp_path / "runs" / "fake")
    for out in (".", "../fake"):
        status, _, err = fake("--out", out)
        assert (status, err.count("\n")) == (2, 1)
        assert "choose another --out" in err
    assert names(tmp_path / "runs") == ["fake"]


def main(argv, redirection="", **options):
    """`python` in an empty folder, under a shell's redirection, as a process that is done."""
    root = Path(__file__).parents[2]
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", sys.executable, *argv],
        text=True,
        env=os.environ | {"PYTHONPATH": str(root), "PYTHONIOENCODING": "ascii"},
        check=False,
        **options,
    )


@pytest.fixture
def unread():
    """A pipe that nobody reads any more, as that of `| head -1` is once head has ended."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


@pytest.mark.parametrize("argv", [[], ["saddle", "--help"]])
def test_output_that_nobody_reads_is_a_silent_end(argv, unread, tmp_path):
    argv = ["-m", "experiments", *argv]
    done = main(argv, stdout=unread, stderr=subprocess.PIPE, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("argv", "redirection", "status"),
    [
        ([], "", 0),
        ([], ">&-", 141),
        ([], "<&- >&- 2>&-", 141),
        (["nosuch"], "", 2),
        (["é≥"], "2>&-", 2),
        (["nosuch"], ">&-", 2),
    ],
)
def test_closed_streams_and_ascii_change_no_status(argv, redirection, status, tmp_path):
    argv = ["-m", "experiments", *argv]
    assert main(argv, redirection, capture_output=True, cwd=tmp_path).returncode == status


def test_a_result_that_nobody_reads_is_complete_and_saved(fake, tmp_path, monkeypatch):
    class Unread(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    for stream in ("stdout", "stderr"):
        with monkeypatch.context() as patch:
            patch.setattr(sys, stream, Unread())
            assert fake("--figure", 2, "--fail", "warn", "--out", stream)[0] == 141
        assert names(tmp_path / stream) == WRITTEN
        assert fake("--resume", "--out", stream)[0] == 0
    monkeypatch.setattr(sys, "stderr", Unread())
    assert fake("--figure", -1)[0] == 2


# The experiment of this file as `python -m experiments fake`.
CHILD = """
import runpy
from experiments import catalogue
from tests.experiments import test_command
catalogue.find = lambda name: test_command.entry()
runpy.run_module("experiments", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("redirection", "status"), [("", 0), (">&-", 141), (">/dev/full", 141), ("<&- 2>&-", 0)]
)
def test_an_output_that_fails_costs_no_run(redirection, status, tmp_path):
    argv = ["-c", CHILD, "fake", "--figure", "2", "--fail", "warn"]
    done = main(argv, redirection, capture_output=True, cwd=tmp_path)
    assert done.returncode == status
    assert names(tmp_path / "runs" / "fake") == WRITTEN
    assert done.stderr == ("" if "2>&-" in redirection else "2 ? 1\n")
    if status == 0:
        assert "| figure | ? 1      | 2        | yes   | someone |" in done.stdout


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
