"""The guard: what to say when a loss is not finite."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlcore import tree
from dlcore.train.objective import Batch
from dlcore.train.state import position, train_states


class NonFiniteLossError(FloatingPointError):
    """A training loss was NaN or infinite.

    step: the update that could not be made. path: the first bad leaf. state: the TrainState before
    it, untouched.
    """

    def __init__(self, message: str, *, step: int, path: str, state: Any) -> None:
        super().__init__(message)
        self.step, self.path, self.state = step, path, state


def non_finite(step: Any, state: Any, batch: Batch, indices: Any) -> NonFiniteLossError:
    """The error that names the step and the first bad leaf, found by taking that step by hand.

    Looked at in the order of cause: the batch, the parameters and states (which the update before
    may have spoiled by a gradient that was not finite under a finite loss), then the gradient. What
    the objective itself refuses (a label out of range) is raised as it is.
    """
    at = int(position(state))
    if hasattr(step, "active"):
        step, state, batch = step.active(state, batch)
    named = {"params": state.params, "state": state.state, "opt_state": state.opt_state}
    path = tree.first_nonfinite({name: batch[name] for name in batch if name != "states"})
    if path is not None:
        rows = _rows(batch, path, indices)
        where = f"the batch's {path} holds a value that is not finite (rows {rows})"
        advice = "clean the data"
    elif (path := tree.first_nonfinite(named)) is not None:
        where = f"{path} is the first leaf that is not finite, since the update before"
        advice = "lower the learning rate or clip the gradient"
    else:
        path = _in_gradient(step, state, batch)
        where = f"{path} is the first leaf that is not finite"
        advice = "lower the learning rate or clip the gradient"
    return NonFiniteLossError(
        f"the loss is not finite at step {at}: {where}; the state before it is kept; {advice}",
        step=at,
        path=path,
        state=state,
    )


def check_params(states: Any) -> None:
    """Raises if the last update spoiled parameters, by a bad gradient under a finite loss."""
    path = tree.first_nonfinite({"params": [one.params for one in train_states(states)]})
    if path is not None:
        step = int(position(states)) - 1
        raise NonFiniteLossError(
            f"{path} is not finite after the last update, step {step}: lower the learning rate or "
            "clip the gradient",
            step=step,
            path=path,
            state=states,
        )


def _in_gradient(step: Any, state: Any, batch: Batch) -> str:
    """The first bad leaf of the gradient, or "loss" where it has none, or nobody can tell."""
    if not hasattr(step, "gradients"):
        return "loss"
    _, grads = step.gradients(state, batch)
    return tree.first_nonfinite({"gradient": grads}) or "loss"


def _rows(batch: Batch, path: str, indices: Any) -> str:
    """The data set's rows that hold the bad values, as many as a person wants to read."""
    values = np.asarray(batch[path.split("/")[0]])
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    rows = np.asarray(indices)[bad]
    return ", ".join(map(str, rows[:5])) + (", …" if len(rows) > 5 else "")
