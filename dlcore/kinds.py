"""What kind of value a parameter takes, where its annotation says that in plain words."""

from __future__ import annotations

import contextlib
import inspect
import math
import os
from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore.fields import documented

UNKNOWN = ...  # what a value was meant to be, where nobody knows


@documented
class Kind(NamedTuple):
    """A kind of value.

    words: what it is called in an error.
    holds: whether a value is of it.
    meant: what a value that is not was meant to be, or `UNKNOWN`.
    """

    words: str
    holds: Callable[[Any], bool]
    meant: Callable[[Any], Any] = lambda value: UNKNOWN


def kinds(parameter: inspect.Parameter) -> tuple[Kind, ...]:
    """Those that a parameter takes, the first the usual one; () where its annotation is no list of
    plain ones.
    """
    names = str(parameter.annotation).split(" | ")
    return tuple(_KINDS[name] for name in names) if {*names} <= {*_KINDS} else ()


def _is_integer(value: Any) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or _is_one(value, np.integer)


def _is_number(value: Any) -> bool:
    return not _is_bool(value) and (isinstance(value, Real) or _is_one(value, np.number))


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool) or _is_one(value, np.bool_)


def _is_one(value: Any, kind: type) -> bool:
    """Whether it is a single number of an array library, which may be traced."""
    return getattr(value, "ndim", None) == 0 and jax.dtypes.issubdtype(value.dtype, kind)


def _integer(value: Any) -> Any:
    number = _number(value)
    is_whole = number is not UNKNOWN and math.isfinite(number) and number == int(number)
    return int(number) if is_whole else UNKNOWN


def _number(value: Any) -> Any:
    """The number that a text holds."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return int(value)
        with contextlib.suppress(ValueError):
            return float(value)
    return value if isinstance(value, float) else UNKNOWN


def _bool(value: Any) -> Any:
    words = {"true": True, "yes": True, "false": False, "no": False, "1": True, "0": False}
    return words.get(str(value).lower(), UNKNOWN)


_KINDS = {
    "int": Kind("an integer", _is_integer, _integer),
    "float": Kind("a number", _is_number, _number),
    "bool": Kind("True or False", _is_bool, _bool),
    "str": Kind("text", lambda value: isinstance(value, str)),
    "Path": Kind("a path", lambda value: isinstance(value, os.PathLike)),
    "Layer": Kind("a Layer", lambda value: type(value).__name__ == "Layer"),
    "Iterable[str]": Kind("several texts", lambda value: hasattr(value, "__iter__")),
    "Initializer": Kind("a function of key and shape (nn.init)", callable),
    "None": Kind("None", lambda value: value is None),
}
