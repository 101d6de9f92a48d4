"""Augmentation where it belongs: inside the objective, in training alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from dlcore import keys
from dlcore.keys import Key
from dlcore.nn.layer import Params, State
from dlcore.train.objective import Batch, Objective


def augmented(objective: Objective, augment: Callable[[Key, Batch], Batch]) -> Objective:
    """`objective` of augment(key, batch) in training, of the batch as it is in evaluation.

        from dlcore.data import augment

        flips = augment.inputs(augment.images.random_flip)
        mix = functools.partial(augment.mixup, alpha=0.2, classes=10)
        objective = train.augmented(train.classification(layer), augment.chain(flips, mix))

    So it runs on the device inside the step, and is as random as the step's key: each time an
    example is seen it looks different, and a resumed run sees what it would have seen. The
    objective gets that key too, as it would alone: the layer's own randomness does not change.
    """

    @functools.wraps(objective)
    def of_augmented(
        params: Params,
        state: State,
        batch: Batch,
        *,
        key: Key | None = None,
        train: bool = False,
        **states: Any,
    ) -> tuple[jax.Array, tuple[State, dict[str, Any]]]:
        if train:
            batch = augment(keys.child(_needed(key), "augment"), batch)
        return objective(params, state, batch, key=key, train=train, **states)

    return of_augmented


def _needed(key: Key | None) -> Key:
    if key is None:
        raise ValueError("augmented: training needs a key: objective(…, key=key, train=True)")
    return key
