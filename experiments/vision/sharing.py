"""Shared weights do with a thousandth of the parameters, and tell moved digits better.

One hidden layer of 16 maps in three forms: dense (every unit sees every pixel), local (every unit
sees 5×5 pixels with weights of its own) and conv (the same, with one set of weights for all places:
local with weights shared). Each with max-pooling over 3×3 units and without, then a linear layer.
They learn digits in the middle of a larger canvas and are tested there, and 1 to 4 pixels away.

Lecture C: convolution, pooling, parameter sharing and translation; LeCun et al. 1998, section II.A.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore import data, nn, optim, tree
from dlcore import functional as F
from experiments._learning import Learned, accuracy, first, learn
from experiments.choice import at_least, one_of
from experiments.frame import Claim, DataConfig, Figure, Result, Table

FARTHEST = 4  # pixels: a digit of 28×28 stays on the canvas
CLAIMS = (
    Claim("parameters of the hidden layer, dense / conv", "> 1000", "lecture C"),
    Claim("conv is equivariant: largest difference, moved and convolved", "≤ 1e-5", "lecture C"),
    Claim(f"accuracy {FARTHEST} pixels away: conv with pooling − dense", "> 0", "lecture C"),
    Claim(f"pooling brings invariance: conv with − without, {FARTHEST} away", "> 0", "lecture C"),
    Claim("train − test accuracy, not moved: dense − conv with pooling", "> 0", "lecture C"),
)
CANVAS, GRID, MAPS = 36, 18, 16
POOL = 3
FORMS = ("dense", "local", "conv")


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    train_images: int = 5_000
    """Digits of MNIST to learn, all in the middle of the canvas."""
    test_images: int = 5_000
    """Digits to test on, at each distance."""
    epochs: int = 20
    """Passes over them, in batches of 100."""
    seeds: int = 2
    """Each arm is trained from so many seeds; figures are means."""
    pooled: tuple[str, ...] = FORMS
    """The forms that are also measured with pooling, conv always."""

    def __post_init__(self) -> None:
        at_least(10, train_images=self.train_images, test_images=self.test_images)
        at_least(1, epochs=self.epochs, seeds=self.seeds)
        for form in self.pooled:
            one_of("form", form, FORMS)


SMOKE = Config(train_images=20, test_images=20, epochs=1, seeds=1, pooled=())


class Arm(NamedTuple):
    """One form of the hidden layer: accuracies are means over the seeds."""

    form: str
    pooled: bool
    parameters: int  # of the hidden layer
    train_accuracy: float
    test_accuracy: list[float]  # 0, 1, …, FARTHEST pixels away

    @property
    def name(self) -> str:
        """The form, and whether it is pooled."""
        return f"{self.form}, pooled" if self.pooled else self.form


class Measured(NamedTuple):
    """The arms, and how far convolution is from equivariant."""

    arms: list[Arm]
    equivariance_error: float


def run(config: Config) -> Measured:
    """Trains the arms, and moves what they see."""
    digits = data.load("mnist", config.root)
    middle = data.transform(digits, lambda x: data.canvas(x, CANVAS))
    examples = first(middle.train, config.train_images)
    tests = [moved(first(middle.test, config.test_images), d) for d in range(FARTHEST + 1)]
    arms = [
        measure(form, pooled, examples, tests, config)
        for form in FORMS
        for pooled in (False, True)
        if not pooled or form in ("conv", *config.pooled)
    ]
    return Measured(arms, equivariance_error(first(middle.test, 20)["x"]))


def figures(result: Result[Measured]) -> list[float]:
    """What sharing and pooling bring."""
    by_name = {arm.name: arm for arm in result.measured.arms}
    dense, conv, pooled = (by_name[name] for name in ("dense", "conv", "conv, pooled"))
    away = [arm.test_accuracy[-1] for arm in (dense, conv, pooled)]
    gaps = [arm.train_accuracy - arm.test_accuracy[0] for arm in (dense, pooled)]
    return [
        dense.parameters / conv.parameters,
        result.measured.equivariance_error,
        away[2] - away[0],
        away[2] - away[1],
        gaps[0] - gaps[1],
    ]


def table(result: Result[Measured]) -> dict[str, Table]:
    """A line for each arm."""
    away = [f"{distance} px" for distance in range(FARTHEST + 1)]
    lines = [
        (arm.name, arm.parameters, *(f"{a:.3f}" for a in (arm.train_accuracy, *arm.test_accuracy)))
        for arm in result.measured.arms
    ]
    return {"Accuracy by distance": [("hidden layer", "parameters", "train", *away), *lines]}


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """Accuracy against the distance, and the gap between training and test."""
    from dlcore import plot

    distances = list(range(FARTHEST + 1))
    lines = {arm.name: (distances, arm.test_accuracy) for arm in result.measured.arms}
    gaps: dict[str, dict[str, float]] = {}
    for arm in result.measured.arms:
        kind = "pooled" if arm.pooled else "not pooled"
        gaps.setdefault(arm.form, {})[kind] = arm.train_accuracy - arm.test_accuracy[0]
    return {
        "shifted": plot.lines(
            plot.Panel(
                "Digits away from where they were learned",
                "pixels away",
                "test accuracy",
                lines,
                percent=True,
            )
        ),
        "gap": plot.bars(gaps, title="Training less test accuracy", y="accuracy gap", percent=True),
    }


def hidden(form: str) -> nn.Layer:
    """GRID × GRID × MAPS units over the canvas."""
    window: dict[str, Any] = {"stride": 2, "padding": 2}
    if form == "conv":
        return nn.conv(1, MAPS, 5, **window)
    if form == "local":
        return nn.locally_connected(1, MAPS, 5, size=(CANVAS, CANVAS), **window)
    return nn.serial(
        nn.flatten,
        nn.linear(CANVAS * CANVAS, GRID * GRID * MAPS),
        nn.from_function(lambda x: x.reshape(-1, GRID, GRID, MAPS), "as_maps"),
    )


def network(form: str, pooled: bool) -> nn.Layer:
    """The hidden layer, relu, pooling or none, and a linear layer."""
    side = GRID // POOL if pooled else GRID
    pooling = [nn.max_pool(POOL)] if pooled else []
    return nn.serial(
        nn.named("hidden", hidden(form)),
        F.relu,
        *pooling,
        nn.flatten,
        nn.linear(side * side * MAPS, 10),
    )


def measure(
    form: str,
    pooled: bool,
    examples: dict[str, np.ndarray],
    tests: list[dict[str, np.ndarray]],
    config: Config,
) -> Arm:
    """Trains one arm from each seed."""
    layer = network(form, pooled)
    updates = config.epochs * (len(examples["y"]) // min(100, len(examples["y"])))
    optimizer = optim.adam(optim.warmup_cosine(2e-3, updates, warmup_steps=updates // 20))
    trained: list[Learned] = [
        learn(layer, examples, optimizer, updates, batch_size=100, seed=seed)
        for seed in range(config.seeds)
    ]

    def mean(part: dict[str, np.ndarray]) -> float:
        return float(np.mean([accuracy(layer, one, part) for one in trained]))

    return Arm(
        form=form,
        pooled=pooled,
        parameters=tree.count(trained[0].params["hidden"]),
        train_accuracy=mean(examples),
        test_accuracy=[mean(test) for test in tests],
    )


def moved(examples: dict[str, np.ndarray], distance: int) -> dict[str, np.ndarray]:
    """Each image that far away in one of the eight directions, drawn at random."""
    rng = np.random.default_rng(distance)
    directions = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j])
    dy, dx = distance * directions[rng.integers(0, 8, len(examples["y"]))].T
    return {**examples, "x": data.shift(examples["x"], dy, dx)}


def equivariance_error(images: np.ndarray) -> float:
    """max |conv(moved x) − moved conv(x)|, moved by 2 pixels: one place in the hidden map."""
    layer = hidden("conv")
    params, _ = layer.init(jax.random.key(0))
    before = np.asarray(layer.apply(params, (), images)[0])
    after = np.asarray(layer.apply(params, (), data.shift(images, 2, 0))[0])
    return float(np.abs(after[:, 1:] - before[:, :-1]).max())
