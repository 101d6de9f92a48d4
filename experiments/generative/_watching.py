"""A picture of what a network draws, written anew after every epoch of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlcore import train


def watching(
    out: Path | None, name: str, draw: Callable[[Any], Any]
) -> Callable[[train.Record], None] | None:
    """The callback of `train.run` that writes draw(state), images or rows of them, to OUT/NAME.png.

    None where nothing is written, or nothing can be drawn.
    """
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        return None
    if out is None:
        return None

    def write(record: train.Record) -> None:
        from dlcore import plot

        if record.ends_epoch:
            figure = plot.mosaic(draw(record.state), title=f"epoch {record.epoch}")
            plot.save(figure, out / f"{name}.png")

    return write
