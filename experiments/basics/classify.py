"""A network of 1998 tells handwritten digits apart: 99 % of MNIST's test images, in minutes.

Trains a classifier on images and tests it once, on images it has never seen, with the weights of
the epoch that had the least validation loss.

    data     model    expected test accuracy
    digits   lenet5   0.98
    mnist    lenet5   0.990    LeCun et al. 1998: 0.9905
    mnist    mlp      0.982    Keras's example mnist_mlp: 0.984
    mnist    linear   0.92     LeCun et al. 1998, without a softmax: 0.88

These are claims of the default settings. LeNet-5 sees the 8×8 digits resized to 28×28.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import optax

from dlcore import data, models, nn, optim, train, tree
from dlcore import functional as F
from dlcore.nn.layer import select
from dlcore.train.precision import PRECISIONS
from experiments import claim, output
from experiments.basics._framing import FRAMINGS
from experiments.choice import at_least, one_of, positive

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
EXPECTED = {
    ("digits", "lenet5"): (0.98, "dlcore"),
    ("mnist", "lenet5"): (0.990, "LeCun et al. 1998: 0.9905"),
    ("mnist", "mlp"): (0.982, "Keras, mnist_mlp: 0.984"),
    ("mnist", "linear"): (0.92, "LeCun et al. 1998: 0.88"),
}


@dataclasses.dataclass(frozen=True)
class Config:
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
    root: Path | None = None
    """Folder that holds the data sets; by default the user's cache."""
    out: Path | None = None
    """Folder for everything written; by default runs/classify."""
    resume: bool = False
    """Go on with the unfinished run in that folder."""

    def __post_init__(self) -> None:
        one_of("data set", self.data, DATA)
        one_of("model", self.model, models.MODELS)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("precision", self.precision, PRECISIONS)
        at_least(1, epochs=self.epochs, batch_size=self.batch_size, patience=self.patience)
        positive(learning_rate=self.learning_rate, clip=self.clip)
        at_least(0, seed=self.seed)
        if self.label_smoothing is not None and not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing lies in [0, 1), got {self.label_smoothing}")

    @classmethod
    def smoke(cls) -> Config:
        """Seconds."""
        return cls(model="mlp", epochs=3)


@dataclasses.dataclass(frozen=True)
class Result:
    """The figures of a trained network, and what its pictures are drawn from."""

    test_accuracy: float
    test_loss: float
    epochs: int
    steps: int
    seconds: float
    parameters: int
    stopped: str
    recall: dict[str, float]
    claims: list[claim.Claim]
    classes: tuple[str, ...]
    config: Config
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

    def __rich__(self) -> Any:
        """The test accuracy, and where the mistakes lie."""
        from rich.console import Group

        wrong = int((self.predicted != self.labels).sum())
        return Group(
            f"\ntest accuracy {self.test_accuracy:.4f}  ({wrong:,} wrong of {len(self.labels):,})"
            f"  test loss {self.test_loss:.4f}  {self.steps:,} steps in {self.seconds:.1f} s"
            f"  ({self.stopped})\n",
            self._by_class(),
        )

    def _by_class(self) -> Any:
        from rich.table import Table

        shown = Table("class", "recall", "most often taken for", title="Test images by class")
        for row, (name, recall) in zip(self.confusion, self.recall.items(), strict=True):
            others = [j for j in np.argsort(-row, kind="stable") if self.classes[j] != name]
            taken = [f"{self.classes[j]} ({row[j]})" for j in others[:3] if row[j]]
            shown.add_row(name, f"{recall:.3f}", ", ".join(taken))
        return shown


def run(config: Config) -> Result:
    """Trains, tests, and writes the weights."""
    dataset = load(config)
    chosen = choices(config)
    config = dataclasses.replace(config, **chosen._asdict())
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
        facts=output.plain(dataclasses.replace(config, root=None, out=None, resume=False)),
    )
    best = trained.best
    if config.out is not None:
        params, state = (select(one, "body") for one in (best.params, best.state))
        models.save(config.out / "weights.safetensors", body, params, state, description)
    logits = train.predict(layer, best.params, best.state, dataset.test)
    return _result(config, dataset, trained, logits)


def plot(result: Result) -> dict[str, Figure]:
    """The curves of training, the confusion matrix and the worst mistakes."""
    from dlcore import plot

    return {
        "curves": plot.curves(result.history),
        "confusion": plot.confusion(result.confusion, result.classes),
        "mistakes": plot.mistakes(
            result.images, result.labels, result.predicted, result.probabilities, result.classes
        ),
    }


class Choices(NamedTuple):
    """What a Config may leave out."""

    epochs: int
    batch_size: int
    learning_rate: float
    label_smoothing: float


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


def _result(
    config: Config, dataset: data.Dataset, trained: train.Result, logits: np.ndarray
) -> Result:
    labels = dataset.test["y"]
    accuracy, loss = (float(jax.jit(f)(logits, labels)) for f in (F.accuracy, F.cross_entropy))
    counts = _confusion(logits.argmax(axis=-1), labels, len(dataset.classes))
    recall = jax.jit(F.recall)(counts.astype(np.float32)).tolist()
    return Result(
        test_accuracy=accuracy,
        test_loss=loss,
        epochs=len(trained.history),
        steps=int(trained.state.step),
        seconds=trained.history[-1]["seconds"],
        parameters=tree.count(trained.state.params),
        stopped=trained.reason,
        recall=dict(zip(dataset.classes, recall, strict=True)),
        claims=_claims(config, accuracy),
        classes=dataset.classes,
        config=config,
        history=trained.history,
        images=dataset.test["x"],
        labels=labels,
        probabilities=np.asarray(jax.jit(F.softmax)(logits)),
    )


def _confusion(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    return np.asarray(F.confusion_matrix(predicted, labels, classes)).astype(int)


def _claims(config: Config, accuracy: float) -> list[claim.Claim]:
    """The expected figure, where there is one for this data and model at their default settings."""
    free = {name: getattr(config, name) for name in ("seed", "root", "out", "resume")}
    default = Config(config.data, config.model, **free)
    default = dataclasses.replace(default, **choices(default)._asdict())
    if config != default or (config.data, config.model) not in EXPECTED:
        return []
    floor, source = EXPECTED[config.data, config.model]
    what = f"test accuracy of {config.model} on {config.data}"
    return [claim.at_least(what, floor, accuracy, source)]
