"""The loop: a generator of records. How its steps are dispatched, `plans` knows."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import tracebacks
from dlcore.data import batching
from dlcore.data.batching import HostData, Order
from dlcore.data.dataset import check_count
from dlcore.data.loader import Loader
from dlcore.names import arguments
from dlcore.train import guard, metrics
from dlcore.train.evaluate import evaluate, fed, measure_batch
from dlcore.train.metrics import Numbers
from dlcore.train.objective import Batch
from dlcore.train.plans import Run, StepFunction, batch_like
from dlcore.train.state import check_states, copy

# What other libraries' loops are given, by its name here.
ELSEWHERE = {
    "validation_data": ".validation",
    "patience": ".stopping",
    "callbacks": ".callback",
    "num_epochs": ".epochs",
    "n_epochs": ".epochs",
}


@tracebacks.short
@arguments("", ELSEWHERE)
def fit(
    step: StepFunction,
    state: Any,
    data: Batch | HostData | Loader,
    *,
    epochs: int,
    batch_size: int = 128,
    validation: Batch | HostData | Loader | Callable[[Any], Numbers] | None = None,
    every: int | None = None,
    order: Order = batching.batches,
    pause: Callable[[], bool] = lambda: False,
    totals: dict[str, Any] | None = None,
) -> Iterator[Record]:
    """Trains until `epochs` epochs are complete, counted from the beginning of `state`'s run.

    state: a TrainState, or what `alternate` trains; it is copied, so the caller's stays whole.
    data: a dict of arrays with one leading axis, which is put on the device; HostData where it
        does not fit there; a Loader where somebody else makes the batches, which are then taken as
        they come, whatever batch_size.
    batch_size: an epoch is n // batch_size updates; the short last batch is dropped.
    order: order(n, batch_size, seed, epoch) gives the rows of an epoch's batches, integers
        [n // batch_size, batch_size]; by default shuffled by (seed, epoch). By `data.streams` they
        follow each other, as a state with a carry needs it: what it remembers begins anew with each
        epoch, and where the data's column `begins` is True.
        `data.per_class` gives so many examples of each of so many classes, as `metric_learning`
        needs them.
    validation: data on which the step's objective is measured at each epoch's end, or a function
        of the TrainState that returns numbers. Every example starts from zero there (`evaluate`
        can go on from a carry). Its "loss" goes to plateau rules.
    every: a record comes every so many steps and at each epoch's end; by default only there. More
        than an epoch's steps are rounded up to whole epochs, with one record for several.
    pause: asked after every call to the device; where it says so, a record comes at once.
    totals: `record.totals` of the unfinished epoch that a resumed run goes on with.

    Raises NonFiniteLossError at the first loss that is not finite.

        for record in fit(step, state, data.train, epochs=10, validation=data.validation):
            print(record)
        trained = record.state
    """
    epochs = check_count("epochs", epochs, 1)
    every = None if every is None else check_count("every", every, 1)
    check_states(state)
    data = fed(data)
    if validation is not None and not callable(validation):
        validation = fed(validation, "validation")
    measured_by(step, state, validation)
    measure = None if validation is None else _measure(step, validation)
    run = Run(step, state, data, batch_size, order, totals)
    return _records(run, epochs, every, measure, pause)


class Record:
    """What `fit` says of a run at one moment.

    step: weight updates made. epoch: the epoch they lie in, from 1. ends_epoch: whether that epoch
    is complete. seconds: since `fit` began. validation: the numbers measured here, or None.
    totals: the metric sums that a run resumed here goes on with.
    """

    def __init__(
        self,
        run: Run,
        step: int,
        epoch: int,
        ends_epoch: bool,
        seconds: float,
        validation: Numbers | None,
    ) -> None:
        self.step, self.epoch, self.ends_epoch, self.seconds = step, epoch, ends_epoch, seconds
        self.validation = validation
        self.totals = run.nothing if ends_epoch else run.totals
        self._measured = run.totals
        self._run: Run | None = run
        self._reached = run.reached

    @functools.cached_property
    def metrics(self) -> Numbers:
        """The training metrics of the epoch so far, while it is trained."""
        if self._run is not None:
            self._run.check(self._reached, self.step)
        return metrics.values(self._measured)

    @property
    def state(self) -> Any:
        """The TrainState, to be asked for before the next record; the last one's stays.

        A copy where the run goes on, and its own where it has ended or was left. Raises
        NonFiniteLossError rather than hand out what is not finite.
        """
        if self._run is None:
            raise RuntimeError(
                "the state of an earlier record is gone, the steps after it use its memory: read "
                "record.state inside the loop"
            )
        self._run.check(self._reached, self.step)
        guard.check_state(self._run.state)
        return self._run.state if self._run.is_over else copy(self._run.state)

    def detach(self) -> None:
        """Lets go of the run, which goes on."""
        self._run = None

    def __repr__(self) -> str:
        numbers = {**self.metrics}
        numbers |= {f"validation_{name}": value for name, value in (self.validation or {}).items()}
        shown = [f"{name}={value:.4g}" for name, value in numbers.items() if np.ndim(value) == 0]
        return f"Record({', '.join([f'step={self.step}', f'epoch={self.epoch}', *shown])})"


def _records(
    run: Run,
    epochs: int,
    every: int | None,
    measure: Callable[[Any], Numbers] | None,
    pause: Callable[[], bool],
) -> Iterator[Record]:
    with tracebacks.short, closing(run):
        began = time.perf_counter()
        per_epoch = run.per_epoch
        every = every or per_epoch
        if every > per_epoch:
            every = -(-every // per_epoch) * per_epoch
        at, end = int(run.reached), epochs * per_epoch
        while at < end:
            stop = min(end, (at // every + 1) * every)
            if every < per_epoch:
                stop = min(stop, (at // per_epoch + 1) * per_epoch)
            due = stop
            stop = run.advance(at, stop, pause)
            ends_epoch = stop % per_epoch == 0 and (stop == due or every <= per_epoch)
            if stop == end:
                run.check_end()
            scores = None
            if measure is not None and ends_epoch:
                run.check(run.reached, stop)
                scores = measure(run.state)
                run.note_validation(scores)
            record = Record(
                run,
                stop,
                epoch=-(-stop // per_epoch),
                ends_epoch=ends_epoch,
                seconds=time.perf_counter() - began,
                validation=scores,
            )
            run.is_over = stop == end
            try:
                yield record
            except GeneratorExit:  # nobody will ask for the next one
                run.is_over = True
                raise
            if stop < end:  # the last record keeps its state
                record.detach()
            if ends_epoch:
                run.totals = run.nothing
            at = stop


def measured_by(step: Any, state: Any, validation: Any) -> list[str] | None:
    """The names of what validation on data will measure, from shapes alone; None for a function.

    Raises what that would only raise after the first epoch.
    """
    if validation is None or callable(validation):
        return None
    if not hasattr(step, "objective"):
        raise TypeError(
            "this step has no objective of its own: let `validation` be a function of its state, "
            "such as lambda state: evaluate(objective, state.params, state.state, data)"
        )
    try:
        measured = jax.eval_shape(
            lambda state, batch: measure_batch(step.objective, state, batch),
            state,
            batch_like(validation, 1),
        )
    except Exception as error:
        error.add_note("while looking at the validation data, before the first step")
        raise
    metrics.check(measured)
    return [*measured]


def _measure(step: Any, validation: Any) -> Callable[[Any], Numbers]:
    """The function of the state that measures `validation`, which may be one already."""
    if callable(validation):
        return lambda state: _numbers(validation(copy(state)))
    if isinstance(validation, dict):
        validation = jax.tree.map(jnp.asarray, validation)
    return lambda state: evaluate(
        step.objective, state.params, state.state, validation, seed=int(state.seed)
    )


def _numbers(scores: Any) -> Numbers:
    """What a function of the state has measured."""
    if not isinstance(scores, Mapping):
        raise TypeError(
            f"validation returned a {type(scores).__name__}, but a dict of numbers is wanted: "
            'return {"loss": loss}'
        )
    return dict(scores)
