"""An LSTM reads a digit row by row, and knows it better than a linear model before the last rows.

RNN, LSTM and GRU of the same width see a digit of MNIST as 28 steps of 28 pixels and name it after
each of them; the loss is the mean over all steps. Beside them a linear model of all pixels learns
the same images. The same again where the rows come in another order, and where all pixels do: what
lies side by side is then far apart, which a linear model does not notice.

The claims are from the validation images, which are easier than the test images (by 0.012 for the
LSTM and 0.017 for the linear model). The learning rate, 5e-3, was the best for each network of
1e-3, 2e-3 and 5e-3 there.

Lecture B: recurrent networks. Le et al. 2015, section 4.2, has pixels one by one, 784 steps.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import optax

from dlcore import data, models, nn, optim, train
from dlcore import functional as F
from experiments._learning import accuracy, first, learn
from experiments.choice import at_least
from experiments.frame import Claim, DataConfig, Figure, Result, Table

LECTURE = "lecture B"
CLAIMS = (
    Claim("accuracy after all rows: LSTM − linear", "> 0.01", LECTURE),
    Claim("accuracy after all rows: LSTM", "≥ 0.95", LECTURE),
    Claim("accuracy after all rows: LSTM − RNN", "> 0", LECTURE),
    Claim("rows after which the LSTM is as good as the linear model", "≤ 20", "tried"),
    Claim("accuracy of the LSTM: in order − all pixels moved", "> 0.02", "Le et al. 2015"),
)
NETWORKS: dict[str, Callable[..., nn.Layer]] = {"RNN": nn.rnn, "LSTM": nn.lstm, "GRU": nn.gru}
ORDERS = ("in order", "rows moved", "all pixels moved")
SIDE = 28


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    train_images: int = 10_000
    """Digits of MNIST to learn."""
    test_images: int = 10_000
    """Digits to test on."""
    hidden: int = 64
    """Units of each network."""
    updates: int = 1_000
    """Updates of each network, with batches of 64."""
    seed: int = 0
    """Of the networks, their batches and the other orders."""

    def __post_init__(self) -> None:
        at_least(10, train_images=self.train_images, test_images=self.test_images)
        at_least(1, hidden=self.hidden, updates=self.updates)
        at_least(0, seed=self.seed)


SMOKE = Config(train_images=20, test_images=20, hidden=4, updates=1)


class Measured(NamedTuple):
    """Test accuracy: of the linear model, and by order and network after 1, 2, …, 28 steps."""

    linear: float
    read: dict[str, dict[str, list[float]]]


def run(config: Config) -> Measured:
    """Every network reads in every order."""
    digits = data.load("mnist", config.root)
    learned = first(digits.train, config.train_images)
    test = first(digits.test, config.test_images)
    optimizer = optax.chain(
        optim.clip_by_global_norm(1.0),
        optim.adam(optim.warmup_cosine(5e-3, config.updates, warmup_steps=config.updates // 10)),
    )
    how: dict[str, Any] = {"batch_size": 64, "seed": config.seed}
    flat = models.linear()
    linear = learn(flat, learned, optimizer, config.updates, **how)

    def read(layer: nn.Layer, objective: train.Objective, order: str) -> list[float]:
        seen, asked = (as_steps(part, order, config.seed) for part in (learned, test))
        result = learn(layer, seen, optimizer, config.updates, objective=objective, **how)
        logits = train.predict(layer, result.params, result.state, asked)
        right: np.ndarray = logits.argmax(-1) == asked["y"]
        return right.mean(axis=0).tolist()

    networks = {name: reader(make, config.hidden) for name, make in NETWORKS.items()}
    by_order = {
        order: {name: read(*one, order) for name, one in networks.items()} for order in ORDERS
    }
    return Measured(accuracy(flat, linear, test), by_order)


def figures(result: Result[Measured]) -> list[float]:
    """The networks beside the linear model, and beside each other."""
    linear, read = result.measured
    rows = {name: steps[-1] for name, steps in read[ORDERS[0]].items()}
    as_good = [step for step, one in enumerate(read[ORDERS[0]]["LSTM"], 1) if one >= linear]
    return [
        rows["LSTM"] - linear,
        rows["LSTM"],
        rows["LSTM"] - rows["RNN"],
        min(as_good, default=SIDE + 1),
        rows["LSTM"] - read[ORDERS[2]]["LSTM"][-1],
    ]


def table(result: Result[Measured]) -> dict[str, Table]:
    """A line for each network and order."""
    steps = (7, 14, 21, 28)
    lines = [
        (order, name, *(f"{after[step - 1]:.4f}" for step in steps))
        for order, networks in result.measured.read.items()
        for name, after in networks.items()
    ]
    title = f"Test accuracy (a linear model of all pixels: {result.measured.linear:.4f})"
    return {title: [("pixels", "network", *(f"{step} steps" for step in steps)), *lines]}


def plot(result: Result[Measured]) -> Figure:
    """Accuracy by the steps that were read."""
    from dlcore import plot

    steps = range(1, SIDE + 1)
    level = ("linear, all pixels", result.measured.linear)
    return plot.lines(
        *(
            plot.Panel(
                f"Digits, {order}",
                "steps of 28 pixels",
                "test accuracy",
                {name: (steps, after) for name, after in networks.items()},
                percent=True,
                level=level,
            )
            for order, networks in result.measured.read.items()
        )
    )


def reader(make: Callable[..., nn.Layer], hidden: int) -> tuple[nn.Layer, train.Objective]:
    """A network that names the digit after each step, [B, T, 10], and what it minimises."""
    layer = nn.serial(make(SIDE, hidden), nn.linear(hidden, 10))
    return layer, train.supervised(layer, functools.partial(F.cross_entropy, reduction="none"))


def as_steps(examples: dict[str, np.ndarray], order: str, seed: int) -> dict[str, np.ndarray]:
    """x [N, 28, 28], the pixels in that order, and y [N, 28], the digit at each step."""
    rng = np.random.default_rng(seed)
    x = examples["x"][..., 0]
    if order == "rows moved":
        x = x[:, rng.permutation(SIDE)]
    if order == "all pixels moved":
        x = x.reshape(len(x), -1)[:, rng.permutation(SIDE**2)].reshape(x.shape)
    return {"x": x, "y": np.repeat(examples["y"][:, None], SIDE, axis=1)}
