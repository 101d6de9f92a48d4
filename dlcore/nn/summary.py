"""The table of a network: its layers, their outputs, parameters, bytes and FLOPs."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore import flops, tree
from dlcore.nn.combinators import serial
from dlcore.nn.describing import describe
from dlcore.nn.layer import Layer, as_layer
from dlcore.nn.observing import Call, observed

_WIDTH = 34  # columns for the call that makes a layer


class Row(NamedTuple):
    """One layer: its path, the call that makes it, what it gives, and what it costs."""

    path: str
    layer: str
    output: str
    parameters: int
    bytes: int
    flops: int


class Summary(NamedTuple):
    """The rows of a network's layers and the network's totals; it prints as a table.

    `parameters` counts numbers that are learned by gradient, `bytes` the memory of parameters and
    state, `flops` one evaluation of the input (see `flops.count`). `depth` is the number of layers
    with weights on the longest path.
    """

    rows: tuple[Row, ...]
    input: str
    parameters: int
    bytes: int
    flops: int
    depth: int

    def __repr__(self) -> str:
        head = ("path", "layer", "output", "parameters", "bytes", "FLOPs")
        total = Row(
            "total",
            f"weighted layers: {self.depth}",
            "",
            self.parameters,
            self.bytes,
            self.flops,
        )
        return f"input {self.input}\n" + text_table(head, map(_cells, self.rows), [_cells(total)])


def summary(layer: Any, shape: Sequence[int], dtype: Any = jnp.float32, **side: Any) -> Summary:
    """The table of `layer` for inputs of `shape`, batch axis included; nothing is computed.

    Each layer that has no layers inside is a row, in the order of the description. A part that
    `wire` calls several times, or in a loop, is one row, with the FLOPs of all its calls. What
    combinators and `wire` compute between their layers is only in the total.

    side: the shapes of side inputs, `summary(layer, (8, 20, 64), mask=(8, 20))`; masks are then
    booleans, others of `dtype`. A `jax.ShapeDtypeStruct` or an array says its own.

    >>> from dlcore import nn
    >>> nn.summary(nn.serial(nn.flatten, nn.linear(784, 10)), (1, 28, 28, 1))
    input float32[1, 28, 28, 1]
    path      layer               output    parameters   bytes   FLOPs
    ──────────────────────────────────────────────────────────────────
    flatten1  flatten             [1, 784]           0       0       0
    linear1   linear(784, 10)     [1, 10]        7,850  31,400  15,690
    ──────────────────────────────────────────────────────────────────
    total     weighted layers: 1                 7,850  31,400  15,690
    """
    if not isinstance(shape, Sequence) or not shape:
        raise ValueError(
            f"summary needs a shape with its batch axis, as (1, 28, 28, 1), got {shape!r}"
        )
    layer = as_layer(layer)
    layer = layer if layer.info.children else serial(layer)
    key = jax.eval_shape(lambda: jax.random.key(0))
    x = jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(dtype))
    also = {name: _side(name, given, dtype) for name, given in side.items()}
    params, state = jax.eval_shape(layer.init, key)
    seen = applications(layer, params, state, x, **also)
    described = ", ".join([describe(x), *(f"{name} {describe(also[name])}" for name in also)])
    return Summary(
        rows=tuple(_row(path, leaf, key, seen) for path, leaf in leaves(layer)),
        input=described,
        parameters=tree.count(params),
        bytes=tree.size_in_bytes((params, state)),
        flops=_flops(layer, params, state, x, also),
        depth=_depth(layer, key),
    )


def _side(name: str, given: Any, dtype: Any) -> Any:
    """A side input as its shape and dtype."""
    if hasattr(given, "dtype"):
        return jax.ShapeDtypeStruct(given.shape, given.dtype)
    return jax.ShapeDtypeStruct(tuple(given), bool if name.endswith("mask") else jnp.dtype(dtype))


def applications(
    layer: Layer,
    params: Any,
    state: Any,
    x: Any,
    *,
    key: Any = None,
    train: bool = False,
    **side: Any,
) -> dict[str, Call]:
    """What an observer sees (`nn.observed`), of one turn of each loop, with shapes for arrays."""
    seen: dict[str, Call] = {}  # in order, which dicts lose on their way through jax

    def look(params: Any, state: Any, x: Any, key: Any, side: Any) -> dict[str, Any]:
        _, calls = observed(layer.apply, params, state, x, key=key, train=train, **side)
        seen.update(calls)
        return {path: call.once()[1:6] for path, call in calls.items() if call.has_values}

    shapes = jax.eval_shape(look, params, state, x, key, side)
    return {
        path: Call(call.layer, *shapes.get(path, call[1:6]))._replace(turns=call.turns)
        for path, call in seen.items()
    }


def leaves(layer: Layer, path: str = "") -> Iterator[tuple[str, Layer]]:
    """The layers that have no layers inside, by path, in the order of the description."""
    for name, child in layer.info.children:
        inner = f"{path}/{name}" if path else name
        if child.info.children:
            yield from leaves(child, inner)
        else:
            yield inner, child


def uses(path: str, seen: dict[str, Call]) -> dict[str, Call]:
    """The applications of the layer at `path`: it, and path', … where `wire` calls it again."""
    found: dict[str, Call] = {}
    while path in seen:
        found[path] = seen[path]
        path += "'"
    return found


def label(layer: Layer, uses: Mapping[str, Call]) -> tuple[str, str]:
    """The call that makes `layer`, with how often it is used, and what it gives."""
    count = sum(use.times for use in uses.values())
    times = f" × {count}" if count > 1 else ""
    y = next((_shape(use.y) for use in uses.values()), "not called")
    return _written(layer) + times, y


def _row(path: str, layer: Layer, key: Any, seen: dict[str, Call]) -> Row:
    params, state = jax.eval_shape(layer.init, key)
    own = uses(path, seen)
    return Row(
        path,
        *label(layer, own),
        tree.count(params),
        tree.size_in_bytes((params, state)),
        sum(use.times * _flops(*use[:4], use.side) for use in own.values()),
    )


def _flops(layer: Layer, params: Any, state: Any, x: Any, side: dict[str, Any]) -> int:
    def forward(params: Any, state: Any, x: Any, side: dict[str, Any]) -> Any:
        return layer.apply(params, state, x, **side)[0]

    return flops.count(forward, params, state, x, side)


def _depth(layer: Layer, key: Any) -> int:
    """Layers with weights on the longest path, where `wire` counts as its parts in a row."""
    if not layer.info.children:
        params, _ = jax.eval_shape(layer.init, key)
        return int(isinstance(params, dict) and not layer.info.weights.isdisjoint(params))
    depths = [_depth(child, key) for _, child in layer.info.children]
    return max(depths) if layer.info.side_by_side else sum(depths)


# ------------------------------------------------------------------------------------- as text


def _written(layer: Layer) -> str:
    """The call that makes `layer`, without the settings that are the default: conv(1, 6, 5)."""
    factory = layer.info.factory
    known = inspect.signature(factory).parameters if factory else {}
    settings = []
    for name, value in layer.info.config.items():
        parameter = known.get(name)
        if parameter is None or value != parameter.default:
            named = parameter is None or parameter.kind is parameter.KEYWORD_ONLY
            settings.append(f"{name}={_text(value)}" if named else _text(value))
    return layer.info.kind + (f"({', '.join(settings)})" if settings else "")


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_text, value))})"
    return getattr(value, "__name__", None) or str(value)


def _shape(y: Any) -> str:
    return str(list(y.shape)) if hasattr(y, "shape") else describe(y)


def _cells(row: Row) -> tuple[str, ...]:
    return (*row[:3], *(f"{number:,}" for number in row[3:]))


def text_table(head: Sequence[str], *blocks: Iterable[Sequence[str]]) -> str:
    """Lines of path, layer, output and numbers under a head, with a rule above each block."""
    parts = [[_cut(*line) for line in block] for block in ([head], *blocks)]
    widths = [max(map(len, column)) for column in zip(*itertools.chain(*parts), strict=True)]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    return f"\n{rule}\n".join("\n".join(_align(line, widths) for line in part) for part in parts)


def _cut(path: str, layer: str, *others: str) -> tuple[str, ...]:
    return path, layer if len(layer) <= _WIDTH else layer[: _WIDTH - 1] + "…", *others


def _align(line: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.ljust(width) if column < 3 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
