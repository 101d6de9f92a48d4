"""Arguments are checked when a transformation is built, leaves when it is initialised."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.tree import leaves_with_paths

Scalar = float | jax.Array


def check_numbers(*, below: float = math.inf, **values: Any) -> None:
    """Refuse what is not one real number in [0, below), by name. A traced number passes."""
    for name, value in values.items():
        if not _is_number(value):
            raise TypeError(f"{name} must be a number, got {value!r}")
        if not (isinstance(value, jax.core.Tracer) or 0 <= float(value) < below):
            wanted = "finite and at least 0" if below == math.inf else f"in [0, {below})"
            raise ValueError(f"{name} must be {wanted}, got {value!r}")


def check_rate(learning_rate: Any) -> None:
    """Refuse what is neither a schedule (a function of the count) nor a finite number ≥ 0."""
    if not (callable(learning_rate) or _is_number(learning_rate)):
        raise TypeError(
            f"learning_rate must be a number or a schedule, got {learning_rate!r}: "
            "write learning_rate=0.1 or learning_rate=lambda count: 0.1"
        )
    if not callable(learning_rate):
        check_numbers(learning_rate=learning_rate)


def check_leaves(params: Any) -> None:
    """Refuse a leaf that is not of real floating-point numbers, by its path."""
    for path, leaf in leaves_with_paths(params):
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(
                f"{path or 'the parameter'} is {dtype}{list(jnp.shape(leaf))}, and only real "
                "floating-point leaves can be optimized: cast it with .astype(jnp.float32), or "
                "leave it out with optax.masked"
            )


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float | np.number | np.ndarray | jax.Array)
        and not isinstance(value, bool)
        and jnp.ndim(value) == 0
        and jnp.isrealobj(value)
    )
