"""How a combinator applies a child: seen by whoever looks on, and named where it fails."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

from dlcore import keys
from dlcore.keys import Key
from dlcore.nn.describing import describe, shapes
from dlcore.nn.layer import Layer, Params, State, select


def call(
    name: str,
    layer: Layer,
    params: Params,
    state: State,
    x: Any,
    *,
    key: Key | None,
    train: bool,
) -> tuple[Any, State]:
    """Applies the child `name` to `x` with its own part of its parent's params, state and key.

    An error gets a note with the path of the layer and what it was given.
    """
    params, state = select(params, name), select(state, name)
    key = None if key is None else keys.child(key, name)
    with _observed(name) as observe, noted(name, layer, params, x):
        y, state = layer.apply(params, state, x, key=key, train=train)
        observe(Call(layer, params, state, x, y))
    return y, state


class Call(NamedTuple):
    """One application of one layer, as an observer sees it."""

    layer: Layer
    params: Params
    state: State
    x: Any
    y: Any


class _Observer:
    def __init__(self) -> None:
        self.path: list[str] = []
        self.calls: dict[str, Call] = {}

    def record(self, call: Call) -> None:
        path = "/".join(self.path)
        while path in self.calls:  # a part that `wire` calls again
            path += "'"
        self.calls[path] = call


_observer = contextvars.ContextVar[_Observer | None]("observer", default=None)


@contextlib.contextmanager
def _observed(name: str) -> Iterator[Callable[[Call], None]]:
    observer = _observer.get()
    if observer is None:
        yield lambda call: None
        return
    observer.path.append(name)
    try:
        yield observer.record
    finally:
        observer.path.pop()


def is_observed() -> bool:
    """Whether `calls` is looking on: a loop then runs unrolled, since a look ends with the loop."""
    return _observer.get() is not None


def calls(
    layer: Layer,
    params: Params,
    state: State,
    x: Any,
    *,
    key: Key | None = None,
    train: bool = False,
) -> tuple[Any, State, dict[str, Call]]:
    """`layer.apply`, and every application inside it by path, in order of completion."""
    observer = _Observer()
    token = _observer.set(observer)
    try:
        y, state = layer.apply(params, state, x, key=key, train=train)
    finally:
        _observer.reset(token)
    return y, state, observer.calls


def intermediates(
    layer: Layer,
    params: Params,
    state: State,
    x: Any,
    *,
    key: Key | None = None,
    train: bool = False,
) -> dict[str, Any]:
    """The output of every layer inside `layer` by its path, e.g. `{"conv1": …, "relu1": …}`.

    A part that `wire` calls more than once has its later outputs under path', path'', …
    """
    _, _, seen = calls(layer, params, state, x, key=key, train=train)
    return {path: call.y for path, call in seen.items()}


# ------------------------------------------------------------------------------------- errors

_NOTE = "in layer "


@contextlib.contextmanager
def noted(name: str, layer: Layer, params: Params, x: Any) -> Iterator[None]:
    """Notes on an error inside that it arose in the child `name`, and what that was given."""
    try:
        yield
    except Exception as error:
        with contextlib.suppress(Exception):  # what cannot be said must not take its place
            _annotate(error, name, layer, params, x)
        raise


def _annotate(error: Any, name: str, layer: Layer, params: Params, x: Any) -> None:
    """Adds or extends the one note that says where in the network `error` arose."""
    notes = getattr(error, "__notes__", [])
    mine = [note for note in notes if note.startswith(_NOTE)]
    if mine and layer.info.children:
        note = f"{_NOTE}{name}/{mine[-1].removeprefix(_NOTE)}"
    else:
        note = f"{_NOTE}{name} ({layer.info.kind}), given {describe(x)}{_misfit(layer, params)}"
    error.__notes__ = [one for one in notes if one not in mine]
    error.add_note(note)


def _misfit(layer: Layer, params: Params) -> str:
    """What is wrong with the parameters, where their tree or shapes are not the layer's own."""
    wanted, given = shapes(jax.eval_shape(layer.init, jax.random.key(0))[0]), shapes(params)
    return "" if wanted == given else f"; its params should be {wanted}, got {given}"
