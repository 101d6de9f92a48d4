"""Files which are whole or absent after a crash, and JSON which comes back as it was."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any


def write(path: Path, data: bytes) -> None:
    """A new file, on the disk when this returns; an existing one is refused (FileExistsError)."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Make the names in a folder, as they are now, survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, data: bytes) -> None:
    """Write a file in one step: a reader, or a crash, sees all of the old one or all of the new."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write(temporary, data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON which reads back equal, or a ValueError: no tuples, number keys, NaN or infinity."""
    try:
        text = json.dumps(value, allow_nan=False, indent=indent)
        same = json.loads(text) == value
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"cannot be written as JSON: {error}") from error
    if not same:
        raise ValueError(
            "changes when written as JSON: use lists for tuples and strings as keys, "
            f"got {value!r:.200}"
        )
    return text
