"""The table of a network: its layers, their outputs, parameters, bytes and FLOPs.

Also its structure as text, and the table of any tree of arrays. Tables are as wide as the terminal.
"""

from __future__ import annotations

import inspect
import itertools
import math
import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, overload

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import flops, tree
from dlcore.fields import documented
from dlcore.names import written
from dlcore.nn.combinators import serial
from dlcore.nn.describing import describe
from dlcore.nn.layer import Layer, Params, State, as_layer
from dlcore.nn.observing import Call, observed
from dlcore.nn.surgery import frozen

_TEXT = {"path", "layer", "output", "frozen", "shape", "dtype"}  # columns that begin at their left
_LEAST = {"path": 24, "layer": 16}  # their widths, before another column is left out for them


@documented
class Row(NamedTuple):
    """One layer: what it is, what it gives, and what it costs.

    path: where it is in the network, and in its params.
    layer: the call that makes it, and how often it is used where that is more than once; "tied"
        before it where its parameters are used outside of it too.
    output: the shape of what it gives.
    parameters: the numbers in its params, frozen or not.
    bytes: those of its params and state.
    flops: those of all its applications.
    frozen: the leaves that `nn.freeze` holds, "bias" or "all"; "" without.
    """

    path: str
    layer: str
    output: str
    parameters: int
    bytes: int
    flops: int
    frozen: str = ""


@documented
class Summary(NamedTuple):
    """The rows of a network's layers and the network's totals; it prints as a table.

    Where the terminal is narrow the table has fewer columns, whose totals stand below, and paths
    without their beginnings.

    rows: a Row for each layer without layers inside, in the order of the description.
    input: what the network is given, as dtype[shape].
    parameters: the numbers in params, frozen or not.
    bytes: the memory of params and state.
    flops: one evaluation of the input (see `flops.count`).
    depth: the layers with weights on the longest path.
    frozen: how many of the parameters `nn.freeze` holds; the others are trainable.
    state: the numbers in the state, learned without a gradient.
    tied: the paths of the layers whose parameters `wire` uses outside of them too, as a head may
        that of an embedding. They count once, and are frozen at both places or at none.
    """

    rows: tuple[Row, ...]
    input: str
    parameters: int
    bytes: int
    flops: int
    depth: int
    frozen: int
    state: int
    tied: tuple[str, ...] = ()

    @property
    def trainable(self) -> int:
        """How many of the parameters are not frozen."""
        return self.parameters - self.frozen

    def __repr__(self) -> str:
        head = ("path", "layer", "output", "frozen", "parameters", "bytes", "FLOPs")
        total = Row("total", "", "", self.parameters, self.bytes, self.flops)
        lines = (map(_cells, self.rows), [_cells(total)])
        width = shutil.get_terminal_size().columns
        table = text_table(head, *lines, width=width, spare=("bytes", "FLOPs", "layer", "output"))
        shown = {*table.partition("\n")[0].split()} & {"bytes", "FLOPs"}
        facts = {
            "depth": self.depth,
            "trainable": self.trainable,
            "frozen": self.frozen,
            "state": self.state,
            "bytes": self.bytes,
            "FLOPs": self.flops,
        }
        said = " · ".join(f"{name} {one:,}" for name, one in facts.items() if name not in shown)
        texts = [f"input {self.input}", table, said, *map(self._tie, self.tied)]
        return "\n".join(one if one is table else _filled(one, width) for one in texts)

    def _tie(self, path: str) -> str:
        held = any(row.frozen for row in self.rows if f"{row.path}/".startswith(f"{path}/"))
        ends = "frozen at both ends" if held else "freezing it holds both ends"
        return f"{path} is tied: used outside of its layer too, counts once, {ends}"


@documented
class Leaf(NamedTuple):
    """One array of a tree.

    path: its name in the tree.
    shape: as a list, `[5, 5, 1, 6]`.
    dtype: its name.
    parameters: the numbers in it.
    bytes: the memory it takes.
    """

    path: str
    shape: str
    dtype: str
    parameters: int
    bytes: int


@documented
class Leaves(NamedTuple):
    """The arrays of a tree, such as a network's params; it prints as a table.

    rows: a Leaf for each array, in tree order.
    parameters: the numbers in all of them.
    bytes: the memory of all of them.
    """

    rows: tuple[Leaf, ...]
    parameters: int
    bytes: int

    def __repr__(self) -> str:
        head = ("path", "shape", "dtype", "parameters", "bytes")
        count = len(self.rows)
        leaves = f"{count} {'leaf' if count == 1 else 'leaves'}"
        total = Leaf("total", leaves, "", self.parameters, self.bytes)
        lines = [(*row[:3], f"{row.parameters:,}", f"{row.bytes:,}") for row in (*self.rows, total)]
        width = shutil.get_terminal_size().columns
        spare = ("bytes", "dtype", "shape")
        return text_table(head, lines[:-1], lines[-1:], width=width, spare=spare)


@overload
def summary(layer: Any, shape: Sequence[int], dtype: Any = ..., **side: Any) -> Summary: ...
@overload
def summary(layer: Params) -> Leaves: ...
def summary(
    layer: Any, shape: Sequence[int] | None = None, dtype: Any = None, **side: Any
) -> Summary | Leaves:
    """The table of `layer` for inputs of `shape`, batch axis included; nothing is computed.

    Each layer that has no layers inside is a row, in the order of the description. A part that
    `wire` calls several times, or in a loop, is one row, with the FLOPs of all its calls. What
    combinators and `wire` compute between their layers is only in the total.

    dtype: of the input; by default float32, and int32 for a layer that takes no other.
    side: the shapes of side inputs, `summary(layer, (8, 20, 64), mask=(8, 20))`; masks are then
    booleans, others of `dtype`. A `jax.ShapeDtypeStruct` or an array says its own.

    >>> from dlcore import nn
    >>> nn.summary(nn.serial(nn.flatten, nn.linear(784, 10)), (1, 28, 28, 1))
    input float32[1, 28, 28, 1]
    path      layer            output    parameters   bytes   FLOPs
    ───────────────────────────────────────────────────────────────
    flatten1  flatten          [1, 784]           0       0       0
    linear1   linear(784, 10)  [1, 10]        7,850  31,400  15,690
    ───────────────────────────────────────────────────────────────
    total                                     7,850  31,400  15,690
    depth 1 · trainable 7,850 · frozen 0 · state 0

    `summary(params)`, of any tree of arrays or `jax.ShapeDtypeStruct` alone, is the table of its
    leaves: path, shape, dtype, how many numbers and bytes.

    Raises ValueError for what is no shape, and TypeError for what is neither a layer nor arrays.
    """
    if not callable(layer) and shape is None and not side:
        return _of_arrays(layer)
    if not callable(layer) and not isinstance(layer, list | tuple):
        raise TypeError(f"{_USES}; got {type(layer).__name__} and a shape")
    layer = as_layer(layer)
    _check_shape(shape)
    layer = layer if layer.info.children else serial(layer)
    key = jax.eval_shape(lambda: jax.random.key(0))
    also = {name: _side(name, given, dtype or jnp.float32) for name, given in side.items()}
    params, state = jax.eval_shape(layer.init, key)
    held = frozenset(frozen(layer))

    def look(dtype: Any) -> tuple[Any, dict[str, Call]]:
        x = jax.ShapeDtypeStruct(tuple(shape or ()), jnp.dtype(dtype))
        return x, applications(layer, params, state, x, **also)

    try:
        x, seen = look(dtype or jnp.float32)
    except TypeError as wrong:
        if dtype is not None:
            raise
        try:
            x, seen = look(jnp.int32)
        except (TypeError, ValueError):
            raise wrong from None
    described = ", ".join([describe(x), *(f"{name} {describe(also[name])}" for name in also)])
    return Summary(
        rows=tuple(_row(path, leaf, key, seen) for path, leaf in leaves(layer)),
        input=described,
        parameters=tree.count(params),
        bytes=tree.size_in_bytes((params, state)),
        flops=_flops(layer, params, state, x, also),
        depth=_depth(layer, key),
        frozen=tree.count([leaf for path, leaf in tree.leaves_with_paths(params) if path in held]),
        state=tree.count(state),
        tied=tuple(path for path, call in seen.items() if call.is_tied),
    )


_USES = (
    "summary takes a Layer and the shape of its input, summary(layer, (1, 28, 28, 1)), or a tree "
    "of arrays alone, summary(params)"
)


def _of_arrays(arrays: Any) -> Leaves:
    """The table of a tree of arrays."""
    if arrays is None:
        raise TypeError(f"{_USES}; got None")
    rows = []
    for path, leaf in tree.leaves_with_paths(arrays):
        if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
            place = f" at {path}" if path else ""
            raise TypeError(f"{_USES}; got {type(leaf).__name__}{place}")
        size = tree.size_in_bytes(leaf)
        rows.append(Leaf(path, _shape(leaf), str(leaf.dtype), math.prod(leaf.shape), size))
    return Leaves(tuple(rows), tree.count(arrays), tree.size_in_bytes(arrays))


def _check_shape(shape: Any) -> None:
    sizes = shape if isinstance(shape, Sequence) else ()
    whole = (int, np.integer)
    if not sizes or not all(
        isinstance(size, whole) and not isinstance(size, bool) and size >= 0 for size in sizes
    ):
        raise ValueError(
            f"summary needs a shape with its batch axis, as (1, 28, 28, 1), got {written(shape)}"
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
        path: Call(call.layer, *shapes.get(path, call[1:6]))._replace(
            turns=call.turns, is_tied=call.is_tied
        )
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
    tied = "tied " if any(use.is_tied for use in uses.values()) else ""
    y = next((_shape(use.y) for use in uses.values()), "not called")
    return tied + _written(layer) + times, y


def _row(path: str, layer: Layer, key: Any, seen: dict[str, Call]) -> Row:
    params, state = jax.eval_shape(layer.init, key)
    own = uses(path, seen)
    return Row(
        path,
        *label(layer, own),
        tree.count(params),
        tree.size_in_bytes((params, state)),
        sum(use.times * _flops(*use[:4], use.side) for use in own.values()),
        _held(layer, params, state),
    )


def _held(layer: Layer, params: Params, state: State) -> str:
    """Which of its leaves `nn.freeze` holds."""
    held = layer.info.frozen
    whole = {path for one in (params, state) for path, _ in tree.leaves_with_paths(one)}
    return "all" if held and held >= whole else ", ".join(sorted(held))


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


def structure(layer: Layer) -> str:
    """The layers of a network by name, one a line, each as the call that makes it.

    As `print(layer)`, but without the settings that are the default and without what is frozen.
    """
    children = (f"{name}: {structure(child)}" for name, child in layer.info.children)
    return "\n".join([_written(layer), *(textwrap.indent(child, "  ") for child in children)])


def _written(layer: Layer) -> str:
    """The call that makes `layer`, without the settings that are the default: conv(1, 6, 5)."""
    factory = layer.info.factory
    known = inspect.signature(factory).parameters if factory else {}
    settings = []
    for name, value in layer.info.config.items():
        parameter = known.get(name)
        if parameter is None or repr(value) != repr(parameter.default):
            named = parameter is None or parameter.kind is parameter.KEYWORD_ONLY
            settings.append(f"{name}={_text(value)}" if named else _text(value))
    return layer.info.kind + (f"({', '.join(settings)})" if settings else "")


def _text(value: Any) -> str:
    """A setting in one line, which is the same in every process: without addresses."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_text, value))}{',' if len(value) == 1 else ''})"
    name = getattr(value, "__name__", None)
    return name or " ".join(re.sub(r" at 0x[0-9a-f]+", "", str(value)).split())


def _shape(y: Any) -> str:
    return str(list(y.shape)) if hasattr(y, "shape") else describe(y)


def _cells(row: Row) -> tuple[str, ...]:
    numbers = (row.parameters, row.bytes, row.flops)
    return row.path, row.layer, row.output, row.frozen, *(f"{number:,}" for number in numbers)


def text_table(
    head: Sequence[str],
    *blocks: Iterable[Sequence[str]],
    width: int = 100,
    spare: Sequence[str] = (),
) -> str:
    """Lines of cells under a head, with a rule above each block; a column of "" is left out.

    Where a line would be longer than `width` the first of the columns `spare` goes, then the layer
    loses its end and the path its beginning, and before they lose too much the other columns go.
    """
    parts = [
        [dict(zip(head, [" ".join(cell.split()) for cell in line], strict=True)) for line in block]
        for block in ([head], *blocks)
    ]
    parts = [part for part in parts if part]
    widths = _widths(head, [*itertools.chain(*parts[1:])], width, spare)
    rule = "─" * _span(widths)
    return f"\n{rule}\n".join("\n".join(_align(line, widths) for line in part) for part in parts)


def _widths(
    head: Sequence[str], lines: Sequence[Mapping[str, str]], width: int, spare: Sequence[str]
) -> dict[str, int]:
    """How wide each of the columns is that are shown."""
    longest = {name: max((len(line[name]) for line in lines), default=0) for name in head}
    widths = {name: max(len(name), size) for name, size in longest.items() if size}
    for name in spare:
        limits = {} if name == spare[0] else _LEAST
        if _span({one: min(size, limits.get(one, size)) for one, size in widths.items()}) > width:
            widths.pop(name, None)
    for name, least in (("layer", _LEAST["layer"]), ("path", 5)):
        if name in widths:
            widths[name] -= max(0, min(widths[name] - least, _span(widths) - width))
    return widths


def _span(widths: Mapping[str, int]) -> int:
    """How long a line is, with two blanks between columns."""
    return sum(widths.values()) + 2 * (len(widths) - 1)


def _align(line: Mapping[str, str], widths: Mapping[str, int]) -> str:
    cells = []
    for name, width in widths.items():
        cell = _end(line[name], width) if name == "path" else _start(line[name], width)
        cells.append(cell.ljust(width) if name in _TEXT else cell.rjust(width))
    return "  ".join(cells).rstrip()


def _start(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _end(path: str, width: int) -> str:
    """As many of the last segments of a path as there is room for."""
    if len(path) <= width:
        return path
    segments = path.split("/")
    tails = ("/".join(segments[at:]) for at in range(1, len(segments)))
    return next((f"…/{tail}" for tail in tails if len(tail) <= width - 2), f"…{path[1 - width :]}")


def _filled(text: str, width: int) -> str:
    """In lines of that width, none of which ends before a number: a shape stays whole."""
    held = re.sub(r" (?=[\d·])", "\xa0", text)
    return textwrap.fill(held, width, break_long_words=False).replace("\xa0", " ")
