"""Time grows no faster than the arithmetic, and with the data as a line; memory does not grow.

`fit` on networks that grow: multilayer perceptrons in width (×1 … ×16), in depth (1 … 16 hidden
layers) and in batch (16 … 1024), two convolutions in width and in batch. Then one perceptron on
more and more examples, and two networks of the bench for many steps.

A slope below 1 is the cost of a step that does nothing, which small networks pay too.
"""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from dlcore import flops, models, nn, optim, train
from dlcore import functional as F
from experiments.choice import at_least, at_most, one_of, positive
from experiments.frame import BaseConfig, Claim, Figure, Result, Table
from experiments.speed import _compare
from experiments.speed._networks import NETWORKS
from experiments.speed._worker import Worker

STEPS = 8  # of an epoch, which is timed as a whole
TURNS = 5  # of a point among the others of its series
ROUNDS, LONGER = 3, 10  # of the bench: in the first ones memory settles, then it is watched


def perceptron(*hidden: int) -> nn.Layer:
    """784-hidden-10, relu."""
    return models.mlp(hidden=hidden, dropout=0)


def convolutions(width: int) -> nn.Layer:
    """Two of 3×3, each with relu and max-pooling, then a linear layer."""
    return nn.serial(
        nn.conv(1, width, 3, padding="SAME"),
        F.relu,
        nn.max_pool(2),
        nn.conv(width, 2 * width, 3, padding="SAME"),
        F.relu,
        nn.max_pool(2),
        nn.flatten,
        nn.linear(7 * 7 * 2 * width, 10),
    )


# What grows -> (network, batch) at each point.
GROWING: dict[str, Callable[[Config], list[tuple[nn.Layer, int]]]] = {
    "mlp_width": lambda config: [(perceptron(64 * f, 64 * f), 128) for f in config.factors],
    "mlp_depth": lambda config: [(perceptron(*[256] * f), 128) for f in config.factors],
    "mlp_batch": lambda config: [(perceptron(256, 256), batch) for batch in config.batches],
    "conv_width": lambda config: [(convolutions(4 * f), 64) for f in config.factors],
    "conv_batch": lambda config: [(convolutions(16), batch) for batch in config.batches],
}

CLAIMS = (
    *(Claim(f"{name}: slope of seconds against FLOPs", "≤ 1.1", "dlcore") for name in GROWING),
    Claim("slope of seconds an epoch against examples", "1 ± 0.1", "dlcore"),
    *(Claim(f"{name}: growth of memory, N to 10 N steps", "≤ 0.01", "dlcore") for name in NETWORKS),
)


@dataclasses.dataclass(frozen=True)
class Config(BaseConfig):
    """What grows, how far, and how long it is watched."""

    growing: tuple[str, ...] = tuple(GROWING)
    """Which of mlp_width, mlp_depth, mlp_batch, conv_width and conv_batch."""
    factors: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Widths, depths and examples, as multiples of the first."""
    batches: tuple[int, ...] = (16, 64, 256, 1024)
    """Examples a step."""
    seconds: float = 0.5
    """How long a point is measured at least, once it is compiled."""
    held: tuple[str, ...] = ("playground", "mlp")
    """Networks of the bench whose memory is watched."""

    def __post_init__(self) -> None:
        for name in self.growing:
            one_of("growth", name, GROWING)
        for name in self.held:
            one_of("network", name, NETWORKS)
        at_least(2, factors=len(set(self.factors)), batches=len(set(self.batches)))
        at_least(1, factors=min(self.factors), batches=min(self.batches))
        positive(seconds=self.seconds)
        at_most(3600, seconds=self.seconds)


SMOKE = Config(
    growing=("mlp_batch",), factors=(1, 2), batches=(16, 64), seconds=0.02, held=("playground",)
)


class Series(NamedTuple):
    """Seconds against what grows: FLOPs a step, or examples."""

    name: str
    sizes: Sequence[float]
    seconds: Sequence[float]

    @property
    def slope(self) -> float:
        """Of the line through the logarithms."""
        return float(np.polyfit(np.log(self.sizes), np.log(self.seconds), 1)[0])


class Memory(NamedTuple):
    """The most bytes that a process held, after so many steps."""

    name: str
    steps: list[int]
    bytes: list[int]

    @property
    def growth(self) -> float:
        """In the last 9 of every 10 steps, as a share."""
        return self.bytes[-1] / self.bytes[ROUNDS - 1] - 1


class Measured(NamedTuple):
    """What grew, and what it cost."""

    steps: list[Series]
    epochs: Series
    memory: list[Memory]


def run(config: Config) -> Measured:
    """Measures point by point."""
    steps = []
    for name in config.growing:
        points = GROWING[name](config)
        sizes = [operations(*point) for point in points]
        whole = epochs([(*one, STEPS * one[1]) for one in points], config.seconds)
        steps.append(Series(name, sizes, [seconds / STEPS for seconds in whole]))
    counts = [1024 * f for f in config.factors]
    by_data = epochs([(perceptron(64), 128, n) for n in counts], config.seconds)
    examples = Series("examples", counts, by_data)
    memory = [watch(name) for name in config.held]
    return Measured(steps, examples, memory)


def figures(result: Result[Measured]) -> list[float | None]:
    """No faster than the arithmetic, as fast as the data, and not at all."""
    steps, epochs, memory = result.measured
    slopes = {one.name: one.slope for one in steps}
    growth = {one.name: one.growth for one in memory}
    return [*map(slopes.get, GROWING), epochs.slope, *map(growth.get, NETWORKS)]


def table(result: Result[Measured]) -> Table:
    """A line for each series, from its first point to its last."""
    yield "what grows", "FLOPs a step, or examples", "seconds", "slope"
    for one in (*result.measured.steps, result.measured.epochs):
        ends = [f"{ys[0]:.3g} … {ys[-1]:.3g}" for ys in (one.sizes, one.seconds)]
        yield one.name, *ends, f"{one.slope:.2f}"


def plot(result: Result[Measured]) -> Figure:
    """Seconds against FLOPs and against examples, memory against steps."""
    from dlcore import plot

    taken = {one.name: (one.sizes, one.seconds) for one in result.measured.steps}
    rates = [np.divide(one.sizes, one.seconds).max() for one in result.measured.steps]
    ends = np.array([f(f(one.sizes) for one in result.measured.steps) for f in (min, max)])
    memory = {one.name: (one.steps, np.divide(one.bytes, 2**20)) for one in result.measured.memory}
    return plot.lines(
        plot.Panel(
            "As the arithmetic grows",
            "FLOPs a step",
            "seconds a step",
            {**taken, f"{max(rates) / 1e9:.0f} GFLOP/s": (ends, ends / max(rates))},
            log="xy",
        ),
        plot.Panel(
            "As the data grow",
            "examples",
            "seconds an epoch",
            {
                f"slope {result.measured.epochs.slope:.2f}": (
                    result.measured.epochs.sizes,
                    result.measured.epochs.seconds,
                )
            },
            log="xy",
        ),
        plot.Panel("As training goes on", "steps", "most memory so far, MB", memory, log="x"),
    )


def operations(layer: nn.Layer, batch: int) -> int:
    """Floating-point operations of a step's gradient."""
    step = make_step(layer)
    state = jax.eval_shape(lambda: train.train_state(layer, step.optimizer))
    return flops.count(step.gradients, state, digits(batch))


def epochs(points: list[tuple[nn.Layer, int, int]], seconds: float) -> list[float]:
    """Seconds that an epoch of `fit` takes for each (layer, batch, examples).

    They take turns, once they are compiled, each as many epochs as fill a share of `seconds`: the
    median of the turns.
    """
    runs = [start(*point) for point in points]
    shortest = [next(run) for run in runs]
    many = [max(1, round(seconds / TURNS / one)) for one in shortest]
    turns = [
        [np.mean(list(itertools.islice(run, n))) for run, n in zip(runs, many, strict=True)]
        for _ in range(TURNS)
    ]
    return np.median(turns, axis=0).tolist()


def start(layer: nn.Layer, batch: int, count: int) -> Iterator[float]:
    """The seconds of one epoch after the other; the first, which compiles, is left out."""
    step = make_step(layer)
    state = train.train_state(layer, step.optimizer)
    records = train.fit(step, state, digits(count), epochs=10**6, batch_size=batch)
    float(next(records).metrics["loss"])
    while True:
        began = time.perf_counter()
        float(next(records).metrics["loss"])  # there only when the epoch is done
        yield time.perf_counter() - began


def make_step(layer: nn.Layer) -> train.Step:
    """An update by momentum."""
    return train.make_step(train.classification(layer), optim.momentum(0.01))


def digits(n: int) -> dict[str, np.ndarray]:
    """Something of the shape of MNIST's digits."""
    rng = np.random.default_rng(0)
    x = rng.random((n, 28, 28, 1), np.float32)
    return {"x": x, "y": rng.integers(0, 10, n).astype(np.int32)}


def watch(name: str) -> Memory:
    """A network of the bench in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        _compare.write(name, Path(folder))
        with Worker("dlcore fit", "peers.dlcore_fit", name, Path(folder)) as worker:
            worker.hello()
            worker.turn()  # a step of the first round, of which the next turn has the rest
            memory = [worker.turn().memory for _ in range(LONGER * ROUNDS)]
    network = NETWORKS[name]
    steps = [network.steps + network.turn_steps * number for number in range(len(memory))]
    return Memory(name, steps, memory)
