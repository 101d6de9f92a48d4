"""Without shortcuts a deeper network trains worse; with them depth costs nothing.

Plain networks and residual networks of 20 and 56 layers on CIFAR-10: the training loss over the
same updates, and the norm of the gradient in every layer at the start.

He et al. 2016, section 4.2, figures 1 and 6 (their error after 64,000 updates: ResNet-20 8.75 %,
ResNet-56 6.97 %, and plain-56 above plain-20); lecture C. Few updates on a CPU show the
degradation of the plain networks, not yet the lead of the deeper residual one. At the paper's rate
of 0.1 ResNet-56 did not survive so short a warm-up.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import optax

from dlcore import data, models, nn, optim, tree
from experiments._learning import first, learn
from experiments.choice import at_least, positive
from experiments.frame import Claim, DataConfig, Figure, Result, Table

CLAIMS = (
    Claim("training loss at the end, plain: deep − shallow", "> 0", "He et al. 2016, figure 6"),
    Claim("that gap less the same of the residual networks", "> 0", "He et al. 2016, figure 6"),
    Claim("|log10| of gradient, first third / last, deep: plain − ResNet", "> 0", "lecture C"),
)
KINDS = {"plain": None, "ResNet": "A"}


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """What is trained, and for how long."""

    depths: tuple[int, int] = (20, 56)
    """Layers of the shallow and of the deep networks: 6n + 2."""
    updates: int = 150
    """Of each network."""
    batch_size: int = 64
    """Examples an update."""
    learning_rate: float = 0.02
    """The peak of momentum's, after a warm-up, falling to 0 as a cosine."""
    every: int = 10
    """Updates between two points of the curves."""
    size: int = 32
    """Height and width that the photographs are resized to."""
    seed: int = 0
    """Of the parameters and the order of the examples."""

    def __post_init__(self) -> None:
        at_least(1, updates=self.updates, batch_size=self.batch_size, every=self.every)
        at_least(4, size=self.size)
        at_least(0, seed=self.seed)
        positive(learning_rate=self.learning_rate)
        if len(self.depths) != 2 or not self.depths[0] < self.depths[1]:
            raise ValueError(f"depths are a shallow and a deep one, got {self.depths}")


SMOKE = Config(depths=(8, 14), updates=1, batch_size=4, every=1, size=8)


class Network(NamedTuple):
    """One network: its loss over the updates, and its gradient's norm in each convolution."""

    kind: str
    depth: int
    updates: list[int]
    losses: list[float]
    gradients: list[float]

    @property
    def name(self) -> str:
        """As ResNet-56."""
        return f"{self.kind}-{self.depth}"

    @property
    def last_loss(self) -> float:
        """The mean of the last third of the curve."""
        return float(np.mean(self.losses[-max(1, len(self.losses) // 3) :]))

    @property
    def imbalance(self) -> float:
        """|log10| of the gradient in the first third of the layers against the last third."""
        third = max(1, len(self.gradients) // 3)
        first, last = (np.mean(part) for part in (self.gradients[:third], self.gradients[-third:]))
        return float(abs(np.log10(first / last)))


def run(config: Config) -> list[Network]:
    """Trains the four networks on the same batches."""
    dataset = data.load("cifar10", config.root)
    mean, std = data.mean_and_std(dataset.train["x"])
    examples = first(dataset.train, config.updates * config.batch_size)
    if config.size != 32:
        examples = {**examples, "x": data.resize(examples["x"], config.size)}
    examples = {**examples, "x": (examples["x"] - mean) / std}
    return [measure(kind, depth, examples, config) for kind in KINDS for depth in config.depths]


def figures(result: Result[list[Network]]) -> list[float]:
    """Depth hurts the plain networks, and less the residual ones."""
    shallow, deep, residual_shallow, residual_deep = result.measured
    gap = deep.last_loss - shallow.last_loss
    residual_gap = residual_deep.last_loss - residual_shallow.last_loss
    return [gap, gap - residual_gap, deep.imbalance - residual_deep.imbalance]


def table(result: Result[list[Network]]) -> Table:
    """A line for each network."""
    yield "network", "training loss at the end", "gradient, first third / last (|log10|)"
    for one in result.measured:
        yield one.name, f"{one.last_loss:.3f}", f"{one.imbalance:.2f}"


def plot(result: Result[list[Network]]) -> Figure:
    """The training loss, and the gradient's norm from the first to the last convolution."""
    from dlcore import plot

    losses = {one.name: (one.updates, one.losses) for one in result.measured}
    gradients = {
        one.name: (np.linspace(0, 1, len(one.gradients)), one.gradients) for one in result.measured
    }
    return plot.lines(
        plot.Panel("Training", "updates", "training loss", losses),
        plot.Panel(
            "At the start",
            "layer, from the first (0) to the last (1)",
            "norm of the kernel's gradient",
            gradients,
            log="y",
        ),
    )


def measure(kind: str, depth: int, examples: dict[str, np.ndarray], config: Config) -> Network:
    """Trains one network."""
    layer = models.resnet_cifar(depth, examples["x"].shape[1:], 10, option=KINDS[kind])
    warmup = config.updates // 10
    rate = optim.warmup_cosine(config.learning_rate, config.updates, warmup_steps=warmup)
    optimizer = optim.momentum(rate)
    learning: dict[str, Any] = {
        "batch_size": config.batch_size,
        "seed": config.seed,
        "every": config.every,
    }
    learned = learn(layer, examples, optimizer, config.updates, **learning)
    updates, totals = zip(*learned.losses, strict=True)
    # A record's loss is the mean since the epoch began: the difference is that of its own stretch.
    stretches = np.diff([0, *np.multiply(updates, totals)]) / np.diff([0, *updates])
    # After the first update the momentum is the gradient at the start.
    once = learn(layer, first(examples, config.batch_size), optimizer, 1, **learning)
    gradients = gradient_norms(layer, optax.tree.get(once.opt_state, "trace"))
    return Network(kind, depth, list(updates), stretches.tolist(), gradients)


def gradient_norms(layer: nn.Layer, grads: Any) -> list[float]:
    """The norm of each convolution's gradient, from the first layer to the last."""
    return [
        float(np.linalg.norm(leaf))
        for path, leaf in in_order(layer, grads)
        if path.endswith("/kernel") and np.ndim(leaf) == 4
    ]


def in_order(layer: nn.Layer, params: Any) -> list[tuple[str, Any]]:
    """The leaves of `params` in the order in which the layers stand, not that of their names."""
    if not layer.info.children:
        return [(f"/{path}", leaf) for path, leaf in tree.leaves_with_paths(params)]
    return [
        (f"/{name}{path}", leaf)
        for name, child in layer.info.children
        if name in params
        for path, leaf in in_order(child, params[name])
    ]
