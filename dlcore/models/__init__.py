"""Architectures, one file each; `build` makes one from its name and arguments."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from dlcore.models.lenet5 import lenet5
from dlcore.models.linear import linear
from dlcore.models.mlp import mlp
from dlcore.nn import Layer

__all__ = ["MODELS", "build", "lenet5", "linear", "mlp"]

MODELS: dict[str, Callable[..., Layer]] = {"linear": linear, "mlp": mlp, "lenet5": lenet5}


def build(name: str, **arguments: Any) -> Layer:
    """The model called `name`, with arguments as a file holds them: `build("mlp", hidden=[64])`."""
    if name not in MODELS:
        nearest = difflib.get_close_matches(name, MODELS, n=1, cutoff=0.0)
        raise ValueError(
            f"no model is called {name!r}, the nearest is {nearest[0]!r}; "
            f"there are {', '.join(MODELS)}"
        )
    return MODELS[name](**arguments)
