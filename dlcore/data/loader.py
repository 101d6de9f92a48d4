"""Batches that somebody else reads: another library's loader, a stream, a generator of examples."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass

from dlcore.data import forms
from dlcore.data.batching import BatchError, ahead
from dlcore.data.dataset import Arrays, DataError, check_count


@dataclass(frozen=True, eq=False)
class Loader:
    """Batches an epoch at a time, each a dict of arrays with one leading axis.

        loader = data.Loader(lambda epoch: shuffled(files, seed=epoch), steps_per_epoch=500)
        train.run(step, state, loader, epochs=10)

    batches: batches(epoch), epochs counted from 0, gives at least steps_per_epoch batches, the same
        ones whenever it is asked for that epoch. So a run that is resumed within epoch 7 reads
        epoch 7 again as far as it had come, and trains on nothing twice, which one iterator for
        all epochs could not promise.
    steps_per_epoch: what follows these batches is left.
    lengths_differ: whether the second axis, time, may differ between batches (`data.by_length`).

    A batch of another length or of fewer examples is one more program to compile. PyTorch's loaders
    give pairs: `lambda epoch: ({"x": x, "y": y} for x, y in loader)`, with a sampler that is seeded
    by the epoch.

    Raises TypeError for batches that are no function of the epoch; BatchError, when they are read,
    for a batch of another form and for an epoch that ends early.
    """

    batches: Callable[[int], Iterable[Arrays]]
    steps_per_epoch: int
    lengths_differ: bool = False

    def __post_init__(self) -> None:
        check_count("steps_per_epoch", self.steps_per_epoch, 1)
        if not callable(self.batches):
            raise TypeError(
                f"Loader takes a function of the epoch, got a {type(self.batches).__name__}: "
                "data.Loader(lambda epoch: batches, steps_per_epoch=100), where each epoch makes "
                "its batches anew"
            )

    @functools.cached_property
    def first(self) -> Arrays:
        """The first batch of all, whose form the others have."""
        return next(self._epoch(0, 0))

    def following(self, step: int) -> Generator[Arrays, None, None]:
        """The batches from step `step` of a run to the end of its epoch, read ahead by a thread."""
        epoch, start = divmod(step, self.steps_per_epoch)
        batches = self._epoch(epoch, start)
        places = range(start, self.steps_per_epoch)
        free = 2 if self.lengths_differ else 1
        return ahead(lambda _: next(batches), places, start=start, like=self.first, free=free)

    def _epoch(self, epoch: int, start: int) -> Iterator[Arrays]:
        """The batches of an epoch from number `start` on."""
        name = f"batches({epoch})"
        given = self.batches(epoch)
        if not isinstance(given, Iterable):
            raise BatchError(f"{name} is a {type(given).__name__}, but an iterable is wanted")
        read = iter(given)
        for place in range(self.steps_per_epoch):
            try:
                batch = next(read)
            except StopIteration:
                raise BatchError(
                    f"{name} has ended after {place} batches, but "
                    f"steps_per_epoch={self.steps_per_epoch}"
                ) from None
            if place >= start:
                try:
                    yield forms.arrays(batch, f"batch {place} of {name}")
                except (TypeError, DataError) as problem:
                    raise BatchError(str(problem)) from None
