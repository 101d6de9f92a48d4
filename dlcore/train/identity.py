"""What a run is, as a checkpoint remembers it: what a resumed run has to share."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore import device
from dlcore.data.batching import HostData
from dlcore.data.loader import Loader
from dlcore.train.evaluate import examples
from dlcore.train.objective import Batch
from dlcore.train.plans import StepFunction, batch_like
from dlcore.train.state import train_states

ROWS = 64  # of the data, spread evenly, that tell one set from another


def identified(
    step: StepFunction,
    state: Any,
    data: Batch | HostData | Loader,
    batch_size: int,
    validation: Any,
) -> dict[str, Any]:
    """What a run is beside its settings: seeds, data, validation, and what its step computes."""
    return {
        "seed": [int(one.seed) for one in train_states(state)],
        "examples": _count(data),
        "data": _of_data(data),
        "validation": _of_validation(validation),
        "step": _of_step(step, state, data, batch_size),
    }


def differences(before: dict[str, Any], now: dict[str, Any], ignored: Sequence[str]) -> str | None:
    """The first setting that is not the same, with both values where they say something."""
    for name in {**before, **now}:
        if before.get(name) == now.get(name) or name in ignored:
            continue
        if name == "step":
            return (
                "by another step (its network, objective, optimizer or one of their numbers "
                "differs)"
            )
        if name == "data":
            return "on other data of the same shape"
        return f"with {name}={before.get(name)}, this run has {now.get(name)}"
    return None


def _count(data: Batch | HostData | Loader) -> int | str:
    if isinstance(data, Loader):
        return f"{data.steps_per_epoch} batches of a loader"
    return examples(data)


def _of_data(data: Batch | HostData | Loader) -> str:
    """A digest of 64 examples; of a loader, of those of its first batch."""
    data = data.first if isinstance(data, Loader) else data
    n = examples(data)
    rows = np.unique(np.linspace(0, n - 1, min(n, ROWS)).astype(np.int64))
    if isinstance(data, HostData):
        some = data.gather(rows)
    else:
        some = {name: np.asarray(leaf[rows]) for name, leaf in data.items()}
    return _digest(*(part for name in sorted(some) for part in (name, some[name])))


def _of_validation(validation: Any) -> str:
    if validation is None or callable(validation):
        return "none" if validation is None else "a function"
    counted = _count(validation)
    several = counted if isinstance(counted, str) else f"{counted} examples"
    return f"{several}, {_of_data(validation)}"


def _of_step(
    step: StepFunction, state: Any, data: Batch | HostData | Loader, batch_size: int
) -> str:
    """A digest of all that a step computes: the traced program with its constants.

    Another version of JAX may write the same program otherwise.
    """
    traced = device.traced_once(step).trace(state, batch_like(data, batch_size)).jaxpr
    return _digest(re.sub(r" at 0x[0-9a-f]+", "", str(traced)), *traced.consts)


def _digest(*parts: Any) -> str:
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            total.update(f"{part};".encode())
        else:
            array = np.asarray(part)
            total.update(f"{array.dtype}{array.shape};".encode())
            total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()[:16]
