"""What a person watches while a network trains: a bar in a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

Show = Callable[[int, dict[str, Any], bool], None]


@contextlib.contextmanager
def progress(
    epochs: int, per_epoch: int, *, start: int = 0, visible: bool = True
) -> Iterator[Show]:
    """`show(step, row, ends_epoch)` for a run of `epochs` epochs, resumed at step `start`.

    `row` is the metrics by name. The bar is there before the first step is compiled.
    """
    if not visible:
        yield lambda step, row, ends_epoch: None
        return
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        with _bar(console, epochs, per_epoch, start) as show:
            yield show
    else:
        yield _lines(epochs, per_epoch)


def _lines(epochs: int, per_epoch: int) -> Show:
    def show(step: int, row: dict[str, Any], ends_epoch: bool) -> None:
        if ends_epoch:
            print(f"epoch {_epoch(step, per_epoch)}/{epochs}  step {step}  {text(row)}", flush=True)

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

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[numbers]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(
            f"epoch {_epoch(start + 1, per_epoch)}/{epochs}",
            total=epochs * per_epoch,
            completed=start,
            numbers="compiling …",
        )

        def show(step: int, row: dict[str, Any], ends_epoch: bool) -> None:
            epoch = f"epoch {_epoch(step, per_epoch)}/{epochs}"
            bar.update(task, completed=step, description=epoch, numbers=text(row))

        yield show


def _epoch(step: int, per_epoch: int) -> int:
    return -(-step // per_epoch)


def text(row: dict[str, Any]) -> str:
    """The numbers of a row in a person's words: `loss 0.0312  accuracy 0.991`."""
    return "  ".join(
        f"{name.replace('_', ' ')} {value:.4g}"
        for name, value in row.items()
        if isinstance(value, float)
    )
