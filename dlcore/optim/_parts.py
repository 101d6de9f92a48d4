"""The pieces that optimizers are chained from.

Every piece keeps the dtype of the leaf: a hyperparameter, whatever its own dtype, is rounded to the
leaf's, as JAX rounds a Python number. So the same update serves bfloat16 parameters under float32
hyperparameters (`optax.inject_hyperparams`), where optax itself would drift to float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore import tree
from dlcore.checks import is_concrete, wide_dtype
from dlcore.fields import documented
from dlcore.optim._checks import Scalar, check_leaves, check_params, check_scheduled
from dlcore.tree import Mask

Combine = Callable[[Any, Any, Scalar], Any]


@documented
class Moments(NamedTuple):
    """State of the adaptive methods.

    count: updates done.
    mu: the average of the gradients.
    nu: the average of their squares.
    """

    count: jax.Array  # type: ignore[assignment]  # the field's name, as in optax
    mu: Any
    nu: Any


@documented
class Mean(NamedTuple):
    """State of what needs the average of the gradients alone.

    count: updates done.
    mu: the average of the gradients.
    """

    count: jax.Array  # type: ignore[assignment]
    mu: Any


@documented
class Scheduled(NamedTuple):
    """State of what has a scheduled hyperparameter.

    count: updates done.
    inner: its own state.
    """

    count: jax.Array  # type: ignore[assignment]
    inner: Any


def like(value: jax.typing.ArrayLike, leaf: jax.typing.ArrayLike) -> jax.Array:
    """`value` in the dtype of `leaf`; a whole number of Python's may be larger than an int32."""
    number = float(value) if isinstance(value, int) else value
    return jnp.asarray(number, jnp.result_type(leaf))


def widened(leaf: jax.typing.ArrayLike) -> jax.Array:
    """A leaf of its own, in float32 where it was narrower."""
    return jnp.array(leaf, wide_dtype(jnp.result_type(leaf)), copy=True)


def zeros_like(params: Any) -> Any:
    """A tree of zeros."""
    return jax.tree.map(_zeros_like, params)


def _zeros_like(leaf: Any) -> jax.Array:
    """By NumPy, for which nothing is compiled, where nothing is traced or bound to a device."""
    is_free = isinstance(leaf, jax.Array) and is_concrete(leaf) and not leaf.committed
    if is_free and isinstance(leaf.dtype, np.dtype):  # a key has a dtype of JAX's own
        return jax.device_put(np.zeros(leaf.shape, leaf.dtype))
    return jnp.zeros_like(leaf)


def squares(values: Any) -> Any:
    """Every entry squared."""
    return jax.tree.map(jnp.square, values)


def zero_count() -> jax.Array:
    """The count before the first update."""
    return jnp.zeros((), jnp.int32)


def average(values: Any, averages: Any, decay: Scalar) -> Any:
    """The exponential moving average, leaf by leaf: a ← (1 − β)x + βa."""
    return jax.tree.map(
        lambda x, a: like(1 - decay, a) * like(x, a) + like(decay, a) * a, values, averages
    )


def accumulate(values: Any, sums: Any, decay: Scalar) -> Any:
    """The exponentially decaying sum, leaf by leaf: s ← x + γs."""
    return jax.tree.map(lambda x, s: like(x, s) + like(decay, s) * s, values, sums)


def unbiased(averages: Any, decay: Scalar, count: jax.Array) -> Any:
    """An average that began at zero, corrected: a / (1 − βᵗ).

    The power is taken before rounding to the leaf's dtype, in which βᵗ may be 1.
    """
    t = jnp.asarray(count, float)
    weight = 1 - like(decay, t) ** t
    return jax.tree.map(lambda a: a / like(weight, a), averages)


def looking_ahead(mu: Any, grads: Any, decay: Scalar, count: jax.Array) -> Any:
    """What the average μ will be if the gradient comes again: βμ/(1 − βᵗ⁺¹) + (1 − β)g/(1 − βᵗ)."""
    following = unbiased(mu, decay, optax.safe_increment(count))
    return average(unbiased(grads, decay, count), following, decay)


def keeping(
    mu_dtype: Any, transformation: optax.GradientTransformationExtraArgs
) -> optax.GradientTransformationExtraArgs:
    """The transformation with the `mu` of its state kept in `mu_dtype` between updates.

    Inside of an update gradients and mu have the wider of both dtypes, so mu is rounded once; the
    updates have the gradients' own. None changes nothing.
    """
    if mu_dtype is None:
        return transformation
    dtype = jax.dtypes.canonicalize_dtype(mu_dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"mu_dtype is {dtype}, but floating point is wanted: mu_dtype=jnp.bfloat16")

    def kept(state: Any) -> Any:
        return state._replace(mu=jax.tree.map(lambda m: m.astype(dtype), state.mu))

    def wide(leaf: jax.Array, g: jax.Array) -> jax.Array:
        return leaf.astype(max(jnp.result_type(g), dtype, key=lambda dtype: dtype.itemsize))

    def update(grads: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        state = state._replace(mu=jax.tree.map(wide, state.mu, grads))
        updates, state = transformation.update(
            jax.tree.map(like, grads, state.mu), state, params, **extra
        )
        return jax.tree.map(like, updates, grads), kept(state)

    return optax.GradientTransformationExtraArgs(
        lambda params: kept(transformation.init(params)), update
    )


def trace(
    decay: Scalar, nesterov: bool = False, combine: Combine = accumulate
) -> optax.GradientTransformationExtraArgs:
    """The velocity v ← g + γv, or `average`; with `nesterov` the update looks ahead, g + γv."""

    def init(params: Any) -> optax.TraceState:
        return optax.TraceState(zeros_like(params))

    def update(grads: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        velocity = combine(grads, state.trace, decay)
        updates = combine(grads, velocity, decay) if nesterov else velocity
        return updates, optax.TraceState(velocity)

    return optax.GradientTransformationExtraArgs(init, update)


def scheduled(
    value: optax.ScalarOrSchedule,
    build: Callable[[Scalar], optax.GradientTransformationExtraArgs],
) -> optax.GradientTransformationExtraArgs:
    """`build(value)`; for a schedule, built anew at each update from its value there."""
    if not callable(value):
        return build(value)

    def init(params: Any) -> Scheduled:
        return Scheduled(zero_count(), build(value(zero_count())).init(params))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        now = build(value(state.count))
        updates, inner = now.update(updates, state.inner, params, **extra)
        return updates, Scheduled(optax.safe_increment(state.count), inner)

    return optax.GradientTransformationExtraArgs(init, update)


def scale_by_learning_rate(
    learning_rate: optax.ScalarOrSchedule,
) -> optax.GradientTransformationExtraArgs:
    """The descent −ηₜu. A schedule is called with the count of updates before this one: 0, 1, …

    It is in every optimizer here, so it is the one that checks the parameters.
    """
    check_scheduled(learning_rate=learning_rate)

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


def add_decayed_weights(
    weight_decay: Scalar, mask: Mask = None
) -> optax.GradientTransformationExtraArgs:
    """u ← u + λw, at the leaves that the mask chooses."""

    def add(updates: Any, params: Any) -> Any:
        check_params("weight decay", params)
        return jax.tree.map(lambda u, p: u + like(weight_decay, u) * like(p, u), updates, params)

    decay = optax.with_extra_args_support(optax.stateless(add))
    return decay if mask is None else optax.masked(decay, lambda params: chosen(params, mask))


def on_leaves(
    what: str, mask: Mask, new: Callable[[jax.Array, jax.Array], jax.Array]
) -> optax.GradientTransformationExtraArgs:
    """Δw ← new(Δw, w) for each leaf that the mask chooses."""

    def init(params: Any) -> optax.EmptyState:
        check_leaves(params)
        chosen(params, mask)
        return optax.EmptyState()

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        check_params(what, params)
        changed = jax.tree.map(
            lambda mark, u, p: new(u, p) if mark else u, chosen(params, mask), updates, params
        )
        return changed, state

    return optax.GradientTransformationExtraArgs(init, update)


def chosen(params: Any, mask: Mask) -> Any:
    """The mask as a tree of booleans."""
    return params if is_stand_in(params) else tree.mask(params, mask)


def is_stand_in(params: Any) -> bool:
    """Whether there is not a leaf in the tree, so that no mask can fit.

    `optax.tree_map_params` asks `init` for the state of one, to find the parameters' places in it;
    and `optax.masked` may leave nothing.
    """
    return not jax.tree.leaves(params, is_leaf=lambda node: node is None)


def moved(update: jax.Array, leaf: jax.Array) -> jax.Array:
    """The leaf after the update, as `optax.apply_updates` makes it."""
    return (leaf + update).astype(leaf.dtype)


def group_norms(what: str, leaf: jax.Array, axis: int) -> jax.Array:
    """‖·‖₂ over all axes but one, all of them kept, in float32 at least; its slope at 0 is 0."""
    if not -leaf.ndim <= axis < leaf.ndim:
        raise ValueError(
            f"{what}: a leaf is {list(leaf.shape)}, but one with axis {axis} is wanted: "
            'choose the leaves by a glob such as "**/kernel"'
        )
    others = tuple(i for i in range(leaf.ndim) if i != axis % leaf.ndim)
    norm, unit = tree.scaled_norms(leaf, others)
    return norm / unit
