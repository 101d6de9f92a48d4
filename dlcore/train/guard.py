"""The guard: what to say when a loss is not finite."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from dlcore import tree
from dlcore.train.objective import Batch
from dlcore.train.state import position, train_states


class NonFiniteLossError(FloatingPointError):
    """A training loss, or its gradient, was NaN or infinite.

    step: the update that could not be made. path: the first bad leaf. state: the state before it,
    untouched, or as an update left it that overflowed: then the message does not call it kept.
    """

    def __init__(self, message: str, *, step: int, path: str, state: Any) -> None:
        super().__init__(message)
        self.step, self.path, self.state = step, path, state

    def __reduce__(self) -> Any:
        facts = {"step": self.step, "path": self.path, "state": jax.device_get(self.state)}
        return functools.partial(type(self), *self.args, **facts), ()


def non_finite(step: Any, state: Any, batch: Batch, indices: Any) -> NonFiniteLossError:
    """The error that names the step and the first bad leaf, found by taking that step by hand.

    Looked at in the order of cause: the batch, the parameters and states (which an update may have
    spoiled that overflowed), then the gradient. What the objective itself refuses (a label out of
    range) is raised as it is.
    """
    at, whole = int(position(state)), state
    beside: dict[str, Any] = {}
    if hasattr(step, "active"):
        step, state, beside = step.active(state, batch)
    named = {
        "params": state.params,
        "state": state.state,
        "carry": state.carry,
        "opt_state": state.opt_state,
    }
    what, advice = "loss", "lower the learning rate or clip the gradient"
    kept = "the state before it is kept"
    path = tree.first_nonfinite(batch)
    if path is not None:
        rows = _named(indices, _bad_rows(batch[path.split("/")[0]]))
        where = f"the batch's {path} holds a value that is not finite{rows}"
        advice = "clean the data"
    elif "weight" in batch and not np.any(batch["weight"]):
        path, where = "weight", f"the batch's weights are all 0{_named(indices, slice(None))}"
        advice = "leave out what counts for nothing, or take larger batches"
    elif (path := tree.first_nonfinite(named)) is not None:
        where = f"{path} is the first leaf that is not finite, since an update before"
        kept = "that state is not saved"
    else:
        what, path, guilty = _in_gradient(step, state, batch, beside)
        where = f"{path} is the first leaf that is not finite{_named(indices, guilty)}"
    return NonFiniteLossError(
        f"the {what} is not finite at step {at}: {where}; {kept}; {advice}",
        step=at,
        path=path,
        state=whole,
    )


def check_state(states: Any) -> None:
    """Raises if the last update spoiled what it left, by an overflow of its own."""
    for one in train_states(states):
        path = tree.first_nonfinite({"params": one.params, "state": one.state, "carry": one.carry})
        if path is not None:
            step = int(position(states)) - 1
            raise NonFiniteLossError(
                f"{path} is not finite after the last update, step {step}: lower the learning rate "
                "or clip the gradient; that state is not saved",
                step=step,
                path=path,
                state=states,
            )


def _in_gradient(
    step: Any, state: Any, batch: Batch, beside: dict[str, Any]
) -> tuple[str, str, np.ndarray]:
    """What is not finite, its first bad leaf, and the rows of the batch that make it so alone."""
    if not hasattr(step, "gradients"):
        return "loss", "loss", np.zeros(0, int)
    step.loss(state, batch, **beside)  # not compiled, the objective refuses in words
    gradients = jax.jit(functools.partial(step.gradients, **beside))
    batch = jax.tree.map(np.asarray, batch)

    def bad(batch: Batch) -> tuple[str, str] | None:
        (loss, _), grads = gradients(state, batch)
        path = tree.first_nonfinite({"gradient": grads})
        what = "gradient" if np.isfinite(loss) else "loss"
        return (what, path or "loss") if path or what == "loss" else None

    def alone(row: int) -> Batch:
        return jax.tree.map(
            lambda leaf: np.repeat(np.asarray(leaf[row])[None], len(leaf), 0), batch
        )

    size = len(jax.tree.leaves(batch)[0])
    rows = np.asarray([row for row in range(size) if bad(alone(row))], int)
    return *(bad(batch) or ("loss", "loss")), rows if len(rows) < size else rows[:0]


def _bad_rows(leaf: Any) -> np.ndarray:
    """The rows of an array that hold a value that is not finite."""
    values = np.asarray(leaf)
    return np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))


def _named(indices: Any, rows: Any) -> str:
    """The data set's rows, as many as a person wants to read."""
    named = np.asarray(indices)[rows]
    if not len(named):
        return ""
    return f" (rows {', '.join(map(str, named[:5]))}{', …' if len(named) > 5 else ''})"
