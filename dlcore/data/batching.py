"""Which examples form which batch, and batches read ahead where the data stays with the host.

The order is a pure function of (seed, epoch); a batch is a row of indices into the data, which is
gathered on the device or, where it does not fit there, by `HostData`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np

from dlcore import keys
from dlcore.data import forms
from dlcore.data.dataset import Arrays, DataError, check_count


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


def streams(n: int, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """The index batches int32 [n // batch_size, batch_size] of windows that follow each other.

    The examples, in their order, are batch_size streams one after another; batch k holds the k-th
    window of each. So what a network remembers of row b after batch k is what came before row b of
    batch k + 1 (`TrainState.carry`). Each epoch is the same.
    """
    windows = batches_per_epoch(n, batch_size)
    return np.arange(windows * batch_size, dtype=np.int32).reshape(batch_size, windows).T


Order = Callable[[int, int, int, int], np.ndarray]  # (n, batch_size, seed, epoch) -> index batches


def per_class(labels: np.ndarray, *, classes: int, examples: int) -> Order:
    """The order whose batches hold `classes` different classes, `examples` of each, side by side.

    For losses that compare the examples of a batch (`train.metric_learning`; Hermans et al. 2017,
    section 2: P persons and K pictures of each):

        order = data.per_class(faces["y"], classes=8, examples=4)
        train.fit(step, state, faces, epochs=20, batch_size=32, order=order)

    The classes of a batch are drawn anew for each. Of its own examples, shuffled, a class gives the
    next ones whenever it is drawn, and shuffles anew where too few are left. So in an epoch, of
    n // (classes · examples) batches, an example may come twice or not at all. labels [n] are those
    of the data; batches of another size are refused, as is a class with fewer examples.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"per_class: labels are {labels.dtype}{list(labels.shape)}, but integers [n] are wanted"
        )
    if not labels.size:
        raise ValueError("per_class: there are no labels: labels of the data are wanted")
    members = [np.flatnonzero(labels == name) for name in np.unique(labels)]
    classes = check_count("classes", classes, 1, len(members))
    examples = check_count("examples", examples, 1)
    fewest = min(members, key=len)
    if len(fewest) < examples:
        raise ValueError(
            f"per_class: examples={examples}, but class {labels[fewest[0]]} has {len(fewest)}: "
            f"give examples={len(fewest)} or less, or leave the class out"
        )
    size = classes * examples

    def by_class(n: int, batch_size: int, seed: int, epoch: int) -> np.ndarray:
        if n != len(labels) or batch_size != size:
            raise ValueError(
                f"per_class: {len(labels)} labels in batches of {classes} classes × {examples} "
                f"examples, but the data have {n} examples in batches of {batch_size}: "
                f"fit(…, batch_size={size}, order=data.per_class(labels of the data, …))"
            )
        drawn = np.random.Philox(key=[seed, keys.tag("per_class")], counter=[0, 0, 0, epoch])
        chosen = _shuffles(drawn, batches_per_epoch(n, size), len(members))[:, :classes]
        table = np.empty((*chosen.shape, examples), np.int32)
        for name, own in enumerate(members):
            places = chosen == name
            parts = len(own) // examples  # that one shuffle gives
            shuffled = own[_shuffles(drawn, -(-places.sum() // parts), len(own))]
            groups = shuffled[:, : parts * examples].reshape(-1, examples)
            table[places] = groups[: places.sum()]
        return table.reshape(-1, size)

    by_class.__name__ = f"per_class(classes={classes}, examples={examples})"
    return by_class


def _shuffles(drawn: np.random.Philox, count: int, n: int) -> np.ndarray:
    """So many permutations of 0 … n − 1, [count, n], from the generator's bits alone."""
    return np.argsort(drawn.random_raw(count * n).reshape(count, n), axis=1, kind="stable")


def rows(
    order: Order, n: int, batch_size: int, seed: int, epoch: int, epochs: int = 1
) -> np.ndarray:
    """The index batches int32 [epochs · (n // batch_size), batch_size] of an order from `epoch` on.

    Refused where they are not of that shape, or not in [0, n).
    """
    if order is batches:
        return batches(n, batch_size, seed, epoch, epochs)
    wanted = (batches_per_epoch(n, batch_size), batch_size)
    several = []
    for number in range(epoch, epoch + epochs):
        one = np.asarray(order(n, batch_size, seed, number))
        if one.shape != wanted or one.dtype.kind not in "iu" or one.min() < 0 or one.max() >= n:
            raise ValueError(
                f"order({n}, {batch_size}, {seed}, {number}) gave {one.dtype}{list(one.shape)}, "
                f"but indices {list(wanted)} in [0, {n}) are wanted"
            )
        several.append(one.astype(np.int32))
    return np.concatenate(several)


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


class BatchError(DataError):
    """A source gave a batch of another form than it was asked for, or than its first."""


@dataclass(frozen=True, eq=False)
class HostData:
    """Examples that stay with the host.

    source: a dict of numpy arrays or memory maps, or a HostSource.

    The arrays of a dict have one leading axis; ones that do not are refused, as are those that hold
    no numbers. See `forms.arrays`.
    """

    source: Mapping[str, np.ndarray] | HostSource

    def __post_init__(self) -> None:
        if isinstance(self.source, Mapping):
            # A memory map stays one, whatever its byte order: `gather` turns what it reads.
            columns = {
                name: column
                if type(column) in forms.PLAIN and forms.is_numeric(column.dtype)
                else forms.array(column, f"HostData[{name!r:.80}]")
                for name, column in self.source.items()
            }
            forms.check_leading("HostData", columns)
            object.__setattr__(self, "source", columns)
        elif not (hasattr(self.source, "gather") and hasattr(self.source, "__len__")):
            forms.arrays(self.source, "HostData's source")

    def __len__(self) -> int:
        if isinstance(self.source, Mapping):
            return len(next(iter(self.source.values())))
        return len(self.source)

    def gather(self, indices: np.ndarray) -> Arrays:
        """The examples at `indices` [B]; IndexError outside [0, n), negative ones too.

        Raises BatchError where a source gives no dict of arrays of B numbers.
        """
        indices = np.asarray(indices)
        outside = indices[(indices < 0) | (indices >= len(self))]
        if outside.size:
            raise IndexError(f"index {outside[0]} is outside the {len(self)} examples")
        if isinstance(self.source, Mapping):
            columns = {name: np.asarray(column[indices]) for name, column in self.source.items()}
            return forms.columns(columns, "HostData")
        return _asked_for(self.source, indices)


def _asked_for(source: HostSource, indices: np.ndarray) -> Arrays:
    """The batch that a source gives, which has these examples and nothing else."""
    name = f"{type(source).__name__}.gather(indices)"
    try:
        given = source.gather(indices)
    except StopIteration:
        raise BatchError(f"{name} has stopped: give every batch that is asked for") from None
    try:
        batch = forms.columns(given, name)
    except (TypeError, DataError) as problem:
        raise BatchError(str(problem)) from None
    lengths = {key: len(column) if np.ndim(column) else None for key, column in batch.items()}
    if set(lengths.values()) != {len(indices)}:
        raise BatchError(f"{name} has {lengths} examples, but {len(indices)} were asked for")
    return batch


def prefetch(
    data: HostSource, index_batches: Iterable[Any], depth: int = 2
) -> Generator[Arrays, None, None]:
    """The batches `data.gather(indices)` for each row of `index_batches`, in that order.

    One background thread, never a process, gathers up to `depth` batches ahead. Its exception is
    raised where the batch would have come, with a note of the batch's position; one of another form
    than it was asked for, or than the first, is a BatchError. When the iterator is closed early,
    nothing more is gathered and the thread ends.
    """
    host = data if isinstance(data, HostData) else HostData(data)
    asked = map(np.asarray, index_batches)
    return ahead(host.gather, asked, check_count("depth", depth, 1))


def ahead(
    read: Callable[[Any], Arrays],
    places: Iterable[Any],
    depth: int = 2,
    *,
    start: int = 0,
    like: Arrays | None = None,
    free: int = 1,
) -> Generator[Arrays, None, None]:
    """read(place) for each place, by a thread that is up to `depth` of them ahead; see `prefetch`.

    start: the position of the first. like: a batch whose form they have, or else the first. free:
    the number of leading axes that are no part of the form.
    """
    worker = ThreadPoolExecutor(1, thread_name_prefix="dlcore-prefetch")
    pending: deque[Future[Arrays]] = deque()
    waiting, position, first = iter(places), start, _form(like, free) if like else ""
    try:
        while True:
            for place in islice(waiting, depth + 1 - len(pending)):
                pending.append(worker.submit(read, place))
            if not pending:
                return
            batch = _result(pending.popleft(), position)
            form = _form(batch, free)
            first = first or form
            if form != first:
                raise BatchError(f"batch {position} (the first is 0) has {form}, others {first}")
            yield batch
            position += 1
    finally:
        worker.shutdown(cancel_futures=True)


def _form(batch: Arrays, free: int) -> str:
    """What all batches of a source share: dtypes, and shapes but for their first `free` axes."""
    shapes = {key: (*"BT"[:free], *one.shape[free:])[: one.ndim] for key, one in batch.items()}
    return ", ".join(
        f"{key} {batch[key].dtype}[{', '.join(map(str, shapes[key]))}]" for key in sorted(batch)
    )


def _result(batch: Future[Arrays], position: int) -> Arrays:
    try:
        return batch.result()
    except BatchError as problem:
        raise BatchError(f"batch {position} (the first is 0): {problem}") from None
    except Exception as error:
        error.add_note(f"while gathering batch {position} (the first is 0) on the host")
        raise
