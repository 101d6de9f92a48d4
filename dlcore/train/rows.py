"""A step for large tables, of which a batch reads few rows: those alone are written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dlcore import keys
from dlcore.checks import valid
from dlcore.names import arguments
from dlcore.optim._checks import check_scheduled
from dlcore.train import metrics
from dlcore.train.objective import Batch
from dlcore.train.state import TrainState
from dlcore.train.step import are_finite

Rows = dict[str, jax.Array]  # integers [...] by the name of the table, or its rows [..., D]
RowObjective = Callable[..., tuple[Rows, Callable[[Rows], tuple[jax.Array, jax.Array]]]]


@dataclasses.dataclass(frozen=True)
class RowStep:
    """step(train_state, batch) -> (train_state, metrics): descent on the rows that a batch reads.

    row_objective: what is minimised, as `row_step` describes it.
    learning_rate: by the number of updates done.
    """

    row_objective: RowObjective
    learning_rate: Callable[[jax.Array], Any]

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        """One update, or none: where loss or gradient are not finite the tables stay as they are.

        Rows that are not to be written are given a number beyond the table: a choice between two
        tables would be a copy of them.
        """
        _check_identity(state.opt_state)
        rows, loss = self._read(state, batch)
        (total, (_, measured)), grads = self._gradients(state, rows, loss)
        is_finite = are_finite(total, grads)
        rate = jnp.asarray(self.learning_rate(state.step), jnp.float32)
        params = dict(state.params)
        for name in grads:
            table, grad = params[name], grads[name]
            places = jnp.where(is_finite, rows[name].reshape(-1), len(table))
            moves = (-rate).astype(table.dtype) * grad.reshape(-1, *table.shape[1:])
            params[name] = table.at[places].add(moves, mode="drop")
        return state._replace(
            params=params, step=state.step + is_finite.astype(state.step.dtype)
        ), measured

    def gradients(self, state: TrainState, batch: Batch) -> tuple[Any, Any]:
        """((loss, (state, metrics)), gradient by the rows read) with this step's key."""
        return self._gradients(state, *self._read(state, batch))

    def loss(self, state: TrainState, batch: Batch) -> jax.Array:
        """The loss, a sum, at this state, with this step's key."""
        rows, loss = self._read(state, batch)
        return loss({name: _rows(name, state.params[name], rows[name]) for name in rows})[0]

    def _read(self, state: TrainState, batch: Batch) -> Any:
        key = jax.random.fold_in(keys.stream(state.seed, "step"), state.step)
        return self.row_objective(batch, key=key)

    def _gradients(self, state: TrainState, rows: Rows, loss: Any) -> tuple[Any, Any]:
        read = {name: _rows(name, state.params[name], rows[name]) for name in rows}
        held = {name: read.pop(name) for name in rows if name in state.frozen.paths}

        def with_metrics(read: Rows) -> Any:
            total, weight = loss({**read, **held})
            return total, (state.state, {"loss": metrics.Mean(total, weight)})

        return jax.value_and_grad(with_metrics, has_aux=True)(read)


def _rows(name: str, table: jax.Array, rows: Any) -> jax.Array:
    """The rows of a table, negative ones from its end. Those beyond it are refused where they are
    concrete, and NaN in a compiled program, which stops a run.
    """
    valid(
        "row_step",
        f"the rows of {name}",
        rows,
        lambda rows: rows < len(table),
        f"the table has {len(table)}: is the text of another vocabulary?",
    )
    return table.at[rows].get(mode="fill", fill_value=jnp.nan)


def _check_identity(opt_state: Any) -> None:
    if not isinstance(opt_state, type(optax.identity().init(()))):
        raise ValueError(
            "row_step moves the rows itself, and would leave this optimizer out: "
            "train_state(layer, optax.identity())"
        )


@arguments()
def row_step(objective: RowObjective, learning_rate: Any) -> RowStep:
    """The Step that moves rows of tables downhill: table[r] ← table[r] − η ∂loss/∂table[r].

    For embeddings of many words (`models.word2vec`): a dense gradient, and the moments of an
    optimizer, would cost a pass over all of them a step. Nothing of the tables is copied, in `fit`
    either. A row that is read twice is moved by the sum, in no fixed order on a GPU. The train
    state's optimizer is `optax.identity()`: it remembers nothing. `fit` measures by a function of
    the state: validation=lambda state: {"loss": …}.

    Raises ValueError for another optimizer, and for rows beyond a table.

    objective: objective(batch, *, key) -> (rows, loss): by its leaf in params the integers [...] of
        the rows that are read, and a function of those rows [..., D] -> (Σ loss, Σ weight). The
        gradient is that of the sum, as if the examples came one by one; reported is the mean.
    learning_rate: η, or a schedule of the number of updates.

        objective = models.skip_gram(models.negative_sampling(counts))
        step = train.row_step(objective, optim.linear(0.025, 0.0001, updates))
        state = train.train_state(models.word2vec(len(counts), 100), optax.identity())
    """
    check_scheduled(learning_rate=learning_rate)
    is_schedule = callable(learning_rate)
    return RowStep(objective, learning_rate if is_schedule else lambda count: learning_rate)
