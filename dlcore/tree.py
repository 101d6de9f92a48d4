"""Norms, sizes, paths and masks over pytrees."""

from __future__ import annotations

import difflib
import functools
import math
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dlcore.names import arguments, written

Mask = Any  # which leaves: None, a glob, several, a tree of booleans, a function to one; see `mask`


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
    (float64 where a leaf is), squares may lie beyond its range, and the gradient at the zero tree
    is 0 where optax gives NaN.
    """
    norm, unit = scaled_norm(tree)
    return norm / unit


def leaf_norms(tree: Any) -> Any:
    """The tree with the `global_norm` of each leaf in its place."""
    return jax.tree.map(jnp.divide, *scaled_norms(tree))


def scaled_norm(tree: Any) -> tuple[Array, Array]:
    """(‖unit·tree‖₂, unit), whose quotient `global_norm` is.

    unit is 1, or where the sum of the squares would leave the range of its dtype a power of two for
    which it does not; only then is the tree read twice. After Blue 1978.
    """
    (norm,), (unit,) = _scaled_norms([_widened(jax.tree.leaves(tree))], None)
    return norm, unit


def scaled_norms(tree: Any, axis: tuple[int, ...] | None = None) -> tuple[Any, Any]:
    """The tree of each leaf's norm and that of its unit, as `scaled_norm` gives them.

    With `axis` the norms are along these axes, which stay as axes of length 1.
    """
    leaves, structure = jax.tree.flatten(tree)
    norms, units = _scaled_norms([_widened([leaf]) for leaf in leaves], axis)
    return jax.tree.unflatten(structure, norms), jax.tree.unflatten(structure, units)


def _widened(leaves: list[Any]) -> list[Array]:
    """The leaves in float32, in float64 where one of them is."""
    wide = jnp.float32
    if any(jnp.result_type(leaf) == jnp.float64 for leaf in leaves):
        wide = jnp.float64
    return [jnp.asarray(leaf, wide) for leaf in leaves]


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _scaled_norms(
    groups: list[list[Array]], axis: tuple[int, ...] | None
) -> tuple[list[Array], list[Array]]:
    """A norm and a unit for each group of leaves; one condition for all of them."""
    totals = [_sum([leaf * leaf for leaf in group], axis) for group in groups]
    units = [_unit(total) for total in totals]

    def within() -> list[Array]:
        scaled = [
            [unit * leaf for leaf in group] for unit, group in zip(units, groups, strict=True)
        ]
        # Without the barrier XLA makes unit²·c² of a constant leaf c (jax 0.10), and unit² is ∞.
        scaled = lax.optimization_barrier(scaled)
        return [_sum([leaf * leaf for leaf in group], axis) for group in scaled]

    in_range = jnp.all(jnp.asarray([jnp.all(unit == 1) for unit in units]))
    return [*map(jnp.sqrt, lax.cond(in_range, lambda: totals, within))], units


@_scaled_norms.defjvp
def _scaled_norms_jvp(axis: tuple[int, ...] | None, primals: Any, tangents: Any) -> Any:
    """d‖x‖ = Σ (x/‖x‖) dx, which neither overflows nor vanishes, and is 0 at 0."""
    (groups,), (moved,) = primals, tangents
    norms, units = _scaled_norms(groups, axis)
    slopes = []
    for norm, unit, group, changes in zip(norms, units, groups, moved, strict=True):
        length = jnp.where(norm == 0, 1, norm)
        parts = [unit * leaf / length * d for leaf, d in zip(group, changes, strict=True)]
        slopes.append(unit * _sum(parts, axis))
    return (norms, units), (slopes, jax.tree.map(jnp.zeros_like, units))


def _unit(total: Array) -> Array:
    """A power of two u for which u²·total is within the range; 1 for a total that is."""
    finite = jnp.finfo(total.dtype)
    down, up = 2.0 ** (-3 * finite.maxexp // 4), 2.0 ** (-3 * finite.minexp // 4)
    is_small = total < 2.0 ** (finite.minexp // 2)
    return jnp.where(is_small, up, jnp.where(jnp.isinf(total), down, 1)).astype(total.dtype)


def _sum(leaves: list[Array], axis: tuple[int, ...] | None) -> Array:
    sums = [jnp.sum(leaf, axis=axis, keepdims=axis is not None) for leaf in leaves]
    return sum(sums[1:], start=sums[0]) if sums else jnp.zeros((), jnp.float32)


@arguments()
def sparsity(tree: Any, *, mask: Mask = None) -> Array:
    """The share of elements that are exactly 0, over the leaves that `mask` chooses (see `mask`).

    >>> float(sparsity({"bias": jnp.ones(2), "kernel": jnp.array([0.0, 3.0])}, mask="kernel"))
    0.5
    """
    chosen = partition(tree, mask)[0]
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


@arguments()
def mask(tree: Any, mask: Mask) -> Any:
    """The tree with True at the leaves that `mask` chooses, False elsewhere.

    So leaves are chosen everywhere in dlcore: by a glob such as "**/kernel" (see `match`), several
    in a tuple or a list, a tree of booleans like this one or the top of one, or a function from the
    tree to one of these; None chooses all.

    A glob that fits no leaf is a ValueError, and so is a tree of booleans that has another leaf, or
    lacks one: misspelt names. What `partition` or `optax.masked` has left out counts as a leaf
    there, and stays what it is.

    >>> mask({"conv1": {"bias": 0, "kernel": 0}, "head": 0}, "**/kernel")
    {'conv1': {'bias': False, 'kernel': True}, 'head': False}
    >>> mask({"conv1": {"bias": 0, "kernel": 0}, "head": 0}, {"conv1": True, "head": False})
    {'conv1': {'bias': True, 'kernel': True}, 'head': False}
    """
    keyed, structure = jax.tree.flatten_with_path(tree, is_leaf=_is_left_out)
    leaves = {path_string(path): leaf for path, leaf in keyed}
    given = mask(tree) if callable(mask) else mask
    patterns = globs(given)
    chosen = _fitting(leaves, patterns) if patterns else _marked(leaves, given)
    marks = [leaf if _is_left_out(leaf) else path_string(path) in chosen for path, leaf in keyed]
    return jax.tree.unflatten(structure, marks)


def globs(mask: Mask) -> tuple[str, ...]:
    """The globs that a mask consists of; none of a mask of another form."""
    several = (mask,) if isinstance(mask, str) else mask
    is_globs = isinstance(several, tuple | list) and all(isinstance(one, str) for one in several)
    return tuple(several) if is_globs else ()


def _fitting(leaves: dict[str, Any], patterns: tuple[str, ...]) -> set[str]:
    """The paths that one of the globs fits, of which each has to fit one."""
    chosen: set[str] = set()
    for pattern in patterns:
        fits = {path for path in leaves if match(pattern, path)}
        if not fits:
            raise ValueError(_no_match(pattern, [*leaves]))
        chosen |= fits
    return chosen


def _marked(leaves: dict[str, Any], marks: Any) -> set[str]:
    """The paths under a True of `marks`, a tree of booleans which has one for every leaf."""
    told = {"": True} if marks is None else dict(leaves_with_paths(marks))
    for path, mark in told.items():
        if np.ndim(mark) or not np.issubdtype(getattr(mark, "dtype", type(mark)), np.bool_):
            raise TypeError(_no_mark(path, mark))
    # Of every leaf the one mark above it, or its own.
    above = {path: next((top for top in _tops(path) if top in told), None) for path in leaves}
    for path in sorted(told.keys() - {"", *above.values()}):
        raise ValueError(_no_match(path, [*leaves]))
    for path, top in above.items():
        if top is None and not _is_left_out(leaves[path]):
            raise ValueError(
                f'the mask says nothing of "{path}": True or False is wanted for every leaf, or '
                'the leaves by name, mask="**/kernel"'
            )
    return {path for path, top in above.items() if top is not None and told[top]}


def _tops(path: str) -> list[str]:
    """The paths above a leaf and its own: "", "conv1", "conv1/kernel"."""
    segments = path.split("/")
    return ["/".join(segments[:n]) for n in range(len(segments) + 1)]


def partition(tree: Any, mask: Mask) -> tuple[Any, Any]:
    """The leaves that `mask` chooses and the others, each tree with None in the place of the rest.

    None is an empty tree to JAX, so what is mapped over one part never sees the other; `merge`
    undoes it. See `mask`.
    """
    marks = _mask(tree, mask)
    return (
        jax.tree.map(lambda leaf, chosen: leaf if chosen else None, tree, marks),
        jax.tree.map(lambda leaf, chosen: None if chosen else leaf, tree, marks),
    )


_mask = mask  # where an argument has its name


def merge(first: Any, second: Any) -> Any:
    """One tree of the two parts that `partition` gives."""
    return jax.tree.map(lambda a, b: b if a is None else a, first, second, is_leaf=_is_none)


def _is_none(leaf: Any) -> bool:
    return leaf is None


def _is_left_out(leaf: Any) -> bool:
    """None, or optax's MaskedNode: an empty NamedTuple."""
    return leaf is None or (isinstance(leaf, tuple) and not leaf and type(leaf) is not tuple)


def _no_match(pattern: str, paths: list[str]) -> str:
    nearest = difflib.get_close_matches(pattern, paths, n=5, cutoff=0.0)
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    return f'"{pattern}" fits no leaf; the leaves are, nearest first: {", ".join(nearest)}{more}'


def _no_mark(path: str, mark: Any) -> str:
    place = f' at "{path}"' if path else ""
    return (
        f"mask is {written(mark)}{place}, but a glob, several in a tuple, or a tree of booleans is "
        'wanted: mask="**/kernel"'
    )
