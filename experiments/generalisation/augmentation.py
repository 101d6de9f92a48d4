"""Ten times as many digits, made of 1,000 by small moves, raise the test accuracy.

A network of one hidden layer learns 1,000 digits of MNIST, or these and nine altered forms of each:
shifted, turned, scaled, sheared, bent (elastic), or all of it. Every arm makes as many updates.
Beside them stand what alters each batch anew, cutout, mixup and cutmix, and label smoothing, which
alters the targets alone; the papers report these on photographs and deep networks, and nothing
is claimed of them here.

Lecture C: augment data with synthetic variants, ten times the data; E. Simard et al. 2003 for the
elastic one; DeVries and Taylor 2017, Zhang et al. 2018, Yun et al. 2019, Szegedy et al. 2016.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np

from dlcore import data, models, optim, train
from dlcore.data import augment
from dlcore.data.augment import images
from experiments._learning import accuracy, first, learn
from experiments.choice import at_least, one_of
from experiments.frame import Claim, DataConfig, Figure, Result, Table
from experiments.generalisation._enlarged import enlarged

ALL = "all moves"
MOVES: dict[str, augment.Augmentation] = {
    "shift": functools.partial(images.random_crop, padding=2),
    "rotation": functools.partial(images.random_rotation, limit=15.0),
    "scale": functools.partial(images.random_scale, limit=0.15),
    "shear": functools.partial(images.random_shear, limit=0.2),
    "elastic": functools.partial(images.random_elastic, alpha=34.0, sigma=4.0),
}
MOVES[ALL] = augment.chain(*MOVES.values())
CLAIMS = tuple(
    Claim(f"{move}: test accuracy, ten times as many − as they are", "> 0", "lecture C")
    for move in MOVES
)
TIMES = 10
IN_BATCHES: dict[str, Any] = {
    "cutout": augment.inputs(functools.partial(images.random_cutout, size=8)),
    "mixup": functools.partial(augment.mixup, alpha=0.2, classes=10),
    "cutmix": functools.partial(augment.cutmix, alpha=1.0, classes=10),
}
SMOOTHED = "label smoothing"
NONE = "none"
TITLES = {"made": "ten times as many digits", "batches": "each batch, or its targets, altered"}
ARMS = (*MOVES, *IN_BATCHES, SMOOTHED)


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    train_images: int = 1_000
    """Digits of MNIST to learn."""
    test_images: int = 10_000
    """Digits to test on."""
    updates: int = 1_500
    """Updates of every arm, with batches of 100."""
    seeds: int = 2
    """Each arm is trained from so many seeds; accuracies are means."""
    arms: tuple[str, ...] = ARMS
    """What is compared with the digits as they are."""

    def __post_init__(self) -> None:
        at_least(10, train_images=self.train_images, test_images=self.test_images)
        at_least(1, updates=self.updates, seeds=self.seeds, arms=len(self.arms))
        for arm in self.arms:
            one_of("arm", arm, ARMS)


SMOKE = Config(train_images=20, test_images=20, updates=2, seeds=1, arms=("shift", "mixup"))


class Score(NamedTuple):
    """The test accuracy of one arm over the seeds."""

    arm: str
    mean: float
    spread: float  # standard deviation


@dataclasses.dataclass(frozen=True)
class Measured:
    """Scores, that without augmentation first, and a digit under each move."""

    scores: list[Score]
    pictures: dict[str, np.ndarray] = dataclasses.field(repr=False)


def run(config: Config) -> Measured:
    """Trains every arm from every seed."""
    digits = data.load("mnist", config.root)
    examples = first(digits.train, config.train_images)
    test = first(digits.test, config.test_images)
    pictures = {
        arm: enlarged(examples, MOVES[arm], TIMES, seed=0)["x"][:: config.train_images]
        for arm in config.arms
        if arm in MOVES
    }
    scores = [measure(arm, examples, test, config) for arm in (NONE, *config.arms)]
    return Measured(scores, pictures)


def figures(result: Result[Measured]) -> list[float | None]:
    """What the moves bring."""
    means = {score.arm: score.mean for score in result.measured.scores}
    return [means[move] - means[NONE] if move in means else None for move in MOVES]


def table(result: Result[Measured]) -> dict[str, Table]:
    """A line for each arm."""
    lines = [(arm, f"{mean:.2%}", f"{spread:.2%}") for arm, mean, spread in result.measured.scores]
    return {f"{result.config.train_images:,} digits": [("arm", "test accuracy", "±"), *lines]}


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """The accuracies, and what the network sees."""
    from dlcore import plot

    means = {score.arm: score.mean for score in result.measured.scores}
    drawn = {}
    for kind, arms in (("made", MOVES), ("batches", (*IN_BATCHES, SMOOTHED))):
        shown = {arm: mean for arm, mean in means.items() if arm in (NONE, *arms)}
        drawn[kind] = plot.bars(
            {TITLES[kind]: shown}, title="Augmentation", y="test accuracy", percent=True
        )
    if result.measured.pictures:
        names = [
            f"{arm}: as it is" if i == 0 else ""
            for arm, digits in result.measured.pictures.items()
            for i in range(len(digits))
        ]
        pictures = np.concatenate(list(result.measured.pictures.values()))
        drawn["pictures"] = plot.image_grid(pictures, names, columns=TIMES)
    return drawn


def measure(
    arm: str, examples: dict[str, np.ndarray], test: dict[str, np.ndarray], config: Config
) -> Score:
    """Trains one arm from each seed."""
    layer = models.mlp(hidden=[128], dropout=0)
    objective = train.classification(layer, label_smoothing=0.1 if arm == SMOOTHED else 0.0)
    if arm in IN_BATCHES:
        objective = train.augmented(objective, IN_BATCHES[arm])
    optimizer = optim.adam(
        optim.warmup_cosine(2e-3, config.updates, warmup_steps=config.updates // 20)
    )
    accuracies = []
    for seed in range(config.seeds):
        seen = enlarged(examples, MOVES[arm], TIMES, seed) if arm in MOVES else examples
        trained = learn(
            layer,
            seen,
            optimizer,
            config.updates,
            batch_size=100,
            seed=seed,
            objective=objective,
            every=config.updates,
        )
        accuracies.append(accuracy(layer, trained, test))
    return Score(arm, float(np.mean(accuracies)), float(np.std(accuracies)))
