"""Evaluation: an objective's metrics over a whole data set."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import device, keys, tracebacks
from dlcore.data import batching, forms
from dlcore.data.batching import HostData, Order
from dlcore.data.dataset import check_count
from dlcore.data.loader import Loader
from dlcore.keys import Key
from dlcore.names import arguments
from dlcore.nn import remembering
from dlcore.nn.layer import Layer, Params, State, is_empty
from dlcore.train import metrics
from dlcore.train.objective import Batch, Objective, beside, check_objective, reads_states
from dlcore.train.state import in_parts


@tracebacks.short
@in_parts
@arguments()
def evaluate(
    objective: Objective,
    params: Params,
    state: State,
    data: Batch | HostData | Loader,
    *,
    batch_size: int = 1000,
    seed: int = 0,
    order: Order | None = None,
    carry: Any = (),
    states: Any = None,
) -> dict[str, float | np.ndarray]:
    """The metrics of `objective` in evaluation over `data`, exact for any batch_size.

    The last batch is filled up with examples of weight 0, so that one shape is compiled. `seed` is
    for objectives that draw random numbers in evaluation too. Of a Loader it measures the first
    epoch, in the loader's own batches.

    carry, order: as in a TrainState and in `fit`. What the network remembers goes from batch to
        batch, from `carry` on, whose rows are the batch size; without, every example starts from
        zero. A text as one stream: `order=data.streams, carry=nn.memory(layer, 1)`.
    states: for an objective that names them, the train states beside this one (`alternate`).
    """
    check_objective(objective)
    remembering.refuse("evaluate", state)
    data = fed(data)
    key = keys.stream(seed, "evaluation")
    batches = _batches(data, batch_size, seed, order, carry)

    def measure(
        function: Callable[..., Any], index: int, batch: Batch, inside: Any, carry: Any
    ) -> Any:
        given = params, state, carry, batch, inside, key, index, states
        return function(*given, objective=objective)

    parts = []
    for index, (batch, inside) in enumerate(batches()):
        part, carry = measure(_measure, index, batch, inside, carry)
        parts.append(part)
    numbers = metrics.values(functools.reduce(metrics.merge, parts))
    if np.isnan(numbers.get("loss", 0.0)):
        # A label out of range is NaN in a compiled program; outside the objective says so in words.
        bad = next(i for i, part in enumerate(parts) if np.isnan(part["loss"].value()))
        measure(_part, bad, *next(islice(batches(), bad, None)), carry)
    return numbers


def _batches(
    data: Batch | HostData | Loader, batch_size: int, seed: int, order: Order | None, carry: Any
) -> Callable[[], Iterator[tuple[Batch, Any]]]:
    """A function that gives the batches anew, each with the rows [B] that count."""
    if isinstance(data, Loader):
        if order is not None:
            raise ValueError("a Loader's batches have an order of their own: leave order out")
        return lambda: ((batch, np.ones(examples(batch), bool)) for batch in data.following(0))
    n = examples(data)
    batch_size = min(check_count("batch_size", batch_size, 1), n)
    if not is_empty(carry):
        batch_size = len(jax.tree.leaves(carry)[0])
    table = _places(n, batch_size, seed, order, carry)
    on_device = () if isinstance(data, HostData) else jax.tree.map(jnp.asarray, data)

    def batches() -> Iterator[tuple[Batch, Any]]:
        for places in table:
            rows = np.minimum(places, n - 1)
            batch = data.gather(rows) if isinstance(data, HostData) else take(on_device, rows)
            yield batch, places < n

    return batches


def _places(n: int, batch_size: int, seed: int, order: Order | None, carry: Any) -> np.ndarray:
    """The index batches [·, batch_size] over n examples; from n on there are none."""
    if order is None:
        if not is_empty(carry):
            raise ValueError(
                "a carry goes on from batch to batch, but these do not follow each other: "
                "evaluate(…, carry=carry, order=data.streams)"
            )
        return np.arange(-(-n // batch_size) * batch_size).reshape(-1, batch_size)
    if n % batch_size:
        raise ValueError(
            f"{batch_size} streams leave {n % batch_size} of the {n} examples out: give a carry "
            f"(or a batch_size) of as many rows as divide {n}, such as 1"
        )
    return batching.rows(order, n, batch_size, seed, 0)


def measure_batch(objective: Objective, state: Any, batch: Batch) -> dict[str, Any]:
    """The sums of the metrics of one batch, at a TrainState."""
    inside = jnp.ones(examples(batch), bool)
    key = keys.stream(0, "evaluation")
    how = (inside, key, jnp.zeros((), jnp.int32), None)
    return _part(state.params, state.state, (), batch, *how, objective=objective)[0]


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
        how = (places < n, key, index, None)
        return _part(params, state, (), batch, *how, objective=objective)[0]

    parts = jax.lax.map(part, jnp.arange(-(-n // batch_size)))
    return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), parts)


@tracebacks.short
@in_parts
@arguments()
def predict(
    layer: Layer,
    params: Params,
    state: State,
    data: Batch | HostData | Any,
    *,
    batch_size: int = 1000,
) -> Any:
    """The outputs of `layer` in evaluation for every x in `data`, as one numpy array [N, ...].

    Where there are several outputs (a dict of heads, a `functional.Chain`), each is such an array.

    The side inputs that the layer reads are columns of `data`, as in training; `data` may also be
    the array x alone.
    """
    remembering.refuse("predict", state)
    if hasattr(data, "shape") or isinstance(data, list):
        data = {"x": data}
    parts = [y for _, y in applied(layer, params, state, data, batch_size)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def applied(
    layer: Layer, params: Params, state: State, data: Batch | HostData, batch_size: int
) -> Iterator[tuple[dict[str, np.ndarray], Any]]:
    """`data` in batches, in order, each with the outputs of `layer` in evaluation for its x."""
    data = given(data)
    n = examples(data)
    batch_size = min(check_count("batch_size", batch_size, 1), n)
    source = data if isinstance(data, HostData) else HostData(jax.tree.map(np.asarray, data))
    for start in range(0, n, batch_size):
        # The last batch is filled up, so that one shape is compiled.
        batch = source.gather(np.minimum(np.arange(start, start + batch_size), n - 1))
        side = beside(layer, batch)
        y = jax.device_get(_outputs(params, state, batch["x"], side, apply=layer.apply))
        for leaf in jax.tree.leaves(y):
            if len(leaf) != batch_size:
                raise ValueError(
                    f"predict: x {list(batch['x'].shape)} gave outputs {list(leaf.shape)}, which "
                    "are not one for each example: a single one is x[None]"
                )
        yield jax.tree.map(lambda leaf, count=n - start: np.asarray(leaf)[:count], (batch, y))


@device.jit_each("apply")
def _outputs(
    params: Params, state: State, x: jax.Array, side: dict[str, Any], *, apply: Callable[..., Any]
) -> jax.Array:
    return apply(params, state, x, **side)[0]


def fed(data: Any, name: str = "data") -> Batch | HostData | Loader:
    """What a person gives as data, checked: a dict of arrays of numbers, HostData, or a Loader."""
    return data if isinstance(data, Loader) else given(data, name)


def given(data: Any, name: str = "data") -> Batch | HostData:
    """`fed`, where single examples are asked for, which a Loader does not give."""
    if isinstance(data, Loader):
        raise TypeError(
            f"{name} is a Loader, which only fit, run and evaluate read: give a dict of arrays or "
            "HostData here"
        )
    return data if isinstance(data, HostData) else forms.arrays(data, name)


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
    params: Params,
    state: State,
    carry: Any,
    batch: Batch,
    inside: jax.Array,
    key: Key,
    index: jax.Array,
    states: Any,
    *,
    objective: Objective,
) -> tuple[dict[str, Any], Any]:
    """The metrics of one batch, of which the examples count that are `inside` the data; the carry
    after it."""
    weight = jnp.asarray(inside, jnp.float32)
    if "weight" in batch:
        own = batch["weight"]
        weight = own * weight.reshape(-1, *[1] * (own.ndim - 1))
    key = jax.random.fold_in(key, index)
    beside = {"states": states} if reads_states(objective) else {}
    start = remembering.joined(state, carry)
    batch = {**batch, "weight": weight}
    _, (after, measured) = objective(params, start, batch, key=key, train=False, **beside)
    return measured, remembering.parted(after)[1]


_measure = device.jit_each("objective")(_part)
