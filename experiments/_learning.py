"""What experiments share: to train a classifier, and to score it."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from dlcore import data, nn, train


class Learned(NamedTuple):
    """A trained classifier and how its loss fell: (updates, mean training loss until then).

    `scores` is what was measured on validation at the end of each epoch: (updates, the numbers);
    `opt_state` is the optimizer's, which may hold an average of the weights.
    """

    params: Any
    state: Any
    losses: list[tuple[int, float]]
    scores: list[tuple[int, Any]]
    opt_state: Any


def learn(
    layer: nn.Layer,
    examples: dict[str, np.ndarray],
    optimizer: Any,
    updates: int,
    *,
    batch_size: int,
    seed: int,
    every: int | None = None,
    start: tuple[Any, Any] = (None, None),
    objective: train.Objective | None = None,
    validation: Any = None,
) -> Learned:
    """`layer` after `updates`, rounded up to where a record comes: each epoch's end, and `every`.

    It begins at `start`, (params, state), where these are given, else where the seed says. The
    objective is `train.classification(layer)`, where none is given; `validation` is that of
    `train.fit`. The same layer and optimizer, and objective, are compiled once.
    """
    batch_size = min(batch_size, len(examples["y"]))
    per_epoch = data.batches_per_epoch(len(examples["y"]), batch_size)
    params, state = start
    records = train.fit(
        train.make_step(objective or classification(layer), optimizer),
        train.train_state(layer, optimizer, seed=seed, params=params, state=state),
        examples,
        epochs=-(-updates // per_epoch),
        batch_size=batch_size,
        every=every,
        validation=validation,
    )
    losses, scores = [], []
    for record in records:
        losses.append((record.step, float(record.metrics["loss"])))
        if record.validation is not None:
            scores.append((record.step, record.validation))
        if record.step >= updates:
            break
    last = record.state
    return Learned(last.params, last.state, losses, scores, last.opt_state)


@functools.cache
def classification(layer: nn.Layer) -> train.Objective:
    """`train.classification(layer)`, one and the same for one layer."""
    return train.classification(layer)


def accuracy(layer: nn.Layer, learned: Learned, examples: dict[str, np.ndarray]) -> float:
    """The share of `examples` that the classifier gets right."""
    logits = train.predict(layer, learned.params, learned.state, examples)
    return float((logits.argmax(-1) == examples["y"]).mean())


def first(examples: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """The first `count` examples."""
    return {name: leaf[:count] for name, leaf in examples.items()}
