"""What the fields of a class are, said once, in its docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any, TypeVar

Record = TypeVar("Record", bound=type[tuple[Any, ...]])


def documented(record: Record) -> Record:
    """A NamedTuple of whose fields `help` shows what its docstring says of them, line by line:

        x: what this one is, which may
            take more than one line.
        mean, var: what these are.

    A dataclass says its fields so too, and needs no more: `help` shows none of them apart.
    """
    for name, text in said(record, record._fields).items():  # type: ignore[attr-defined]
        getattr(record, name).__doc__ = text
    return record


def said(record: type, fields: Iterable[str]) -> dict[str, str]:
    """What the docstring of a class says of its fields."""
    one = "|".join(fields)
    lines = re.compile(rf"^((?:{one})(?:, (?:{one}))*): (.+(?:\n +.+)*)", re.MULTILINE)
    found = lines.findall(inspect.cleandoc(record.__doc__ or ""))
    return {name: " ".join(text.split()) for names, text in found for name in names.split(", ")}
