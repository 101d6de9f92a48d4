"""TrainState: everything an update changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore import keys
from dlcore.nn.layer import Layer, Params, State


class TrainState(NamedTuple):
    """The whole of a training run at one moment, as a pytree of arrays.

    With `seed` and `step` it fixes every later random number, batch and update.
    """

    params: Params
    state: State  # what the layers learn without a gradient (batch norm's averages)
    opt_state: Any
    carry: Any  # of recurrent networks between batches; () elsewhere
    step: jax.Array  # int32: weight updates made
    seed: jax.Array  # uint32
    validation: jax.Array  # float32: the last validation loss, inf before the first


def train_state(layer: Layer, optimizer: Any, *, seed: int = 0, carry: Any = ()) -> TrainState:
    """The start of a run: parameters drawn from the seed's "init" stream, nothing learned yet.

    `optimizer` is any optax transformation; `seed` is in [0, 2³²).
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"a seed lies in [0, 2**32), got {seed}")
    params, state = layer.init(keys.stream(seed, "init"))
    return TrainState(
        params=params,
        state=state,
        opt_state=optimizer.init(params),
        carry=carry,
        step=jnp.zeros((), jnp.int32),
        seed=jnp.asarray(seed, jnp.uint32),
        validation=jnp.asarray(jnp.inf, jnp.float32),
    )


def position(states: Any) -> jax.Array:
    """The number of batches a TrainState, or a tree of them, has been trained on."""
    return sum((one.step for one in train_states(states)), jnp.zeros((), jnp.int32))


def train_states(states: Any) -> list[TrainState]:
    """The TrainStates in a tree of them, in order."""
    return [one for one in jax.tree.leaves(states, is_leaf=_is_state) if _is_state(one)]


def map_states(function: Callable[[TrainState], TrainState], states: Any) -> Any:
    """A tree of TrainStates with `function` applied to each."""
    return jax.tree.map(
        lambda one: function(one) if _is_state(one) else one, states, is_leaf=_is_state
    )


def copy(states: Any) -> Any:
    """The same values in buffers of their own, which nobody else will donate."""
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), states)


def _is_state(thing: Any) -> bool:
    return isinstance(thing, TrainState)
