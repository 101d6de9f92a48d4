"""Validation loss falls, then rises, while training loss falls on: stopping early keeps the best.

A network of two hidden layers of tanh units learns few digits, some of whose labels are wrong.
Patience and minimum delta decide on the recorded validation losses where training would have ended,
and the weights of the best epoch are what it returns; here all of it goes on, to see what was
avoided. Why it works: a unit is in its linear region in so far as |a| < ½ for its input a (there
tanh a and a differ by at most 8 %), and the share of such units is taken over time, for "the
network is effectively smaller when we stop early"; and so is the distance of each layer to its
final weights, as a share of the distance at the start, for "early and late layers converge first".

Lectures B and E, the latter with the two ideas why; Prechelt 1998.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore import data, models, nn, optim, train, tree
from dlcore import functional as F
from experiments._learning import classification, first, learn
from experiments.choice import at_least
from experiments.frame import Claim, DataConfig, Figure, Result, Table
from experiments.generalisation._labels import mislabelled

BOTH = "lectures B, E"
CLAIMS = (
    Claim("validation loss: the last epoch's − the best", "> 0", BOTH),
    Claim("training loss: the best epoch's − the last", "> 0", BOTH),
    Claim("test accuracy: best weights by patience 5 − the last", "> 0", BOTH),
    Claim("epochs saved with patience 5", "> 0", BOTH),
    Claim("test accuracy: patience 5 − too early (patience 1, delta 0.1)", "> 0", "lecture E"),
    Claim("share in the linear region: first epoch − last", "> 0", "lecture E"),
    Claim("epochs half-way to the final weights: middle layer − outer", "> 0", "lecture E"),
)
LINEAR = 0.5
RULES = {
    "patience 5": train.EarlyStopping(patience=5),
    "patience 5, delta 0.02": train.EarlyStopping(patience=5, min_delta=0.02),
    "patience 1, delta 0.1": train.EarlyStopping(patience=1, min_delta=0.1),
}


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    train_images: int = 1_000
    """Digits of MNIST to learn."""
    test_images: int = 5_000
    """Digits to validate on, and as many others to test on."""
    wrong: float = 0.2
    """The share of the training labels that is drawn anew."""
    units: int = 128
    """Units of each hidden layer."""
    epochs: int = 60
    """Passes over the training images, in batches of 50."""
    seeds: int = 3
    """Runs; curves are means, the rules are applied to each run."""

    def __post_init__(self) -> None:
        at_least(10, train_images=self.train_images, test_images=self.test_images)
        at_least(0, wrong=self.wrong)
        at_least(2, epochs=self.epochs)
        at_least(1, units=self.units, seeds=self.seeds)


SMOKE = Config(train_images=50, test_images=20, units=8, epochs=4, seeds=1)


class Stop(NamedTuple):
    """Where a rule ends a run, which epoch it returns, and that one's test accuracy: means."""

    stopped: float
    best: float
    test: float


class Measured(NamedTuple):
    """Curves by epoch, from the first on; a distance also before it."""

    curves: dict[str, list[float]]  # training, validation: losses; test: accuracy
    stops: dict[str, Stop]
    linear: dict[str, list[float]]  # of each hidden layer
    distances: dict[str, list[float]]  # of each layer


def run(config: Config) -> Measured:
    """Trains to the end, and asks afterwards when to have stopped."""
    digits = data.load("mnist", config.root)
    examples = mislabelled(first(digits.train, config.train_images), config.wrong)
    parts = {
        "training": examples,
        "validation": first(digits.validation, config.test_images),
        "test": first(digits.test, config.test_images),
    }
    runs = [measure(parts, seed, config) for seed in range(config.seeds)]
    mean = jax.tree.map(lambda *leaves: np.mean(leaves, 0), *runs)
    stops = {name: stopped(runs, rule) for name, rule in RULES.items()}
    stops["never"] = Stop(config.epochs, config.epochs, float(mean["curves"]["test"][-1]))
    curves, linear, distances = (
        {name: curve.tolist() for name, curve in mean[what].items()}
        for what in ("curves", "linear", "distances")
    )
    return Measured(curves, stops, linear, distances)


def figures(result: Result[Measured]) -> list[float]:
    """Overfitting, what stopping brings, and the two ideas why."""
    curves, stops, linear, distances = result.measured
    validation, training = curves["validation"], curves["training"]
    best = int(np.argmin(validation))
    patient, hasty, never = (stops[n] for n in ("patience 5", "patience 1, delta 0.1", "never"))
    first_, middle, last = (half_way(way) for way in distances.values())
    shares = np.mean(list(linear.values()), 0)
    return [
        validation[-1] - validation[best],
        training[best] - training[-1],
        patient.test - never.test,
        never.stopped - patient.stopped,
        patient.test - hasty.test,
        shares[0] - shares[-1],
        middle - max(first_, last),
    ]


def table(result: Result[Measured]) -> Table:
    """A line for each rule."""
    yield "rule", "stops after", "returns epoch", "test accuracy"
    for name, stop in result.measured.stops.items():
        yield name, f"{stop.stopped:.1f}", f"{stop.best:.1f}", f"{stop.test:.3f}"


def plot(result: Result[Measured]) -> Figure:
    """Overfitting, and the two ideas why stopping helps."""
    from dlcore import plot

    epochs = range(1, result.config.epochs + 1)
    losses = {name: (epochs, result.measured.curves[name]) for name in ("training", "validation")}
    best = result.measured.stops["patience 5"]
    return plot.lines(
        plot.Panel(
            f"Overfitting (patience 5 returns epoch {best.best:.0f})",
            "epoch",
            "cross-entropy",
            losses,
        ),
        plot.Panel(
            "Test accuracy",
            "epoch",
            "accuracy",
            {"as it goes on": (epochs, result.measured.curves["test"])},
            percent=True,
            level=("best weights, patience 5", best.test),
        ),
        plot.Panel(
            f"Units in the linear region, |a| < {LINEAR:g}",
            "epoch",
            "share of units and examples",
            {name: (epochs, shares) for name, shares in result.measured.linear.items()},
            percent=True,
        ),
        plot.Panel(
            "Way left to the final weights",
            "epoch",
            "distance, as a share of the first",
            {name: (range(len(way)), way) for name, way in result.measured.distances.items()},
            percent=True,
        ),
    )


@functools.cache
def network(units: int) -> nn.Layer:
    """784-units-units-10 with tanh, which is linear about 0."""
    return models.mlp(hidden=[units, units], activation=F.tanh, dropout=0)


def measure(parts: dict[str, Any], seed: int, config: Config) -> dict[str, Any]:
    """One run: its curves, the shares in the linear region, the distances to the last weights."""
    layer = network(config.units)
    objective = classification(layer)
    optimizer = optim.momentum(0.05)
    weights = [train.train_state(layer, optimizer, seed=seed).params]

    def scores(state: train.TrainState) -> dict[str, Any]:
        weights.append(jax.tree.map(np.asarray, state.params))
        measured = {
            name: train.evaluate(objective, state.params, state.state, part)
            for name, part in parts.items()
        }
        return {
            "curves": {
                "training": measured["training"]["loss"],
                "validation": measured["validation"]["loss"],
                "test": measured["test"]["accuracy"],
            },
            "linear": linear_shares(layer, state.params, parts["validation"]),
        }

    updates = config.epochs * max(1, config.train_images // 50)
    trained = learn(
        layer, parts["training"], optimizer, updates, batch_size=50, seed=seed, validation=scores
    )
    by_epoch = jax.tree.map(lambda *leaves: np.array(leaves), *[s for _, s in trained.scores])
    return {**by_epoch, "distances": distances(weights)}


def linear_shares(
    layer: nn.Layer, params: Any, examples: dict[str, np.ndarray]
) -> dict[str, float]:
    """For how many units and examples |a| < LINEAR, in each hidden layer."""
    shares = {}
    for name, activation in (("linear1", "tanh1"), ("linear2", "tanh2")):
        before = below(layer, activation)
        a = train.predict(before, nn.part(before, params), nn.part(before, ()), examples)
        shares[name] = float((np.abs(a) < LINEAR).mean())
    return shares


@functools.cache
def below(layer: nn.Layer, name: str) -> nn.Layer:
    """What comes before the child `name`, one and the same for one layer."""
    return nn.split(layer, name)[0]


def distances(weights: list[Any]) -> dict[str, np.ndarray]:
    """‖w(t) − w(last)‖ / ‖w(0) − w(last)‖ of each layer, for every epoch t from 0 on."""
    last = weights[-1]

    def away(name: str, one: Any) -> float:
        return float(tree.global_norm(jax.tree.map(np.subtract, one[name], last[name])))

    layers = ("linear1", "linear2", "linear3")
    return {
        name: np.array([away(name, one) for one in weights]) / away(name, weights[0])
        for name in layers
    }


def stopped(runs: list[dict[str, Any]], rule: train.EarlyStopping) -> Stop:
    """The rule on every run."""
    stops = []
    for one in runs:
        progress, curves = rule.start(), one["curves"]
        for epoch, loss in enumerate(curves["validation"], 1):
            progress = rule.update(progress, float(loss), epoch)
            if rule.is_over(progress):
                break
        stops.append(Stop(epoch, progress.step, float(curves["test"][progress.step - 1])))
    return Stop(*np.mean(stops, 0).tolist())


def half_way(way: list[float]) -> float:
    """The epoch, between two of them if need be, at which half of the first distance is left."""
    after = next(epoch for epoch, left in enumerate(way) if left <= 0.5)
    before = after - 1
    return before + (way[before] - 0.5) / (way[before] - way[after])
