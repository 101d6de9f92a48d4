"""How the steps of a run are dispatched: in loops, in calls, or from the host.

The same Step runs by one of three plans. In *loops*: many steps in one compiled call, whose bounds
are arguments, so that any number of steps is one trace. In *calls*: a call a step, the next one
dispatched while this one runs, where a device computes a step faster outside a loop. From the
*host*: a call a step, with batches that a thread reads ahead, or that a loader gives.

Which batch comes next follows from the state alone (its seed and step), and a step whose loss is
not finite leaves the state as it is: a run that meets one stands still there, under every plan,
and nothing has to be asked of the device between steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import device
from dlcore.data import batching
from dlcore.data.batching import HostData, Order
from dlcore.data.loader import Loader
from dlcore.nn.layer import is_empty
from dlcore.train import guard, metrics
from dlcore.train.evaluate import examples, take
from dlcore.train.metrics import Numbers
from dlcore.train.objective import Batch
from dlcore.train.state import copy, map_states, note_validation, position, train_states
from dlcore.train.streamed import Streamed

StepFunction = Callable[[Any, Batch], tuple[Any, dict[str, Any]]]

_INDICES = 65_536  # of a table of batches, at least an epoch's: a step of a small network takes µs


class Run:
    """The live state of a run, and the plan by which it advances."""

    def __init__(
        self,
        step: StepFunction,
        state: Any,
        data: Batch | HostData | Loader,
        batch_size: int,
        order: Order,
        totals: Any,
    ) -> None:
        self.state, self.order = copy(state), order
        self.batch_size, self.per_epoch = sizes(data, batch_size, order)
        self.data: Any = jax.tree.map(jnp.asarray, data) if isinstance(data, dict) else data
        carries = check_carry(state, self.batch_size, follows=_follows(data, order))
        self.step = Streamed(step, self.per_epoch) if carries else step
        self.seed = _seed(state)
        self.epochs = max(1, _INDICES // (self.batch_size * self.per_epoch))  # of a table
        self.reached = position(state)
        self.expected = int(self.reached)
        self.is_over = False  # whether nobody else will use, and donate, the state
        self._under_way: deque[jax.Array] = deque()
        self._first = -1
        self._table: Any = None
        self._reading: Generator[Batch, None, None] | None = None
        self.nothing = empty_totals(self.step, state, data, batch_size)
        self.totals = self.nothing if totals is None else totals
        if isinstance(data, HostData):
            self.plan, self.like = self._from_host, data.gather(np.zeros(1, np.int32))
        elif isinstance(data, Loader):
            self.plan = self._from_loader
        else:
            batch = batch_like(data, batch_size)
            self.at_once = device.steps_in_one_call(self.step, state, batch)
            self.plan = self._in_calls if self.at_once == 1 else self._in_loops

    def advance(self, at: int, stop: int, pause: Callable[[], bool]) -> int:
        """Dispatches the steps from `at` to `stop`, then checks those before them.

        Returns where it left off: before `stop`, if `pause()` said so after a call.
        """
        before = self.reached, self.expected
        for reached in self.plan(at, stop):
            self.expected = reached
            if pause():
                break
            self._keep_up()
        self.check(*before)
        return self.expected

    def _keep_up(self) -> None:
        """Lets two calls be under way, and no more: whoever pauses waits for them."""
        self._under_way.append(self.reached)
        if len(self._under_way) > 2:
            self._under_way.popleft().block_until_ready()

    def check(self, reached: jax.Array, expected: int) -> None:
        """Raises if the run stood still on its way to `expected`."""
        if int(reached) < expected:
            batch, rows = self.batch(int(position(self.state)))
            raise guard.non_finite(self.step, self.state, batch, rows)

    def check_end(self) -> None:
        """Raises also for what the last update spoiled, which no later loss will show."""
        self.check(self.reached, self.expected)
        guard.check_state(self.state)

    def note_validation(self, scores: Numbers) -> None:
        """Tells the optimizers the last validation loss."""
        self.state = map_states(lambda one: note_validation(one, scores), self.state)

    def batch(self, index: int) -> tuple[Batch, Any]:
        """(batch number `index`, its rows' numbers in the data, or in what a loader gave)."""
        if isinstance(self.data, Loader):
            with closing(self.data.following(index)) as batches:
                batch = next(batches)
            return batch, np.arange(examples(batch))
        first, table = self.table(index)
        rows = table[index - first]
        if isinstance(self.data, HostData):
            return self.data.gather(np.asarray(rows)), rows
        return take(self.data, rows), rows

    def table(self, at: int) -> tuple[int, Any]:
        """(first step, index batches [T, B]) of the whole epochs around step `at`."""
        span = self.epochs * self.per_epoch
        first = at // span * span
        if first != self._first:
            epoch = first // self.per_epoch
            n = examples(self.data)
            rows = batching.rows(self.order, n, self.batch_size, self.seed, epoch, self.epochs)
            self._first = first
            self._table = rows if isinstance(self.data, HostData) else jnp.asarray(rows)
        return self._first, self._table

    # Each plan dispatches a call at a time, and tells which step it reaches.

    def _in_loops(self, at: int, stop: int) -> Iterator[int]:
        while at < stop:
            first, table = self.table(at)
            at = min(stop, at + self.at_once, first + len(table))
            self.state, self.totals, self.reached = _loop(
                self.state, self.totals, self.data, table, first, at, step=self.step
            )
            yield at

    def _in_calls(self, at: int, stop: int) -> Iterator[int]:
        for index in range(at, stop):
            first, table = self.table(index)
            if index == first:
                self.check(self.reached, index)  # a run that stands still keeps its table
            self.state, self.totals, self.reached = _call(
                self.state, self.totals, self.data, table, first, step=self.step
            )
            yield index + 1

    def _from_host(self, at: int, stop: int) -> Iterator[int]:
        rows = self._rows(at, stop)
        with closing(batching.ahead(self.data.gather, rows, start=at, like=self.like)) as batches:
            for index, batch in zip(range(at, stop), batches, strict=True):
                self.state, self.totals, self.reached = _call_on(
                    self.state, self.totals, batch, index, step=self.step
                )
                yield index + 1

    def _from_loader(self, at: int, stop: int) -> Iterator[int]:
        for index in range(at, stop):
            if self._reading is None or index % self.per_epoch == 0:
                self._reading = self.data.following(index)
            batch = next(self._reading)
            self.state, self.totals, self.reached = _call_on(
                self.state, self.totals, batch, index, step=self.step
            )
            yield index + 1

    def close(self) -> None:
        """Ends the thread that reads a loader ahead."""
        if self._reading is not None:
            self._reading.close()

    def _rows(self, at: int, stop: int) -> Iterator[np.ndarray]:
        """The rows of the batches from `at` to `stop`."""
        for index in range(at, stop):
            first, table = self.table(index)
            yield table[index - first]


@device.jit_each("step", donate_argnames="state")
def _loop(
    state: Any,
    totals: Any,
    data: Batch,
    table: jax.Array,
    first: jax.Array,
    stop: jax.Array,
    *,
    step: StepFunction,
) -> tuple[Any, Any, jax.Array]:
    """Steps until the position is `stop`, or until the first that stands still."""

    def one(carry: Any) -> Any:
        state, totals, _ = carry
        return _update(step, state, totals, _next(state, data, table, first))

    moving = position(state) >= first  # or else it stands still before this table
    state, totals, _ = jax.lax.while_loop(
        lambda carry: carry[2] & (position(carry[0]) < stop), one, (state, totals, moving)
    )
    return state, totals, position(state)


@device.jit_each("step", donate_argnames="state")
def _call(
    state: Any, totals: Any, data: Batch, table: jax.Array, first: jax.Array, *, step: StepFunction
) -> tuple[Any, Any, jax.Array]:
    """One step, on the batch that follows from the state's position in the table."""
    state, totals, _ = _update(step, state, totals, _next(state, data, table, first))
    return state, totals, position(state)


@device.jit_each("step", donate_argnames="state")
def _call_on(
    state: Any, totals: Any, batch: Batch, index: jax.Array, *, step: StepFunction
) -> tuple[Any, Any, jax.Array]:
    """One step on this batch, number `index`; none if the run stands still before it."""
    new, totals, _ = _update(step, state, totals, batch)
    due = position(state) == index
    new = jax.tree.map(lambda one, other: jnp.where(due, one, other), new, state)
    return new, totals, position(new)


def _update(step: StepFunction, state: Any, totals: Any, batch: Batch) -> tuple[Any, Any, Any]:
    """(state, totals, whether there was an update); without one the totals are never read again."""
    new, measured = jax.jit(step)(state, batch)
    return new, metrics.merge(totals, measured), position(new) > position(state)


def _next(state: Any, data: Batch, table: jax.Array, first: jax.Array) -> Batch:
    """The batch that the state's position points at, in a table whose first is number `first`."""
    row = jax.lax.dynamic_index_in_dim(table, position(state) - first, keepdims=False)
    return take(data, row)


def sizes(data: Batch | HostData | Loader, batch_size: int, order: Order) -> tuple[int, int]:
    """(examples of a batch, batches of an epoch)."""
    if not isinstance(data, Loader):
        return batch_size, batching.batches_per_epoch(examples(data), batch_size)
    if order is not batching.batches:
        raise ValueError("a Loader's batches have an order of their own: leave order out")
    return examples(data.first), data.steps_per_epoch


def check_carry(states: Any, batch_size: int, *, follows: bool) -> bool:
    """Whether the states carry what they remember from batch to batch, whose rows follow."""
    carried = [one.carry for one in train_states(states) if not is_empty(one.carry)]
    for leaf in jax.tree.leaves(carried):
        if len(leaf) != batch_size:
            raise ValueError(
                f"the state's carry is of {len(leaf)} sequences, but a batch has {batch_size}: "
                f"train_state(layer, optimizer, carry=nn.memory(layer, {batch_size}))"
            )
    if carried and not follows:
        raise ValueError(
            "the state carries what it remembers from batch to batch, but shuffled batches do not "
            "follow each other: fit(…, order=data.streams)"
        )
    return bool(carried)


def _follows(data: Any, order: Order) -> bool:
    """Whether a batch's rows may go on where those of the batch before ended."""
    return isinstance(data, Loader) or order is not batching.batches


def _seed(states: Any) -> int:
    """The seed of the data's order: that of the first TrainState; no two may draw the same."""
    seeds = [int(one.seed) for one in train_states(states)]
    if len(set(seeds)) < len(seeds):
        raise ValueError(
            f"TrainStates that are trained together need seeds of their own, got {seeds}: "
            "train_state(layer, optimizer, seed=1)"
        )
    return seeds[0]


def empty_totals(
    step: StepFunction, state: Any, data: Batch | HostData | Loader, batch_size: int
) -> dict[str, Any]:
    """The metric sums of a step that has seen nothing yet."""
    _check_bare(step)
    try:
        traced = jax.eval_shape(device.traced_once(step), state, batch_like(data, batch_size))
    except Exception as error:
        error.add_note("while looking at a batch of the data, before the first step")
        raise
    measured = traced[1]
    metrics.check(measured)
    return metrics.zeros_like(measured)


def _check_bare(step: Any) -> None:
    """Refuses a step under jit or vmap, which is of another form, or hides its objective."""
    inside = getattr(step, "__wrapped__", step)
    if inside is not step and hasattr(inside, "objective"):
        raise TypeError(
            "the step is under jax.jit, jax.vmap or another transformation: give it as make_step "
            "made it, fit compiles it itself; many runs at once are search.sweep"
        )


def batch_like(data: Batch | HostData | Loader, batch_size: int) -> Batch:
    """The shapes and dtypes of a batch."""
    if isinstance(data, Loader):
        one, batch_size = data.first, examples(data.first)
    else:
        one = data.gather(np.zeros(1, np.int32)) if isinstance(data, HostData) else data
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((batch_size, *leaf.shape[1:]), jnp.result_type(leaf)), one
    )
