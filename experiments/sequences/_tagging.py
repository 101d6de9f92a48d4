"""Taggers as the experiments train them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import optax

from dlcore import data, nn, optim, train

BATCH = 16


class Arm(NamedTuple):
    """A network to train, on these columns, and what its labels are."""

    layer: nn.Layer
    columns: tuple[str, ...]
    labels: str | dict[str, float]


def stepping(arm: Arm, updates: int) -> train.Step:
    """The step of an arm: Adam, at a rate that rises for a tenth of the updates and then falls."""
    rate = optim.warmup_cosine(4e-3, updates, warmup_steps=updates // 10)
    optimizer = optax.chain(optim.clip_by_global_norm(5.0), optim.adam(rate))
    return train.make_step(train.tagging(arm.layer, arm.labels), optimizer)


def learned(
    arm: Arm,
    step: train.Step,
    examples: Mapping[str, np.ndarray],
    epochs: int,
    seed: int,
    widths: tuple[int, ...],
) -> train.TrainState:
    """The arm, trained from a seed on sentences in batches by their length, up to these."""
    columns = {name: examples[name] for name in arm.columns}

    def batches(epoch: int) -> Iterator[dict[str, np.ndarray]]:
        return data.by_length(columns, BATCH, widths, seed, epoch)

    loader = data.Loader(batches, len(columns["x"]) // BATCH, lengths_differ=True)
    state = train.train_state(arm.layer, step.optimizer, seed=seed)
    *_, last = train.fit(step, state, loader, epochs=epochs)
    return last.state


def outputs(arm: Arm, state: train.TrainState, examples: Mapping[str, np.ndarray]) -> Any:
    """What the arm gives for sentences."""
    columns = {name: examples[name] for name in arm.columns if name in arm.layer.info.reads | {"x"}}
    return train.predict(arm.layer, state.params, state.state, columns, batch_size=250)
