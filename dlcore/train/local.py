"""Local SGD: workers who train apart, and meet now and then."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.train.objective import Batch, Objective
from dlcore.train.state import TrainState
from dlcore.train.step import Step


@dataclasses.dataclass(frozen=True)
class LocalSGD:
    """A Step whose batch is dealt to workers, who make updates of their own, then average.

    step: the Step of each worker.
    workers: how many there are.
    period: updates that each of them makes in a round.
    """

    step: Step
    workers: int
    period: int

    @property
    def objective(self) -> Objective:
        """What every worker minimises."""
        return self.step.objective

    def __call__(
        self, state: TrainState, batch: Batch, *, states: Any = None
    ) -> tuple[TrainState, dict[str, Any]]:
        """One round, or none: where a worker's loss is not finite the state stays as it is."""
        # Every update of every worker has a number, and so a key, of its own.
        numbers = (state.step * self.workers + jnp.arange(self.workers)) * self.period

        def work(number: jax.Array, shares: Any) -> Any:
            def update(own: TrainState, share: Any) -> Any:
                batch, carry = share
                own, measured = self.step(own._replace(carry=carry), batch, states=states)
                return own._replace(carry=()), (measured, own.carry)

            return jax.lax.scan(update, state._replace(step=number, carry=()), shares)

        dealt = jax.tree.map(self._dealt, (batch, state.carry))
        ends, (measured, carry) = jax.vmap(work)(numbers, dealt)

        def met() -> TrainState:
            mean = jax.tree.map(_mean, ends)
            rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[3:]), carry)
            return mean._replace(step=state.step + 1, seed=state.seed, carry=rows)

        complete = jnp.all(ends.step == numbers + self.period)
        totals = jax.tree.map(lambda sums: sums.sum((0, 1)), measured)
        return jax.lax.cond(complete, met, lambda: state), totals

    def gradients(self, state: TrainState, batch: Batch, *, states: Any = None) -> tuple[Any, Any]:
        """That of the whole round at its start, for who looks at a bad batch."""
        return self.step.gradients(state, batch, states=states)

    def loss(self, state: TrainState, batch: Batch, *, states: Any = None) -> jax.Array:
        """That of the whole round at its start."""
        return self.step.loss(state, batch, states=states)

    def _dealt(self, leaf: jax.Array) -> jax.Array:
        """[B, …] as [workers, period, B / (workers · period), …]."""
        shares = self.workers * self.period
        if len(leaf) % shares:
            raise ValueError(
                f"local_sgd: a batch has {len(leaf)} examples, but a multiple of workers · period "
                f"= {shares} is wanted"
            )
        return leaf.reshape(self.workers, self.period, len(leaf) // shares, *leaf.shape[1:])


def local_sgd(step: Step, *, workers: int, period: int) -> LocalSGD:
    """`step` at `workers` workers at once, who average after every `period` updates of their own.

    The result is a Step over one TrainState and goes into `fit`, whose batch_size is a round's
    examples: of all workers and all their updates. Averaged are the parameters, batch norm's
    statistics and what the optimizer keeps; so momentum goes on with the mean velocity (Yu et al.
    2019, algorithm 1). A round is one exchange where synchronous descent has `period`.

    A carry has a row for each row of the round, and goes with it.

    With one update a round of plain gradient descent it is synchronous descent on the whole batch,
    up to rounding. `state.step` counts rounds; schedules count updates.

    Zinkevich et al. 2010 average once, McMahan et al. 2017 every round; Stich 2019.

        for record in fit(local_sgd(step, workers=4, period=8), state, data, batch_size=4 * 8 * 32):
            ...
    """
    if workers < 1 or period < 1:
        raise ValueError(
            f"local_sgd: workers is {workers} and period {period}, but at least 1 of both is wanted"
        )
    return LocalSGD(step, workers, period)


def _mean(leaves: jax.Array) -> jax.Array:
    """The workers' mean; of counts, which they all share, the first."""
    return leaves.mean(0) if jnp.issubdtype(leaves.dtype, jnp.floating) else leaves[0]
