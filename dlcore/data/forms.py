"""What a person gives as data: arrays that jax computes with, or a line that says what to give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

PLAIN = (np.ndarray, np.memmap)  # and not what is derived from them, such as masked arrays

# What is no number, by the kind of dtype, and what to give in its place.
_NO_NUMBERS = {
    "U": (
        "text",
        "names, numbers = np.unique(text, return_inverse=True), or text.astype(np.float32)",
    ),
    "M": ("dates", "numbers, (dates - dates[0]) / np.timedelta64(1, 'D')"),
    "m": ("durations", "numbers, durations / np.timedelta64(1, 's')"),
    "V": ("records", "each field as an array of its own, records['name']"),
    "O": ("objects", "one array of numbers, such as np.stack(objects)"),
}
_NO_NUMBERS |= dict.fromkeys("ST", _NO_NUMBERS["U"])


class DataError(ValueError):
    """A data set that is missing, damaged or malformed; the message is one line."""


class DataWarning(UserWarning):
    """Something of a data set is not used, or not as it seems."""


def arrays(data: Any, name: str = "data") -> dict[str, Any]:
    """`data`, which is a dict of arrays with one leading axis, each as `array` gives it.

    Raises TypeError, which says what to give, where it is something else: a pair, a table, a data
    set with its splits, a loader, a generator; DataError where an array is, by its name. Data that
    stay with the host (HostData) are not for here.

    >>> arrays({"x": [[0, 1], [2, 3]], "y": np.array([0, 1], ">i4")})["y"].dtype.isnative
    True
    """
    checked = columns(data, name)
    check_leading(name, checked)
    return checked


def columns(data: Any, name: str) -> dict[str, Any]:
    """`arrays`, whose lengths are not looked at.

    Integers that jax, which has 32 bits of them, would wrap around are a DataError.
    """
    if not isinstance(data, Mapping):
        what, instead = _container(data)
        raise TypeError(f"{name} is {what}, but a dict of arrays is wanted: {instead}")
    for key in data:
        if not isinstance(key, str):
            raise TypeError(f'{name} has the key {key!r:.80}, but text is wanted: "x", "y"')
    checked = {key: array(data[key], f"{name}[{key!r:.80}]") for key in data}
    for key, one in checked.items():
        if (wide := _too_wide(one)) is not None:
            raise DataError(
                f"{name}[{key!r:.80}] holds {wide}, too much for jax's integers of 32 bits: give "
                'smaller numbers, or jax.config.update("jax_enable_x64", True)'
            )
    return checked


def array(value: Any, name: str) -> Any:
    """An array of numbers: jax's, and numpy's in the machine's byte order, come back untouched.

    Another byte order is turned; lists and objects of numbers get the types that jax would give
    them; whatever numpy reads, a column of a table or a tensor of torch, is read.
    Raises DataError for text, objects and masked values.
    """
    if isinstance(value, jax.Array):
        return value
    found = value if type(value) in PLAIN else _read(value, name)
    if found.dtype.kind == "O":
        found = _read(found.tolist(), name)
    if not is_numeric(found.dtype):
        raise DataError(f"{name} {_no_numbers(found)}")
    return found if found.dtype.isnative else found.astype(found.dtype.newbyteorder("="))


def is_numeric(dtype: np.dtype) -> bool:
    """Whether jax has numbers, or truths, of that kind."""
    if dtype.kind == "V":  # bfloat16 and its kin
        return jnp.issubdtype(dtype, np.number)
    return dtype.kind in "biufc" and dtype.char not in "gG"


def check_leading(name: str, arrays: Mapping[str, Any]) -> int:
    """The one length that all `arrays` have along their first axis."""
    for key, one in arrays.items():
        if np.ndim(one) == 0:
            raise DataError(
                f"{name}: every array needs a leading axis of examples, {key!r:.80} is a scalar"
            )
    lengths = {key: len(one) for key, one in arrays.items()}
    if not lengths:
        raise DataError(f'{name} is empty: give {{"x": inputs, "y": targets}}')
    if len(set(lengths.values())) != 1:
        raise DataError(f"{name}: the arrays need one and the same leading length, got {lengths}")
    length = next(iter(lengths.values()))
    if length == 0:
        raise DataError(f"{name}: there are no examples")
    return length


def _read(value: Any, name: str) -> np.ndarray:
    """What numpy makes of a value that is no plain array of its own."""
    if isinstance(value, Mapping):
        raise DataError(f"{name} is a dict itself: give that one, or arrays beside each other")
    if np.ma.is_masked(value):
        raise DataError(f"{name} has masked values: give array.filled(0), and a weight of 0")
    try:
        found = np.asarray(value)
    except Exception as error:  # another library's, or numpy's for rows of several lengths
        ragged = isinstance(value, list | tuple) and isinstance(error, ValueError)
        told = " ".join(f"{type(error).__name__}: {error}".split())
        problem = "rows of different lengths" if ragged else told
        instead = "pad them to one length" if ragged else "give a numpy array"
        raise DataError(
            f"{name} is a {type(value).__name__} that makes no array ({problem:.200}): {instead}"
        ) from None
    if found.dtype == object and found.ndim == 0:
        instead = "value.toarray()" if hasattr(value, "toarray") else "a numpy array"
        raise DataError(f"{name} is a {type(value).__name__}, but an array is wanted: {instead}")
    has_own_dtype = not isinstance(value, list | tuple | range)
    if has_own_dtype or not is_numeric(found.dtype) or _too_wide(found) is not None:
        return found
    return found.astype(jax.dtypes.canonicalize_dtype(found.dtype), copy=False)


def _no_numbers(found: np.ndarray) -> str:
    if found.dtype.kind not in _NO_NUMBERS:
        return f"is {found.dtype}, which jax has not: give array.astype(np.float32)"
    what, instead = _NO_NUMBERS[found.dtype.kind]
    if found.dtype == object and found.size:
        kinds = {type(one).__name__: None for one in found.ravel()[:1_000].tolist()}
        what = f"objects ({', '.join(list(kinds)[:3])})"
    return f"holds {what}, but numbers are wanted: give {instead}"


def _too_wide(found: Any) -> Any:
    """One of numpy's integers that is beyond those that jax would make of them."""
    if isinstance(found, jax.Array):
        return None
    held = jax.dtypes.canonicalize_dtype(found.dtype)
    if held != found.dtype and held.kind in "iu" and found.size:
        limits = np.iinfo(held)
        extremes = found.min(), found.max()
        return next((one for one in extremes if not limits.min <= one <= limits.max), None)
    return None


def _container(data: Any) -> tuple[str, str]:
    """What somebody gave in the place of a dict of arrays, and what to give instead."""
    kind, wanted = f"of type {type(data).__name__}", '{"x": inputs, "y": targets}'
    if hasattr(data, "train") and hasattr(data, "test"):
        return f"{kind}, with all its splits", "give one of them, dataset.train"
    if hasattr(data, "columns"):
        x, y = "table[names].to_numpy(np.float32)", "table[name].to_numpy()"
        return f"{kind}, a table", f'give {{"x": {x}, "y": {y}}}'
    if hasattr(data, "shape") and hasattr(data, "dtype"):
        return f"one array, {data.dtype}{list(data.shape)}", 'give {"x": array, "y": targets}'
    if isinstance(data, tuple | list) and len(data) == 2:
        return "a pair", 'give {"x": pair[0], "y": pair[1]}'
    if isinstance(data, tuple | list):
        return kind, 'give {"x": np.stack(inputs), "y": np.array(targets)}'
    if hasattr(data, "gather"):
        return f"{kind}, which gathers batches itself", "give data.HostData(source)"
    if hasattr(data, "dataset") or hasattr(data, "__next__"):
        loader = "data.Loader(lambda epoch: batches, steps_per_epoch=100)"
        return f"{kind}, which gives them bit by bit", f"give all, {wanted}, or {loader}"
    if callable(data):
        loader = "data.Loader(batches, steps_per_epoch=100)"
        return "a function", f"if it gives the batches of an epoch, {loader}"
    return kind, f"give {wanted}"
