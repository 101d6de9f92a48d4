"""What every experiment has: settings, a run, and a result with its claims judged.

An experiment is a module, for the command line, a test and a notebook alike:

    CLAIMS             what is claimed, the figures expected and their sources
    Config             a frozen dataclass, each field documented
    SMOKE              a Config that runs in seconds
    settled(config)    -> a Config with nothing left out, where one may leave something out
    run(config)        -> what was measured: rows, or a named tuple of several things
    figures(result)    -> the figures that CLAIMS are about, in their order (None: left out by the
                       settings)
    table(result)      -> lines of cells, the headings first; or several tables by title
    plot(result)       -> a matplotlib Figure or animation, or a dict of them by name
    errors(result)     -> where it has one: the BadInputs that did not keep it from a result

    result = frame.run(experiment, experiment.Config())
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from experiments.choice import BadInput, possible
from experiments.claim import Claim, Verdict
from experiments.tables import Table, terminal

if TYPE_CHECKING:
    import matplotlib.figure

__all__ = ["BaseConfig", "Claim", "DataConfig", "Figure", "Result", "Table", "checked", "run"]

M = TypeVar("M")
Figure: TypeAlias = "matplotlib.figure.Figure"  # a name for annotations: matplotlib is heavy


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """What every experiment can be told."""

    out: Path | None = None
    """Folder for everything written; by default runs/ and the experiment's name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(BaseConfig):
    """What every experiment on a data set can be told."""

    root: Path | None = None
    """Folder that holds the data sets; by default the user's cache."""


@dataclasses.dataclass(frozen=True)
class Result(Generic[M]):
    """What an experiment (a module) measured under a config, and the seconds that it took."""

    experiment: Any
    config: Any
    measured: M
    seconds: float = 0.0

    @functools.cached_property
    def claims(self) -> list[Verdict]:
        """The verdict on each claim, but those whose figure is None: left out by the settings."""
        return [
            Verdict(one.what, one.expected, float(figure), bool(one.holds(figure)), one.source)
            for one, figure in zip(
                self.experiment.CLAIMS, self.experiment.figures(self), strict=True
            )
            if figure is not None
        ]

    @property
    def tables(self) -> Mapping[str, Table]:
        """What was measured, by title: "" where there is one without."""
        shown = self.experiment.table(self)
        return shown if isinstance(shown, Mapping) else {"": shown}

    @property
    def errors(self) -> list[BadInput]:
        """The bad input that cost no more than a part of the result."""
        return self.experiment.errors(self) if hasattr(self.experiment, "errors") else []

    def __rich__(self) -> Any:
        """The tables, for a terminal."""
        from rich.console import Group

        return Group(*(terminal(table, title) for title, table in self.tables.items()))


def run(experiment: Any, config: Any) -> Result[Any]:
    """The result of an experiment."""
    config = checked(config)
    began = time.perf_counter()
    measured = experiment.run(config)
    return Result(experiment, config, measured, time.perf_counter() - began)


def checked(config: Any) -> Any:
    """`config` with the ~ of its paths expanded.

    BadInput where 32 bits do not hold a number, or where there is none of several.
    """
    given = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        possible(**{field.name: value})
        if value == () and _are_numbers(field.default):
            raise BadInput(f"{field.name} needs at least one number")
        given[field.name] = _expanded(value)
    return dataclasses.replace(config, **given)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, tuple) and any(isinstance(one, int | float) for one in value)


def _expanded(value: Any) -> Any:
    match value:
        case tuple():
            return tuple(map(_expanded, value))
        case Path():
            try:
                return value.expanduser()
            except RuntimeError as error:
                raise BadInput(f"{value}: {error}") from None
    return value
