from __future__ import annotations

import errno
import io
import re
import sys

import pytest

from dlcore.train.progress import Steady, progress

ROW = {"loss": 0.25, "top[k]": 0.75, "validation_loss": 1.5, "validation_top[k]": 0.5, "count": 3}
LINES = [
    f"epoch {epoch}/3  step {20 * epoch}  loss 0.25  top[k] 0.75  validation loss 1.5  "
    "validation top[k] 0.5"
    for epoch in (1, 2, 3)
]


class Failing(io.StringIO):
    """A stream that raises this."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error

    def flush(self):
        raise self.error


class Terminal(io.StringIO):
    def isatty(self):
        return True


def train(epochs=3, between=lambda: None):
    """A run of `epochs` epochs of three, as `train.run` shows it."""
    with progress(3, 20) as show:
        for step in range(1, 20 * epochs + 1):
            if step % 10 == 0:
                between()
                show(step, ROW, step % 20 == 0)


@pytest.fixture
def terminal(monkeypatch):
    """terminal(**options): what a run writes to a terminal of 80 columns, as lines."""

    def watched(environment=(), **options):
        stream = Terminal()
        with monkeypatch.context() as patch:
            for name, value in {"COLUMNS": "80", "TERM": "xterm", **dict(environment)}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdout", stream)
            train(**options)
        plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", stream.getvalue())
        return [line.rstrip() for line in re.split(r"[\r\n]+", plain) if line.strip()]

    return watched


def test_a_line_an_epoch_goes_to_a_file(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as some CI has it: a file is a file
    train()
    assert capsys.readouterr().out.splitlines() == LINES


def test_nothing_is_said_where_nobody_looks(capsys):
    with progress(3, 20, visible=False) as show:
        show(20, ROW, True)
    assert capsys.readouterr().out == ""


def test_the_lines_of_the_epochs_stay_above_the_bar(terminal):
    lines = terminal()
    assert [line for line in lines if line in LINES] == LINES
    assert "60/60" in lines[-1]
    assert "top[k]" in lines[-1]
    bars = [line for line in lines if line not in LINES]
    assert max(map(len, bars)) <= 80
    assert all("left" in line for line in bars)


def test_the_bar_tells_the_time_left_however_long_an_epoch_takes(terminal, monkeypatch):
    """The first record, at 100 s, waits for the compiler; the other steps take 10 s each."""
    seconds = [0.0]

    def wait():
        seconds[0] += 100

    monkeypatch.setattr("rich.console.monotonic", lambda: seconds[0])
    assert "40/60 0:03:20 left loss 0.25" in terminal(epochs=2, between=wait)[-1]


def test_a_terminal_that_moves_no_cursor_gets_lines(terminal):
    assert terminal({"TERM": "dumb"}) == LINES


@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError(),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EIO, "Input/output error"),
        ValueError("I/O operation on closed file"),
    ],
)
@pytest.mark.parametrize("is_terminal", [False, True])
def test_an_output_that_fails_costs_no_run(error, is_terminal, monkeypatch):
    stream = Failing(error)
    stream.isatty = lambda: is_terminal
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", stream)
    train()
    steady = Steady(stream)
    assert steady.write("text") == 4
    assert steady.lost


def test_a_closed_output_or_none_costs_no_run(monkeypatch):
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None):
        monkeypatch.setattr(sys, "stdout", stream)
        train()


def test_characters_that_an_encoding_lacks_are_question_marks(monkeypatch):
    file = io.BytesIO()
    steady = Steady(io.TextIOWrapper(file, encoding="ascii", write_through=True))
    print("0.99 ≥ 0.98", file=steady, flush=True)
    assert (file.getvalue(), steady.lost) == (b"0.99 ? 0.98\n", False)
