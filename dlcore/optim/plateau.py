"""A rate that falls when the validation loss no longer does."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlcore.fields import documented
from dlcore.names import arguments
from dlcore.optim._checks import Scalar, check_leaves, check_numbers, check_whole
from dlcore.optim._parts import like, zero_count


@documented
class Plateau(NamedTuple):
    """What the rule remembers.

    scale: the factor on the updates.
    best_value: the last loss that counted as better.
    plateau_count: validations since.
    cooldown_count: validations still to be passed over.
    validations: how many it has seen.
    """

    scale: jax.Array
    best_value: jax.Array
    plateau_count: jax.Array
    cooldown_count: jax.Array
    validations: jax.Array


@arguments()
def reduce_on_plateau(
    factor: Scalar = 0.1,
    patience: int = 10,
    rtol: Scalar = 1e-4,
    atol: Scalar = 0.0,
    cooldown: int = 0,
    min_scale: Scalar = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """Δw ← scale·Δw, where scale ← max(factor·scale, min_scale) after `patience` validations in a
    row without a better loss; better is loss < best − rtol·|best| − atol.

        optax.chain(optim.momentum(0.1), optim.reduce_on_plateau(factor=0.5, patience=3))

    Last in the chain it scales the learning rate. To drop the rate by x %, factor = 1 − x/100.
    `update` takes two extra arguments, which `train.make_step` passes: `validation`, the last
    validation loss, and `validations`, how many there have been. An update that brings no new one
    changes nothing but the weights; before the first, the scale is 1. A NaN is never better.

    Args:
        factor: in [0, 1).
        patience: at least 1.
        rtol: at least 0.
        atol: at least 0.
        cooldown: how many validations after a reduction are not counted as waiting, at least 0.
        min_scale: at least 0.

    Raises:
        TypeError, ValueError: for a number out of range; from `update` without the two arguments.

    Lecture C, option 1. Names are those of `optax.contrib.reduce_on_plateau`, which takes every
    call for a validation and compares with (1 − rtol)·best: where the best is negative, a loss that
    is slightly worse counts as better. PyTorch's ReduceLROnPlateau compares alike; its `patience`
    is one less, since it waits for more than that many, and its `min_lr` is min_scale·η.
    """
    check_numbers(below=1, factor=factor)
    check_numbers(rtol=rtol, atol=atol, min_scale=min_scale)
    check_whole(patience=patience)
    check_whole(least=0, cooldown=cooldown)

    def init(params: Any) -> Plateau:
        check_leaves(params)
        scale, best = jnp.asarray([1, jnp.inf], jnp.float32)
        return Plateau(scale, best, zero_count(), zero_count(), zero_count())

    def observe(state: Plateau, loss: jax.Array, validations: jax.Array) -> Plateau:
        margin = like(rtol, loss) * jnp.abs(state.best_value) + like(atol, loss)
        better = loss < state.best_value - jnp.where(jnp.isfinite(state.best_value), margin, 0)
        cooling = state.cooldown_count > 0
        waited = jnp.where(better | cooling, 0, state.plateau_count + 1)
        drop = waited >= patience
        dropped = jnp.maximum(like(factor, loss) * state.scale, like(min_scale, loss))
        return Plateau(
            scale=jnp.where(drop, dropped, state.scale),
            best_value=jnp.where(better, loss, state.best_value),
            plateau_count=jnp.where(drop, 0, waited),
            cooldown_count=jnp.where(drop, cooldown, jnp.maximum(state.cooldown_count - 1, 0)),
            validations=validations,
        )

    def update(
        updates: Any,
        state: Any,
        params: Any = None,
        *,
        validation: Any = None,
        validations: Any = None,
        **extra: Any,
    ) -> tuple[Any, Any]:
        if validation is None or validations is None:
            raise ValueError(
                "reduce_on_plateau needs the last validation loss and the number of validations: "
                "update(grads, opt_state, params, validation=loss, validations=count)"
            )
        count = jnp.asarray(validations, jnp.int32)
        observed = observe(state, jnp.asarray(validation, jnp.float32), count)
        new = count != state.validations
        state = jax.tree.map(lambda a, b: jnp.where(new, a, b), observed, state)
        return jax.tree.map(lambda u: like(state.scale, u) * u, updates), state

    return optax.GradientTransformationExtraArgs(init, update)
