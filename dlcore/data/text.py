"""Texts to learn from, and the windows that a language model reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dlcore.data import files
from dlcore.data.dataset import Arrays, DataError, check_count
from dlcore.names import arguments

SOURCE = "https://raw.githubusercontent.com/karpathy/char-rnn"
COMMIT = "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
_BYTES = 1_115_394


@dataclass(frozen=True)
class Corpus:
    """A text in two parts: what is learned from, and what is measured on, which comes after it.

    name: what it is called.
    train, validation: the parts.
    description: where it is from, in words.
    """

    name: str
    train: str
    validation: str
    description: str

    def __repr__(self) -> str:
        sizes = f"{len(self.train):,} and {len(self.validation):,} characters"
        return f"Corpus {self.name}: {sizes}\n  {self.description}"


def tiny_shakespeare(root: files.Root = None) -> Corpus:
    """Tiny Shakespeare: 1,003,854 characters to learn, the last 111,540 to measure; 65 are there.

    The file is looked for in `root/tinyshakespeare`, `root/data/tinyshakespeare` and `root`, then
    in the user's cache, and otherwise downloaded there; its content is checked.
    """
    name = "tinyshakespeare"
    path = files.find("input.txt", files.folders(name, root))
    mirrors = (f"{SOURCE}/{COMMIT}/data/tinyshakespeare/",)
    path = path or files.download(name, "input.txt", SHA256, mirrors)
    content = files.read(path, _BYTES)
    files.check_content(path, content, SHA256, "tiny Shakespeare's input.txt")
    text = content.decode()
    cut = int(len(text) * 0.9)
    return Corpus(
        "tiny_shakespeare",
        text[:cut],
        text[cut:],
        "Tiny Shakespeare (Karpathy 2015): 40,000 lines of his plays. Public domain.",
    )


@arguments()
def windows(
    numbers: Any, length: int, *, stride: int | None = None, padding: int | None = None
) -> Arrays:
    """The windows x [N, length] of `numbers` [T], each `stride` after the last, and y, one later.

    So y[n, t] is what follows x[n, t]. By default one begins where the last one ended, and fewer
    than `length` numbers are left over at the end; `order=data.streams` reads them one after
    another.

    stride: with 1 there is a window from each place, as a view: give it as `HostData`, which copies
        no more than a batch.
    padding: a token; the last window is filled up with it, so that nothing is left over; the column
        weight [N, length] is 0 there, and 1 else. Not with a stride.

    >>> windows([1, 2, 3, 4, 5], 2)["y"].tolist()
    [[2, 3], [4, 5]]
    """
    numbers = np.asarray(numbers)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise TypeError(f"windows: integers [T] are wanted, got {numbers.dtype}{[*numbers.shape]}")
    length = check_count("length", length, 1)
    if padding is not None:
        if stride is not None:
            raise ValueError("windows: padding fills up windows that follow each other: no stride")
        return _padded(numbers, length, padding)
    step = length if stride is None else check_count("stride", stride, 1)
    if len(numbers) <= length:
        raise DataError(
            f"windows of {length} and what follows need more than {len(numbers)} numbers"
        )
    views = np.lib.stride_tricks.sliding_window_view(numbers, length)
    return {"x": views[:-1:step], "y": views[1::step]}


def _padded(numbers: np.ndarray, length: int, padding: int) -> Arrays:
    if len(numbers) < 2:
        raise DataError(f"a window and what follows need 2 numbers at least, got {len(numbers)}")
    count = len(numbers) - 1
    places = np.arange(-(-count // length) * length).reshape(-1, length)
    real = places < count
    x, y = (
        np.where(real, numbers[np.minimum(places + later, count)], padding).astype(numbers.dtype)
        for later in (0, 1)
    )
    return {"x": x, "y": y, "weight": real.astype(np.float32)}
