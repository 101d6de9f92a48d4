"""One call above `fit`: bar, log, checkpoints, resume, early stopping, best weights."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore import files, tracebacks
from dlcore.data import batching
from dlcore.data.batching import HostData, Order
from dlcore.data.dataset import unknown
from dlcore.data.loader import Loader
from dlcore.fields import documented
from dlcore.names import arguments
from dlcore.train import checkpoint, log
from dlcore.train.evaluate import fed
from dlcore.train.fit import ELSEWHERE, Record, fit, measured_by
from dlcore.train.identity import differences, identified
from dlcore.train.metrics import Numbers
from dlcore.train.objective import Batch
from dlcore.train.plans import StepFunction, empty_totals, sizes
from dlcore.train.progress import progress
from dlcore.train.state import check_states, position
from dlcore.train.stopping import EarlyStopping, Progress


@documented
class Result(NamedTuple):
    """What a run leaves.

    state: the last TrainState.
    best: the one with the best validation score; the last, without validation.
    history: a dict of numbers for each epoch.
    reason: why it ended, "complete" or "early stopping".
    """

    state: Any
    best: Any
    history: list[dict[str, Any]]
    reason: str


class Interrupted(KeyboardInterrupt):
    """A run was asked to stop (SIGINT, SIGTERM), and has saved what it had."""

    def __init__(self, step: int, out: Path | None) -> None:
        self.step, self.out = step, out
        saved = f"saved in {out}" if out else "not saved, for want of an output folder"
        super().__init__(f"interrupted after step {step}, {saved}")

    def __reduce__(self) -> Any:
        return type(self), (self.step, self.out)


@tracebacks.short
@arguments("", ELSEWHERE)
def run(
    step: StepFunction,
    state: Any,
    data: Batch | HostData | Loader,
    *,
    epochs: int,
    batch_size: int = 128,
    validation: Batch | HostData | Loader | Callable[[Any], Numbers] | None = None,
    stopping: EarlyStopping | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    order: Order = batching.batches,
    facts: dict[str, Any] | None = None,
    callback: Callable[[Record], None] | None = None,
    checkpoint_seconds: float = 60.0,
    visible: bool = True,
) -> Result:
    """`fit` with everything most people want around it.

    stopping: which validation score makes an epoch the best, and when to stop (early stopping);
        by default the validation loss, and never.
    out: a folder for metrics.csv, metrics.jsonl and checkpoints/; nothing is written without.
    resume: go on from the newest good checkpoint in `out`, if there is one. The end is bit for bit
        that of a run that was never stopped (same machine kind, versions and arguments). More
        epochs, another patience or checkpoint_seconds hold from here on; another batch_size, seed,
        monitor, step (its network, objective and optimizer) or data are refused.
    order: as in `fit`.
    facts: JSON data that a resumed run must share with the checkpoint (model, optimizer, …).
    callback: called with each Record, some twenty an epoch of many steps, after what it says is
        kept: to log a number (`tensorboard`), or to write a picture of `record.state`. Where it
        raises, the run is saved first.
    checkpoint_seconds: the least time between two checkpoints; the last state is always saved.

    On SIGINT or SIGTERM the run saves and raises Interrupted, after the steps that are under way.
    """
    stopping = stopping or EarlyStopping()
    _check_settings(stopping, out, resume, callback)
    out = files.located(out) if out is not None else None
    check_states(state)
    data = fed(data)
    if validation is not None and not callable(validation):
        validation = fed(validation, "validation")
    batch_size, per_epoch = sizes(data, batch_size, order)
    _check_monitor(stopping, measured_by(step, state, validation), validation)
    settings = {
        **(facts or {}),
        "batch_size": batch_size,
        "order": getattr(order, "__name__", repr(order)),
        "monitor": stopping.monitor,
        "mode": stopping.mode,
    }
    files.to_json(settings)  # refused now rather than after the first epoch
    memory = _Memory(state, state, empty_totals(step, state, data, batch_size))
    identity: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(_writer(out))
        if out is not None:
            identity = settings | identified(step, state, data, batch_size, validation)
            memory = _recall(out, memory, identity, resume, stopping)
        interrupt = stack.enter_context(_interrupts())
        start = int(position(memory.state))
        if memory.reason == "early stopping" or start >= epochs * per_epoch:
            return _result(memory)
        show = stack.enter_context(progress(epochs, per_epoch, start=start, visible=visible))
        began = saved = time.perf_counter()
        earlier = memory.seconds
        for record in fit(
            step,
            memory.state,
            data,
            epochs=epochs,
            batch_size=batch_size,
            validation=validation,
            every=_every(per_epoch),
            order=order,
            pause=interrupt.is_set,
            totals=memory.totals,
        ):
            seconds = earlier + time.perf_counter() - began
            memory = _remember(memory, record, stopping, seconds)
            if record.step == epochs * per_epoch and not memory.reason:
                memory = memory._replace(reason="complete")
            interrupted = interrupt.is_set()
            if out is not None and record.ends_epoch:
                log.write(out / "metrics.csv", memory.history)
                log.write(out / "metrics.jsonl", memory.history)
            failure = _failure(callback, record)
            last = bool(memory.reason) or interrupted or failure is not None
            if last or (writer and time.perf_counter() - saved >= checkpoint_seconds):
                memory = memory._replace(state=record.state, totals=record.totals)
                if writer:
                    _save(writer, record, memory, identity)
                saved = time.perf_counter()
            show(record.step, _row(record), record.ends_epoch)
            if failure is not None:
                raise failure
            if memory.reason:
                break
            if interrupted:
                raise Interrupted(record.step, out)
    return _result(memory)


class _Memory(NamedTuple):
    """All that a run knows: what a checkpoint holds."""

    state: Any
    best: Any
    totals: dict[str, Any]
    score: Progress | None = None
    history: tuple[dict[str, Any], ...] = ()
    seconds: float = 0.0
    reason: str = ""


def _check_settings(stopping: Any, out: Any, resume: bool, callback: Any) -> None:
    if not isinstance(stopping, EarlyStopping):
        raise TypeError(f"stopping is train.EarlyStopping(patience=5), got {stopping!r:.80}")
    if resume and out is None:
        raise ValueError("resume=True goes on from a folder: give run(…, out=folder, resume=True)")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback is a function of each Record, got a {type(callback).__name__}")


def _check_monitor(stopping: EarlyStopping, names: list[str] | None, validation: Any) -> None:
    """Refuses a score to wait for that validation does not measure; None: nobody knows yet."""
    if stopping.patience is not None and validation is None:
        raise ValueError("early stopping needs validation: a score to wait for")
    if names is not None and stopping.monitor not in names:
        raise ValueError("early stopping: " + unknown("validation score", stopping.monitor, names))


def _remember(memory: _Memory, record: Record, stopping: EarlyStopping, seconds: float) -> _Memory:
    """The memory after a record: its row of history, the best state, whether patience ends."""
    memory = memory._replace(seconds=seconds)
    if record.validation is not None:
        _check_monitor(stopping, [*record.validation], record.validation)
        watched = record.validation[stopping.monitor]
        if np.ndim(watched):
            raise ValueError(
                f"early stopping watches {stopping.monitor!r}, which is an array "
                f"{list(np.shape(watched))}, but one number is wanted"
            )
        before = memory.score or stopping.start()
        score = stopping.update(before, float(watched), record.step)
        memory = memory._replace(score=score)
        if score.step == record.step:
            memory = memory._replace(best=record.state)
        if stopping.is_over(score):
            memory = memory._replace(reason="early stopping")
    if record.ends_epoch:
        row = {"epoch": record.epoch, "step": record.step, **_row(record), "seconds": seconds}
        memory = memory._replace(history=(*memory.history, row))
    return memory


def _failure(callback: Callable[[Record], None] | None, record: Record) -> Exception | None:
    """What a callback raised, which must not cost the run."""
    try:
        if callback is not None:
            callback(record)
    except Exception as error:
        return error
    return None


def _row(record: Record) -> dict[str, Any]:
    """The record's numbers by name; matrices are left to those who read the record itself."""
    named = {**record.metrics}
    named |= {f"validation_{name}": value for name, value in (record.validation or {}).items()}
    return {name: float(value) for name, value in named.items() if np.ndim(value) == 0}


def _result(memory: _Memory) -> Result:
    never = memory.score is None or memory.score.step == 0  # every score was NaN
    best = memory.state if never else memory.best
    return Result(memory.state, best, list(memory.history), memory.reason or "complete")


def _every(per_epoch: int) -> int:
    """Steps between two looks of a person at the bar."""
    return per_epoch if per_epoch < 100 else per_epoch // 20


def _save(
    writer: checkpoint.Writer, record: Record, memory: _Memory, identity: dict[str, Any]
) -> None:
    trees = {"state": memory.state, "best": memory.best, "totals": memory.totals}
    meta = {
        "identity": identity,
        "machine": _machine(),
        "score": [_to_json(value) for value in memory.score or ()],
        "history": [{name: _to_json(v) for name, v in row.items()} for row in memory.history],
        "seconds": memory.seconds,
        "reason": memory.reason,
    }
    writer.save(record.step, trees, meta)


def _recall(
    out: Path,
    memory: _Memory,
    identity: dict[str, Any],
    resume: bool,
    stopping: EarlyStopping,
) -> _Memory:
    """The memory in the newest good checkpoint under `out`; `memory` itself where there is none."""
    folder = out / "checkpoints"
    if not resume:
        if any(folder.glob("step-*")):
            raise FileExistsError(
                f"{out} holds a run already: resume it (resume=True, --resume), or choose another "
                "folder"
            )
        return memory
    likes = {"state": memory.state, "best": memory.best, "totals": memory.totals}

    def check(path: Path, meta: dict[str, Any]) -> None:
        is_same = meta["machine"] == _machine()
        if not is_same:
            warnings.warn(
                f"{path} was made on {meta['machine']}, this is {_machine()}: the run goes on, "
                "but not to the same bits",
                stacklevel=5,
            )
        # Another version of JAX may write the same step otherwise.
        ignored = () if is_same else ("step",)
        differs = differences(meta["identity"], identity, ignored)
        if differs:
            raise checkpoint.CheckpointError(
                f"{path} was made {differs}: resume with the same, or choose another folder"
            )

    found = checkpoint.restore(folder, likes, check=check)
    if found is None:
        return memory
    meta = found.meta
    score = Progress(*map(_from_json, meta["score"])) if meta["score"] else None
    is_over = score is not None and stopping.is_over(score)
    return _Memory(
        **found.trees,
        score=score,
        history=tuple({name: _from_json(v) for name, v in row.items()} for row in meta["history"]),
        seconds=meta["seconds"],
        reason="early stopping" if is_over else "",
    )


def _to_json(number: float) -> Any:
    """JSON has no NaN or infinity; they are written as texts."""
    return number if math.isfinite(number) else str(number)


def _from_json(value: Any) -> Any:
    return float(value) if isinstance(value, str) else value


def _machine() -> dict[str, str]:
    """What the bits of a run depend on beside its arguments."""
    return {"jax": jax.__version__, "device": jax.devices()[0].device_kind}


@contextlib.contextmanager
def _writer(out: Path | None) -> Iterator[checkpoint.Writer | None]:
    if out is None:
        yield None
        return
    with checkpoint.Writer(out / "checkpoints", keep=2) as writer:
        yield writer


@contextlib.contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; a second signal acts as it did before."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # What the parent told to be ignored (nohup, a shell's &) stays so.
    signals = [number for number, handler in before.items() if handler is not signal.SIG_IGN]

    def ask(number: int, frame: Any) -> None:
        asked.set()
        restore()

    def restore() -> None:
        for number in signals:
            signal.signal(number, before[number])

    for number in signals:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        restore()
