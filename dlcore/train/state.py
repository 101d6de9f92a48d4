"""TrainState: everything an update changes."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore import keys, tree
from dlcore.checks import is_concrete
from dlcore.fields import documented
from dlcore.names import Function, arguments
from dlcore.nn.describing import shapes
from dlcore.nn.layer import Layer, Params, State, is_empty
from dlcore.nn.remembering import memory
from dlcore.nn.surgery import frozen


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Frozen:
    """The leaves of params that no update touches: structure, not data.

    paths: theirs.
    """

    paths: frozenset[str] = frozenset()

    def partition(self, params: Params) -> tuple[Params, Params]:
        """(what learns, what is frozen), to be joined again by `tree.merge`."""
        learns = jax.tree.map_with_path(
            lambda path, _: tree.path_string(path) not in self.paths, params
        )
        return tree.partition(params, learns)


@documented
class TrainState(NamedTuple):
    """The whole of a training run at one moment, as a pytree of arrays.

    With `seed` and `step` it fixes every later random number, batch and update.

    params: what the layers learn by gradient.
    state: what they learn without one (batch norm's averages).
    opt_state: what the optimizer remembers.
    carry: what the network remembers (`nn.memory`) from batch to batch; () elsewhere.
    step: weight updates made, int32.
    seed: of all that is drawn, uint32.
    validation: the last validation loss, float32; inf before the first.
    validations: how many there have been, int32.
    frozen: which leaves of params no update touches (`nn.freeze`).
    """

    params: Params
    state: State
    opt_state: Any
    carry: Any
    step: jax.Array
    seed: jax.Array
    validation: jax.Array
    validations: jax.Array
    frozen: Frozen = Frozen()


@arguments()
def train_state(
    layer: Layer,
    optimizer: Any,
    *,
    seed: int = 0,
    carry: Any = (),
    params: Params | None = None,
    state: State | None = None,
) -> TrainState:
    """The start of a run: parameters drawn from the seed's "init" stream, nothing learned yet.

    `optimizer` is any optax transformation; `seed` is in [0, 2³²), or traced. `params` and `state`,
    where given, are what the run starts from instead (a trained network's). What `nn.freeze` holds
    in the layer no update touches, and the optimizer has no moments of it. `carry` is what it
    remembers before the first batch, `nn.memory(layer, batch_size)`, where batches follow each
    other (see `fit`); without, each starts from zero.
    """
    check_optimizer(optimizer)
    if is_concrete(seed) and not 0 <= seed < 2**32:
        raise ValueError(f"a seed lies in [0, 2**32), got {seed}")
    drawn = layer.init(keys.stream(seed, "init"))
    given = {"params": params, "state": state}
    for (name, start), own in zip(given.items(), drawn, strict=True):
        if start is not None and shapes(start) != shapes(own):
            raise ValueError(f"{name} do not fit the layer: {_misfit(start, own)}")
    params, state = (
        own if start is None else jax.tree.map(jnp.asarray, start)
        for start, own in zip(given.values(), drawn, strict=True)
    )
    if not is_empty(carry):
        carry = jax.tree.map(jnp.asarray, carry)
        wanted = memory(layer, len(jax.tree.leaves(carry)[0]))
        if shapes(carry) != shapes(wanted):
            raise ValueError(f"carry does not fit the layer: {_misfit(carry, wanted)}")
    paths = {path for path, _ in tree.leaves_with_paths(params)}
    held = Frozen(frozenset(frozen(layer)) & paths)
    return TrainState(
        params=params,
        state=state,
        opt_state=optimizer.init(held.partition(params)[0]),
        carry=carry,
        step=jnp.zeros((), jnp.int32),
        seed=jnp.asarray(seed, jnp.uint32),
        validation=jnp.asarray(jnp.inf, jnp.float32),
        validations=jnp.zeros((), jnp.int32),
        frozen=held,
    )


def in_parts(function: Function) -> Function:
    """A decorator of functions of (…, params, state, …): a whole TrainState is answered with the
    call that gives its two.
    """
    names = [*inspect.signature(function).parameters][:4]
    parts = ", ".join({"params": "s.params", "state": "s.state"}.get(one, one) for one in names)

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        if any(map(_is_state, (*args, kwargs.get("params"), kwargs.get("state")))):
            raise TypeError(
                f"{function.__name__} takes params and state, got a TrainState: with s for it, "
                f"{function.__name__}({parts})"
            )
        return function(*args, **kwargs)

    return called  # type: ignore[return-value]


def check_optimizer(optimizer: Any) -> None:
    """Refuses what is no transformation: a rate, or a function that makes one."""
    if not hasattr(optimizer, "init") or not hasattr(optimizer, "update"):
        raise TypeError(
            f"an optimizer is a transformation such as optim.adam(1e-3), got {optimizer!r:.80}"
        )


def check_made_by(optimizer: Any, opt_state: Any, learning: Params) -> None:
    """Refuses the state of another optimizer, some of which would go unnoticed."""
    wanted = jax.eval_shape(optimizer.init, learning)
    structures = [str(jax.tree.structure(one)) for one in (wanted, opt_state)]
    if structures[0] != structures[1] or shapes(wanted) != shapes(opt_state):
        raise ValueError(
            "the TrainState was made for another optimizer than the step's: "
            f"{_misfit(opt_state, wanted)}; train_state(layer, optimizer) with the one that "
            "make_step(objective, optimizer) has"
        )


def _misfit(given: Any, wanted: Any) -> str:
    """The first leaf that is missing, too much, or of another shape."""
    have, need = (
        {path: list(jnp.shape(leaf)) for path, leaf in tree.leaves_with_paths(one)}
        for one in (given, wanted)
    )
    for path in (*need, *have):
        if have.get(path) != need.get(path):
            return f"{path} should be {need.get(path, 'absent')}, got {have.get(path, 'nothing')}"
    return f"they should be {shapes(wanted)}, got {shapes(given)}"


def position(states: Any) -> jax.Array:
    """The number of batches a TrainState, or a tree of them, has been trained on."""
    first, *others = (one.step for one in train_states(states))
    return sum(others, first)


def train_states(states: Any) -> list[TrainState]:
    """The TrainStates in a tree of them, in order."""
    return [one for one in jax.tree.leaves(states, is_leaf=_is_state) if _is_state(one)]


def check_states(states: Any) -> None:
    """Refuses what is no TrainState, nor a tree of them."""
    if not train_states(states):
        raise TypeError(
            f"the state to train from is a {type(states).__name__}, but a TrainState is wanted: "
            "train.train_state(layer, optimizer)"
        )


def map_states(function: Callable[[TrainState], TrainState], states: Any) -> Any:
    """A tree of TrainStates with `function` applied to each."""
    return jax.tree.map(
        lambda one: function(one) if _is_state(one) else one, states, is_leaf=_is_state
    )


def note_validation(state: TrainState, scores: Mapping[str, Any]) -> TrainState:
    """The state that knows these scores: their "loss" is the last validation loss."""
    if "loss" not in scores:
        return state
    loss = jnp.asarray(scores["loss"], jnp.float32)
    return state._replace(validation=loss, validations=state.validations + 1)


def copy(states: Any) -> Any:
    """The same values in buffers of their own, which nobody else will donate."""
    return jax.device_put(states, may_alias=False)


def _is_state(thing: Any) -> bool:
    return isinstance(thing, TrainState)
