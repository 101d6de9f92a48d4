"""The pieces that optimizers are chained from.

Every piece keeps the dtype of the leaf: a hyperparameter, whatever its own dtype, is rounded to the
leaf's, as JAX rounds a Python number. So the same update serves bfloat16 parameters under float32
hyperparameters (`optax.inject_hyperparams`), where optax itself would drift to float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlcore.optim._checks import Scalar, check_leaves, check_rate


class Moments(NamedTuple):
    """State of the adaptive methods: updates done, averages of gradients and of their squares."""

    count: jax.Array  # type: ignore[assignment]  # the field's name, as in optax
    mu: Any
    nu: Any


def like(value: jax.typing.ArrayLike, leaf: jax.typing.ArrayLike) -> jax.Array:
    """`value` in the dtype of `leaf`."""
    return jnp.asarray(value, jnp.result_type(leaf))


def zeros_like(params: Any) -> Any:
    """A tree of zeros."""
    return jax.tree.map(jnp.zeros_like, params)


def zero_count() -> jax.Array:
    """The count before the first update."""
    return jnp.zeros((), jnp.int32)


def average(values: Any, averages: Any, decay: Scalar) -> Any:
    """The exponential moving average, leaf by leaf: a ← (1 − β)x + βa."""
    return jax.tree.map(
        lambda x, a: like(1 - decay, a) * like(x, a) + like(decay, a) * a, values, averages
    )


def unbiased(averages: Any, decay: Scalar, count: jax.Array) -> Any:
    """An average that began at zero, corrected: a / (1 − βᵗ).

    The power is taken before rounding to the leaf's dtype, in which βᵗ may be 1.
    """
    t = jnp.asarray(count, float)
    weight = 1 - like(decay, t) ** t
    return jax.tree.map(lambda a: a / like(weight, a), averages)


def trace(decay: Scalar, nesterov: bool = False) -> optax.GradientTransformationExtraArgs:
    """The velocity v ← g + γv; with `nesterov` the update looks ahead, g + γv."""

    def accumulate(grads: Any, velocity: Any) -> Any:
        return jax.tree.map(lambda g, v: like(g, v) + like(decay, v) * v, grads, velocity)

    def init(params: Any) -> optax.TraceState:
        return optax.TraceState(zeros_like(params))

    def update(grads: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        velocity = accumulate(grads, state.trace)
        updates = accumulate(grads, velocity) if nesterov else velocity
        return updates, optax.TraceState(velocity)

    return optax.GradientTransformationExtraArgs(init, update)


def scale_by_learning_rate(
    learning_rate: optax.ScalarOrSchedule,
) -> optax.GradientTransformationExtraArgs:
    """The descent −ηₜu. A schedule is called with the count of updates before this one: 0, 1, …

    It ends every optimizer here, so it is the one that checks the parameters' dtypes.
    """
    check_rate(learning_rate)

    def init(params: Any) -> Any:
        check_leaves(params)
        if callable(learning_rate):
            return optax.ScaleByScheduleState(zero_count())
        return optax.EmptyState()

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        rate = learning_rate
        if callable(learning_rate):
            rate = learning_rate(state.count)
            state = optax.ScaleByScheduleState(optax.safe_increment(state.count))
        return jax.tree.map(lambda u: -like(rate, u) * u, updates), state

    return optax.GradientTransformationExtraArgs(init, update)
