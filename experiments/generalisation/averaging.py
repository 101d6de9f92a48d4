"""Averages of the weights, look-ahead and SAM test better than plain SGD; SWA and SAM lie flatter.

A network of one hidden layer learns digits of which a fifth has a wrong label, by SGD with momentum
at a constant rate: as it is; with the exponential average of the weights taken at the end; with the
mean of the weights over the last half (SWA); with look-ahead; with the sharpness-aware step. All
make as many updates; SAM's cost twice the gradients. Flat or sharp is measured as the curvature of
the training loss along random directions, the mean of vᵀHv with v drawn from N(0, I), which is the
trace of the Hessian.

Polyak and Juditsky 1992; Izmailov et al. 2018; Zhang et al. 2019; Foret et al. 2021.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import numpy as np
import optax

from dlcore import data, models, nn, optim
from experiments._learning import accuracy, classification, first, learn
from experiments.choice import at_least
from experiments.frame import Claim, DataConfig, Figure, Result, Table
from experiments.generalisation._labels import mislabelled

PAPERS = {
    "EMA": "Polyak, Juditsky 1992",
    "SWA": "Izmailov et al. 2018",
    "look-ahead": "Zhang et al. 2019",
    "SAM": "Foret et al. 2021",
}
FLATTER = ("SWA", "SAM")  # whose papers claim it
CLAIMS = (
    *(Claim(f"test accuracy, {name} − SGD", "> 0", paper) for name, paper in PAPERS.items()),
    *(Claim(f"curvature, {name} / SGD", "≤ 1", PAPERS[name]) for name in FLATTER),
)
RATE = 0.05
AVERAGED = ("EMA", "SWA", "look-ahead")


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    train_images: int = 2_000
    """Digits of MNIST to learn."""
    test_images: int = 10_000
    """Digits to test on."""
    wrong: float = 0.2
    """The share of the training labels that is drawn anew."""
    units: int = 128
    """Hidden units."""
    epochs: int = 20
    """Passes over the training images, in batches of 50."""
    seeds: int = 3
    """Each arm is trained from so many seeds; figures are means."""
    directions: int = 20
    """Random directions of which the curvature is the mean."""

    def __post_init__(self) -> None:
        at_least(10, train_images=self.train_images, test_images=self.test_images)
        at_least(0, wrong=self.wrong)
        at_least(1, units=self.units, epochs=self.epochs, seeds=self.seeds)
        at_least(1, directions=self.directions)

    @property
    def updates(self) -> int:
        """Updates of every arm."""
        return self.epochs * max(1, self.train_images // 50)


SMOKE = Config(train_images=50, test_images=20, units=4, epochs=2, seeds=1, directions=2)


class Arm(NamedTuple):
    """One way to train: the figures of each seed."""

    accuracies: list[float]
    curvatures: list[float]


def run(config: Config) -> dict[str, Arm]:
    """Trains every arm from every seed, SGD first."""
    digits = data.load("mnist", config.root)
    examples = mislabelled(first(digits.train, config.train_images), config.wrong)
    test = first(digits.test, config.test_images)
    layer = models.mlp(hidden=[config.units], dropout=0)
    return {
        name: measure(name, layer, optimizer, examples, test, config)
        for name, optimizer in optimizers(config.updates).items()
    }


def figures(result: Result[dict[str, Arm]]) -> list[float]:
    """What each brings."""
    means = {name: np.mean(arm, axis=1) for name, arm in result.measured.items()}
    best, sharp = means["SGD"]
    gains = [means[name][0] - best for name in PAPERS]
    return [*gains, *(means[name][1] / sharp for name in FLATTER)]


def table(result: Result[dict[str, Arm]]) -> Table:
    """A line for each arm."""
    yield "arm", "test accuracy", "±", "curvature", "±"
    for name, (accuracies, curvatures) in result.measured.items():
        yield (
            name,
            f"{np.mean(accuracies):.2%}",
            f"{np.std(accuracies):.2%}",
            f"{np.mean(curvatures):.1f}",
            f"{np.std(curvatures):.1f}",
        )


def plot(result: Result[dict[str, Arm]]) -> Figure:
    """Test accuracy against curvature, a point for each seed."""
    from dlcore import plot

    return plot.lines(
        plot.Panel(
            "Flatter and better?",
            "curvature: trace of the Hessian of the training loss",
            "test accuracy",
            {name: (arm.curvatures, arm.accuracies) for name, arm in result.measured.items()},
            percent=True,
            lines=False,
        )
    )


def optimizers(updates: int) -> dict[str, optax.GradientTransformation]:
    """SGD with momentum, and what is put before or behind it."""
    descent = optim.momentum(RATE)
    return {
        "SGD": descent,
        "EMA": optax.chain(descent, optim.ema_of_weights(0.99)),
        "SWA": optax.chain(descent, optim.swa(updates // 2)),
        "look-ahead": optax.chain(descent, optim.lookahead()),
        "SAM": optax.chain(optim.sam(0.05), descent),
    }


def measure(
    name: str, layer: nn.Layer, optimizer: Any, examples: Any, test: Any, config: Config
) -> Arm:
    """One arm from each seed."""
    accuracies, curvatures = [], []
    for seed in range(config.seeds):
        trained = learn(layer, examples, optimizer, config.updates, batch_size=50, seed=seed)
        if name in AVERAGED:
            trained = trained._replace(params=optim.averaged(trained.opt_state, trained.params))
        accuracies.append(accuracy(layer, trained, test))
        curvatures.append(float(curvature(layer, trained.params, examples, config.directions)))
    return Arm(accuracies, curvatures)


@functools.partial(jax.jit, static_argnames=("layer", "directions"))
def curvature(layer: nn.Layer, params: Any, examples: Any, directions: int) -> jax.Array:
    """The mean of vᵀHv over so many v, H the Hessian of the training loss at `params`."""
    flat, restore = jax.flatten_util.ravel_pytree(params)

    def loss(flat: jax.Array) -> jax.Array:
        return classification(layer)(restore(flat), (), examples)[0]

    product = optim.hessian_product(loss, flat)
    drawn = jax.random.normal(jax.random.key(0), (directions, flat.size))
    return jax.lax.map(lambda v: v @ product(v), drawn).mean()
