"""What the experiments on augmentation share: ten times as many examples."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from dlcore.data import augment


def enlarged(
    examples: dict[str, np.ndarray], augmentation: augment.Augmentation, times: int, seed: int
) -> dict[str, np.ndarray]:
    """The examples, and behind them `times` − 1 altered forms of each, with its label."""
    copies = {name: np.concatenate([leaf] * (times - 1)) for name, leaf in examples.items()}
    altered = _altering(augmentation)(jax.random.key(seed), copies)
    return {name: np.concatenate([leaf, altered[name]]) for name, leaf in examples.items()}


@functools.cache
def _altering(augmentation: augment.Augmentation) -> Any:
    """Compiled once for all seeds."""
    return jax.jit(augment.inputs(augmentation))
