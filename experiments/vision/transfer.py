"""What a network learned on one task saves labels on another, the more the nearer the other is.

A small VGG learns five classes of CIFAR-10 (the source). Then it is given a new head and a few
labels of a near task, the other five classes, and of two far ones: handwritten digits, and spoken
digits as spectrograms. Of its three stages the top 0, 1, 2 or 3 are thawed and learn on with the
head; the others stay as they were. With none thawed the features are computed once and only the
head is trained on them. The same network from scratch is what they are measured against.

Lectures C and E: transfer by similarity; Yosinski et al. 2014, "How transferable are features in
deep neural networks?", sections 4.1 and 4.2. Every arm has the same number of updates, more of
them where there are more labels.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore import data, models, nn, optim, train
from experiments._learning import Learned, accuracy, learn
from experiments.choice import at_least, at_most, positive
from experiments.frame import Claim, DataConfig, Figure, Result, Table

CLAIMS = (
    Claim("near task, fewest labels: best transfer − from scratch", "> 0", "lectures C and E"),
    Claim("gain, fewest labels: near task − the mean far task", "> 0", "Yosinski et al. 2014, 4.2"),
    Claim("near task: gain with the fewest labels − with the most", "> 0", "lectures C and E"),
)
SOURCE = ("airplane", "bird", "deer", "frog", "ship")
TARGET = ("automobile", "cat", "dog", "horse", "truck")
STAGES = (("conv1", "conv2"), ("conv3", "conv4"), ("conv5", "conv6"))
HEAD = "linear1"
SCRATCH = "from scratch"


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned of the source, and how little is given of the targets."""

    labels: tuple[int, ...] = (50, 150, 500)
    """Labels a class in the target tasks; the fsdd recordings have 240 a class at most."""
    far_classes: int = 10
    """Of each far task, from the digit 0 on; the source and the near task have 5."""
    size: int = 32
    """Height and width that all images are resized to."""
    width: int = 16
    """Channels of the first stage."""
    source_images: int = 4_000
    """Training images a class of the source."""
    source_epochs: int = 6
    """Passes over them."""
    updates: int = 200
    """Of each arm with 50 labels a class, in batches of 50; more with more labels, by the root."""
    learning_rate: float = 2e-3
    """The peak of Adam's: after a warm-up, falling to 0 as a cosine."""
    test_images: int = 2_000
    """Of each target task."""
    seed: int = 0
    """Of the parameters, the labels that are drawn and the order of the examples."""

    def __post_init__(self) -> None:
        at_least(1, source_images=self.source_images, source_epochs=self.source_epochs)
        at_least(1, width=self.width, updates=self.updates, test_images=self.test_images)
        at_least(8, size=self.size)
        at_least(2, far_classes=self.far_classes)
        at_most(10, far_classes=self.far_classes)
        at_least(0, seed=self.seed)
        positive(learning_rate=self.learning_rate)
        if not self.labels or min(self.labels) < 10 or len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels are different numbers of at least 10, got {self.labels}")


SMOKE = Config(
    labels=(10,),
    far_classes=5,
    size=8,
    width=1,
    source_images=10,
    source_epochs=1,
    updates=2,
    test_images=50,
)


class Score(NamedTuple):
    """The test accuracy of one arm: "0 thawed" … "3 thawed", or from scratch."""

    task: str
    labels: int
    arm: str
    accuracy: float


class Measured(NamedTuple):
    """Accuracies by task, labels and arm."""

    source_accuracy: float
    scores: list[Score]


def run(config: Config) -> Measured:
    """Learns the source, then every target task with every number of labels in every way."""
    source, targets = load(config)
    layer = vgg(config, len(source.classes))
    batch_size = min(100, len(source.train["y"]))
    updates = config.source_epochs * data.batches_per_epoch(len(source.train["y"]), batch_size)
    learned = learn(
        layer,
        source.train,
        rate(config, updates),
        updates,
        batch_size=batch_size,
        seed=config.seed,
    )
    scores = [
        Score(task, labels, arm, value)
        for task, dataset in targets.items()
        for labels in config.labels
        if labels <= np.min(np.bincount(dataset.train["y"]))
        for arm, value in arms(layer, learned, dataset, labels, config).items()
    ]
    return Measured(accuracy(layer, learned, source.test), scores)


def figures(result: Result[Measured]) -> list[float]:
    """Transfer gains on the near task, more than on the far ones, and most with few labels."""
    scores = result.measured.scores
    near, *far = dict.fromkeys(one.task for one in scores)
    few, many = (pick(one.labels for one in scores if one.task == near) for pick in (min, max))
    own = gain(scores, near, few)
    others = float(np.mean([gain(scores, task, few) for task in far]))
    return [own, own - others, own - gain(scores, near, many)]


def table(result: Result[Measured]) -> dict[str, Table]:
    """A line for each task and number of labels, a column for each arm."""
    own, scores = result.measured
    arms = list(dict.fromkeys(one.arm for one in scores))
    lines = [
        (task, labels, *(look_up(scores, task, labels, arm) for arm in arms))
        for task, labels in dict.fromkeys((one.task, one.labels) for one in scores)
    ]
    title = f"Test accuracy; the source's own is {own:.3f}"
    return {title: [("task", "labels a class", *arms), *lines]}


def plot(result: Result[Measured]) -> Figure:
    """For each task the accuracy against the number of labels, a line for each arm."""
    from dlcore import plot

    panels = []
    for task in dict.fromkeys(one.task for one in result.measured.scores):
        mine = [one for one in result.measured.scores if one.task == task]
        series = {
            arm: (
                [one.labels for one in mine if one.arm == arm],
                [one.accuracy for one in mine if one.arm == arm],
            )
            for arm in dict.fromkeys(one.arm for one in mine)
        }
        title = task[0].upper() + task[1:]
        panels.append(
            plot.Panel(title, "labels a class", "test accuracy", series, log="x", percent=True)
        )
    return plot.lines(*panels)


def load(config: Config) -> tuple[data.Dataset, dict[str, data.Dataset]]:
    """The source, and the target tasks by name, all as images of one size in colour."""

    def photographs(chosen: tuple[str, ...]) -> data.Dataset:
        found = data.classes(data.load("cifar10", config.root), chosen)
        if config.size == 32:
            return found
        return data.transform(found, lambda x: data.resize(x, config.size))

    def spoken_or_written(dataset: data.Dataset) -> data.Dataset:
        some = data.classes(dataset, range(config.far_classes))
        return data.transform(some, lambda x: data.rgb(data.resize(x, config.size)))

    source, digits = photographs(SOURCE), data.load("mnist", config.root)
    at_most(int(np.min(np.bincount(source.train["y"]))), source_images=config.source_images)
    at_most(int(np.min(np.bincount(digits.train["y"]))), labels=max(config.labels))
    targets = {
        "near: other photographs": photographs(TARGET),
        "far: written digits": spoken_or_written(data.subset(digits, max(config.labels))),
        "far: spoken digits": spoken_or_written(data.load("fsdd", config.root, size=config.size)),
    }
    for task, dataset in targets.items():
        test = {name: leaf[: config.test_images] for name, leaf in dataset.test.items()}
        targets[task] = dataclasses.replace(dataset, test=test)
    return data.subset(source, config.source_images), targets


@functools.cache
def rate(config: Config, updates: int) -> Any:
    """Adam under a rate that rises, then falls as a cosine to 0."""
    return optim.adam(
        optim.warmup_cosine(config.learning_rate, updates, warmup_steps=updates // 20)
    )


@functools.cache
def vgg(config: Config, classes: int) -> nn.Layer:
    """The small VGG, one and the same for as many classes."""
    return models.small_vgg((config.size, config.size, 3), classes, width=config.width)


@functools.cache
def forms(config: Config, classes: int) -> tuple[nn.Layer, nn.Layer, nn.Layer, list[nn.Layer]]:
    """The network, all below its head, the head, and the network with 1, 2 and 3 stages thawed.

    One and the same for as many classes, so that such tasks share what is compiled.
    """
    network = vgg(config, classes)
    body, top = nn.split(network, HEAD)
    stages = [[f"{name}/**" for name in stage] for stage in STAGES]
    partly = [nn.freeze(network, [*stages[0], *more]) for more in (stages[1], ())]
    return network, body, top, [*partly, network]


def arms(
    layer: nn.Layer,
    learned: Learned,
    dataset: data.Dataset,
    labels: int,
    config: Config,
) -> dict[str, float]:
    """Test accuracy of the transferred network, by what was thawed, and of one from scratch."""
    few = data.subset(dataset, labels, config.seed).train
    updates = round(config.updates * (labels / 50) ** 0.5)
    learning = functools.partial(
        learn,
        optimizer=rate(config, updates),
        updates=updates,
        batch_size=50,
        seed=config.seed,
    )
    network, body, top, partly = forms(config, len(dataset.classes))
    head = network.info.children[-1][1]
    key = jax.random.key(config.seed)
    _, params, state = nn.graft(key, layer, learned.params, learned.state, HEAD, head)

    below = nn.part(body, params), nn.part(body, state)
    features, unseen = (train.extract(body, *below, data=one) for one in (few, dataset.test))
    trained = learning(top, features, start=(nn.part(top, params), nn.part(top, state)))
    scores = {"0 thawed": accuracy(top, trained, unseen)}
    for thawed, form in enumerate(partly, start=1):
        trained = learning(form, few, start=(params, state))
        scores[f"{thawed} thawed"] = accuracy(network, trained, dataset.test)
    scores[SCRATCH] = accuracy(network, learning(network, few), dataset.test)
    return scores


def look_up(scores: list[Score], task: str, labels: int, arm: str) -> str | None:
    """The accuracy of one arm as text; None where it was not measured."""
    found = [one.accuracy for one in scores if one[:3] == (task, labels, arm)]
    return f"{found[0]:.3f}" if found else None


def gain(scores: list[Score], task: str, labels: int) -> float:
    """The best transfer's accuracy less that from scratch."""
    mine = {one.arm: one.accuracy for one in scores if one[:2] == (task, labels)}
    return max(value for arm, value in mine.items() if arm != SCRATCH) - mine[SCRATCH]
