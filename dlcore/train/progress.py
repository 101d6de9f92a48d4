"""What a person watches while a network trains: a bar in a terminal, a line an epoch everywhere."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

Show = Callable[[int, dict[str, Any], bool], None]


class Steady:
    """A stream whose failure costs no run.

    What it does not take is lost (nobody reads it any more, it is closed, the disk is full), which
    `lost` says from then on; a character that its encoding lacks becomes a question mark.
    """

    def __init__(self, stream: Any) -> None:
        self.stream, self.lost = stream, False

    def write(self, text: str) -> int:
        """The length of `text`, written or lost."""
        with self._trying():
            try:
                self.stream.write(text)
            except UnicodeEncodeError:
                encoding = self.stream.encoding
                self.stream.write(text.encode(encoding, "replace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Hands on what was written."""
        with self._trying():
            self.stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal; a closed stream is none."""
        with contextlib.suppress(AttributeError, ValueError):
            return self.stream.isatty()
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    @contextlib.contextmanager
    def _trying(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # ValueError: of a closed one
            self.lost = True


@contextlib.contextmanager
def progress(
    epochs: int, per_epoch: int, *, start: int = 0, visible: bool = True
) -> Iterator[Show]:
    """`show(step, row, ends_epoch)` for a run of `epochs` epochs, resumed at step `start`.

    `row` is the metrics by name. The bar is there before the first step is compiled; the lines of
    the epochs stay above it. An output that fails is no failure of the run (`Steady`).
    """
    if not visible or sys.stdout is None:
        yield lambda step, row, ends_epoch: None
        return
    from rich.console import Console

    stream: Any = Steady(sys.stdout)
    console = Console(file=stream)
    if stream.isatty() and console.is_interactive:
        with _bar(console, epochs, per_epoch, start) as show:
            yield show
    else:
        yield _lines(epochs, per_epoch)


def _lines(epochs: int, per_epoch: int) -> Show:
    def show(step: int, row: dict[str, Any], ends_epoch: bool) -> None:
        if ends_epoch:
            print(_line(step, epochs, per_epoch, row), file=Steady(sys.stdout), flush=True)

    return show


@contextlib.contextmanager
def _bar(console: Any, epochs: int, per_epoch: int, start: int) -> Iterator[Show]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    columns = (
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=16),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        TextColumn("left", table_column=Column(no_wrap=True)),
        # The rest of the line, and no more: the time left must stay.
        TextColumn(
            "{task.fields[numbers]}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
        ),
    )
    # The time of a step is the mean since the first record: an epoch may take longer than any
    # shorter period, and the first record waited for the compiler.
    with Progress(*columns, console=console, expand=True, speed_estimate_period=math.inf) as bar:
        task = bar.add_task(
            f"epoch {_epoch(start + 1, per_epoch)}/{epochs}",
            total=epochs * per_epoch,
            completed=start,
            numbers="compiling …",
        )

        def show(step: int, row: dict[str, Any], ends_epoch: bool) -> None:
            epoch = f"epoch {_epoch(step, per_epoch)}/{epochs}"
            bar.update(task, completed=step, description=epoch, numbers=text(row))
            if ends_epoch:
                console.out(_line(step, epochs, per_epoch, row), highlight=False)

        yield show


def _line(step: int, epochs: int, per_epoch: int, row: dict[str, Any]) -> str:
    return f"epoch {_epoch(step, per_epoch)}/{epochs}  step {step}  {text(row)}"


def _epoch(step: int, per_epoch: int) -> int:
    return -(-step // per_epoch)


def text(row: dict[str, Any]) -> str:
    """The numbers of a row in a person's words: `loss 0.0312  accuracy 0.991`."""
    return "  ".join(
        f"{name.replace('_', ' ')} {value:.4g}"
        for name, value in row.items()
        if isinstance(value, float)
    )
