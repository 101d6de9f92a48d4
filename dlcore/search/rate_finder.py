"""The learning-rate finder: one short run at a rising rate says which rates a network bears."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import device
from dlcore.data import batching
from dlcore.nn.layer import Layer
from dlcore.train.evaluate import examples, take
from dlcore.train.objective import Batch, Objective
from dlcore.train.state import TrainState, train_state
from dlcore.train.step import Step, make_step

_DIVERGED = 4.0  # times the least loss


@dataclasses.dataclass(frozen=True)
class RateFinder:
    """The loss of each batch at its rate, and what is read off it.

    rates: η of each update, [T], up to where the loss diverged.
    losses: of each batch, [T].
    smoothed: the running average of the losses, [T].
    suggestion: the rate to train with, see `find_rate`.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float

    def __rich__(self) -> str:
        """The suggestion, and where the loss was least."""
        least = self.rates[np.argmin(self.smoothed)]
        return (
            f"suggested rate {self.suggestion:.2g}: a tenth of {least:.2g}, where the loss was "
            f"least ({len(self.rates)} updates, {self.rates[0]:.2g} … {self.rates[-1]:.2g})"
        )


def find_rate(
    layer: Layer,
    objective: Objective,
    optimizer: Callable[[Any], Any],
    data: Batch,
    *,
    low: float = 1e-6,
    high: float = 10.0,
    updates: int = 200,
    batch_size: int = 128,
    smoothing: float = 0.9,
    seed: int = 0,
) -> RateFinder:
    """Trains from the start at the rates ηₜ = low·(high/low)^(t/(T − 1)), t = 0 … T − 1.

    optimizer: makes a transformation of a schedule, as `optim.adam` does, or
        `lambda rate: optim.momentum(rate, 0.95)`.
    smoothing: β of the average aₜ = βaₜ₋₁ + (1 − β)Lₜ of the batches' losses, a₋₁ = 0, and of
        L̂ₜ = aₜ/(1 − βᵗ⁺¹), which corrects its bias as Adam does.

    The record ends where L̂ exceeds 4 times its least value or is not finite. The suggestion is a
    tenth of the rate at which L̂ was least: there the loss already stands still, since the rate is
    about to be too large. One scan, compiled once.

    Smith 2017, section 3.3, ramps linearly and reads two bounds off the accuracy by eye; the
    exponential ramp, the smoothing and the tenth are those of the fastai library.
    """
    if not 0 < low < high < float("inf"):
        raise ValueError(f"find_rate: rates go from {low} to {high}, but 0 < low < high is wanted")
    if updates < 2:
        raise ValueError(f"find_rate: updates is {updates}, but at least 2 are wanted")
    if not 0 <= smoothing < 1:
        raise ValueError(f"find_rate: smoothing is {smoothing}, but a share in [0, 1) is wanted")

    def ramp(count: Any) -> jax.Array:
        return low * (high / low) ** (jnp.asarray(count, jnp.float32) / (updates - 1))

    n = examples(data)
    epochs = -(-updates // batching.batches_per_epoch(n, batch_size))
    batches = batching.batches(n, batch_size, seed, 0, epochs)[:updates]
    chosen = optimizer(ramp)
    state = train_state(layer, chosen, seed=seed)
    losses = _ramped(
        state, jax.tree.map(jnp.asarray, data), batches, step=make_step(objective, chosen)
    )
    losses = np.asarray(losses, np.float64)
    rates = np.asarray(ramp(np.arange(updates)), np.float64)
    smoothed = _smoothed(losses, smoothing)
    end = _end(smoothed)
    if end == 0:
        raise ValueError("find_rate: the first loss is not finite: clean the data")
    rates, losses, smoothed = rates[:end], losses[:end], smoothed[:end]
    return RateFinder(rates, losses, smoothed, float(rates[np.argmin(smoothed)]) / 10)


@device.jit_each("step")
def _ramped(state: TrainState, data: Batch, batches: jax.Array, *, step: Step) -> jax.Array:
    """The losses [T] of the index batches [T, B]."""

    def update(state: TrainState, rows: jax.Array) -> tuple[TrainState, jax.Array]:
        state, measured = step(state, take(data, rows))
        return state, measured["loss"].value()

    return jax.lax.scan(update, state, batches)[1]


def _smoothed(losses: np.ndarray, smoothing: float) -> np.ndarray:
    """The average of the losses so far, corrected for its start at 0."""
    averages, average = [], 0.0
    for count, loss in enumerate(losses, start=1):
        average = smoothing * average + (1 - smoothing) * loss
        averages.append(average / (1 - smoothing**count))
    return np.array(averages)


def _end(smoothed: np.ndarray) -> int:
    """How many losses come before the first that diverged."""
    least = np.minimum.accumulate(np.where(np.isfinite(smoothed), smoothed, np.inf))
    bad = ~np.isfinite(smoothed) | (smoothed > _DIVERGED * least)
    return int(np.argmax(bad)) if bad.any() else len(smoothed)
