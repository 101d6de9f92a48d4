"""A step on windows that follow each other: what it remembers begins anew with each epoch."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp

from dlcore.train.evaluate import examples
from dlcore.train.objective import Batch, Objective
from dlcore.train.state import position


@dataclasses.dataclass(frozen=True)
class Streamed:
    """`step` with `begins` [B] True in an epoch's first batch, and where the data say so.

    step: the Step that is given the batches.
    per_epoch: the batches of an epoch.
    """

    step: Any
    per_epoch: int

    @property
    def objective(self) -> Objective:
        """What the step minimises."""
        return self.step.objective

    def __call__(self, state: Any, batch: Batch) -> tuple[Any, dict[str, Any]]:
        """One update."""
        return self.step(state, self._begun(state, batch))

    def gradients(self, state: Any, batch: Batch) -> tuple[Any, Any]:
        """Those of the step."""
        return self.step.gradients(state, self._begun(state, batch))

    def loss(self, state: Any, batch: Batch) -> Any:
        """That of the step."""
        return self.step.loss(state, self._begun(state, batch))

    def _begun(self, state: Any, batch: Batch) -> Batch:
        first = position(state) % self.per_epoch == 0
        own = batch.get("begins", jnp.zeros(examples(batch), bool))
        return {**batch, "begins": own.astype(bool) | first}
