"""A data set: three checked splits, the names of the classes, where it comes from."""

from __future__ import annotations

import difflib
import operator
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlcore.data.forms import DataError as DataError
from dlcore.data.forms import arrays
from dlcore.data.forms import check_leading as check_leading

Arrays = dict[str, np.ndarray]

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples in three splits, each a batch `{"x": [N, ...] float32, "y": [N, ...]}` in numpy.

    Classification: `classes` names the labels, `y` is int32 [N] in [0, len(classes)).
    Regression: `classes` is () and `y` is float32 [N, ...], as a network gives it out.
    Lists and other byte orders become such arrays, see `forms.arrays`.

    name: what it is called in errors and tables.
    train: what is learned from.
    validation: what settings are chosen by.
    test: what is measured at the end.
    classes: the names of the classes, by label; () in regression.
    description: what the data are and where they are from, in words.

    Raises DataError where a split is empty, ragged, not finite, or has a label out of range.
    """

    name: str
    train: Arrays
    validation: Arrays
    test: Arrays
    classes: tuple[str, ...]
    description: str

    def __post_init__(self) -> None:
        for split in SPLITS:
            given = getattr(self, split)
            checked = arrays(given, f"{self.name}/{split}")
            _check_split(f"{self.name}/{split}", checked, len(self.classes))
            if any(checked[key] is not given[key] for key in checked):
                object.__setattr__(self, split, checked)
        shapes = {split: getattr(self, split)["x"].shape[1:] for split in SPLITS}
        if len(set(shapes.values())) > 1:
            raise DataError(f"{self.name}: the examples differ in shape between splits: {shapes}")

    def __repr__(self) -> str:
        names = ", ".join(self.classes)
        kind = f"{len(self.classes)} classes ({names})" if names else "regression"
        lines = [f"Dataset {self.name}: {kind}"]
        lines += [f"  {split:<10}  {_describe(getattr(self, split))}" for split in SPLITS]
        return "\n".join([*lines, f"  {self.description}"])


def check_count(name: str, value: Any, low: int, high: int | None = None) -> int:
    """`value` as an int, refused outside [low, high]."""
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}={value!r}: give a whole number, such as {name}={low}") from None
    if count < low or (high is not None and count > high):
        bound = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name}={count}: give a whole number {bound}")
    return count


def same_form(name: str) -> str:
    """A name in Unicode's form NFC: an é is one letter, as on most systems, or two, as on a Mac."""
    return unicodedata.normalize("NFC", name)


def unknown(kind: str, given: object, known: Iterable[str]) -> str:
    """The message for a name that is none of the `known` ones, with the nearest of them."""
    known = list(known)
    nearest = difflib.get_close_matches(str(given), known, n=1)
    hint = f", did you mean {nearest[0]!r}?" if nearest else ""
    return f"no {kind} is called {given!r}{hint}; there are: {', '.join(known) or 'none'}"


def hold_out(arrays: Arrays, validation: int) -> tuple[Arrays, Arrays]:
    """The examples but the last `validation`, and those."""
    count = len(arrays["y"])
    cut = count - check_count("validation", validation, 1, count - 1)
    return (
        {key: array[:cut] for key, array in arrays.items()},
        {key: array[cut:] for key, array in arrays.items()},
    )


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """A shuffled order [N] in which every stretch holds the classes in their overall proportions.

    Each class is shuffled, then spread evenly: its k-th member stands at k / (its size).
    """
    shuffled = np.argsort(np.random.default_rng(seed).random(len(labels)))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels[shuffled] == label)
        place[members] = np.arange(len(members)) / len(members)
    return shuffled[np.argsort(place, kind="stable")]


def _check_split(name: str, arrays: Arrays, classes: int) -> None:
    if set(arrays) != {"x", "y"}:
        raise DataError(f'{name}: expected {{"x": ..., "y": ...}}, got the keys {list(arrays)}')
    x, y = arrays["x"], arrays["y"]
    _check_finite(f"{name}/x", x)
    if not classes:
        _check_finite(f"{name}/y", y)
        return
    if y.dtype != np.int32 or y.ndim != 1:
        raise DataError(f"{name}/y: expected labels int32 [N], got {y.dtype}{list(y.shape)}")
    low, high = y.min(), y.max()
    if low < 0 or high >= classes:
        raise DataError(f"{name}/y: labels lie in [{low}, {high}], outside [0, {classes - 1}]")


def _check_finite(name: str, array: np.ndarray) -> None:
    if array.dtype != np.float32:
        raise DataError(f"{name}: expected float32, got {array.dtype}: .astype(np.float32)")
    if not (np.isfinite(array.min()) and np.isfinite(array.max())):
        raise DataError(f"{name}: holds a value that is not finite (NaN or infinity)")


def _describe(arrays: Arrays) -> str:
    return "   ".join(
        f"{key} {array.dtype}{list(array.shape)} in [{array.min():.4g}, {array.max():.4g}]"
        for key, array in arrays.items()
    )
