"""Early stopping and the best epoch, as a pure state machine on the validation score."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

from dlcore.fields import documented


@documented
class Progress(NamedTuple):
    """What early stopping remembers.

    best: the best score.
    step: weight updates made when it was reached.
    since: evaluations since then.
    """

    best: float
    step: int
    since: int


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """Stops when `monitor` has not improved by more than `min_delta` in `patience` evaluations.

    Scores may be negative. A NaN never improves. Prechelt 1998.

    monitor: the name of a validation score.
    mode: "min" or "max", which of its values is best.
    patience: evaluations; with None nothing stops, and only the best is remembered.
    min_delta: what is no improvement yet, ≥ 0.

    Raises ValueError for another mode, a patience below 1 and a min_delta below 0.
    """

    monitor: str = "loss"
    mode: str = "min"
    patience: int | None = None
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        if self.mode not in ("min", "max"):
            raise ValueError(f'mode is "min" or "max", got {self.mode!r}')
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience is at least 1 evaluation, got {self.patience}")
        if not self.min_delta >= 0:
            raise ValueError(f"min_delta is at least 0, got {self.min_delta}")

    def start(self) -> Progress:
        """Nothing evaluated yet."""
        return Progress(math.inf if self.mode == "min" else -math.inf, step=0, since=0)

    def update(self, progress: Progress, score: float, step: int) -> Progress:
        """`progress` after an evaluation that gave `score` at `step`."""
        gain = progress.best - score if self.mode == "min" else score - progress.best
        if gain > self.min_delta:
            return Progress(score, step, since=0)
        return progress._replace(since=progress.since + 1)

    def is_over(self, progress: Progress) -> bool:
        """Whether patience is at an end."""
        return self.patience is not None and progress.since >= self.patience
