"""One network, trained by every peer in turns: the files they share, their processes, the clock."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore import data, flops, nn
from dlcore.interop import weights
from experiments.speed._networks import DATA, NETWORKS, TEXTS, VOCABULARY, WEIGHTS
from experiments.speed._worker import Worker
from experiments.speed.peers import DLCORE, PEERS, dlcore_fit, matrix_product

# Seconds before a turn: after their last work OpenMP's and OpenBLAS's threads go on spinning for a
# while (PyTorch, scikit-learn), which is not to slow down whoever comes next.
PAUSE = 0.3

# Those of a layer, in the order of `Places`.
LEAVES = ("embedding", "kernel", "recurrent_kernel", "scale", "bias", "offset")


class Side(NamedTuple):
    """A peer on one network: steps a second of each round, and what it took to begin.

    parameters: numbers that are learned. loss: the mean of the first round, which is not timed.
    imported: bytes of memory when the library was there and nothing else; memory: the most ever.
    """

    speeds: list[float]
    first_step_seconds: float
    parameters: int
    loss: float
    imported: int
    memory: int

    @property
    def speed(self) -> float:
        """The median of steps a second."""
        return float(np.median(self.speeds))

    @property
    def growth(self) -> int:
        """Bytes of memory beyond the library's own."""
        return self.memory - self.imported


class Row(NamedTuple):
    """One network: floating-point operations a step, those a second of products, and the sides."""

    network: str
    flops: int
    peak: float
    sides: dict[str, Side]

    def ratios(self, label: str) -> np.ndarray:
        """fit / peer, round by round."""
        return np.divide(self.sides[DLCORE].speeds, self.sides[label].speeds)

    def ratio(self, label: str) -> float:
        """Their median."""
        return float(np.median(self.ratios(label)))

    def fastest(self, labels: Sequence[str]) -> str | None:
        """The one among `labels` that fit is the least ahead of; None where none of them ran."""
        return min((one for one in labels if one in self.sides), key=self.ratio, default=None)


def compare(name: str, labels: Sequence[str], rounds: int) -> Row:
    """`fit` and the peers of these labels that have the network, in an order that turns."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        operations = write(name, folder)
        sides: dict[str, Side] = {}
        workers: dict[str, Worker] = {}
        for label in (DLCORE, *labels):
            module = f"peers.{PEERS[label].module}"
            worker = stack.enter_context(Worker(label, module, name, folder))
            if side := begin(worker, name, sides.get(DLCORE)):
                sides[label], workers[label] = side, worker
        product = stack.enter_context(Worker("the product", "peers.matrix_product", name, folder))
        product.hello()
        product.turn()  # compiles
        peaks = []
        for number in range(rounds):
            for label in turned(list(workers), number):
                time.sleep(PAUSE)
                turn = workers[label].turn()
                sides[label].speeds.append(NETWORKS[name].turn_steps / turn.seconds)
                sides[label] = sides[label]._replace(memory=turn.memory)
            peaks.append(matrix_product.FLOPS / product.turn().seconds)
    return Row(name, operations, float(np.median(peaks)), sides)


def begin(worker: Worker, name: str, measure: Side | None) -> Side | None:
    """The first round, which compiles; None where the peer does not have the network.

    Raises ValueError where it is not the same network, or not from the same weights, as that of
    `measure`.
    """
    hello = worker.hello()
    if not hello.has_network:
        return None
    network = NETWORKS[name]
    first, rest = worker.turn(), worker.turn()
    loss = (first.loss + (network.steps - 1) * rest.loss) / network.steps
    side = Side([], first.seconds, first.parameters, loss, hello.memory, rest.memory)
    if measure is not None:
        agree(f"{name}: parameters", measure.parameters, side.parameters, worker.label, 0)
        agree(f"{name}: mean loss of a round", measure.loss, loss, worker.label, network.tolerance)
    return side


def agree(what: str, wanted: float, given: float, label: str, tolerance: float) -> None:
    """Raises ValueError where two numbers differ by more than a share of the first."""
    if not abs(given - wanted) <= tolerance * abs(wanted):
        raise ValueError(f"{what}: {wanted:,} in {DLCORE}, but {given:,} in {label}")


def turned(labels: list[str], number: int) -> list[str]:
    """The labels in a ring, beginning one later each time."""
    start = number % len(labels)
    return labels[start:] + labels[:start]


# ------------------------------------------------------------------------------------ the files


def digits(size: int, n: int) -> dict[str, np.ndarray]:
    """Real digits of size×size pixels, each as often as it takes."""
    found = data.load("digits", size=size).train
    return {name: np.resize(array, (n, *array.shape[1:])) for name, array in found.items()}


def characters(n: int, length: int) -> dict[str, np.ndarray]:
    """Windows of a text without sense, and what follows each of its characters."""
    text = np.random.default_rng(0).integers(0, VOCABULARY, (n, length + 1), np.int32)
    return {"x": text[:, :-1], "y": text[:, 1:]}


def examples(name: str) -> dict[str, np.ndarray]:
    """As many as a round has, and of the playground's points in the plane 16 batches."""
    network = NETWORKS[name]
    if name in TEXTS:
        return characters(network.batch * network.steps, TEXTS[name].length)
    if name == "playground":
        return data.load("circles", n=16 * network.batch).train
    found = digits(32 if name == "resnet20" else 28, network.batch * network.steps)
    x = found["x"]
    if name == "resnet20":
        x = data.rgb(x)
    elif name != "lenet5":
        x = x.reshape(len(x), -1)
    return {**found, "x": x}


def write(name: str, folder: Path) -> int:
    """Writes the weights and the data of a network; gives its operations a step."""
    network, found = NETWORKS[name], examples(name)
    layer, step, state = dlcore_fit.begin(name)
    n = len(found["y"])
    epochs = range(-(-network.steps // (n // network.batch)))
    order = np.concatenate([data.batches(n, network.batch, dlcore_fit.SEED, e) for e in epochs])
    batches = {key: array[order[: network.steps]] for key, array in found.items()}
    weights.save(folder / DATA, {"examples": found, "batches": batches})
    places = enumerate(in_order(layer, state.params))
    weights.save(
        folder / WEIGHTS, {f"{i:02}": dict(zip("012", place, strict=False)) for i, place in places}
    )
    batch = {key: array[0] for key, array in batches.items()}
    return flops.count(step.gradients, state, batch)


def in_order(layer: nn.Layer, params: Any) -> Iterator[list[jax.Array]]:
    """The leaves of each layer that has some, as its output is computed: see `Places`."""
    if not layer.info.children:
        yield [params[leaf] for leaf in LEAVES if leaf in params]
    for name, child in layer.info.children:
        if name in params:
            yield from in_order(child, params[name])


# ------------------------------------------------------------------------------------ the machine


class Clock:
    """What share of all processors' time others than we and our processes had since this began."""

    def __init__(self) -> None:
        self.began = self._now()

    def others(self) -> float | None:
        """That share in [0, 1], once our processes have ended; None where nothing tells it."""
        now = self._now()
        if now is None or self.began is None:
            return None
        busy, total, own = (after - before for after, before in zip(now, self.began, strict=True))
        return max(0.0, (busy - own) / total) if total else None

    def _now(self) -> tuple[float, float, float] | None:
        """Seconds of all processors that were busy, of all, and of our own."""
        try:
            line = Path("/proc/stat").read_text().partition("\n")[0]
        except OSError:
            return None
        ticks = os.sysconf("SC_CLK_TCK")
        fields = [int(text) for text in line.split()[1:9]]
        idle = fields[3] + fields[4]
        return (sum(fields) - idle) / ticks, sum(fields) / ticks, sum(os.times()[:4])
