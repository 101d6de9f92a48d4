"""How a combinator applies a child: seen by whoever looks on, and named where it fails."""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state

from dlcore import keys
from dlcore.fields import documented
from dlcore.keys import Key
from dlcore.nn.describing import describe, shapes
from dlcore.nn.layer import Layer, Params, State, read_by, select
from dlcore.nn.side_inputs import unread


def call(
    name: str,
    layer: Layer,
    params: Params,
    state: State,
    x: Any,
    *,
    key: Key | None,
    train: bool,
    **side: Any,
) -> tuple[Any, State]:
    """Applies the child `name` to `x` with its own part of its parent's params, state and key.

    Of the side inputs it is handed those that it reads. An error gets a note with the path of the
    layer and what it was given.
    """
    params, state = select(params, name), select(state, name)
    key = None if key is None else keys.child(key, name)
    own = read_by(layer, side)
    with _observed(name) as observe, noted(name, layer, x):
        y, new = layer.apply(params, state, x, key=key, train=train, **own)
        y = observe(Call(layer, params, state, x, _narrowed(y), own))
    return y, new


_dtype = contextvars.ContextVar[Any]("dtype", default=None)


def computed_in(dtype: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The function's value, in which whatever a layer gives is cast to `dtype`.

    So one whose state is wider, which is added to x, widens nothing after it.
    """
    token = _dtype.set(dtype)
    try:
        return function(*args, **kwargs)
    finally:
        _dtype.reset(token)


def cast(tree: Any, dtype: Any) -> Any:
    """The tree with its floating-point leaves in `dtype`."""

    def one(leaf: Any) -> Any:
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(one, tree)


def _narrowed(y: Any) -> Any:
    dtype = _dtype.get()
    return y if dtype is None else cast(y, dtype)


@documented
class Call(NamedTuple):
    """One application of one layer, as an observer sees it.

    In a loop (`nn.scan`) params are shapes alone; inside a jit, vmap or lax.scan of one's own
    everything is, for one turn.

    layer: the Layer that was applied.
    params, state: its own, as it was given them.
    x: its input.
    y: its output, moved by its offset where there is one.
    side: the side inputs that it read, by name.
    turns: the lengths of the loops around it, the leading axes of what it was given and gave.
    is_tied: whether the `wire` that it is a part of uses its params outside of it too.
    """

    layer: Layer
    params: Params
    state: State
    x: Any
    y: Any
    side: dict[str, Any]
    turns: tuple[int, ...] = ()
    is_tied: bool = False

    @property
    def times(self) -> int:
        """How often it is applied, in the loops around it."""
        return math.prod(self.turns)

    @property
    def has_values(self) -> bool:
        """Whether its arrays were seen, and not their shapes alone."""
        return not any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(self.y))

    def once(self) -> Call:
        """The first turn of its loops."""
        if not self.turns or not self.has_values:
            return self._replace(turns=())
        first = jax.tree.map(lambda leaf: leaf[(0,) * len(self.turns)], self[2:6])
        return Call(self.layer, self.params, *first)


class _Observer:
    def __init__(
        self, offsets: Mapping[str, Any], path: list[str], taken: Mapping[str, Call]
    ) -> None:
        self.offsets, self.path, self.taken = offsets, path, taken
        self.calls: dict[str, Call] = {}
        self.tied: set[str] = set()
        self._trace = get_opaque_trace_state()

    def look(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The function's value, while this observer looks on."""
        token = _observer.set(self)
        try:
            return function(*args, **kwargs)
        finally:
            _observer.reset(token)

    def inside(
        self, body: Callable[..., Any], *args: Any, offsets: Mapping[str, Any]
    ) -> tuple[Any, dict[str, Call]]:
        """What the body of a loop gives, and the calls in it, which belong to its own trace."""
        inner = _Observer(offsets, self.path, self.calls)
        inner.tied = self.tied
        return inner.look(body, *args), inner.calls

    def record(self, call: Call) -> Any:
        """Notes the call; its output, moved by the offset of its path."""
        path = "/".join(self.path)
        while path in self.calls or path in self.taken:  # a part that `wire` calls again
            path += "'"
        if path in self.offsets:
            call = call._replace(y=_moved(path, call.y, self.offsets[path]))
        # What another trace computes cannot leave it.
        inside = get_opaque_trace_state() != self._trace
        self.calls[path] = _shapes_of(call) if inside else call
        return call.y


def _moved(path: str, y: Any, offset: Any) -> Any:
    if shapes(y) != shapes(offset):
        raise ValueError(
            f"observed: {path} gives {describe(y)}, but its offset is {describe(offset)}"
        )
    return jax.tree.map(jnp.add, y, offset)


def _shapes_of(call: Call) -> Call:
    shapes = jax.eval_shape(lambda *arrays: arrays, *call[1:6])
    return Call(call.layer, *shapes)._replace(turns=call.turns)


_observer = contextvars.ContextVar[_Observer | None]("observer", default=None)


@contextlib.contextmanager
def _observed(name: str) -> Iterator[Callable[[Call], Any]]:
    observer = _observer.get()
    if observer is None:
        yield lambda call: call.y
        return
    observer.path.append(name)
    try:
        yield observer.record
    finally:
        observer.path.pop()


def note_tied(name: str) -> None:
    """Tells who looks on that the params of the child `name` are used outside of it."""
    observer = _observer.get()
    if observer is not None:
        observer.tied.add("/".join([*observer.path, name]))


def is_observed() -> bool:
    """Whether somebody is looking on: `repeat` then runs unrolled."""
    return _observer.get() is not None


def observed(
    function: Callable[..., Any],
    *args: Any,
    offsets: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> tuple[Any, dict[str, Call]]:
    """function(*args, **kwargs), and every application of a layer inside it by path.

    `function` is a layer's apply or an objective. The calls are in order of completion; a layer
    that is applied again has its later calls under path', path'', ….

    offsets: by path, what is added to that output. So one `jax.grad` by zero offsets is the
    gradient by the outputs themselves, of as many layers as there are:

        def loss(offsets):
            (value, _), seen = nn.observed(objective, params, state, batch, offsets=offsets)
            return value, seen

        _, seen = nn.observed(objective, params, state, batch)
        zeros = {path: jnp.zeros_like(call.y) for path, call in seen.items()}
        gradients, seen = jax.grad(loss, has_aux=True)(zeros)
    """
    observer = _Observer(offsets or {}, [], {})
    result = observer.look(function, *args, **kwargs)
    for path in observer.offsets:
        if path not in observer.calls:
            raise ValueError(f"observed: no layer is applied at {unread(path, observer.calls)}")
    for path in observer.tied & observer.calls.keys():
        observer.calls[path] = observer.calls[path]._replace(is_tied=True)
    return result, observer.calls


def scan(
    body: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,
    xs: Any,
    length: int | None = None,
    *,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """`jax.lax.scan` that an observer sees into: what a layer inside `body` is given and gives has
    the turns as its leading axis, in the order of xs, and so has an offset of its output.
    """
    outer = _observer.get()
    if outer is None:
        return jax.lax.scan(body, carry, xs, length, reverse=reverse)
    seen: dict[str, Call] = {}

    def watched(carry: Any, at: Any) -> Any:
        x, offsets = at
        (carry, y), calls = outer.inside(body, carry, x, offsets=offsets)
        seen.update(calls)
        return carry, (y, {path: call[2:6] for path, call in calls.items() if call.has_values})

    offsets = {}
    if outer.offsets:  # whose are those of a layer in this loop, one trace tells
        jax.eval_shape(lambda: watched(carry, (jax.tree.map(lambda leaf: leaf[0], xs), {})))
        offsets = {path: one for path, one in outer.offsets.items() if path in seen}
    carry, (ys, stacked) = jax.lax.scan(watched, carry, (xs, offsets), length, reverse=reverse)
    turns = length if length is not None else len(jax.tree.leaves(xs)[0])
    for path, call in seen.items():
        whole = _shapes_of(call)
        if path in stacked:
            state, x, y, side = stacked[path]
            whole = whole._replace(state=state, x=x, y=y, side=side)
        outer.calls[path] = whole._replace(turns=(turns, *call.turns))
    return carry, ys


def intermediates(
    layer: Layer,
    params: Params,
    state: State,
    x: Any,
    *,
    key: Key | None = None,
    train: bool = False,
    **side: Any,
) -> dict[str, Any]:
    """The output of every layer inside `layer` by its path, e.g. `{"conv1": …, "relu1": …}`.

    As `observed` sees them, but for those of which only shapes are known: inside a jit, vmap or
    lax.scan of one's own.
    """
    _, seen = observed(layer.apply, params, state, x, key=key, train=train, **side)
    return {path: call.y for path, call in seen.items() if call.has_values}


# ------------------------------------------------------------------------------------- errors

_NOTE = "in layer "


@contextlib.contextmanager
def noted(name: str, layer: Layer, x: Any) -> Iterator[None]:
    """Notes on an error inside that it arose in the child `name`, and what that was given."""
    try:
        yield
    except Exception as error:
        with contextlib.suppress(Exception):  # what cannot be said must not take its place
            _annotate(error, name, layer, x)
        raise


def _annotate(error: Any, name: str, layer: Layer, x: Any) -> None:
    """Adds or extends the one note that says where in the network `error` arose."""
    notes = getattr(error, "__notes__", [])
    mine = [note for note in notes if note.startswith(_NOTE)]
    if mine and layer.info.children:
        note = f"{_NOTE}{name}/{mine[-1].removeprefix(_NOTE)}"
    else:
        note = f"{_NOTE}{name} ({layer.info.kind}), given {describe(x)}"
    error.__notes__ = [one for one in notes if one not in mine]
    error.add_note(note)
