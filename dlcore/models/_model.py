"""What makes a function that builds a network a model: its Layer says which one it is."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec

from dlcore.names import arguments
from dlcore.nn import Layer, make

Arguments = ParamSpec("Arguments")


def model(factory: Callable[Arguments, Layer]) -> Callable[Arguments, Layer]:
    """`factory` with its name as the kind of the Layer, and all its arguments as the config.

    So the Layer prints as the call that made it, a weights file can name its architecture as data,
    and another library's names are found by kind.
    """
    signature, corrected = inspect.signature(factory), arguments()(factory)

    @functools.wraps(factory)
    def build(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Layer:
        layer = corrected(*args, **kwargs)
        call = signature.bind(*args, **kwargs)
        call.apply_defaults()
        info, kind = layer.info, factory.__name__
        # Made anew, so that its errors have the model's name too.
        own = make(
            kind, layer.init, layer.apply, info.children, info.rebuild, info.reads, info.needs
        )
        own_info = dataclasses.replace(info, kind=kind, config=dict(call.arguments))
        return own._replace(info=own_info)

    return build
