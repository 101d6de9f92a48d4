"""What the experiments on overfitting share: labels of which some are wrong."""

from __future__ import annotations

import numpy as np


def mislabelled(examples: dict[str, np.ndarray], share: float) -> dict[str, np.ndarray]:
    """The examples with that share of their labels drawn from all ten."""
    rng = np.random.default_rng(0)
    chosen = rng.random(len(examples["y"])) < share
    drawn = rng.integers(0, 10, len(chosen)).astype(np.int32)
    return {**examples, "y": np.where(chosen, drawn, examples["y"])}
