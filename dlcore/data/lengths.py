"""Batches of sequences that are about as long as each other, so that there is little padding."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np

from dlcore.data.batching import batches_per_epoch, order
from dlcore.data.dataset import Arrays, DataError


def by_length(
    data: Arrays, batch_size: int, widths: Sequence[int], seed: int, epoch: int
) -> Generator[Arrays, None, None]:
    """The batches of an epoch, each cut to the least of `widths` that holds its sequences.

    data: arrays with one leading axis, among them "mask" [N, T], False where a sequence has ended;
        those of shape [N, T, …] are cut.
    batch_size: what is left over of a width goes to the next; of the last width it is dropped.
    widths: rising lengths, each of which is one more program to compile.

    Examples and batches are shuffled, as in `data.order`, by (seed, epoch). To train on them:

        def batches(epoch):
            return data.by_length(arrays, 16, (20, 36, 80), seed=0, epoch=epoch)

        steps = data.batches_per_epoch(len(arrays["x"]), 16)
        loader = data.Loader(batches, steps, lengths_differ=True)

    Raises DataError for sequences that are longer than all widths, ValueError where there are fewer
    than a batch.
    """
    if "mask" not in data:
        raise DataError(
            'by_length: the data have no "mask" [N, T], False where a sequence has ended, but only '
            f"{', '.join(data)}"
        )
    per_epoch = batches_per_epoch(len(data["mask"]), batch_size)
    shuffled = order(len(data["mask"]), seed, epoch)
    places = _by_width(data["mask"], widths)[shuffled]
    batches: list[tuple[np.ndarray, int]] = []
    rest = shuffled[:0]
    for number, width in enumerate(widths):
        rows = np.concatenate([rest, shuffled[places == number]])
        whole = len(rows) // batch_size * batch_size
        batches += [(part, width) for part in rows[:whole].reshape(-1, batch_size)]
        rest = rows[whole:]
    for number in order(per_epoch, seed, epoch):
        rows, width = batches[number]
        yield {name: _cut(leaf[rows], data["mask"].shape[1], width) for name, leaf in data.items()}


def _by_width(mask: np.ndarray, widths: Sequence[int]) -> np.ndarray:
    """The number of the width that each sequence fits into, [N]."""
    lengths = np.max(np.where(mask, np.arange(1, mask.shape[1] + 1), 0), axis=1, initial=0)
    if lengths.max(initial=0) > widths[-1]:
        raise DataError(f"by_length: a sequence has {lengths.max()} steps, but widths={widths}")
    return np.searchsorted(widths, lengths)


def _cut(leaf: np.ndarray, steps: int, width: int) -> np.ndarray:
    """The first `width` of an array's steps, filled up where it has fewer."""
    if leaf.ndim < 2 or leaf.shape[1] != steps:
        return leaf
    rest = [(0, 0)] * (leaf.ndim - 2)
    return np.pad(leaf[:, :width], [(0, 0), (0, max(0, width - steps)), *rest])
