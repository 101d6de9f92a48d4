"""A conditional autoencoder draws the digit that is wanted, and not the same one each time.

A variational autoencoder whose encoder and decoder know the label learns the digits of MNIST, with
pixels drawn anew each time. Digits of each class are then asked for, and judged by a classifier
that was trained on real digits alone: how often the digit is the one wanted, how many lie among
real ones in its features (precision), and how many of the real lie among them (recall), beside what
other real digits score. That the label is heeded is measured after every epoch, since a network can
learn to do without it.

The recipe (784-500-500-20, 30 epochs, Adam's rate 1e-3, β = 2) was chosen by samples beside
validation images. β trades one for another: there at 1, 2 and 2.5 the wanted digit was recognised
in 81, 95 and 97 %, and recall fell, to 0.58 at 2 and 0.48 at 2.5.

Lecture C: conditional variational autoencoders. Sohn et al. 2015; Kynkäänniemi et al. 2019.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore import analysis, data, generate, models, nn, optim, train
from experiments._learning import first
from experiments.choice import at_least
from experiments.frame import Claim, DataConfig, Figure, Result, Table
from experiments.generative import _judge
from experiments.generative._watching import watching

LECTURE = "lecture C"
CLAIMS = (
    Claim("the judge's accuracy on real test digits", "≥ 0.985", "tried"),
    Claim("recognised as the wanted digit: conditional VAE", "≥ 0.9", "tried; " + LECTURE),
    Claim("precision: conditional VAE / real digits", "≥ 0.8", "Kynkäänniemi et al. 2019"),
    Claim("recall: conditional VAE / real digits", "≥ 0.6", "Kynkäänniemi et al. 2019"),
)
CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    train_images: int = 55_000
    """Digits of MNIST to learn, by the judge too."""
    drawn: int = 5_000
    """Digits that are drawn, and real ones beside which they are judged."""
    epochs: int = 30
    """Epochs of the autoencoder."""
    beta: float = 2.0
    """The weight of the divergence in training: the larger, the nearer are codes to the prior."""
    judge_epochs: int = _judge.EPOCHS
    """Epochs of the judge."""
    seed: int = 0
    """Of the autoencoder, its batches, and what it draws."""

    def __post_init__(self) -> None:
        at_least(64, train_images=self.train_images)
        at_least(20, drawn=self.drawn)
        at_least(1, epochs=self.epochs, judge_epochs=self.judge_epochs)
        at_least(0, beta=self.beta)
        at_least(0, seed=self.seed)


SMOKE = Config(train_images=64, drawn=20, epochs=1, judge_epochs=1)


class Measured(NamedTuple):
    """The judge's accuracy and digest, the quality of real and of drawn digits, which share was
    recognised after each epoch, and digits drawn [10 · 12, 28, 28, 1], a row for each class."""

    accuracy: float
    digest: str
    quality: dict[str, analysis.Quality]
    epochs: list[float]
    pictures: np.ndarray


def run(config: Config) -> Measured:
    """The judge, then the autoencoder, then both."""
    digits = data.load("mnist", config.root)
    judge = _judge.judge(digits, config.train_images, config.judge_epochs)
    layer = models.conditional_vae((28, 28, 1), (500, 500), 20, CLASSES)
    state, epochs = learn(layer, digits, judge, config)
    order = np.random.default_rng(config.seed).permutation(len(digits.test["x"]))
    real, others = np.array_split(digits.test["x"][order][: 2 * config.drawn], 2)
    count = len(real)
    wanted = np.arange(count) % CLASSES
    drawn = draw(layer, state, wanted, config.seed + 1)
    quality = {
        "real digits": judge.quality(real, others[:count]),
        "conditional VAE": judge.quality(real, drawn, wanted),
    }
    shown = draw(layer, state, np.repeat(np.arange(CLASSES), 12), config.seed + 2)
    return Measured(judge.accuracy, judge.digest, quality, epochs, shown)


def learn(
    layer: nn.Layer, digits: data.Dataset, judge: _judge.Judge, config: Config
) -> tuple[train.TrainState, list[float]]:
    """The state after all epochs, and which share of 1,000 was recognised after each."""
    images = data.binarised(digits, "dynamic")
    objective = train.variational(layer, beta=config.beta)
    batch = min(128, config.train_images)
    updates = config.epochs * data.batches_per_epoch(config.train_images, batch)
    optimizer = optim.adam(optim.warmup_cosine(1e-3, updates, warmup_steps=updates // 20))
    wanted = np.arange(min(1_000, config.drawn)) % CLASSES

    def validation(state: train.TrainState) -> dict[str, Any]:
        scores = train.evaluate(objective, state.params, state.state, images.validation)
        _, probabilities = judge.look(draw(layer, state, wanted, config.seed))
        recognised = float((probabilities.argmax(-1) == wanted).mean())
        return {"loss": float(scores["loss"]), "recognised": recognised}

    print(f"The autoencoder learns {images.name}:")
    result = train.run(
        train.make_step(train.augmented(objective, data.augment.binarise), optimizer),
        train.train_state(layer, optimizer, seed=config.seed),
        first(images.train, config.train_images),
        epochs=config.epochs,
        batch_size=batch,
        validation=validation,
        callback=watching(
            config.out,
            "samples",
            lambda state: draw(layer, state, np.repeat(np.arange(CLASSES), CLASSES), 0),
        ),
    )
    return result.state, [float(row["validation_recognised"]) for row in result.history]


def draw(layer: nn.Layer, state: train.TrainState, wanted: np.ndarray, seed: int) -> np.ndarray:
    """A digit of each class that is wanted."""
    how: dict[str, Any] = {"key": jax.random.key(seed), "label": wanted.astype(np.int32)}
    return generate.vae.sample(layer, state.params, state.state, len(wanted), **how)


def figures(result: Result[Measured]) -> list[float]:
    """What was recognised, and precision and recall beside those of real digits."""
    real, drawn = (result.measured.quality[name] for name in ("real digits", "conditional VAE"))
    return [
        result.measured.accuracy,
        drawn.recognised or 0.0,
        drawn.precision / real.precision,
        drawn.recall / real.recall,
    ]


def table(result: Result[Measured]) -> dict[str, Table]:
    """A line for what is real and for what was drawn."""
    measured = result.measured
    head = ("digits", "recognised", "precision", "recall", "Fréchet", "smallest class", "entropy")
    lines = [
        (
            name,
            None if one.recognised is None else f"{one.recognised:.4f}",
            f"{one.precision:.3f}",
            f"{one.recall:.3f}",
            f"{one.frechet:.2f}",
            f"{one.shares.min():.3f}",
            f"{one.entropy:.3f}",
        )
        for name, one in measured.quality.items()
    ]
    count = measured.quality["real digits"].n
    title = f"{count:,} digits beside {count:,} real ones, by LeNet-5 {measured.digest}"
    return {f"{title} ({measured.accuracy:.4f} of real test digits right)": [head, *lines]}


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """What was recognised after each epoch, and digits that were wanted."""
    from dlcore import plot

    epochs = result.measured.epochs
    panel = plot.Panel(
        "Is the label heeded?",
        "epoch",
        "recognised as the wanted digit",
        {"conditional VAE": (range(1, len(epochs) + 1), epochs)},
        percent=True,
    )
    pictures = result.measured.pictures.reshape(CLASSES, 12, 28, 28, 1)
    rows = {str(k): row for k, row in enumerate(pictures)}
    return {"recognised": plot.lines(panel), "digits": plot.mosaic(rows, title="Wanted, and drawn")}
