"""Values that a person gives, checked before any work."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def one_of(kind: str, value: str, known: Iterable[str]) -> str:
    """`value`, if it is one of the `known` names; ValueError with the nearest one if it is not."""
    known = list(known)
    if value in known:
        return value
    nearest = difflib.get_close_matches(value, known, n=1)
    hint = f", did you mean {nearest[0]}?" if nearest else "."
    raise ValueError(f"no {kind} is called {value!r}{hint} There are {', '.join(known)}")


def positive(**values: float | None) -> None:
    """Refuses a value that is 0 or less, by its name; None passes."""
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be more than 0, got {value}")


def rising(**values: Sequence[float]) -> None:
    """Refuses numbers that do not rise, by their name."""
    for name, numbers in values.items():
        if list(numbers) != sorted(set(numbers)):
            raise ValueError(f"{name} are rising numbers, got {tuple(numbers)}")


def at_least(low: float, **values: float | None) -> None:
    """Refuses a value below `low`, by its name; None passes."""
    for name, value in values.items():
        if value is not None and not value >= low:
            raise ValueError(f"{name} must be at least {low}, got {value}")
