"""Side inputs: what a layer reads beside x, as keyword arguments of its apply.

    apply(params, state, x, *, key=None, train=False, mask) -> (y, state)

What is read follows from the signature; there is no second declaration to forget.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

RESERVED = frozenset(
    {"x", "y", "weight", "begins", "key", "train", "params", "state", "states", "memory"}
)


def named(function: Callable[..., Any], *, required: bool = False) -> frozenset[str]:
    """The names that `function` reads: its keyword-only arguments but key and train.

    required: those without a default alone. What `functools.partial` has fixed is not read.
    """
    fixed = function.keywords if isinstance(function, functools.partial) else {}
    return frozenset(
        name
        for name, one in _parameters(function).items()
        if one.kind is one.KEYWORD_ONLY and not (required and one.default is not one.empty)
    ) - {"key", "train", *fixed}


def keywords(function: Callable[..., Any]) -> frozenset[str]:
    """The names that `function` can be given by name, key and train for one that takes them all."""
    names = {
        name for name, one in _parameters(function).items() if one.kind is not one.POSITIONAL_ONLY
    }
    known = _parameters(function)
    return frozenset(names | ({"key", "train"} if takes_all(function) or not known else set()))


def takes_all(function: Callable[..., Any]) -> bool:
    """Whether `function` has `**side`, and so hands on what those inside it read."""
    return any(one.kind is one.VAR_KEYWORD for one in _parameters(function).values())


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin or a ufunc tells nothing of itself
        return {}


def check_names(kind: str, reads: Iterable[str]) -> None:
    """Refuses a layer that would read what a batch or an apply holds for something else."""
    taken = sorted(RESERVED & frozenset(reads))
    if taken:
        raise ValueError(
            f"{kind} cannot read {taken[0]!r} as a side input: the name is taken "
            f"({', '.join(sorted(RESERVED))} are)"
        )


def check(kind: str, side: Mapping[str, Any], reads: frozenset[str]) -> None:
    """Refuses a side input that nobody reads, and one that is no array."""
    for name, value in side.items():
        if name not in reads:
            raise TypeError(f"{kind} does not read {unread(name, reads)}")
        for leaf in jax.tree.leaves(value):
            if not hasattr(leaf, "dtype"):
                if isinstance(value, list | tuple):
                    raise TypeError(
                        f"{kind}: the side input {name} is a {type(value).__name__} of numbers and "
                        f"no array: {name}=jnp.asarray({name})"
                    )
                raise TypeError(
                    f"{kind}: the side input {name}={leaf!r} is no array; a setting belongs to the "
                    f"function that makes the layer, a number goes in as jnp.asarray({name})"
                )


def check_given(kind: str, side: Mapping[str, Any], needed: Iterable[str]) -> None:
    """Refuses that a side input is missing which a layer cannot do without."""
    for name in sorted(needed):
        if name not in side:
            raise TypeError(
                f"{kind} reads {name!r}, which was not given: "
                f"apply(params, state, x, {name}={name})"
            )


def unread(name: str, reads: Iterable[str]) -> str:
    """`name`, the nearest of those that are read, and these."""
    reads = sorted(reads)
    nearest = difflib.get_close_matches(name, reads, n=1)
    hint = f", did you mean {nearest[0]!r}?" if nearest else "."
    return f"{name!r}{hint} It reads {', '.join(reads) or 'no side inputs'}"
