"""The Step: one jittable update."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dlcore import keys, tree
from dlcore.names import arguments
from dlcore.nn import remembering
from dlcore.nn.layer import is_empty
from dlcore.train.objective import Batch, Objective, check_objective, reads_states
from dlcore.train.state import TrainState, check_made_by, check_optimizer


@dataclasses.dataclass(frozen=True)
class Step:
    """step(train_state, batch) -> (train_state, metrics), for one objective and one optimizer.

    What the network remembers (`nn.memory`) goes from batch to batch as the TrainState's carry, but
    for the rows where the batch's `begins` [B] is True; no gradient flows from one to the next.

    objective: what is minimised.
    optimizer: the transformation that makes updates of gradients.
    """

    objective: Objective
    optimizer: optax.GradientTransformationExtraArgs

    def __call__(
        self, state: TrainState, batch: Batch, *, states: Any = None
    ) -> tuple[TrainState, dict[str, Any]]:
        """One update, or none: where loss or gradient are not finite the state stays as it is.

        So a run stops by itself at its first bad batch, `state.step` says where, and what is
        needed to find the cause is still there.

        states: for an objective that names them, the train states beside this one (`alternate`).
        """
        learning, held = state.frozen.partition(state.params)
        check_made_by(self.optimizer, state.opt_state, learning)
        (loss, (model_state, metrics)), grads = self.gradients(state, batch, states=states)
        model_state, carry = remembering.parted(model_state)

        # optax's line searches hand value_fn every extra argument that they do not know.
        def value_fn(
            params: Any, grad_fn: Any = None, validation: Any = None, validations: Any = None
        ) -> jax.Array:
            return self._loss(params, held, state, batch, states)[0]

        def updated() -> TrainState:
            updates, opt_state = self.optimizer.update(
                grads,
                state.opt_state,
                learning,
                value=loss,
                grad=grads,
                value_fn=value_fn,
                grad_fn=jax.grad(value_fn),
                validation=state.validation,
                validations=state.validations,
            )
            return state._replace(
                params=tree.merge(optax.apply_updates(learning, updates), held),
                state=model_state,
                carry=carry,
                opt_state=opt_state,
                step=state.step + 1,
            )

        # A choice of branch, not of values: choosing each value cost 3 to 5 % of an mlp's step.
        return jax.lax.cond(are_finite(loss, grads), updated, lambda: state), metrics

    def gradients(self, state: TrainState, batch: Batch, *, states: Any = None) -> tuple[Any, Any]:
        """((loss, (state, metrics)), gradient) at this state, with this step's key.

        The gradient has None in the place of what is frozen.
        """
        learning, held = state.frozen.partition(state.params)
        loss = jax.value_and_grad(self._loss, has_aux=True)
        return loss(learning, held, state, batch, states)

    def loss(self, state: TrainState, batch: Batch, *, states: Any = None) -> jax.Array:
        """The loss in training at this state, with this step's key."""
        learning, held = state.frozen.partition(state.params)
        return self._loss(learning, held, state, batch, states)[0]

    def _loss(
        self, learning: Any, held: Any, state: TrainState, batch: Batch, states: Any
    ) -> tuple[jax.Array, Any]:
        key = jax.random.fold_in(keys.stream(state.seed, "step"), state.step)
        params = tree.merge(learning, held)
        begins = batch.get("begins")
        if begins is not None and is_empty(state.carry):
            raise ValueError(
                "the data say where a stream begins, but the train state has no carry to go on "
                "from: train_state(layer, optimizer, carry=nn.memory(layer, batch_size))"
            )
        start = remembering.joined(state.state, remembering.restarted(state.carry, begins))
        beside = {"states": states} if reads_states(self.objective) else {}
        return self.objective(params, start, batch, key=key, train=True, **beside)


def are_finite(loss: jax.Array, grads: Any) -> jax.Array:
    """Whether all of it is: 0 · θ sums to 0, or else to NaN.

    As a product with zeros, which two cores share out, a large leaf takes 50 µs for 400,000
    numbers, and 140 as a sum. The zeros come from the loss: of constants XLA knows the product.
    """
    zero = loss * 0

    def one(leaf: jax.Array) -> jax.Array:
        if leaf.size < 4096:
            return jnp.sum(leaf * 0).astype(loss.dtype)
        rows = leaf.reshape(-1, leaf.shape[-1])
        zeros = jnp.broadcast_to(zero.astype(leaf.dtype), (1, len(rows)))
        return jnp.sum(zeros @ rows).astype(loss.dtype)

    return sum(map(one, jax.tree.leaves(grads)), zero) == 0


@arguments()
def make_step(objective: Objective, optimizer: optax.GradientTransformation) -> Step:
    """The Step that moves `objective` downhill by `optimizer`, any optax transformation.

    The optimizer's update gets `value`, `grad`, `value_fn`, `grad_fn` (functions of params: for
    line searches and sharpness-aware steps), `validation`, the last validation loss, and
    `validations`, how many there have been (for plateau rules), as optax's extra arguments.
    """
    check_objective(objective)
    check_optimizer(optimizer)
    return Step(objective, optax.with_extra_args_support(optimizer))
