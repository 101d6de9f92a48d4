"""Every public class says what each of its fields is, where `help` shows it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import pydoc
from typing import NamedTuple

import pytest

import dlcore
from dlcore import nn, train
from dlcore.fields import documented, said


def modules():
    names = (info.name for info in pkgutil.walk_packages(dlcore.__path__, "dlcore."))
    return [importlib.import_module(name) for name in names]


def fields(record):
    if dataclasses.is_dataclass(record):
        return tuple(field.name for field in dataclasses.fields(record))
    return getattr(record, "_fields", ())


# Those of __all__, and what they are made of, which has no underscore either.
RECORDS = {
    f"{thing.__module__}.{thing.__qualname__}": thing
    for module in modules()
    for name, thing in inspect.getmembers(module, inspect.isclass)
    if thing.__module__.startswith("dlcore.") and not name.startswith("_") and fields(thing)
}


def test_they_are_found():
    assert {nn.Layer, nn.Call, nn.Summary, train.TrainState, train.Step} <= {*RECORDS.values()}
    exported = {
        getattr(module, name) for module in modules() for name in getattr(module, "__all__", ())
        if inspect.isclass(getattr(module, name)) and fields(getattr(module, name))
    }  # fmt: skip
    assert exported <= {*RECORDS.values()}


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_every_field_is_said(name):
    record = RECORDS[name]
    told = said(record, fields(record))
    silent = [field for field in fields(record) if field not in told]
    assert not silent, f"{name}: a line `{silent[0]}: …` in the docstring is wanted"
    if issubclass(record, tuple):
        page = pydoc.plain(pydoc.render_doc(record))
        assert "Alias for field number" not in page, f"{name}: @documented is wanted"
        for field in fields(record):
            assert told[field] == inspect.getdoc(getattr(record, field))


def test_what_is_said_is_read_line_by_line():
    class Point(NamedTuple):
        """A point, x: of the plane.

        x, y: its coordinates,
            in metres.
        label: what it is
            called: a word.

        Raises: nothing.
        z: is no field.
        """

        x: float
        y: float
        label: str
        hue: float = 0.0

    assert documented(Point) is Point
    assert Point.x.__doc__ == Point.y.__doc__ == "its coordinates, in metres."
    assert Point.label.__doc__ == "what it is called: a word."
    assert Point.hue.__doc__ == "Alias for field number 3"
    assert said(Point, Point._fields).keys() == {"x", "y", "label"}
    assert Point(1.0, 2.0, "a").label == "a"
