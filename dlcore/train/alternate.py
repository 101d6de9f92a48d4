"""Alternating steps of several train states, as a GAN wants."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.nn.layer import is_empty
from dlcore.train.metrics import zeros_like
from dlcore.train.objective import Batch
from dlcore.train.state import position
from dlcore.train.step import Step


@dataclasses.dataclass(frozen=True)
class Alternation:
    """One Step over a dict of TrainStates: every batch trains one of them, in turn.

    steps: each with the name of the TrainState that it trains.
    turns: of one round, which step takes each batch.
    """

    steps: tuple[tuple[str, Step], ...]
    turns: tuple[int, ...]

    def __call__(self, states: dict[str, Any], batch: Batch) -> tuple[dict[str, Any], Any]:
        """Gives the batch to the TrainState whose turn it is; the others stay as they are."""

        for name, _ in self.steps:
            if name not in states:
                raise ValueError(
                    f"alternate trains {name!r}, but the states are {', '.join(states)}: give "
                    "{name: train_state(layer, optimizer, seed=…)} for each step"
                )
        for name, one in states.items():
            if not is_empty(one.carry):
                raise ValueError(
                    f"alternate: {name!r} has a carry, but sees only the batches of its own turns, "
                    "which do not follow each other: train it without"
                )

        def branch(index: int) -> Any:
            def update(states: dict[str, Any]) -> tuple[dict[str, Any], Any]:
                name = self.steps[index][0]
                new, metrics = self.steps[index][1](states[name], batch, states=states)
                return {**states, name: new}, {**nothing, name: metrics}

            return update

        nothing = {
            name: zeros_like(jax.eval_shape(one, states[name], batch, states=states)[1])
            for name, one in self.steps
        }
        index = self.turn(states)
        states, measured = jax.lax.switch(
            index, [branch(i) for i in range(len(self.steps))], states
        )
        return states, {
            f"{name}_{metric}": value
            for name, metrics in measured.items()
            for metric, value in metrics.items()
        }

    def turn(self, states: dict[str, Any]) -> jax.Array:
        """The index of the step that takes the next batch."""
        return jnp.asarray(self.turns, jnp.int32)[position(states) % len(self.turns)]

    def active(self, states: dict[str, Any], batch: Batch) -> tuple[Step, Any, dict[str, Any]]:
        """The step whose turn it is, its TrainState, and what it gets beside the batch."""
        name, step = self.steps[int(self.turn(states))]
        return step, states[name], {"states": states}


def alternate(steps: Mapping[str, Step], ratios: Mapping[str, int] | None = None) -> Alternation:
    """Trains several TrainStates in turn: `ratios[name]` batches each in a round (1 by default).

    The result is a Step over `{name: TrainState}` and goes into `fit`. An objective that names
    `states` finds the networks it does not train in `states[name].params`:

        def objective(params, state, batch, *, key=None, train=False, states): …

    Goodfellow et al. 2014, algorithm 1:
    `alternate({"discriminator": d, "generator": g}, {"discriminator": k})`. None of them can have a
    carry: of a stream each would see its own batches alone.
    """
    ratios = ratios or {}
    unknown = set(ratios) - set(steps)
    if unknown:
        raise ValueError(f"ratios names {sorted(unknown)}, but the steps are {list(steps)}")
    counts = [ratios.get(name, 1) for name in steps]
    if not counts or min(counts) < 1:
        raise ValueError(
            f"every step needs a ratio ≥ 1, got {dict(zip(steps, counts, strict=True))}"
        )
    turns = tuple(index for index, count in enumerate(counts) for _ in range(count))
    return Alternation(tuple(steps.items()), turns)
