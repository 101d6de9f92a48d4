"""A network of 1998 tells handwritten digits apart: 99 % of MNIST's test images, in minutes.

Trains a classifier on images and tests it once, on images it has never seen, with the weights of
the epoch that had the least validation loss.

The claims are of the default settings. LeNet-5 sees the 8×8 digits resized to 28×28.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from dlcore import data, models, nn, optim, train, tree
from dlcore import functional as F
from dlcore.nn.layer import select
from dlcore.train.precision import PRECISIONS
from experiments import output
from experiments.basics._framing import FRAMINGS
from experiments.choice import BadInput, at_least, at_most, one_of, positive
from experiments.frame import Claim, DataConfig, Figure, Result, Table

EXPECTED = {
    ("digits", "lenet5"): ("≥ 0.98", "dlcore"),
    ("mnist", "lenet5"): ("≥ 0.99", "LeCun et al. 1998: 0.9905"),
    ("mnist", "mlp"): ("≥ 0.982", "Keras, mnist_mlp: 0.984"),
    ("mnist", "linear"): ("≥ 0.92", "LeCun et al. 1998, no softmax: 0.88"),
}
CLAIMS = tuple(
    Claim(f"test accuracy of {model} on {digits}", *expected)
    for (digits, model), expected in EXPECTED.items()
)
DATA = ("digits", "mnist", "fashion_mnist", "cifar10")
# Each optimizer with the peak rate that suits these networks at batches of 32 and 64.
OPTIMIZERS = {
    "sgd": (optim.sgd, 0.2),
    "momentum": (optim.momentum, 0.05),
    "nesterov": (optim.nesterov, 0.05),
    "rmsprop": (optim.rmsprop, 1e-3),
    "adam": (optim.adam, 2e-3),
    "adamw": (optim.adamw, 2e-3),
}
WARMUP = 0.05  # of all steps
EPOCHS = {"digits": 30, "mnist": 12, "fashion_mnist": 15, "cifar10": 20}
BATCH_SIZES = {"digits": 32, "mnist": 64, "fashion_mnist": 64, "cifar10": 64}
SMOOTHING = {"linear": 0.0, "mlp": 0.1, "lenet5": 0.1}


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """What is learned, by what, and how. What is left out is what suits the data and the model."""

    data: str = "digits"
    """digits (comes along), mnist, fashion_mnist or cifar10 (downloaded if need be)."""
    model: str = "lenet5"
    """linear, mlp or lenet5."""
    optimizer: str = "nesterov"
    """sgd, momentum, nesterov, rmsprop, adam or adamw."""
    learning_rate: float | None = None
    """The peak: it is reached after a warm-up, and falls to 0 as a cosine."""
    batch_size: int | None = None
    """Examples an update: 32 of digits, else 64."""
    epochs: int | None = None
    """Passes over the training examples: 30, 12, 15 and 20 of the data sets in that order."""
    label_smoothing: float | None = None
    """The share of a label that is spread over all classes, in [0, 1): 0.1, but 0 for linear."""
    clip: float | None = None
    """The longest gradient, by its norm over all parameters."""
    precision: str = "float32"
    """float32, or bfloat16 for what is computed from float32 parameters."""
    patience: int | None = None
    """Stop after so many epochs without a lower validation loss."""
    seed: int = 0
    """Of the parameters, the order of the examples, and dropout."""
    resume: bool = False
    """Go on with the unfinished run in that folder, as it was begun."""

    def __post_init__(self) -> None:
        one_of("data set", self.data, DATA)
        one_of("model", self.model, SMOOTHING)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("precision", self.precision, PRECISIONS)
        at_least(1, epochs=self.epochs, batch_size=self.batch_size, patience=self.patience)
        positive(learning_rate=self.learning_rate, clip=self.clip)
        at_least(0, seed=self.seed)
        if self.label_smoothing is not None and not 0 <= self.label_smoothing < 1:
            raise BadInput(f"label_smoothing lies in [0, 1), got {self.label_smoothing}")


SMOKE = Config(model="mlp", epochs=3)


class Choices(NamedTuple):
    """What a Config may leave out."""

    epochs: int
    batch_size: int
    learning_rate: float
    label_smoothing: float


@dataclasses.dataclass(frozen=True)
class Measured:
    """The figures of a trained network, and what its pictures are drawn from."""

    test_accuracy: float
    test_loss: float
    epochs: int
    steps: int
    seconds: float
    parameters: int
    stopped: str
    recall: dict[str, float]
    classes: tuple[str, ...]
    choices: Choices
    history: list[dict[str, Any]] = dataclasses.field(repr=False)
    images: np.ndarray = dataclasses.field(repr=False)
    labels: np.ndarray = dataclasses.field(repr=False)
    probabilities: np.ndarray = dataclasses.field(repr=False)

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class of each test image."""
        return self.probabilities.argmax(axis=-1)

    @property
    def confusion(self) -> np.ndarray:
        """Counts [true class, predicted class] on the test images."""
        return _confusion(self.predicted, self.labels, len(self.classes))


def run(config: Config) -> Measured:
    """Trains, tests, and writes the weights."""
    dataset = load(config)
    chosen = choices(config)
    at_most(len(dataset.train["y"]), batch_size=chosen.batch_size)
    per_epoch = data.batches_per_epoch(len(dataset.train["y"]), chosen.batch_size)
    optimizer = make_optimizer(config, chosen, chosen.epochs * per_epoch)
    description = describe(config, dataset)
    shape, classes = dataset.train["x"].shape[1:], len(dataset.classes)
    body = models.build(config.model, inputs=shape, classes=classes)
    layer = network(body, description)
    print(nn.summary(layer, (1, *dataset.train["x"].shape[1:])), flush=True)
    objective = train.classification(
        train.with_precision(layer, config.precision), label_smoothing=chosen.label_smoothing
    )
    trained = train.run(
        train.make_step(objective, optimizer),
        train.train_state(layer, optimizer, seed=config.seed),
        dataset.train,
        epochs=chosen.epochs,
        batch_size=chosen.batch_size,
        validation=dataset.validation,
        stopping=train.EarlyStopping(patience=config.patience),
        out=config.out,
        resume=config.resume,
        facts=output.plain(settled(dataclasses.replace(config, root=None, out=None, resume=False))),
    )
    best = trained.best
    if config.out is not None:
        params, state = (select(one, "body") for one in (best.params, best.state))
        models.save(config.out / "weights.safetensors", body, params, state, description)
    logits = train.predict(layer, best.params, best.state, dataset.test)
    return _measured(chosen, dataset, trained, logits)


def figures(result: Result[Measured]) -> list[float | None]:
    """The test accuracy, where data and model have their default settings."""
    config = result.config
    free = {name: getattr(config, name) for name in ("seed", "root", "out", "resume")}
    is_default = settled(config) == settled(Config(config.data, config.model, **free))
    return [
        result.measured.test_accuracy if is_default and (config.data, config.model) == one else None
        for one in EXPECTED
    ]


def table(result: Result[Measured]) -> dict[str, Table]:
    """The test accuracy, and where the mistakes lie."""
    found = result.measured
    wrong = int((found.predicted != found.labels).sum())
    return {
        f"test accuracy {found.test_accuracy:.4f}  ({wrong:,} wrong of {len(found.labels):,})"
        f"  test loss {found.test_loss:.4f}  {found.steps:,} steps in {found.seconds:.1f} s"
        f"  ({found.stopped})": (),
        "Test images by class": _by_class(found),
    }


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """The curves of training, the confusion matrix and the worst mistakes."""
    from dlcore import plot

    found = result.measured
    return {
        "curves": plot.curves(found.history, smoothing=found.choices.label_smoothing),
        "confusion": plot.confusion(found.confusion, found.classes),
        "mistakes": plot.mistakes(
            found.images, found.labels, found.predicted, found.probabilities, found.classes
        ),
    }


def choices(config: Config) -> Choices:
    """What `config` says, and where it says nothing what suits data, model and optimizer."""
    suitable = Choices(
        EPOCHS[config.data],
        BATCH_SIZES[config.data],
        OPTIMIZERS[config.optimizer][1],
        SMOOTHING[config.model],
    )
    said = {name: getattr(config, name) for name in Choices._fields}
    return suitable._replace(**{name: value for name, value in said.items() if value is not None})


def settled(config: Config) -> Config:
    """`config` with nothing left out."""
    return dataclasses.replace(config, **choices(config)._asdict())


def load(config: Config) -> data.Dataset:
    """The images in the size that the model sees."""
    resized = {"size": 28} if (config.data, config.model) == ("digits", "lenet5") else {}
    return data.load(config.data, config.root, **resized)


def make_optimizer(config: Config, chosen: Choices, steps: int) -> optax.GradientTransformation:
    """The optimizer under a rate that rises, then falls as a cosine to 0 at the last of `steps`."""
    make, _ = OPTIMIZERS[config.optimizer]
    warmup = int(WARMUP * steps)
    optimizer = make(optim.warmup_cosine(chosen.learning_rate, steps, warmup_steps=warmup))
    if config.clip is None:
        return optimizer
    return optax.chain(optim.clip_by_global_norm(config.clip), optimizer)


def describe(config: Config, dataset: data.Dataset) -> dict[str, Any]:
    """What stands in the weights' file beside the architecture: all that a reader of images needs.

    The mean and deviation of each channel are those of the training images.
    """
    framing = FRAMINGS.get(config.data)
    mean, std = (np.round(one.astype(float), 4) for one in data.mean_and_std(dataset.train["x"]))
    return {
        "mean": mean.tolist(),
        "std": std.tolist(),
        "classes": list(dataset.classes),
        "framing": framing and output.plain(framing),
    }


def network(body: nn.Layer, description: dict[str, Any]) -> nn.Layer:
    """The classifier of raw images in [0, 1]: they are standardised, then `body` sees them."""
    standardize = nn.standardize(description["mean"], description["std"])
    return nn.serial(nn.named("input", standardize), nn.named("body", body))


def _measured(
    chosen: Choices, dataset: data.Dataset, trained: train.Result, logits: np.ndarray
) -> Measured:
    labels = dataset.test["y"]
    accuracy, loss = (float(jax.jit(f)(logits, labels)) for f in (F.accuracy, F.cross_entropy))
    counts = _confusion(logits.argmax(axis=-1), labels, len(dataset.classes))
    recall = jax.jit(F.recall)(counts.astype(np.float32)).tolist()
    return Measured(
        test_accuracy=accuracy,
        test_loss=loss,
        epochs=len(trained.history),
        steps=int(trained.state.step),
        seconds=trained.history[-1]["seconds"],
        parameters=tree.count(trained.state.params),
        stopped=trained.reason,
        recall=dict(zip(dataset.classes, recall, strict=True)),
        classes=dataset.classes,
        choices=chosen,
        history=trained.history,
        images=dataset.test["x"],
        labels=labels,
        probabilities=np.asarray(jax.jit(F.softmax)(logits)),
    )


def _confusion(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    return np.asarray(F.confusion_matrix(predicted, labels, classes)).astype(int)


def _by_class(found: Measured) -> Table:
    yield "class", "recall", "most often taken for"
    for row, (name, recall) in zip(found.confusion, found.recall.items(), strict=True):
        others = [j for j in np.argsort(-row, kind="stable") if found.classes[j] != name]
        taken = [f"{found.classes[j]} ({row[j]})" for j in others[:3] if row[j]]
        yield name, f"{recall:.3f}", ", ".join(taken)
