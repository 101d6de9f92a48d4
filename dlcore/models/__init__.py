"""Architectures, one file each; `build` makes one of its name and arguments, `load` of a file."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from dlcore.interop import weights
from dlcore.models.alexnet import alexnet, alexnet_2012
from dlcore.models.convnext import convnext_tiny
from dlcore.models.googlenet import googlenet, inception
from dlcore.models.lenet5 import lenet5
from dlcore.models.lenet5_1998 import lenet5_1998
from dlcore.models.linear import linear
from dlcore.models.mlp import mlp
from dlcore.models.resnet import resnet
from dlcore.models.resnet_cifar import resnet_cifar
from dlcore.models.small_vgg import small_vgg
from dlcore.models.vgg import vgg
from dlcore.models.vit import vit
from dlcore.names import api
from dlcore.nn import Layer
from dlcore.nn.layer import Params, State
from dlcore.tree import leaves_with_paths

__all__ = [
    "MODELS",
    "alexnet",
    "alexnet_2012",
    "build",
    "convnext_tiny",
    "googlenet",
    "inception",
    "lenet5",
    "lenet5_1998",
    "linear",
    "load",
    "mlp",
    "resnet",
    "resnet_cifar",
    "save",
    "small_vgg",
    "vgg",
    "vit",
]

MODELS: dict[str, Callable[..., Layer]] = {
    factory.__name__: factory
    for factory in (
        linear,
        mlp,
        lenet5,
        lenet5_1998,
        alexnet,
        alexnet_2012,
        vgg,
        small_vgg,
        googlenet,
        resnet,
        resnet_cifar,
        convnext_tiny,
        vit,
    )
}

ARGUMENTS_LIMIT = 4000  # characters, as JSON in a file


def build(name: str, **arguments: Any) -> Layer:
    """The model called `name`, with arguments as a file holds them: `build("mlp", hidden=[64])`."""
    if name not in MODELS:
        nearest = difflib.get_close_matches(name, MODELS, n=1, cutoff=0.0)
        raise ValueError(
            f"no model is called {name!r}, the nearest is {nearest[0]!r}; "
            f"there are {', '.join(MODELS)}"
        )
    return MODELS[name](**arguments)


def save(
    path: str | Path,
    layer: Layer,
    params: Params,
    state: State,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a model and its weights as one file, of which `load` makes both again.

    The file is one of `weights.save`, of {"params": params, "state": state}; its metadata, beside
    what is given, are "architecture" and "arguments". Functions among the arguments are left out
    where they are the default.

    Refused are a layer that no factory in `MODELS` makes (such as a model with a part replaced),
    functions that are no default, arguments of more than `ARGUMENTS_LIMIT` characters (ValueErrors)
    and weights of another form (WeightsError).
    """
    kind, arguments = layer.info.kind, _arguments(layer)
    _, wanted = _described(kind, arguments)
    weights.check_fit(f"leaves do not fit this {kind}", _forms(wanted), _forms((params, state)))
    description = {**(metadata or {}), "architecture": kind, "arguments": arguments}
    weights.save(path, {"params": params, "state": state}, description)


def load(path: str | Path) -> tuple[Layer, Params, State]:
    """(layer, params, state) from a file that `save` wrote; raises WeightsError."""
    _, description = weights.load(path)
    try:
        layer, (params, state) = _described(description["architecture"], description["arguments"])
    except Exception as error:  # a file may say anything, and a factory raise anything for it
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise weights.WeightsError(
            f"{path}: describes no model of this dlcore, as models.save does ({reason:.200})"
        ) from error
    trees, _ = weights.load(path, {"params": params, "state": state})
    return layer, trees["params"], trees["state"]


def _described(kind: str, arguments: dict[str, Any]) -> tuple[Layer, tuple[Params, State]]:
    """The model that a file describes, and the form of its weights.

    Arguments that are too long for a model's, such as a hundred thousand hidden layers, are refused
    before they cost time and memory.
    """
    length = len(json.dumps(arguments))
    if length > ARGUMENTS_LIMIT:
        raise ValueError(
            f"{kind}: arguments of {length} characters, but at most {ARGUMENTS_LIMIT} are wanted"
        )
    layer = build(kind, **arguments)
    return layer, jax.eval_shape(layer.init, jax.random.key(0))


def _arguments(layer: Layer) -> dict[str, Any]:
    """The arguments of the model, as a file holds them."""
    kind, config = layer.info.kind, layer.info.config
    known = inspect.signature(MODELS[kind]).parameters if kind in MODELS else {}
    if not known or config.keys() != known.keys():  # nn.linear is not models.linear
        raise ValueError(
            f"this {kind} is none of models.MODELS, so no file can name it: write its trees with "
            "interop.weights.save"
        )
    arguments = {}
    for name, value in config.items():
        try:
            arguments[name] = json.loads(json.dumps(value))
        except TypeError:
            if value is not known[name].default:
                shown = getattr(value, "__name__", value)
                raise ValueError(
                    f"{kind}: {name}={shown} is no data, so no file can hold it: write the trees "
                    "with interop.weights.save"
                ) from None
    return arguments


def _forms(trees: tuple[Params, State]) -> dict[str, str]:
    return {
        path: f"{leaf.dtype}{list(leaf.shape)}"
        for tree in trees
        for path, leaf in leaves_with_paths(tree)
    }


__getattr__, __dir__ = api(__name__, __all__)
