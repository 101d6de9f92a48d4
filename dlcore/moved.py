"""Names that have moved: who asks for one by its old place is told the new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def moved(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a module whose names `places` says are elsewhere.

    It raises ImportError, since Python drops the text of an AttributeError in `from … import …`.
    """

    def find(name: str) -> Any:
        if name in places:
            raise ImportError(f"{package}.{name} is now {places[name]}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find
