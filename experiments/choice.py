"""Values that a person gives, checked before any work."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

INT32 = 2**31 - 1
FLOAT32 = 3.4e38


class BadInput(ValueError):
    """What a person gave cannot be used; the message is one line."""


def one_of(kind: str, value: str, known: Iterable[str]) -> str:
    """`value`, if it is one of the `known` names; BadInput with the nearest one if it is not."""
    known = list(known)
    if value in known:
        return value
    names = {name.lower(): name for name in known}
    nearest = difflib.get_close_matches(value.lower(), names, n=1)
    hint = f", did you mean {names[nearest[0]]}?" if nearest else f"; there are {', '.join(known)}"
    raise BadInput(f"no {kind} is called {value!r:.80}{hint}")


def possible(**values: Any) -> None:
    """Refuses a number that 32 bits do not hold, NaN among them, by its name; also in tuples."""
    for name, value in values.items():
        match value:
            case tuple():
                for one in value:
                    possible(**{name: one})
            case int() if not -INT32 <= value <= INT32:
                raise BadInput(f"{name} must fit into 32 bits, got {value}")
            case float() if not abs(value) <= FLOAT32:
                raise BadInput(f"{name} must be a number that 32 bits hold, got {value}")


def positive(**values: float | Sequence[float] | None) -> None:
    """Refuses a value, or one of several, that is 0 or less, by its name; None passes."""
    for name, value in values.items():
        for number in value if isinstance(value, Sequence) else (value,):
            if number is not None and not number > 0:
                raise BadInput(f"{name} must be more than 0, got {value}")


def rising(**values: Sequence[float]) -> None:
    """Refuses numbers that do not rise, by their name."""
    for name, numbers in values.items():
        if list(numbers) != sorted(set(numbers)):
            raise BadInput(f"{name} are rising numbers, got {tuple(numbers)}")


def at_least(low: float, **values: float | None) -> None:
    """Refuses a value below `low`, by its name; None passes."""
    for name, value in values.items():
        if value is not None and not value >= low:
            raise BadInput(f"{name} must be at least {low}, got {value}")


def at_most(high: float, **values: float | None) -> None:
    """Refuses a value above `high`, by its name; None passes."""
    for name, value in values.items():
        if value is not None and not value <= high:
            raise BadInput(f"{name} must be at most {high}, got {value}")
