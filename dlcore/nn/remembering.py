"""Memory: state that may be absent (a recurrent layer's carry, attention's keys and values).

Absent, a layer starts from zero and leaves nothing behind. Present, it goes on from there and
returns what it remembers then, in training and in evaluation alike:

    state = nn.joined(state, nn.memory(layer, batch=4))
    y, state = layer.apply(params, state, first_window)
    y, state = layer.apply(params, state, second_window)
    state, memory = nn.parted(state)

A layer's memory lies in its state under the key "memory", which nothing else may use:
`{"lstm1": {"memory": {"h": …, "c": …}}}`. Each leaf is [B, …]; zero means that nothing was seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.export import is_symbolic_dim

from dlcore.nn.describing import shapes
from dlcore.nn.layer import Layer, State, check_sizes, gather, is_empty, select

KEY = "memory"


def memory(layer: Layer, batch: int) -> Any:
    """What `layer` remembers of `batch` sequences before it has seen anything: zeros, by path.

    Raises ValueError, with the path, for a layer whose outputs for one window depend on the next
    (bidirectional, attention to all places): of it no windows equal the whole.
    """
    if not is_symbolic_dim(batch):  # which is exported for any
        check_sizes("memory", batch=batch)
    return _memory(layer, batch, "")


def _memory(layer: Layer, batch: int, path: str) -> Any:
    zeros = () if layer.info.memory is None else _zeros(layer, batch, path)
    own = {KEY: zeros} if jax.tree.leaves(zeros) else {}
    inner = {
        name: _memory(child, batch, f"{path}/{name}" if path else name)
        for name, child in layer.info.children
    }
    return gather({**own, **inner})


def _zeros(layer: Layer, batch: int, path: str) -> Any:
    assert layer.info.memory is not None
    try:
        zeros = layer.info.memory(batch)
    except WindowsError as error:
        raise ValueError(f"memory: {path or layer.info.kind} {error}") from None
    if any(jnp.shape(leaf)[:1] != (batch,) for leaf in jax.tree.leaves(zeros)):
        raise ValueError(
            f"memory: {path or layer.info.kind} remembers {shapes(zeros)}, but every leaf has a "
            f"leading axis of {batch} sequences"
        )
    return zeros


class WindowsError(ValueError):
    """Raised by an `info.memory` of a layer of which no windows equal the whole."""


def without_memory(reason: str) -> Callable[[int], Any]:
    """The `info.memory` of a layer for which there can be none, such as "sees what follows"."""

    def refuse(batch: int) -> Any:
        raise WindowsError(f"has no memory: it {reason}")

    return refuse


def remembered(state: State, zeros: Any, like: jax.Array) -> Any:
    """What a layer goes on from: the memory in its own state, else `zeros`.

    In the dtype of `like`, where it is floating point.
    """
    own = select(state, KEY)
    for leaf in jax.tree.leaves(own):
        if leaf.shape[0] != like.shape[0]:
            raise ValueError(
                f"the memory is of {leaf.shape[0]} sequences, but x has {like.shape[0]}: "
                f"nn.memory(layer, {like.shape[0]}) begins as many"
            )
    return jax.tree.map(
        lambda leaf: leaf.astype(like.dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf,
        zeros if is_empty(own) else own,
    )


def left(state: State, memory: Any) -> State:
    """A layer's own state with `memory`, in the dtypes it had, where it had one; else as it is."""
    own = select(state, KEY)
    if is_empty(own):
        return state
    return {**state, KEY: jax.tree.map(lambda new, old: new.astype(old.dtype), memory, own)}


def joined(state: State, memory: Any) -> State:
    """State and memory as one state."""
    if is_empty(state) or is_empty(memory):
        return memory if is_empty(state) else state
    if not isinstance(state, dict) or not isinstance(memory, dict) or KEY in state:
        raise ValueError("joined: this state holds a memory already; nn.parted(state)[0] has none")
    return {
        name: memory[name] if name == KEY else joined(select(state, name), select(memory, name))
        for name in {**state, **memory}
    }


def parted(state: State) -> tuple[State, Any]:
    """(state without memory, memory): the reverse of `joined`."""
    if not isinstance(state, dict):
        return state, ()
    pairs = {name: parted(one) for name, one in state.items() if name != KEY}
    own = {KEY: state[KEY]} if KEY in state else {}
    found = gather({**own, **{name: memory for name, (_, memory) in pairs.items()}})
    if is_empty(found):
        return state, ()
    return gather({name: rest for name, (rest, _) in pairs.items()}), found


def restarted(memory: Any, begins: jax.Array | None) -> Any:
    """`memory` with the rows zero that begin anew, where begins [B] is True."""
    if begins is None:
        return memory

    def one(leaf: jax.Array) -> jax.Array:
        new = begins.reshape(-1, *[1] * (leaf.ndim - 1)).astype(bool)
        return jnp.where(new, jnp.zeros((), leaf.dtype), leaf)

    return jax.tree.map(one, memory)


def refuse(what: str, state: State) -> None:
    """Refuses a state in which memory was left, where every example starts from zero."""
    _, found = parted(state)
    if not is_empty(found):
        raise ValueError(
            f"{what}: the state still holds memory ({', '.join(_paths(found))}), but every example "
            "starts from zero here: give nn.parted(state)[0]"
        )


def _paths(memory: Any, path: str = "") -> list[str]:
    if KEY in memory:
        return [path or "the layer's own"]
    return [
        found
        for name, one in memory.items()
        for found in _paths(one, f"{path}/{name}" if path else name)
    ]
