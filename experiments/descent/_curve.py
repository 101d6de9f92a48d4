"""What experiments of this chapter share: training curves, and when a curve has come down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore import train


def curve(
    step: Any, state: Any, examples: dict[str, Any], epochs: int, batch_size: int
) -> tuple[np.ndarray, Any]:
    """The loss over all `examples` after each epoch of training on them [epochs], and the last
    TrainState.

    Infinite from where the training diverged; the state is then the last that had a finite loss.
    """
    losses = np.full(epochs, np.inf)
    records = train.fit(
        step, state, examples, epochs=epochs, batch_size=batch_size, validation=examples
    )
    try:
        for record in records:
            losses[record.epoch - 1] = (record.validation or {})["loss"]
    except train.NonFiniteLossError as error:
        return losses, error.state
    return losses, record.state


def reached(at: Sequence[float] | np.ndarray, losses: np.ndarray, target: float) -> float:
    """Where the losses at these places first come down to the target, on straight lines between.

    Infinite where they never do; the first place where they begin below.
    """
    below = np.flatnonzero(losses <= target)
    if not below.size:
        return float("inf")
    k = int(below[0])
    if k == 0:
        return float(at[0])
    share = (losses[k - 1] - target) / (losses[k - 1] - losses[k])
    return float(at[k - 1] + share * (at[k] - at[k - 1]))
