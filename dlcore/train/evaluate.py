"""Evaluation: an objective's metrics over a whole data set."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import device, keys
from dlcore.data.batching import HostData
from dlcore.keys import Key
from dlcore.nn.layer import Layer, Params, State
from dlcore.train import metrics
from dlcore.train.objective import Batch, Objective


def evaluate(
    objective: Objective,
    params: Params,
    state: State,
    data: Batch | HostData,
    *,
    batch_size: int = 1000,
    seed: int = 0,
) -> dict[str, float | np.ndarray]:
    """The metrics of `objective` in evaluation over `data`, exact for any batch_size.

    The last batch is filled up with examples of weight 0, so that one shape is compiled. `seed` is
    for objectives that draw random numbers in evaluation too.
    """
    n = examples(data)
    if n == 0:
        raise ValueError("there are no examples to evaluate on")
    batch_size = min(batch_size, n)
    on_device = () if isinstance(data, HostData) else jax.tree.map(jnp.asarray, data)
    key = keys.stream(seed, "evaluation")
    total: Any = None
    for index in range(-(-n // batch_size)):
        places = index * batch_size + np.arange(batch_size)
        rows, inside = np.minimum(places, n - 1), places < n
        batch = data.gather(rows) if isinstance(data, HostData) else take(on_device, rows)
        part = _measure(objective, params, state, batch, inside, key, index)
        total = part if total is None else metrics.merge(total, part)
    return metrics.values(total)


def evaluate_traced(
    objective: Objective,
    params: Params,
    state: State,
    data: Batch,
    *,
    batch_size: int = 1000,
    seed: int | jax.Array = 0,
) -> dict[str, Any]:
    """The sums of the metrics that `evaluate` forms the values of, for use inside jit and vmap."""
    n = examples(data)
    batch_size = min(batch_size, n)
    key = keys.stream(seed, "evaluation")

    def part(index: jax.Array) -> dict[str, Any]:
        places = index * batch_size + jnp.arange(batch_size)
        batch = take(data, jnp.minimum(places, n - 1))
        return _part(objective, params, state, batch, places < n, key, index)

    parts = jax.lax.map(part, jnp.arange(-(-n // batch_size)))
    return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), parts)


def predict(
    layer: Layer,
    params: Params,
    state: State,
    data: Batch | HostData,
    *,
    batch_size: int = 1000,
) -> np.ndarray:
    """The outputs of `layer` in evaluation for every x in `data`, as one numpy array [N, ...]."""
    return np.concatenate([y for _, y in applied(layer, params, state, data, batch_size)])


def applied(
    layer: Layer, params: Params, state: State, data: Batch | HostData, batch_size: int
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """`data` in batches, in order, each with the outputs of `layer` in evaluation for its x."""
    n = examples(data)
    if n == 0:
        raise ValueError("there are no examples to predict")
    batch_size = min(batch_size, n)
    source = data if isinstance(data, HostData) else HostData(jax.tree.map(np.asarray, data))
    for start in range(0, n, batch_size):
        # The last batch is filled up, so that one shape is compiled.
        batch = source.gather(np.minimum(np.arange(start, start + batch_size), n - 1))
        y = np.asarray(_outputs(layer.apply, params, state, batch["x"]))
        inside = slice(n - start)
        yield {name: leaf[inside] for name, leaf in batch.items()}, y[inside]


@functools.partial(device.jit, static_argnums=0)
def _outputs(apply: Callable[..., Any], params: Params, state: State, x: jax.Array) -> jax.Array:
    return apply(params, state, x)[0]


def examples(data: Batch | HostData) -> int:
    """The number of examples in a dict of arrays with one leading axis, or in HostData."""
    if isinstance(data, HostData):
        return len(data)
    lengths = {name: len(leaf) for name, leaf in data.items()}
    if not lengths or len(set(lengths.values())) > 1:
        raise ValueError(f"data is a dict of arrays with one leading axis, got lengths {lengths}")
    return next(iter(lengths.values()))


@jax.jit
def take(data: Batch, rows: jax.Array) -> Batch:
    """The rows of every array."""
    return jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0, mode="clip"), data)


def _part(
    objective: Objective,
    params: Params,
    state: State,
    batch: Batch,
    inside: jax.Array,
    key: Key,
    index: jax.Array,
) -> dict[str, Any]:
    """The metrics of one batch, of which the examples count that are `inside` the data."""
    inside = inside.astype(jnp.float32)
    weight = inside * batch["weight"] if "weight" in batch else inside
    key = jax.random.fold_in(key, index)
    _, (_, measured) = objective(params, state, {**batch, "weight": weight}, key=key, train=False)
    return measured


_measure = device.jit(_part, static_argnames="objective")
