"""The Step: one jittable update."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dlcore import keys, tree
from dlcore.train.objective import Batch, Objective
from dlcore.train.state import TrainState


@dataclasses.dataclass(frozen=True)
class Step:
    """step(train_state, batch) -> (train_state, metrics), for one objective and one optimizer."""

    objective: Objective
    optimizer: optax.GradientTransformationExtraArgs

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        """One update, or none: where the loss is not finite the state stays as it is.

        So a run stops by itself at its first bad batch, `state.step` says where, and what is
        needed to find the cause is still there.
        """
        (loss, (model_state, metrics)), grads = self.gradients(state, batch)
        learning, held = state.frozen.partition(state.params)

        # optax's line searches hand value_fn every extra argument that they do not know.
        def value_fn(
            params: Any, grad_fn: Any = None, validation: Any = None, validations: Any = None
        ) -> jax.Array:
            return self._loss(params, held, state, batch)[0]

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
                opt_state=opt_state,
                step=state.step + 1,
            )

        # A choice of branch, not of values: choosing each value cost 3 to 5 % of an mlp's step.
        return jax.lax.cond(jnp.isfinite(loss), updated, lambda: state), metrics

    def gradients(self, state: TrainState, batch: Batch) -> tuple[Any, Any]:
        """((loss, (state, metrics)), gradient) at this state, with this step's key.

        The gradient has None in the place of what is frozen.
        """
        learning, held = state.frozen.partition(state.params)
        return jax.value_and_grad(self._loss, has_aux=True)(learning, held, state, batch)

    def _loss(
        self, learning: Any, held: Any, state: TrainState, batch: Batch
    ) -> tuple[jax.Array, Any]:
        key = jax.random.fold_in(keys.stream(state.seed, "step"), state.step)
        params = tree.merge(learning, held)
        return self.objective(params, state.state, batch, key=key, train=True)


def make_step(objective: Objective, optimizer: optax.GradientTransformation) -> Step:
    """The Step that moves `objective` downhill by `optimizer`, any optax transformation.

    The optimizer's update gets `value`, `grad`, `value_fn`, `grad_fn` (functions of params: for
    line searches and sharpness-aware steps), `validation`, the last validation loss, and
    `validations`, how many there have been (for plateau rules), as optax's extra arguments.
    """
    return Step(objective, optax.with_extra_args_support(optimizer))
