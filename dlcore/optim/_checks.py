"""Arguments are checked when a transformation is built, leaves when it is initialised."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.names import written
from dlcore.tree import leaves_with_paths

Scalar = float | jax.Array


def check_numbers(*, below: float = math.inf, **values: Any) -> None:
    """Refuse what is not one real number in [0, below), by name. A traced number passes."""
    wanted = "finite and at least 0" if below == math.inf else f"in [0, {below})"
    _check(values, lambda value: 0 <= value < below, wanted)


def check_positive(**values: Any) -> None:
    """Refuse what is not one finite number above 0, by name."""
    _check(values, lambda value: 0 < value < math.inf, "finite and above 0")


def check_shares(**values: Any) -> None:
    """Refuse what is not one number in [0, 1], by name."""
    _check(values, lambda value: 0 <= value <= 1, "in [0, 1]")


def check_scheduled(*, below: float = math.inf, **values: Any) -> None:
    """Refuse what is neither a schedule (a function of the count) nor a number in [0, below)."""
    for name, value in values.items():
        if _is_number(value):
            check_numbers(below=below, **{name: value})
        elif not callable(value) or isinstance(value, tuple):  # a Layer is callable, to refuse it
            # YAML, for one, reads 1e-3 as a text.
            is_text = isinstance(value, str) and re.fullmatch(r"[\d.]+(e[+-]?\d+)?", value)
            raise TypeError(
                f"{name} must be a number or a schedule, got {written(value)}: write "
                f"{name}={value if is_text else 0.1} or {name}=lambda count: 0.1"
            )
        elif (needed := _needed(value)) is not None:
            raise TypeError(
                f"{name} must be a schedule, a function of the count alone, but "
                f"{value.__name__} was not called: write {name}={value.__name__}({needed})"
            )


def check_whole(least: int = 1, most: int = 2**31 - 1, **values: Any) -> None:
    """Refuse what is not a whole number from `least` to `most`, by name; updates are counted in
    int32.
    """
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value!r}")
        if value > most:
            raise ValueError(f"{name} must be at most {most}, got {value!r}")


def check_leaves(params: Any) -> None:
    """Refuse an empty tree, and by its path a leaf that is not of real floating-point numbers.

    What is masked or frozen counts as a leaf of the tree.
    """
    if not jax.tree.leaves(params, is_leaf=_is_no_container):
        raise ValueError(f"the tree of parameters is empty, got {params!r}: nothing to optimize")
    for path, leaf in leaves_with_paths(params):
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(
                f"{path or 'the parameter'} is {dtype}{list(jnp.shape(leaf))}, and only real "
                "floating-point leaves can be optimized: cast it with .astype(jnp.float32), or "
                "leave it out with optax.masked"
            )


def check_params(what: str, params: Any) -> None:
    """Refuse an update without the parameters, by the name of what needs them."""
    if params is None:
        raise ValueError(f"{what} needs the parameters: update(grads, opt_state, params)")


def _check(values: dict[str, Any], holds: Callable[[float], bool], wanted: str) -> None:
    for name, value in values.items():
        if not _is_number(value):
            raise TypeError(f"{name} must be a number, got {written(value)}")
        if not (isinstance(value, jax.core.Tracer) or holds(_as_float(value))):
            raise ValueError(f"{name} must be {wanted}, got {value!r}")


def _needed(function: Callable[..., Any]) -> str | None:
    """What a function needs besides one argument, as `cosine` does, which makes a schedule."""
    try:
        known = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a builtin tells nothing of itself
        return None
    needed = [
        one.name
        for one in known
        if one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    return ", ".join(needed) if len(needed) > 1 else None


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of Python's, of any length
        return math.copysign(math.inf, value > 0 or -1)


def _is_no_container(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode) or not isinstance(node, dict | list | tuple)


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float | np.number | np.ndarray | jax.Array)
        and not isinstance(value, bool)
        and jnp.ndim(value) == 0
        and jnp.isrealobj(value)
    )
