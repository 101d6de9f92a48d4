"""Which examples form which batch, and batches read ahead where the data stays with the host.

The order is a pure function of (seed, epoch); a batch is a row of indices into the data, which is
gathered on the device or, where it does not fit there, by `HostData`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np

from dlcore import keys
from dlcore.data.dataset import Arrays, check_count, check_leading


def order(n: int, seed: int, epoch: int) -> np.ndarray:
    """The order int32 [n] in which epoch `epoch` of the run `seed` visits n examples.

    A permutation of 0 … n − 1; seed and epoch lie in [0, 2³²). It is drawn on the host, from the
    bits of Philox (Salmon et al. 2011) under the key (seed, "data"), so that it is the same on
    every device and nothing has to be compiled for it.
    """
    return _orders(n, seed, epoch, 1)[0]


def batches_per_epoch(n: int, batch_size: int) -> int:
    """n // batch_size: an epoch's whole batches of n examples, at least one."""
    n, batch_size = check_count("n", n, 1), check_count("batch_size", batch_size, 1)
    if batch_size > n:
        raise ValueError(
            f"batch_size={batch_size} is more than the {n} examples: give batch_size={n} or less"
        )
    return n // batch_size


def batches(n: int, batch_size: int, seed: int, epoch: int, epochs: int = 1) -> np.ndarray:
    """The index batches int32 [epochs · (n // batch_size), batch_size] from `epoch` on.

    Those of an epoch are its `order`, cut into rows. The n mod batch_size examples left over are
    dropped, others in each epoch.
    """
    whole = batches_per_epoch(n, batch_size) * batch_size
    return _orders(n, seed, epoch, epochs)[:, :whole].reshape(-1, batch_size)


def _orders(n: int, seed: int, epoch: int, epochs: int) -> np.ndarray:
    """The orders [epochs, n] from `epoch` on.

    An epoch sorts random bits with the index below them, as one number. The bits are at least 40
    where n is at most 2²⁴; examples whose bits are equal keep their order.
    """
    blocks = -(-check_count("n", n, 1) // 4)  # of four numbers, the same for every epoch
    drawn = np.random.Philox(key=[seed, keys.tag("data")])
    drawn.advance(blocks * epoch)
    bits = drawn.random_raw(epochs * blocks * 4).reshape(epochs, -1)[:, :n]
    width = np.uint64((n - 1).bit_length())
    numbers = bits >> width << width | np.arange(n, dtype=np.uint64)
    numbers.sort(axis=1)
    return (numbers & ((np.uint64(1) << width) - np.uint64(1))).astype(np.int32)


class HostSource(Protocol):
    """Anything that can count its examples and gather a batch of them."""

    def __len__(self) -> int:
        """How many examples there are."""
        ...

    def gather(self, indices: np.ndarray) -> Arrays:
        """The examples at `indices` [B], a dict of numpy arrays with one leading axis."""
        ...


@dataclass(frozen=True, eq=False)
class HostData:
    """Examples that stay with the host: a dict of numpy arrays or memory maps, or a HostSource.

    The arrays of a dict have one leading axis; ones that do not are refused.
    """

    source: Mapping[str, np.ndarray] | HostSource

    def __post_init__(self) -> None:
        if isinstance(self.source, Mapping):
            check_leading("HostData", self.source)

    def __len__(self) -> int:
        if isinstance(self.source, Mapping):
            return len(next(iter(self.source.values())))
        return len(self.source)

    def gather(self, indices: np.ndarray) -> Arrays:
        """The examples at `indices` [B]; IndexError outside [0, n), negative ones too."""
        indices = np.asarray(indices)
        outside = indices[(indices < 0) | (indices >= len(self))]
        if outside.size:
            raise IndexError(f"index {outside[0]} is outside the {len(self)} examples")
        if isinstance(self.source, Mapping):
            return {key: np.asarray(array[indices]) for key, array in self.source.items()}
        return self.source.gather(indices)


def prefetch(data: HostSource, index_batches: Iterable[Any], depth: int = 2) -> Iterator[Arrays]:
    """The batches `data.gather(indices)` for each row of `index_batches`, in that order.

    One background thread, never a process, gathers up to `depth` batches ahead. Its exception is
    raised where the batch would have come, with a note of the batch's position. When the iterator
    is closed early, nothing more is gathered and the thread ends.
    """
    return _prefetch(data, iter(index_batches), check_count("depth", depth, 1))


def _prefetch(data: HostSource, index_batches: Iterator[Any], depth: int) -> Iterator[Arrays]:
    worker = ThreadPoolExecutor(1, thread_name_prefix="dlcore-prefetch")
    pending: deque[Future[Arrays]] = deque()
    position = 0
    try:
        while True:
            for indices in islice(index_batches, depth + 1 - len(pending)):
                pending.append(worker.submit(data.gather, np.asarray(indices)))
            if not pending:
                return
            yield _result(pending.popleft(), position)
            position += 1
    finally:
        worker.shutdown(cancel_futures=True)


def _result(batch: Future[Arrays], position: int) -> Arrays:
    try:
        return batch.result()
    except Exception as error:
        error.add_note(f"while gathering batch {position} (the first is 0) on the host")
        raise
