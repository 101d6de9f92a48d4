"""Arrays and trees of them in words: dtypes and shapes, as errors and tables show them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def describe(x: Any) -> str:
    """An array as `float32[8, 28, 28, 1]`, a tree of arrays with that at each leaf."""
    return _describe(x, lambda leaf: f"{leaf.dtype}{list(leaf.shape)}")


def shapes(tree: Any) -> str:
    """A tree of arrays with the shape at each leaf: `{bias: [8], kernel: [4, 8]}`."""
    return _describe(tree, lambda leaf: str(list(leaf.shape)))


def _describe(tree: Any, leaf: Callable[[Any], str]) -> str:
    if hasattr(tree, "shape") and hasattr(tree, "dtype"):
        return leaf(tree)
    if isinstance(tree, dict):
        return (
            "{"
            + ", ".join(f"{k}: {_describe(v, leaf)}" for k, v in sorted(tree.items(), key=str))
            + "}"
        )
    if isinstance(tree, list | tuple):
        return "(" + ", ".join(_describe(value, leaf) for value in tree) + ")"
    return repr(tree)
