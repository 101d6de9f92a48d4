"""Averages of the weights along the way: often better than the weights where the way ends.

Each is chained last, for it looks at the weights after the update, and keeps its average in the
optimizer's state: in checkpoints, and beside whatever optimizer. `averaged` reads it.

    optimizer = optax.chain(optim.adam(1e-3), optim.ema_of_weights(0.999))
    …
    params = optim.averaged(state.opt_state, state.params)

All are one equation, a ← a + dₜ(w − a), with three choices of the share dₜ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlcore import tree
from dlcore.fields import documented
from dlcore.names import arguments
from dlcore.optim._checks import (
    Scalar,
    check_leaves,
    check_numbers,
    check_params,
    check_positive,
    check_whole,
)
from dlcore.optim._parts import like, moved, widened, zero_count


@documented
class WeightAverage(NamedTuple):
    """The running average of the weights.

    count: updates done.
    average: a tree like the parameters; the weights themselves before the first update.
    """

    count: jax.Array  # type: ignore[assignment]
    average: Any


@arguments()
def ema_of_weights(decay: Scalar = 0.999) -> optax.GradientTransformationExtraArgs:
    """The exponential average of the weights: dₜ = (1 − β)/(1 − βᵗ) after the t-th update.

    So it is the bias-corrected average of w₁ … wₜ; the start w₀ has no share in it.

    Args:
        decay: β in [0, 1).

    Raises:
        TypeError, ValueError: for β outside [0, 1); from `init` as `sgd`; from `update` without the
            parameters.

    Polyak and Juditsky 1992, in the exponential form of Kingma and Ba 2015, section 7.2. The
    average of a leaf narrower than float32 is kept in float32, where β = 0.999 is not 1.
    """
    check_numbers(below=1, decay=decay)

    def share(count: jax.Array) -> jax.Array:
        t = jnp.asarray(count, float)
        return (1 - like(decay, t)) / (1 - like(decay, t) ** t)

    return _following("ema_of_weights", share)


@arguments()
def swa(start: int, every: int = 1) -> optax.GradientTransformationExtraArgs:
    """Stochastic weight averaging: the mean of the weights after `start` updates and after every
    `every`-th one since, with equal shares: dₜ = 1/(n + 1) for the n-th since.

    Until then the average is the weights themselves. The rate should stay high while it is taken,
    constant or by `restarts`, so that the weights differ. Batch norm's statistics belong to the
    weights they were measured with, and have to be measured anew for the average.

    Args:
        start: at least 0.
        every: at least 1; the period of `restarts`, to take the end of each.

    Raises:
        TypeError, ValueError: for numbers out of range; otherwise as `ema_of_weights`.

    Izmailov et al. 2018, algorithm 1.
    """
    check_whole(least=0, start=start)
    check_whole(every=every)

    def share(count: jax.Array) -> jax.Array:
        since = jnp.maximum(count - start, 0)
        due = since % every == 0
        return jnp.where(due, 1 / (since // every + 1).astype(float), 0)

    return _following("swa", share)


@arguments()
def lookahead(
    sync_period: int = 5, slow_step_size: Scalar = 0.5
) -> optax.GradientTransformationExtraArgs:
    """Look-ahead: after every k-th update the slow weights a follow the fast ones, dₜ = α, and the
    fast ones return to them, w ← a. Between, dₜ = 0.

    Args:
        sync_period: k, at least 1.
        slow_step_size: α > 0; at 1 the fast weights go their own way.

    Raises:
        TypeError, ValueError: for k below 1 or α not above 0; otherwise as `ema_of_weights`.

    Zhang et al. 2019, algorithm 1, with its k and α. `averaged` reads the slow weights, which the
    paper evaluates. Equals `optax.lookahead`, which wraps the optimizer and trains a pair of trees.
    """
    check_whole(sync_period=sync_period)
    check_positive(slow_step_size=slow_step_size)

    def share(count: jax.Array) -> jax.Array:
        return jnp.where(count % sync_period == 0, like(slow_step_size, 1.0), 0)

    return _following("lookahead", share, returning=True)


@arguments()
def averaged(opt_state: Any, params: Any) -> Any:
    """The parameters with the average that `opt_state` holds in their place, in their dtypes.

    What is frozen has no average, and comes from `params`. A state with no average, or with more
    than one, is a ValueError.
    """
    nodes = jax.tree.leaves(opt_state, is_leaf=_is_average)
    found = [node.average for node in nodes if _is_average(node)]
    if len(found) != 1:
        raise ValueError(
            f"the optimizer's state holds {len(found)} averages of the weights, but one is wanted: "
            "optax.chain(optimizer, optim.ema_of_weights(0.999))"
        )
    return jax.tree.map(lambda p, a: like(a, p), params, tree.merge(found[0], params))


def _following(
    what: str, share: Callable[[jax.Array], jax.Array], returning: bool = False
) -> optax.GradientTransformationExtraArgs:
    """a ← a + dₜ(w − a) with dₜ = share(t); `returning`, also w ← a where dₜ > 0."""

    def init(params: Any) -> WeightAverage:
        check_leaves(params)
        return WeightAverage(zero_count(), jax.tree.map(widened, params))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        check_params(what, params)
        count = optax.safe_increment(state.count)
        d = share(count)
        average = jax.tree.map(
            lambda a, u, p: _between(a, like(moved(u, p), a), d), state.average, updates, params
        )
        if returning:
            updates = jax.tree.map(
                lambda u, a, p: jnp.where(d > 0, like(a, p) - p, u), updates, average, params
            )
        return updates, WeightAverage(count, average)

    return optax.GradientTransformationExtraArgs(init, update)


def _between(a: jax.Array, w: jax.Array, d: jax.Array) -> jax.Array:
    """a + d(w − a), counted from the nearer end, so that d = 1 is w to the bit whatever a was; and
    with halves, since w − a may be beyond the range.
    """
    near, far = jnp.where(d < 0.5, a, w), jnp.where(d < 0.5, w, a)
    return near + like(2 * jnp.minimum(d, 1 - d), a) * (0.5 * far - 0.5 * near)


def _is_average(node: Any) -> bool:
    return isinstance(node, WeightAverage)
