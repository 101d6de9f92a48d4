"""Evaluation: an objective's metrics over a whole data set."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import keys
from dlcore.nn.layer import Params, State
from dlcore.train import metrics
from dlcore.train.objective import Batch, Objective


def evaluate(
    objective: Objective,
    params: Params,
    state: State,
    data: Batch,
    *,
    batch_size: int = 1000,
    seed: int = 0,
) -> dict[str, float | np.ndarray]:
    """The metrics of `objective` in evaluation over `data`, exact for any batch_size.

    The last batch is filled up with examples of weight 0, so that one shape is compiled. `seed` is
    for objectives that draw random numbers in evaluation too.
    """
    n = len(jax.tree.leaves(data)[0])
    if n == 0:
        raise ValueError("there are no examples to evaluate on")
    batch_size = min(batch_size, n)
    parts = (
        _part(params, state, data, index, seed, objective=objective, batch_size=batch_size)
        for index in range(-(-n // batch_size))
    )
    return metrics.values(functools.reduce(metrics.merge, parts))


@functools.partial(jax.jit, static_argnames=("objective", "batch_size"))
def _part(
    params: Params,
    state: State,
    data: Batch,
    index: jax.Array,
    seed: jax.Array,
    *,
    objective: Objective,
    batch_size: int,
) -> dict[str, Any]:
    """The metrics of batch `index` alone."""
    n = len(jax.tree.leaves(data)[0])
    places = index * batch_size + jnp.arange(batch_size)
    batch = jax.tree.map(lambda leaf: jnp.take(leaf, places, axis=0, mode="clip"), data)
    inside = (places < n).astype(jnp.float32)
    batch["weight"] = inside * batch["weight"] if "weight" in batch else inside
    key = jax.random.fold_in(keys.stream(seed, "evaluation"), index)
    _, (_, measured) = objective(params, state, batch, key=key, train=False)
    return measured
