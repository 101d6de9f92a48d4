"""Whether params and state are a layer's own, and what to say where they are not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from dlcore.misfits import listed, misfits
from dlcore.nn.describing import shapes
from dlcore.tree import leaves_with_paths

Draw = Callable[[Any], tuple[Any, Any]]  # key -> (params, state)


def check(kind: str, draw: Draw, params: Any, state: Any) -> None:
    """Refuses params and state that differ from those of `draw` in their paths or shapes. Dtypes
    may differ, and what the state remembers.
    """
    wanted, outline = _own(draw)
    if not wanted or _outline(params, state) == outline:
        return
    count, found = misfits(wanted, _forms(params, state))
    if not count:
        return
    if hasattr(params, "params"):
        told = f"a {type(params).__name__} as params: give its .params and .state"
    elif isinstance(params, tuple) and params and wanted == _forms(params[0], state):
        told = "(params, state) as params: params, state = layer.init(key)"
    elif wanted == _forms(state, params):
        told = "its state as params: the order is apply(params, state, x)"
    else:
        differ = "1 leaf differs" if count == 1 else f"{count} leaves differ"
        told = f"params or state of another network, {differ}: {listed(found)}"
    raise ValueError(f"{kind} was given {told}") from None


@functools.lru_cache(maxsize=1024)
def _own(draw: Draw) -> tuple[dict[str, str], Any]:
    """What `draw` gives, by path, and its outline; nothing where only values would tell."""
    try:
        drawn = jax.eval_shape(draw, jax.random.key(0))
    except Exception:  # a layer of the user's own may raise anything here
        return {}, None
    return _forms(*drawn), _outline(*drawn)


def _outline(params: Any, state: Any) -> Any:
    """Structure and shapes, the quick way to see that nothing differs."""
    leaves, structure = jax.tree.flatten((params, state))
    return structure, [getattr(leaf, "shape", None) for leaf in leaves]


def _forms(params: Any, state: Any) -> dict[str, str]:
    """What is at each path: a shape, or what is no array."""
    return {
        f"{name}/{path}" if path else name: shapes(leaf)
        for name, tree in (("params", params), ("state", state))
        for path, leaf in leaves_with_paths(tree)
        if "memory" not in path.split("/")
    }
