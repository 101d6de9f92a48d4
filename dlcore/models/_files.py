"""A network and its weights in one file, without code: `save` and `load`."""

from __future__ import annotations

import inspect
import itertools
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from dlcore import nn
from dlcore.interop import weights
from dlcore.interop.weights import WeightsError, WeightsWarning
from dlcore.misfits import listed, one_line
from dlcore.models._catalogue import MODELS, build
from dlcore.names import written
from dlcore.nn import Layer
from dlcore.nn.describing import describe
from dlcore.nn.layer import Params, State, as_layer
from dlcore.nn.summary import structure
from dlcore.tree import leaves_with_paths, path_string

ARGUMENTS_LIMIT = 4000  # characters, as JSON in a file
_OURS = ("architecture", "arguments", "structure", "drawn")  # metadata that `save` itself writes


def save(
    path: str | Path,
    layer: Layer,
    params: Params,
    state: State,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a network, any Layer, and its weights as one file, of which `load` makes both again.

    The file is one of `weights.save`, of {"params": params, "state": state}, and holds no code. Its
    metadata are, beside what is given,

    - of a model of `MODELS` its name, "architecture", and its "arguments", from which `load` builds
      it. Functions among them are left out where they are the default; a model with another one,
      or with a part replaced, is a network of one's own.
    - of every network its "structure" as text: a line for each layer, the call that makes it.
    - "drawn": by path, the dtype in which the network draws a floating-point leaf, where it is
      written in another one, such as bfloat16.

    What `nn.freeze` holds is not noted. Memory (`nn.memory`) is no weight: a state that has some is
    a ValueError. Weights of another form than the network's are a WeightsError, which names them.
    """
    layer = _network("save(path, layer, params, state)", layer)
    if memory := leaves_with_paths(nn.parted(state)[1]):
        raise ValueError(
            f"models.save: the state holds memory ({listed([path for path, _ in memory])}),"
            " which is no weight: give nn.parted(state)[0]"
        )
    trees = {"params": params, "state": state}
    drawn = _check_form(layer, trees)
    described = {**_architecture(layer), "structure": structure(layer)}
    described |= {"drawn": drawn} if drawn else {}
    if metadata is not None and not isinstance(metadata, Mapping):
        raise TypeError(
            f"models.save: metadata is {written(metadata)}, but values by name are wanted: "
            '{"epochs": 3}'
        )
    given = {name: value for name, value in (metadata or {}).items() if name not in _OURS}
    weights.save(path, trees, {**given, **described})


def load(path: str | Path, network: Layer | None = None) -> tuple[Layer, Params, State]:
    """(layer, params, state) from a file that `save` wrote.

    A model of `MODELS` is built anew. Any other network is no data: build it, and give it as
    `network`. Then its leaves decide, by path, shape and dtype, whether the weights are its own;
    where they are, but its structure as text is another, that is a WeightsWarning: another stride
    or activation has the same weights, and so has a function with another name.

    The leaves have the dtypes in which they were saved.

    Raises WeightsError: the file is damaged, or describes no network, or weights of another form.
    """
    if network is not None:
        network = _network("load(path, network)", network)
    leaves, description = weights.load_leaves(path)
    with weights.about(path, "cannot be read"):
        layer, form = _described(description) if network is None else (network, _form(network))
        there = description.get("structure")
        like = _as_saved(form, leaves, description.get("drawn"))
        try:
            trees = weights.fitted(leaves, like, f"this {layer.info.kind}")
        except WeightsError as error:
            raise WeightsError(f"{error}{_difference(layer, there)}") from None
    if network is not None and (difference := _difference(layer, there)):
        warnings.warn(f"{path}: the weights fit{difference}", WeightsWarning, stacklevel=2)
    return layer, trees["params"], trees["state"]


def _network(call: str, layer: Any) -> Layer:
    if not callable(layer):
        raise TypeError(f"models.{call} takes a Layer, got a {type(layer).__name__}")
    return as_layer(layer)


def _form(layer: Layer) -> dict[str, Any]:
    """The shapes and dtypes of its params and state."""
    params, state = jax.eval_shape(layer.init, jax.random.key(0))
    return {"params": params, "state": state}


# ------------------------------------------------------------------------------- what was drawn how


def _check_form(layer: Layer, trees: Any) -> dict[str, str]:
    """The dtypes drawn, by path, of those leaves that are floating-point numbers in another one.

    What differs else from the network's own leaves is refused.
    """
    wanted, given = (dict(leaves_with_paths(one)) for one in (_form(layer), trees))
    drawn = {
        path: str(leaf.dtype)
        for path, leaf in wanted.items()
        if path in given and _is_cast(leaf, given[path])
    }
    found = {
        path: f"{drawn[path]}{list(leaf.shape)}" if path in drawn else describe(leaf)
        for path, leaf in given.items()
    }
    forms = {path: describe(leaf) for path, leaf in wanted.items()}
    weights.check_fit(f"leaves do not fit this {layer.info.kind}", forms, found)
    return drawn


def _is_cast(drawn: Any, saved: Any) -> bool:
    """Whether both are floating-point numbers, of two widths."""
    dtypes = drawn.dtype, getattr(saved, "dtype", drawn.dtype)
    return dtypes[0] != dtypes[1] and all(jnp.issubdtype(one, jnp.floating) for one in dtypes)


def _as_saved(form: Any, leaves: Mapping[str, Any], drawn: Any) -> Any:
    """The network's form, with the dtypes that its leaves were cast to before they were saved."""
    known = drawn if isinstance(drawn, dict) else {}

    def one(key_path: Any, leaf: Any) -> Any:
        path = path_string(key_path)
        saved = leaves.get(path, leaf)
        is_cast = known.get(path) == str(leaf.dtype) and _is_cast(leaf, saved)
        return jax.ShapeDtypeStruct(leaf.shape, saved.dtype) if is_cast else leaf

    return jax.tree.map_with_path(one, form)


# -------------------------------------------------------------------------- what makes the network


def _architecture(layer: Layer) -> dict[str, Any]:
    """The name and the arguments of which `build` makes this very network; {} without such."""
    kind, config = layer.info.kind, layer.info.config
    known = inspect.signature(MODELS[kind]).parameters if kind in MODELS else {}
    if not known or config.keys() != known.keys():  # nn.linear is not models.linear
        return {}
    arguments = {}
    try:
        for name, value in config.items():
            if value is not known[name].default or not callable(value):
                arguments[name] = json.loads(json.dumps(value))
        is_same = structure(_built(kind, arguments)) == structure(layer)
    except (TypeError, ValueError):  # a function, or what only has the model's kind
        return {}
    return {"architecture": kind, "arguments": arguments} if is_same else {}


def _described(description: Mapping[str, Any]) -> tuple[Layer, dict[str, Any]]:
    """The model that a file describes, and the form of its weights."""
    give = "give the network it was saved with: models.load(path, network)"
    if "architecture" not in description and isinstance(description.get("structure"), str):
        kind = one_line(description["structure"].partition("\n")[0].partition("(")[0])
        raise WeightsError(
            f"a file holds no code, and models.build does not make this {kind:.80} of data; {give}"
        )
    try:
        layer = _built(description["architecture"], description["arguments"])
        return layer, _form(layer)
    except Exception as error:  # a file may say anything, and a factory raise anything for it
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise WeightsError(
            f"describes no model of this dlcore, as models.save does ({reason:.200}); {give}"
        ) from error


def _built(kind: str, arguments: dict[str, Any]) -> Layer:
    """The model of that name and arguments.

    Those that are too long for a model's, such as a hundred thousand hidden layers, are refused
    before they cost time and memory.
    """
    length = len(json.dumps(arguments))
    if length > ARGUMENTS_LIMIT:
        raise ValueError(
            f"{kind}: arguments of {length} characters, but at most {ARGUMENTS_LIMIT} are wanted"
        )
    return build(kind, **arguments)


def _difference(layer: Layer, there: Any) -> str:
    """Where the structure of a file first differs from the network's own; "" where it does not."""
    here = structure(layer)
    if not isinstance(there, str) or here == there:
        return ""
    above: list[str] = []
    for ours, theirs in itertools.zip_longest(here.split("\n"), there.split("\n"), fillvalue=""):
        line = ours or theirs
        depth = (len(line) - len(line.lstrip())) // 2
        if ours != theirs:
            break
        above[depth:] = [line.strip().partition(":")[0]]
    place = "/".join(above[1:depth])
    ours, theirs = (one_line(line) or "nothing" for line in (ours, theirs))
    where = f" in {place}" if place else ""
    return f"; the structures differ{where}: here {ours:.100}, in the file {theirs:.100}"
