"""Exceptions go from one process to another, as those of a worker do, and stay what they are."""

from __future__ import annotations

import copy
import importlib
import pickle
import pkgutil
from pathlib import Path

import numpy as np
import pytest

import dlcore
from dlcore.data import DataError
from dlcore.train.guard import NonFiniteLossError
from dlcore.train.run import Interrupted


def exceptions() -> list[type[BaseException]]:
    """Every class of an exception or a warning that a module of dlcore defines."""
    modules = pkgutil.walk_packages(dlcore.__path__, "dlcore.")
    found = {
        value: None
        for module in (importlib.import_module(info.name) for info in modules)
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, BaseException)
        and value.__module__.startswith("dlcore.")
    }
    return list(found)


# What those are made of that take more than a message.
MADE = {
    NonFiniteLossError: lambda: NonFiniteLossError(
        "the loss is not finite", step=3, path="params/kernel", state={"kernel": np.ones(2)}
    ),
    Interrupted: lambda: Interrupted(3, Path("runs")),
}

COPIES = {
    **{
        f"pickle {protocol}": lambda error, protocol=protocol: pickle.loads(
            pickle.dumps(error, protocol)
        )
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def shown(value):
    """Attributes in a form that can be compared."""
    if isinstance(value, dict):
        return {name: shown(one) for name, one in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("kind", exceptions(), ids=lambda kind: kind.__qualname__)
@pytest.mark.parametrize("way", COPIES)
def test_every_exception_comes_back_as_it_was(kind, way):
    error = MADE.get(kind, lambda: kind("a: one line"))()
    back = COPIES[way](error)
    assert type(back) is kind
    assert str(back) == str(error)
    assert back.args == error.args
    assert shown(vars(back)) == shown(vars(error))


def test_the_classes_are_found():
    names = {kind.__name__ for kind in exceptions()}
    assert {"DataError", "DataWarning", "BatchError", "WeightsError", "WeightsWarning"} <= names
    assert {"CheckpointError", "CheckpointWarning", "NonFiniteLossError", "Interrupted"} <= names


def test_a_class_that_does_not_come_back_is_seen():
    class LostError(DataError):
        def __init__(self, name, *, path):
            super().__init__(f"{name}: {path}")
            self.path = path

    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'path'"):
        copy.copy(LostError("a", path="b"))
