"""The learning rate of each arm, chosen on validation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dlcore import search


def at_best_rate(found: search.Sweep, **arm: Any) -> list[search.Trial]:
    """Of the trials of one arm, those at the learning rate with the least mean validation loss.

    arm: what their configurations have, such as optimizer="Adam". They differ in rate and seed; a
    rate at which one seed diverges is out of the question.
    """
    by_rate: dict[float, list[search.Trial]] = {}
    for trial in found.trials:
        if all(trial.configuration[name] == value for name, value in arm.items()):
            by_rate.setdefault(trial.configuration["learning_rate"], []).append(trial)

    def loss(trials: list[search.Trial]) -> float:
        mean = float(np.mean([found.score(trial, "validation_loss") for trial in trials]))
        return mean if math.isfinite(mean) else math.inf

    best = min(by_rate.values(), key=loss)
    if math.isinf(loss(best)):
        raise FloatingPointError(f"{arm} diverges at every rate: {', '.join(map(str, by_rate))}")
    return best


def mean_history(trials: list[search.Trial], metric: str) -> list[float]:
    """The metric after each epoch, as a mean over the trials."""
    return np.mean([[row[metric] for row in one.history] for one in trials], axis=0).tolist()
