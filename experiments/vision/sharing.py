"""Shared weights do with a thousandth of the parameters, and tell moved digits better.

One hidden layer of 16 maps in three forms: dense (every unit sees every pixel), local (every unit
sees 5×5 pixels with weights of its own) and conv (the same, with one set of weights for all places:
local with weights shared). Each with max-pooling over 3×3 units and without, then a linear layer.
They learn digits in the middle of a larger canvas and are tested there, and 1 to 4 pixels away.

    parameters of the hidden layer, dense / conv                  > 1000
    conv is equivariant: largest difference, moved and convolved  ≤ 1e-5
    accuracy 4 pixels away: conv with pooling − dense             > 0
    pooling brings invariance: conv with − without, 4 away        > 0
    train − test accuracy, where they learned: dense − conv       > 0

Lecture C: convolution, pooling, parameter sharing and translation; LeCun et al. 1998, section II.A.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from dlcore import data, nn, optim, tree
from dlcore import functional as F
from experiments import claim
from experiments._learning import Learned, accuracy, first, learn
from experiments.choice import at_least, one_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CANVAS, GRID, MAPS = 36, 18, 16
FARTHEST = 4  # pixels: a digit of 28×28 stays on the canvas
POOL = 3
FORMS = ("dense", "local", "conv")


@dataclasses.dataclass(frozen=True)
class Config:
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
    root: Path | None = None
    """Folder that holds the data set mnist; by default the user's cache."""
    out: Path | None = None
    """Folder for everything written; by default runs/sharing."""

    def __post_init__(self) -> None:
        at_least(10, train_images=self.train_images, test_images=self.test_images)
        at_least(1, epochs=self.epochs, seeds=self.seeds)
        for form in self.pooled:
            one_of("form", form, FORMS)

    @classmethod
    def smoke(cls) -> Config:
        """Seconds."""
        return cls(train_images=20, test_images=20, epochs=1, seeds=1, pooled=())


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


@dataclasses.dataclass(frozen=True)
class Result:
    """The arms, and how far convolution is from equivariant."""

    arms: list[Arm]
    equivariance_error: float
    seconds: float
    claims: list[claim.Claim]
    config: Config

    def __rich__(self) -> Any:
        """A row for each arm."""
        from rich.table import Table

        away = [f"{distance} px" for distance in range(FARTHEST + 1)]
        shown = Table("hidden layer", "parameters", "train", *away, title="Accuracy by distance")
        for arm in self.arms:
            values = (arm.train_accuracy, *arm.test_accuracy)
            shown.add_row(arm.name, f"{arm.parameters:,}", *(f"{value:.3f}" for value in values))
        return shown


def run(config: Config) -> Result:
    """Trains the arms, and moves what they see."""
    began = time.perf_counter()
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
    error = equivariance_error(first(middle.test, 20)["x"])
    return Result(
        arms=arms,
        equivariance_error=error,
        seconds=time.perf_counter() - began,
        claims=claims(arms, error),
        config=config,
    )


def plot(result: Result) -> dict[str, Figure]:
    """Accuracy against the distance, and the gap between training and test."""
    from dlcore import plot

    distances = list(range(FARTHEST + 1))
    lines = {arm.name: (distances, arm.test_accuracy) for arm in result.arms}
    gaps: dict[str, dict[str, float]] = {}
    for arm in result.arms:
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


def claims(arms: list[Arm], error: float) -> list[claim.Claim]:
    """What sharing and pooling bring."""
    by_name = {arm.name: arm for arm in arms}
    dense, conv, pooled = (by_name[name] for name in ("dense", "conv", "conv, pooled"))
    away = [arm.test_accuracy[-1] for arm in (dense, conv, pooled)]
    gaps = [arm.train_accuracy - arm.test_accuracy[0] for arm in (dense, pooled)]
    lecture = "lecture C"
    return [
        claim.more_than(
            "parameters, dense / conv", 1000, dense.parameters / conv.parameters, lecture
        ),
        claim.at_most("conv is equivariant: largest difference", 1e-5, error, lecture),
        claim.more_than(f"{FARTHEST} px away: conv, pooled − dense", 0, away[2] - away[0], lecture),
        claim.more_than(f"{FARTHEST} px away: conv, pooled − conv", 0, away[2] - away[1], lecture),
        claim.more_than("train − test: dense − conv, pooled", 0, gaps[0] - gaps[1], lecture),
    ]
