"""What a package says of a name that it does not have: where it is, or what it is called here."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def api(
    package: str,
    names: Sequence[str],
    *,
    moved: Mapping[str, str] | None = None,
    foreign: Mapping[str, str] | None = None,
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package whose `__all__` is `names`.

    moved: where names are now that stood here before; asking for one is an ImportError, since
    Python drops the text of an AttributeError in `from … import …`. foreign: what other libraries'
    names are here (`{"Sequential": "nn.serial"}`). For any other the nearest is told.
    """
    moved, foreign = moved or {}, foreign or {}

    def find(name: str) -> Any:
        if name in moved:
            raise ImportError(f"{package}.{name} is now {moved[name]}")
        told = _nearest(name, names, foreign) if not name.startswith("_") else None
        hint = f"; did you mean {told}?" if told else ""
        raise AttributeError(f"module {package!r} has no attribute {name!r}{hint}")

    return find, lambda: list(names)


def _nearest(name: str, names: Sequence[str], foreign: Mapping[str, str]) -> str | None:
    """A name like it, whatever its case, underscores and number of dimensions."""
    known = {_plain(one): one for one in names} | {_plain(one): foreign[one] for one in foreign}
    found = difflib.get_close_matches(_plain(name), known, n=1, cutoff=0.75)
    return known[found[0]] if found else None


def _plain(name: str) -> str:
    return re.sub(r"_|\dd$", "", name.lower())
