"""Ten times as many spoken digits, made of 60 by small changes of sound, are told apart better.

A small convolutional network learns spectrograms of the Free Spoken Digit Dataset: six of every
digit, or these and nine altered forms of each. Rows are frequencies, columns times: the voice is a
little higher here and slower there (warp, an elastic deformation), there is noise, the recording is
louder or softer, or bands of frequencies and stretches of time are taken out (masks). The network
and the strength of the warp were chosen on validation.

Lecture E: augmentation of audio; C: ten times the data. Park et al. 2019 (SpecAugment) for warping
and masks, there for thousands of hours of speech and much larger networks.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from dlcore import data, nn, optim
from dlcore import functional as F
from dlcore.data import augment
from dlcore.data.augment import audio, images
from experiments._learning import accuracy, learn
from experiments.choice import at_least, at_most, one_of
from experiments.frame import Claim, DataConfig, Figure, Result, Table
from experiments.generalisation._enlarged import enlarged

ALL = "all changes"
CHANGES: dict[str, augment.Augmentation] = {
    "warp": functools.partial(images.random_elastic, alpha=17.0, sigma=4.0),
    "noise": functools.partial(images.random_noise, std=0.05),
    "loudness": functools.partial(images.random_brightness, limit=0.1),
    "masks": augment.chain(
        functools.partial(audio.random_mask, axis=0, limit=3),
        functools.partial(audio.random_mask, axis=1, limit=3),
    ),
}
CHANGES[ALL] = augment.chain(*CHANGES.values())
CLAIMS = tuple(
    Claim(f"{change}: test accuracy, ten times as many − as they are", "> 0", "lecture E")
    for change in CHANGES
)
TIMES = 10


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    per_digit: int = 6
    """Recordings of each digit to learn."""
    updates: int = 800
    """Updates of every arm, with batches of 50."""
    seeds: int = 4
    """Each arm is trained from so many seeds, with other recordings; accuracies are means."""
    arms: tuple[str, ...] = tuple(CHANGES)
    """What is compared with the recordings as they are."""

    def __post_init__(self) -> None:
        at_least(1, per_digit=self.per_digit, updates=self.updates, seeds=self.seeds)
        at_least(1, arms=len(self.arms))
        for arm in self.arms:
            one_of("arm", arm, CHANGES)


SMOKE = Config(per_digit=2, updates=2, seeds=1, arms=("masks",))


class Score(NamedTuple):
    """The test accuracies of one arm, of each seed."""

    arm: str
    accuracies: list[float]

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return float(np.mean(self.accuracies))


@dataclasses.dataclass(frozen=True)
class Measured:
    """Scores, that without augmentation first, and one recording under each change."""

    scores: list[Score]
    pictures: dict[str, np.ndarray] = dataclasses.field(repr=False)


def run(config: Config) -> Measured:
    """Trains every arm from every seed."""
    digits = data.load("fsdd", config.root)
    at_most(int(np.min(np.bincount(digits.train["y"]))), per_digit=config.per_digit)
    sets = [data.subset(digits, config.per_digit, seed).train for seed in range(config.seeds)]
    layer = network()
    optimizer = optim.adam(
        optim.warmup_cosine(3e-3, config.updates, warmup_steps=config.updates // 20)
    )
    scores, pictures = [], {}
    for arm in ("none", *config.arms):
        accuracies = []
        for seed, examples in enumerate(sets):
            seen = examples
            if arm in CHANGES:
                seen = enlarged(examples, CHANGES[arm], TIMES, seed)
                pictures[arm] = seen["x"][:: len(examples["y"])]
            trained = learn(layer, seen, optimizer, config.updates, batch_size=50, seed=seed)
            accuracies.append(accuracy(layer, trained, digits.test))
        scores.append(Score(arm, accuracies))
    return Measured(scores, pictures)


def figures(result: Result[Measured]) -> list[float | None]:
    """What each change brings."""
    means = {score.arm: score.mean for score in result.measured.scores}
    return [means[change] - means["none"] if change in means else None for change in CHANGES]


def table(result: Result[Measured]) -> dict[str, Table]:
    """A line for each arm."""
    lines = [
        (score.arm, f"{score.mean:.2%}", f"{np.std(score.accuracies):.2%}")
        for score in result.measured.scores
    ]
    title = f"{10 * result.config.per_digit} recordings"
    return {title: [("arm", "test accuracy", "±"), *lines]}


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """The accuracies, and what the network sees."""
    from dlcore import plot

    recordings = f"{10 * result.config.per_digit} recordings"
    names = [
        f"{arm}: as it is" if i == 0 else ""
        for arm in result.measured.pictures
        for i in range(TIMES)
    ]
    return {
        "accuracy": plot.bars(
            {recordings: {score.arm: score.mean for score in result.measured.scores}},
            title="Spoken digits, by augmentation",
            y="test accuracy",
            percent=True,
        ),
        "pictures": plot.image_grid(
            np.concatenate(list(result.measured.pictures.values())), names, columns=TIMES
        ),
    }


def network() -> nn.Layer:
    """3,946 parameters, for images of 32 × 32."""
    return nn.serial(
        nn.conv(1, 8, 5, stride=2, padding=2),
        F.relu,
        nn.conv(8, 16, 3, stride=2, padding=1),
        F.relu,
        nn.max_pool(2),
        nn.flatten,
        nn.linear(4 * 4 * 16, 10),
    )
