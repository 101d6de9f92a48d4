"""What every peer trains alike: batch, optimizer and loss, and where it finds weights and batches.

A network is one entry here and one in the table MODELS of each peer that has it. Nothing here
imports a library that is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import safe_open


class Network(NamedTuple):
    """What all peers agree on. A round is `steps` updates, on other batches each.

    turn: the rounds that are timed together, so that what it takes to wake up does not tell.
    loss: "softmax", "sigmoid" or "elbo". momentum: None is Adam. l2: λ of λθ added to the gradient.
    decay: λ of AdamW, of all weights.
    tolerance: of the mean loss of the first round, relative.
    """

    batch: int
    steps: int
    turn: int
    loss: str
    rate: float
    momentum: float | None = None
    l2: float = 0.0
    decay: float = 0.0
    tolerance: float = 1e-3

    @property
    def turn_steps(self) -> int:
        """Updates in a turn."""
        return self.steps * self.turn


NETWORKS = {
    # Keras's Adam adds epsilon before it corrects the bias.
    "mlp": Network(batch=128, steps=50, turn=5, loss="softmax", rate=1e-3, tolerance=5e-3),
    "playground": Network(batch=32, steps=2000, turn=5, loss="sigmoid", rate=0.03, momentum=0.0),
    "lenet5": Network(batch=128, steps=20, turn=5, loss="softmax", rate=0.01, momentum=0.9),
    # A tenth of the paper's rate, at which rounding grows to 2 % of the third loss.
    "resnet20": Network(
        batch=128, steps=3, turn=5, loss="softmax", rate=0.01, momentum=0.9, l2=1e-4
    ),
    # The noise is drawn by each library itself.
    "vae": Network(batch=128, steps=50, turn=5, loss="elbo", rate=1e-3, tolerance=0.02),
    "gpt": Network(batch=16, steps=3, turn=5, loss="softmax", rate=1e-3, decay=0.01),
    "lstm": Network(batch=32, steps=10, turn=5, loss="softmax", rate=1e-3),
}


class Text(NamedTuple):
    """A network that tells what comes after each of `length` characters.

    features: the width of what embeds one. A GPT has layers and heads, an LSTM hidden units.
    """

    length: int
    features: int
    layers: int = 0
    heads: int = 0
    hidden: int = 0


VOCABULARY = 65  # characters of tiny Shakespeare
TEXTS = {"gpt": Text(128, 128, layers=4, heads=4), "lstm": Text(64, 64, hidden=256)}

# (channels, width, stride) of the blocks of ResNet-20, by stage.
STAGES = tuple(
    ((before, width, stride), (width, width, 1), (width, width, 1))
    for before, width, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2))
)

# The kernel or scale of a layer, and its bias or offset where it has one; the table of an
# embedding; an LSTM's kernel, recurrent kernel and bias, gates i, f, g, o.
Places = list[list[np.ndarray]]
WEIGHTS, DATA = "weights.safetensors", "data.safetensors"


def places(folder: Path) -> Places:
    """The weights to start from, in the order of computation: channels last, kernels [in, out]."""
    found: dict[str, list[np.ndarray]] = {}
    with safe_open(folder / WEIGHTS, "numpy") as file:
        for name in sorted(file.keys()):
            found.setdefault(name.partition("/")[0], []).append(file.get_tensor(name))
    return list(found.values())


def examples(folder: Path) -> dict[str, np.ndarray]:
    """The data {"x": [N, …], "y": [N]}."""
    with safe_open(folder / DATA, "numpy") as file:
        return {name: file.get_tensor(f"examples/{name}") for name in "xy"}


def batches(folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The batches (x, y) of a round: those of `fit`'s first."""
    with safe_open(folder / DATA, "numpy") as file:
        slices = [file.get_slice(f"batches/{name}") for name in "xy"]
        for i in range(slices[0].get_shape()[0]):
            x, y = (one[i : i + 1][0] for one in slices)
            yield x, y


def fused(name: str, places: Places) -> Places:
    """A GPT's weights with query, key and value as one product; those of others as they are."""
    if name != "gpt":
        return places
    embedding, position, *rest, last = places
    found = [embedding, position]
    for at in range(0, len(rest), 8):
        norm, query, key, value, *others = rest[at : at + 8]
        one = [np.concatenate(parts, -1) for parts in zip(query, key, value, strict=True)]
        found += [norm, one, *others]
    return [*found, last]


def channels_first(places: Places) -> list[np.ndarray]:
    """The weights in turn as PyTorch and Equinox lay them out: outputs, inputs, pixels."""
    turned, channels = [], 1
    for kernel, *others in places:
        if kernel.ndim == 4:
            channels = kernel.shape[-1]
            kernel = kernel.transpose(3, 2, 0, 1)
        elif kernel.ndim == 2 and others:  # the first after convolutions reads pixel by pixel
            kernel = kernel.reshape(-1, channels, kernel.shape[1]).T.reshape(kernel.shape[::-1])
            channels = 1
        turned += [np.ascontiguousarray(one) for one in (kernel, *(one.T for one in others))]
    return turned


def turns(train: Callable[[int, int, int], Any], network: Network) -> Iterator[Any]:
    """What a peer does in turn: its first step, the rest of the first round, then some rounds each.

    `train(first, last, rounds)` makes these steps of a round, so many times, and gives their
    losses, or their mean alone.
    """
    yield train(0, 1, 1)
    yield train(1, network.steps, 1)
    while True:
        yield train(0, network.steps, network.turn)
