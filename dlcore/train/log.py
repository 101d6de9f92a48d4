"""Metrics of a run as a table in a file, CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dlcore import files

Row = dict[str, Any]


def write(path: Path, rows: Iterable[Row]) -> None:
    """Writes all `rows` to `path`, as JSON lines if it ends in .jsonl, else as CSV.

    The file is replaced in one piece, so that a reader, or a killed run, never has half a row.
    """
    rows = list(rows)
    text = _jsonl(rows) if path.suffix == ".jsonl" else _csv(rows)
    files.replace(path, text.encode())


def _jsonl(rows: list[Row]) -> str:
    # JSON has no NaN or infinity; null says "no number".
    return "".join(
        json.dumps({name: _finite(value) for name, value in row.items()}) + "\n" for row in rows
    )


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _csv(rows: list[Row]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
