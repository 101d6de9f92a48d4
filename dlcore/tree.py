"""Norms, sizes, paths and masks over pytrees."""

from __future__ import annotations

import difflib
import math
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def path_string(key_path: tuple[Any, ...]) -> str:
    """The name of a leaf: dictionary keys, indices and field names joined by "/".

    >>> leaves = jax.tree.leaves_with_path({"conv1": {"kernel": 0}, "hidden": [1]})
    >>> [path_string(key_path) for key_path, _ in leaves]
    ['conv1/kernel', 'hidden/0']
    """
    return jax.tree_util.keystr(key_path, simple=True, separator="/")


def leaves_with_paths(tree: Any) -> list[tuple[str, Any]]:
    """Every leaf behind its path, in tree order."""
    return [(path_string(path), leaf) for path, leaf in jax.tree.leaves_with_path(tree)]


def count(tree: Any) -> int:
    """Number of elements over all leaves (arrays or `jax.ShapeDtypeStruct`)."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def size_in_bytes(tree: Any) -> int:
    """Bytes over all leaves (arrays or `jax.ShapeDtypeStruct`)."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def global_norm(tree: Any) -> Array:
    """‖tree‖₂ = √ Σ x², over every element of every (real) leaf; an empty tree has norm 0.

    Departures from `optax.tree.norm`: the sum is accumulated in float32 also for bfloat16 leaves
    (float64 where a leaf is), and the gradient at the zero tree is 0 where optax gives NaN.
    """
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    wide = jnp.float64 if any(leaf.dtype == jnp.float64 for leaf in leaves) else jnp.float32
    squares = [jnp.sum(jnp.square(leaf.astype(wide))) for leaf in leaves]
    total = sum(squares, start=jnp.zeros((), wide))
    zero = total == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, total)))


def sparsity(tree: Any, *patterns: str) -> Array:
    """The share of elements that are exactly 0, over the leaves that one of the globs fits (see
    `mask`), or over all of them.

    >>> float(sparsity({"bias": jnp.ones(2), "kernel": jnp.array([0.0, 3.0])}, "kernel"))
    0.5
    """
    chosen = partition(tree, mask(tree, *patterns))[0] if patterns else tree
    zeros = sum(jnp.sum(leaf == 0, dtype=jnp.float32) for leaf in jax.tree.leaves(chosen))
    return jnp.asarray(zeros / max(1, count(chosen)), jnp.float32)


def first_nonfinite(tree: Any) -> str | None:
    """The path of the first leaf, in tree order, with a NaN or an infinity; None without one."""
    for path, leaf in leaves_with_paths(tree):
        inexact = jnp.issubdtype(leaf.dtype, jnp.inexact)
        if inexact and not np.isfinite(np.asarray(leaf)).all():
            return path
    return None


def match(pattern: str, path: str) -> bool:
    """Whether a glob fits a whole path: `*` is (any part of) one segment, `**` any number of them.

    >>> match("**/kernel", "stage1/conv1/kernel"), match("*/kernel", "stage1/conv1/kernel")
    (True, False)
    """
    return _match(pattern.split("/"), path.split("/"))


def _match(globs: list[str], segments: list[str]) -> bool:
    if not globs:
        return not segments
    glob, *rest = globs
    if glob == "**":
        return any(_match(rest, segments[skip:]) for skip in range(len(segments) + 1))
    return bool(segments) and fnmatchcase(segments[0], glob) and _match(rest, segments[1:])


def mask(tree: Any, *patterns: str) -> Any:
    """The tree with True at every leaf which fits one of the globs (see `match`), False elsewhere.

    A pattern which fits no leaf is refused with a ValueError: it is a misspelt name. What
    `partition` has left out counts as a leaf there, and stays None.

    >>> mask({"conv1": {"bias": 0, "kernel": 0}}, "**/kernel")
    {'conv1': {'bias': False, 'kernel': True}}
    """
    keyed, structure = jax.tree.flatten_with_path(tree, is_leaf=_is_none)
    paths = [path_string(path) for path, _ in keyed]
    for pattern in patterns:
        if not any(match(pattern, path) for path in paths):
            raise ValueError(_no_match(pattern, paths))
    marks = [
        None if leaf is None else any(match(pattern, path) for pattern in patterns)
        for path, (_, leaf) in zip(paths, keyed, strict=True)
    ]
    return jax.tree.unflatten(structure, marks)


def partition(tree: Any, mask: Any) -> tuple[Any, Any]:
    """The leaves where `mask` is True and the others, each tree with None in the place of the rest.

    None is an empty tree to JAX, so what is mapped over one part never sees the other; `merge`
    undoes it.
    """
    return (
        jax.tree.map(lambda leaf, chosen: leaf if chosen else None, tree, mask),
        jax.tree.map(lambda leaf, chosen: None if chosen else leaf, tree, mask),
    )


def merge(first: Any, second: Any) -> Any:
    """One tree of the two parts that `partition` gives."""
    return jax.tree.map(lambda a, b: b if a is None else a, first, second, is_leaf=_is_none)


def _is_none(leaf: Any) -> bool:
    return leaf is None


def _no_match(pattern: str, paths: list[str]) -> str:
    nearest = difflib.get_close_matches(pattern, paths, n=5, cutoff=0.0)
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    return f'"{pattern}" fits no leaf; the leaves are, nearest first: {", ".join(nearest)}{more}'
