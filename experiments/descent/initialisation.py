"""The first weights decide whether a deep network begins with signals, or with none.

Ten hidden layers of 200 units on standardised digits, from nine starts, under tanh and relu. First
the deviation σ of what each layer gives, over a batch and all units, before any training; then the
training loss after a few epochs of gradient descent, each start at its best rate of a grid.

Lecture E: initialisation; He et al. 2015, section 2.2, whose σ is √(2/N); LeCun et al. 1998;
Mishkin and Matas 2016.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from dlcore import data, keys, nn, optim, train, tree
from dlcore import functional as F
from dlcore.nn import init
from experiments._learning import first
from experiments.choice import at_least, positive
from experiments.descent._curve import curve
from experiments.frame import Claim, DataConfig, Figure, Result, Table

HE = "He et al. 2015"
CLAIMS = (
    Claim("relu, √(2/N), He: growth of σ a layer", "1 ± 0.05", HE),
    Claim("relu, 2/√N, He as the lecture writes it: the same", f"{2**0.5:.6f} ± 0.05", HE),
    Claim("relu, 1/√N, Xavier as the lecture writes it: the same", f"{0.5**0.5:.6f} ± 0.05", HE),
    Claim("tanh, N(0, 0.01²): σ of the last layer / the first", "≤ 1e-3", "lecture E"),
    Claim("tanh, N(0, 1): share of units beyond ±0.99", "> 0.5", "lecture E"),
    Claim("LSUV: largest |σ − 1| of a linear layer", "≤ 0.01", "Mishkin and Matas 2016"),
    Claim("constant start: units of a layer differ after training", "≤ 1e-6", "lecture E"),
    Claim("zero start: largest change, all but the output's bias", "≤ 0", "lecture E"),
    Claim("zero start: change of the output's bias", "> 0", "lecture E"),
    Claim("relu, training loss: N(0, 0.01²) / He", "> 1", "lecture E"),
    Claim("tanh, training loss: N(0, 0.01²) / Xavier", "> 1", "lecture E"),
)
BATCH = 50
ACTIVATIONS: dict[str, Any] = {"tanh": F.tanh, "relu": F.relu}


def as_written(key: Any, shape: Any, dtype: Any = np.float32) -> jax.Array:
    """N(0, (2/√N_in)²): √2 times He's."""
    return math.sqrt(2) * init.he_normal()(key, shape, dtype)


STARTS: dict[str, Any] = {
    "zero": init.zeros,
    "constant 0.01": init.constant(0.01),
    "N(0, 0.01²)": init.normal(0.01),
    "N(0, 1)": init.normal(1.0),
    "1/√N, Xavier": init.lecun_normal(),
    "2/√N, as written": as_written,
    "√(2/N), He": init.he_normal(),
    "orthogonal": init.orthogonal(),
    "LSUV": init.orthogonal(),
}

SHOWN = (  # as histograms
    ("tanh", "N(0, 0.01²)"),
    ("tanh", "N(0, 1)"),
    ("tanh", "1/√N, Xavier"),
    ("relu", "1/√N, Xavier"),
    ("relu", "2/√N, as written"),
    ("relu", "√(2/N), He"),
)


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """The network, and how long it is trained."""

    depth: int = 10
    """Hidden layers."""
    width: int = 200
    """Units of each."""
    images: int = 2_000
    """Digits of MNIST to learn, in batches of 50; 500 at most are looked at before."""
    epochs: int = 6
    """Passes over them."""
    rates: tuple[float, ...] = (0.003, 0.03, 0.3)
    """Learning rates of plain descent."""
    seeds: int = 3
    """Draws whose σ are averaged; the first is trained."""

    def __post_init__(self) -> None:
        at_least(1, width=self.width, epochs=self.epochs, seeds=self.seeds)
        at_least(2, depth=self.depth)
        at_least(BATCH, images=self.images)
        positive(rates=self.rates)


SMOKE = Config(depth=2, width=10, images=50, epochs=2, rates=(0.1,), seeds=1)


class Arm(NamedTuple):
    """One start under one activation, before training and after."""

    start: str
    activation: str
    deviations: list[float]  # of each hidden layer's units
    saturated: float  # share of the last layer's units beyond ±0.99
    linear_error: float  # max |σ − 1| of what the linear layers give
    rate: float
    loss: float  # at that rate, the best
    units_differ: float  # after training, the largest difference of two hidden units' weights
    bias_change: float  # the largest of the output's bias, by training
    other_change: float  # the same of all else


@dataclasses.dataclass(frozen=True)
class Measured:
    """The arms, and what hidden units give, as histograms by arm and layer."""

    arms: list[Arm]
    histograms: dict[str, dict[str, tuple[Any, Any]]] = dataclasses.field(repr=False)


def run(config: Config) -> Measured:
    """Looks at the network from each start, and trains it."""
    examples = first(data.load("mnist", config.root).train, config.images)
    scale = data.mean_and_std(examples["x"], per="all")
    examples = {**examples, "x": data.normalize(scale, examples["x"])}
    arms, histograms = [], {}
    for activation in ACTIVATIONS:
        step = train.make_step(
            train.classification(network(activation, "zero", config)), optimizer(0.0)
        )  # for every start and rate: one program
        for start in STARTS:
            arm, hidden = measure(activation, start, step, examples, config)
            arms.append(arm)
            if (activation, start) in SHOWN:
                histograms[f"{activation}, {start}"] = histogram(hidden)
    return Measured(arms, histograms)


def figures(result: Result[Measured]) -> list[float]:
    """What the starts do to the signal, and to training."""
    tanh, relu = (
        {arm.start: arm for arm in result.measured.arms if arm.activation == name}
        for name in ACTIVATIONS
    )
    he, xavier, small = "√(2/N), He", "1/√N, Xavier", "N(0, 0.01²)"

    def growth(start: str) -> float:
        deviations = relu[start].deviations
        return float((deviations[-1] / deviations[0]) ** (1 / (len(deviations) - 1)))

    zeros, constants, scaled = (
        [arm[start] for arm in (tanh, relu)] for start in ("zero", "constant 0.01", "LSUV")
    )
    return [
        growth(he),
        growth("2/√N, as written"),
        growth(xavier),
        tanh[small].deviations[-1] / tanh[small].deviations[0],
        tanh["N(0, 1)"].saturated,
        max(arm.linear_error for arm in scaled),
        max(arm.units_differ for arm in constants),
        max(arm.other_change for arm in zeros),
        min(arm.bias_change for arm in zeros),
        relu[small].loss / relu[he].loss,
        tanh[small].loss / tanh[xavier].loss,
    ]


def table(result: Result[Measured]) -> Table:
    """A line for each arm."""
    yield "activation", "start", "σ, first layer", "last", "best rate", "training loss"
    for arm in result.measured.arms:
        numbers = (arm.deviations[0], arm.deviations[-1], arm.rate, arm.loss)
        yield arm.activation, arm.start, *(f"{number:.3g}" for number in numbers)


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """σ layer by layer, histograms, and the training loss of those that do not diverge."""
    from dlcore import plot

    layers = range(1, result.config.depth + 1)
    panels = []
    losses: dict[str, dict[str, float]] = {}
    for arm in result.measured.arms:
        if np.isfinite(arm.loss):
            losses.setdefault(arm.start, {})[arm.activation] = arm.loss
    for name in ACTIVATIONS:
        arms = [
            arm for arm in result.measured.arms if arm.activation == name and arm.deviations[0] > 0
        ]
        seen = {arm.start: (layers, arm.deviations) for arm in arms}
        panels.append(plot.Panel(f"Before training: {name}", "layer", "σ of its units", seen, "y"))
    return {
        "deviations": plot.lines(*panels),
        "histograms": plot.lines(
            *(
                plot.Panel(title, "output of a unit", "density", series, "y")
                for title, series in result.measured.histograms.items()
            )
        ),
        "training": plot.bars(losses, title="After training, at the best rate", y="training loss"),
    }


def network(activation: str, start: str, config: Config) -> nn.Layer:
    """The layers, whose kernels begin there."""
    widths = [28 * 28, *[config.width] * config.depth]
    layers: list[Any] = [nn.flatten]
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [nn.linear(fan_in, fan_out, kernel_init=STARTS[start]), ACTIVATIONS[activation]]
    return nn.serial(
        *layers, nn.named("output", nn.linear(widths[-1], 10, kernel_init=STARTS[start]))
    )


def optimizer(rate: float) -> Any:
    """Plain descent, whose rate is part of its state."""
    return optax.inject_hyperparams(optim.sgd)(rate)


def measure(
    activation: str, start: str, step: Any, examples: dict[str, np.ndarray], config: Config
) -> tuple[Arm, list[np.ndarray]]:
    """The arm, and what its hidden layers give at the start."""
    layer = network(activation, start, config)
    x = examples["x"][:500]

    def drawn(seed: int) -> Any:
        params, state = layer.init(keys.stream(seed, "init"))
        return nn.lsuv(layer, params, state, x) if start == "LSUV" else params

    begun = [drawn(seed) for seed in range(config.seeds)]
    seen = [nn.intermediates(layer, params, (), x) for params in begun]
    hidden, linear = (
        [[np.asarray(y) for path, y in one.items() if path.startswith(kind)] for one in seen]
        for kind in (activation, "linear")
    )
    rate, loss, params = best(layer, begun[0], step, examples, config)
    changes = {
        path: float(abs(new - old).max())
        for (path, new), old in zip(
            tree.leaves_with_paths(params), jax.tree.leaves(begun[0]), strict=True
        )
    }
    kernels = [np.asarray(params[name]["kernel"]) for name in params if name != "output"]
    arm = Arm(
        start=start,
        activation=activation,
        deviations=np.std(hidden, axis=(2, 3)).mean(0).tolist(),
        saturated=float(np.mean([abs(one[-1]) > 0.99 for one in hidden])),
        linear_error=float(max(abs(y.std() - 1) for one in linear for y in one)),
        rate=rate,
        loss=loss,
        units_differ=float(max(np.ptp(kernel, axis=1).max() for kernel in kernels)),
        bias_change=changes.pop("output/bias"),
        other_change=max(changes.values()),
    )
    return arm, hidden[0]


def best(
    layer: nn.Layer, params: Any, step: Any, examples: dict[str, np.ndarray], config: Config
) -> tuple[float, float, Any]:
    """The rate with the least training loss at the end, that loss, and the weights there."""
    found = []
    for rate in config.rates:
        state = train.train_state(layer, optimizer(rate), params=params)
        losses, end = curve(step, state, examples, config.epochs, BATCH)
        found.append((float(losses[-1]), rate, end.params))
    loss, rate, params = min(found, key=lambda one: one[0])
    return rate, loss, params


def histogram(hidden: list[np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The density of what the first, the middle and the last layer give; NaN where nothing is."""
    shown, last = {}, len(hidden) - 1
    edges = np.linspace(min(y.min() for y in hidden), max(y.max() for y in hidden), 42)
    for place in dict.fromkeys((0, last // 2, last)):
        counts, _ = np.histogram(hidden[place], edges)
        density = np.where(counts, counts, np.nan) / (hidden[place].size * np.diff(edges))
        shown[f"layer {place + 1}"] = (edges[1:] + edges[:-1]) / 2, density
    return shown
