"""Which experiments there are. Their docstrings are read, but no experiment is imported."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from experiments.choice import one_of

FOLDER = Path(__file__).parent


class Entry(NamedTuple):
    """An experiment: its chapter's folder, its name, and its claim, the docstring's first line."""

    chapter: str
    name: str
    claim: str

    def load(self) -> ModuleType:
        """The experiment itself."""
        return importlib.import_module(f"{__package__}.{self.chapter}.{self.name}")


def entries(folder: Path = FOLDER) -> list[Entry]:
    """Every `chapter/name.py` below `folder`, in order."""
    return [
        Entry(path.parent.name, path.stem, _first_line(path))
        for path in sorted(folder.glob("*/*.py"))
        if not path.stem.startswith("_")
    ]


def find(name: str) -> Entry:
    """The experiment called `name`; ValueError with the nearest name where there is none."""
    known = {entry.name: entry for entry in entries()}
    return known[one_of("experiment", name, known)]


def table() -> str:
    """The experiments by chapter, with their claims."""
    found = entries()
    width = max(len(entry.name) for entry in found)
    lines: list[str] = []
    for chapter in dict.fromkeys(entry.chapter for entry in found):
        lines += ["", chapter]
        lines += [f"  {e.name:<{width}}  {e.claim}" for e in found if e.chapter == chapter]
    return "\n".join(lines[1:])


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]
