"""Under one small budget of training compute the networks of CIFAR-10 rank by what each step costs.

A small VGG, a VGG-11 and a GoogLeNet scaled to 32×32, and ResNet-20 learn CIFAR-10 until each has
spent the same number of floating-point operations (forward and backward, as `flops.count` has them
for one update, times the updates). So a network of cheap steps sees more images.

Lecture C: LeNet-5, AlexNet, VGG, GoogLeNet, ResNet; the last claim is that of Ioffe and Szegedy
2015, section 4.2: with batch norm a network reaches an accuracy in fewer steps. The published
accuracies are those of budgets a hundred times as large: ResNet-20 91.25 % (He et al. 2016).
CIFAR-10 of JPEG files, which `description` names, is harder than the lossless one.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import NamedTuple

import jax

from dlcore import data, flops, models, nn, optim, train, tree
from experiments._learning import accuracy, first, learn
from experiments.choice import at_least, at_most, one_of, positive
from experiments.frame import Claim, DataConfig, Figure, Result, Table

SIZE = (32, 32, 3)
NETWORKS: dict[str, tuple[bool, Callable[[], nn.Layer]]] = {  # whether with batch norm
    "small VGG": (False, lambda: models.small_vgg(SIZE, 10, width=16)),
    "VGG-11": (True, lambda: models.vgg(11, SIZE, 10, batch_norm=True, width=16)),
    "GoogLeNet": (True, lambda: models.googlenet(SIZE, 10, small=True, width=16)),
    "ResNet-20": (True, lambda: models.resnet_cifar(20, SIZE, 10)),
}
CLAIMS = (
    *(Claim(f"test accuracy of {name} (chance: 0.10)", "> 0.25", "lecture C") for name in NETWORKS),
    Claim("the best with batch norm − the best without", "> 0", "Ioffe and Szegedy 2015, 4.2"),
)


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """The budget, and how it is spent."""

    networks: tuple[str, ...] = tuple(NETWORKS)
    """Some of: small VGG, VGG-11, GoogLeNet, ResNet-20."""
    budget: float = 4.0
    """Floating-point operations of training for each network, in 10¹² (tera)."""
    batch_size: int = 64
    """Examples an update."""
    learning_rate: float = 2e-3
    """The peak of Adam's: after a warm-up, falling to 0 as a cosine."""
    test_images: int = 5_000
    """Photographs to test on."""
    seed: int = 0
    """Of the parameters and the order of the examples."""

    def __post_init__(self) -> None:
        for name in self.networks:
            one_of("network", name, NETWORKS)
        at_least(1, batch_size=self.batch_size, test_images=self.test_images)
        at_least(0, seed=self.seed)
        at_most(1e6, budget=self.budget)
        positive(budget=self.budget, learning_rate=self.learning_rate)


SMOKE = Config(networks=("small VGG",), budget=0.002, batch_size=8, test_images=50)


class Network(NamedTuple):
    """What a network cost and what it reached."""

    name: str
    batch_norm: bool
    parameters: int
    flops: int  # of one image, forward
    updates: int
    accuracy: float
    seconds: float


class Measured(NamedTuple):
    """The family, and the data set that it learned."""

    networks: list[Network]
    description: str


def run(config: Config) -> Measured:
    """Trains each network until its budget is spent."""
    dataset = data.load("cifar10", config.root)
    statistics = data.mean_and_std(dataset.train["x"])
    dataset = data.transform(dataset, lambda x: data.normalize(statistics, x))
    networks = [measure(name, dataset, config) for name in config.networks]
    return Measured(networks, dataset.description)


def figures(result: Result[Measured]) -> list[float | None]:
    """All learn; those with batch norm faster."""
    networks = result.measured.networks
    accuracies = {one.name: one.accuracy for one in networks}
    normed, plain = (
        [one.accuracy for one in networks if one.batch_norm == kind] for kind in (True, False)
    )
    gain = max(normed) - max(plain) if normed and plain else None
    return [*map(accuracies.get, NETWORKS), gain]


def table(result: Result[Measured]) -> dict[str, Table]:
    """A line for each network."""
    title = f"Each trained with {result.config.budget:g}·10¹² FLOPs"
    headings = "network", "parameters", "MFLOPs an image", "updates", "test accuracy", "s"
    lines = [
        (
            one.name,
            one.parameters,
            f"{one.flops / 1e6:.1f}",
            one.updates,
            f"{one.accuracy:.3f}",
            f"{one.seconds:.0f}",
        )
        for one in result.measured.networks
    ]
    return {title: [headings, *lines]}


def plot(result: Result[Measured]) -> Figure:
    """Accuracy against the operations of one image."""
    from dlcore import plot

    points = {one.name: ([one.flops / 1e6], [one.accuracy]) for one in result.measured.networks}
    return plot.lines(
        plot.Panel(
            f"After {result.config.budget:g}·10¹² FLOPs of training",
            "MFLOPs of one image, forward",
            "test accuracy",
            points,
            log="x",
            percent=True,
        )
    )


def measure(name: str, dataset: data.Dataset, config: Config) -> Network:
    """Trains one network."""
    began = time.perf_counter()
    batch_norm, make = NETWORKS[name]
    layer = make()
    updates = max(1, round(config.budget * 1e12 / cost(layer, dataset, config)))
    at_least(2, **{"updates, which the budget buys,": updates})
    warmup = max(1, updates // 20)
    rate = optim.warmup_cosine(config.learning_rate, updates, warmup_steps=warmup)
    learned = learn(
        layer,
        dataset.train,
        optim.adam(rate),
        updates,
        batch_size=config.batch_size,
        seed=config.seed,
        every=updates,
    )
    return Network(
        name=name,
        batch_norm=batch_norm,
        parameters=tree.count(learned.params),
        flops=nn.summary(layer, (1, *SIZE)).flops,
        updates=updates,
        accuracy=accuracy(layer, learned, first(dataset.test, config.test_images)),
        seconds=time.perf_counter() - began,
    )


def cost(layer: nn.Layer, dataset: data.Dataset, config: Config) -> int:
    """The operations of one update."""
    optimizer = optim.adam(config.learning_rate)
    step = train.make_step(train.classification(layer), optimizer)
    state = jax.eval_shape(lambda: train.train_state(layer, optimizer))
    batch = {
        key: jax.ShapeDtypeStruct((config.batch_size, *leaf.shape[1:]), leaf.dtype)
        for key, leaf in dataset.train.items()
    }
    return flops.count(step, state, batch)
