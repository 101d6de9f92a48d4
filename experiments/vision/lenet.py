"""LeNet-5 as it was published in 1998 reads MNIST nearly as well as the form that is built today.

The form of 1998 (subsampling with trained coefficients, partial connections, scaled tanh, distances
to bitmaps) and the modern one (relu, max-pooling, a linear layer and softmax) learn the same digits
with the same optimizer, order and number of updates.

LeCun et al. 1998, sections II.B and III.C (20 passes over 60,000 images, no distortions: an error
of 0.95 %); lecture C. The paper's own optimizer, a diagonal Levenberg-Marquardt, is not used.
"""

from __future__ import annotations

import dataclasses
import time
from typing import NamedTuple

from dlcore import data, models, nn, optim, tree
from experiments._learning import accuracy, first, learn
from experiments.choice import at_least, positive
from experiments.frame import Claim, DataConfig, Figure, Result, Table

CLAIMS = (
    Claim("test accuracy of the form of 1998", "≥ 0.985", "LeCun et al. 1998: 0.9905"),
    Claim("test accuracy of the modern form", "≥ 0.985", "LeCun et al. 1998: 0.9905"),
)
FORMS = {"1998": models.lenet5_1998, "modern": models.lenet5}
# Background −0.1 and ink 1.175, so that the mean is about 0 and the variance about 1: section II.B.
PAPER = (-0.1, 1.175)


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    epochs: int = 6
    """Passes over the training images, in batches of 64."""
    train_images: int = 55_000
    """Digits of MNIST to learn."""
    learning_rate: float = 2e-3
    """The peak of Adam's: after a warm-up, falling to 0 as a cosine."""
    seed: int = 0
    """Of the parameters and the order of the examples."""

    def __post_init__(self) -> None:
        at_least(1, epochs=self.epochs, train_images=self.train_images)
        at_least(0, seed=self.seed)
        positive(learning_rate=self.learning_rate)


SMOKE = Config(epochs=1, train_images=200)


class Form(NamedTuple):
    """One of the two, trained."""

    name: str
    parameters: int
    accuracy: float
    seconds: float
    epochs: list[int]
    losses: list[float]


def run(config: Config) -> list[Form]:
    """Trains both forms."""
    low, high = PAPER
    digits = data.transform(
        data.load("mnist", config.root), lambda x: (low + (high - low) * x).astype("float32")
    )
    return [measure(name, make(), digits, config) for name, make in FORMS.items()]


def figures(result: Result[list[Form]]) -> list[float]:
    """Both read digits well."""
    return [form.accuracy for form in result.measured]


def table(result: Result[list[Form]]) -> Table:
    """A line for each form."""
    yield "LeNet-5", "parameters", "test accuracy", "seconds"
    for form in result.measured:
        yield form.name, form.parameters, f"{form.accuracy:.4f}", f"{form.seconds:.0f}"


def plot(result: Result[list[Form]]) -> Figure:
    """The training loss by epoch."""
    from dlcore import plot

    losses = {form.name: (form.epochs, form.losses) for form in result.measured}
    return plot.lines(plot.Panel("LeNet-5", "epoch", "training loss", losses, log="y"))


def measure(name: str, layer: nn.Layer, digits: data.Dataset, config: Config) -> Form:
    """Trains one form."""
    began = time.perf_counter()
    examples = first(digits.train, config.train_images)
    per_epoch = data.batches_per_epoch(len(examples["y"]), 64)
    updates = config.epochs * per_epoch
    rate = optim.warmup_cosine(config.learning_rate, updates, warmup_steps=max(1, updates // 20))
    learned = learn(layer, examples, optim.adam(rate), updates, batch_size=64, seed=config.seed)
    seconds = time.perf_counter() - began
    steps, losses = zip(*learned.losses, strict=True)
    return Form(
        name=name,
        parameters=tree.count(learned.params),
        accuracy=accuracy(layer, learned, digits.test),
        seconds=seconds,
        epochs=[step // per_epoch for step in steps],
        losses=list(losses),
    )
