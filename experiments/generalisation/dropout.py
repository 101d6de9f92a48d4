"""Dropout lowers the test error, with max-norm further, and makes units that can be spared.

One network, 784-400-400-10, learns 5,000 digits with as many updates: without dropout; with dropout
(0.2 of the pixels, 0.5 of the hidden units); with dropout and max-norm (every unit's weights in a
ball of radius 3); with DropConnect (the same shares of the connections, one mask for each batch,
at half the rate, since it fails to learn at the others').

Why it works: units of the first hidden layer are knocked out and the accuracy is measured anew
(no reliance on single nodes), and T thinned networks are averaged and compared with the one whose
weights are scaled (an ensemble with shared weights). Why the validation loss can be below the
training loss: the latter is the mean over an epoch, with dropout on; measured like the former, at
the epoch's end and without dropout, it is below again.

Lectures B, C and E. Srivastava et al. 2014, table 2 (there of 60,000 digits, 3 layers of 1,024
units), sections 5.1 and 7.5; Wan et al. 2013, who draw a mask for each example.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from dlcore import data, keys, nn, optim, train
from dlcore import functional as F
from experiments._learning import Learned, accuracy, classification, first, learn
from experiments.choice import at_least
from experiments.frame import Claim, DataConfig, Figure, Result, Table

PAPER = "Srivastava et al. 2014"
CLAIMS = (
    Claim("test error, none − dropout", "> 0", f"{PAPER}: 1.6 − 1.35 %"),
    Claim("test error, dropout − dropout with max-norm", "> 0", f"{PAPER}: 1.25 − 1.06 %"),
    Claim("test error, none − DropConnect", "> 0", "Wan et al. 2013"),
    Claim("accuracy lost, half of the units gone: none − dropout", "> 0", "lectures B, E"),
    Claim("accuracy, mean of masks − scaled weights, either way", "≤ 0.005", PAPER),
    Claim("epochs with the validation loss below the training loss", "> 0", "lecture E"),
    Claim("in these, validation − training loss without dropout", "> 0", "lecture E"),
)
VISIBLE, HIDDEN = 0.2, 0.5  # the shares dropped
RADIUS = 3.0
HALF = 4  # of eight eighths
ARMS = ("none", "dropout", "dropout, max-norm", "DropConnect")


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    train_images: int = 5_000
    """Digits of MNIST to learn."""
    test_images: int = 5_000
    """Digits to validate on, and as many others to test on."""
    units: int = 400
    """Units of each of the two hidden layers."""
    epochs: int = 25
    """Passes over the training images, in batches of 100."""
    seeds: int = 2
    """Each arm is trained from so many seeds; figures are means."""
    masks: int = 30
    """Thinned networks in the ensemble."""

    def __post_init__(self) -> None:
        at_least(10, train_images=self.train_images, test_images=self.test_images)
        at_least(8, units=self.units)
        at_least(1, epochs=self.epochs, seeds=self.seeds, masks=self.masks)

    @property
    def knocked_out(self) -> list[int]:
        """So many units are knocked out: none, an eighth, …, seven eighths."""
        return [self.units * i // 8 for i in range(8)]


SMOKE = Config(train_images=20, test_images=20, units=8, epochs=2, seeds=1, masks=2)


class Arm(NamedTuple):
    """One way to train: means over the seeds."""

    errors: list[float]  # in the test, of each seed
    robustness: list[float]  # test accuracy with Config.knocked_out units gone
    losses: dict[str, list[float]]  # by epoch

    @property
    def error(self) -> float:
        """The mean over the seeds."""
        return float(np.mean(self.errors))


class Measured(NamedTuple):
    """The arms, and the test accuracy of the mean of 1, 2, … masks beside the scaled weights'."""

    arms: dict[str, Arm]
    ensemble: list[float]
    scaled: float


def run(config: Config) -> Measured:
    """Trains the arms, knocks units out of each, and averages thinned networks."""
    digits = data.load("mnist", config.root)
    parts = {
        "train": first(digits.train, config.train_images),
        "validation": first(digits.validation, config.test_images),
        "test": first(digits.test, config.test_images),
    }
    arms, trained = {}, {}
    for name in ARMS:
        arms[name], trained[name] = measure(name, parts, config)
    return Measured(arms, *ensemble(trained["dropout"], parts["test"], config))


def figures(result: Result[Measured]) -> list[float]:
    """What dropout brings, and why."""
    arms, votes, scaled = result.measured
    none, dropout, max_norm, connect = (arms[name] for name in ARMS)
    lost = [arm.robustness[0] - arm.robustness[HALF] for arm in (none, dropout)]
    during, after, validation = map(np.array, dropout.losses.values())
    below = validation < during
    return [
        none.error - dropout.error,
        dropout.error - max_norm.error,
        none.error - connect.error,
        lost[0] - lost[1],
        abs(votes[-1] - scaled),
        float(below.sum()),
        (validation - after)[below].mean() if below.any() else 0.0,
    ]


def table(result: Result[Measured]) -> Table:
    """A line for each arm."""
    gone = [f"{count} gone" for count in result.config.knocked_out[1:]]
    yield "arm", "test error", "of each seed", *gone
    for name, arm in result.measured.arms.items():
        each = " ".join(f"{error:.2%}" for error in arm.errors)
        yield name, f"{arm.error:.2%}", each, *(f"{a:.3f}" for a in arm.robustness[1:])


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """Errors, and the three whys."""
    from dlcore import plot

    epochs = range(1, result.config.epochs + 1)
    units = result.config.units
    gone = result.config.knocked_out
    votes = {
        "mean of thinned networks": (
            range(1, len(result.measured.ensemble) + 1),
            result.measured.ensemble,
        )
    }
    losses = {name: (epochs, loss) for name, loss in result.measured.arms["dropout"].losses.items()}
    robustness = {name: (gone, arm.robustness) for name, arm in result.measured.arms.items()}
    return {
        "errors": plot.bars(
            {
                f"784-{units}-{units}-10": {
                    name: arm.error for name, arm in result.measured.arms.items()
                }
            },
            title="Test error",
            y="share of digits",
            percent=True,
        ),
        "why": plot.lines(
            plot.Panel(
                "No reliance on single units",
                "units of the first hidden layer knocked out",
                "test accuracy",
                robustness,
                percent=True,
            ),
            plot.Panel(
                "An ensemble in one network",
                "masks averaged",
                "test accuracy",
                votes,
                percent=True,
                level=("scaled weights", result.measured.scaled),
            ),
            plot.Panel("Losses with dropout", "epoch", "cross-entropy", losses, log="y"),
        ),
    }


@functools.cache
def network(units: int, visible: float = 0.0, hidden: float = 0.0) -> nn.Layer:
    """784-units-units-10, with relu, and the shares of the pixels and the hidden units dropped."""
    return nn.serial(
        nn.flatten,
        nn.dropout(visible),
        nn.named("hidden1", nn.linear(28 * 28, units)),
        F.relu,
        nn.dropout(hidden),
        nn.named("hidden2", nn.linear(units, units)),
        F.relu,
        nn.dropout(hidden),
        nn.named("output", nn.linear(units, 10)),
    )


def dropconnect(objective: train.Objective) -> train.Objective:
    """`objective` with connections dropped in training, from each layer the share `dropout` drops.

    One mask for the batch: `nn.dropconnect`, with one for each example, costs fifty times as much.
    """

    def dropped(params: Any, state: Any, batch: Any, *, key: Any, train: bool) -> Any:
        if train:
            for name, rate in (("hidden1", VISIBLE), ("hidden2", HIDDEN), ("output", HIDDEN)):
                kernel = F.dropout(keys.child(key, name), params[name]["kernel"], rate)
                params = {**params, name: {**params[name], "kernel": kernel}}
        return objective(params, state, batch, key=key, train=train)

    return dropped


def measure(name: str, parts: dict[str, Any], config: Config) -> tuple[Arm, Learned]:
    """One arm from every seed, and the network of the first."""
    plain = network(config.units)
    layer = network(config.units, VISIBLE, HIDDEN) if name.startswith("dropout") else plain
    objective = train.classification(layer)
    if name == "DropConnect":
        objective = dropconnect(objective)
    updates = config.epochs * max(1, config.train_images // 100)
    rate = 0.05 if name == "DropConnect" else 0.1
    descent = optim.momentum(optim.linear(rate, 0.0, updates), 0.9)
    optimizer = optax.chain(descent, optim.max_norm(RADIUS)) if "max-norm" in name else descent
    measured = classification(plain)

    def losses(state: train.TrainState) -> dict[str, Any]:
        return {
            what: train.evaluate(measured, state.params, state.state, parts[part])["loss"]
            for what, part in (("training, without dropout", "train"), ("validation", "validation"))
        }

    trained = [
        learn(
            layer,
            parts["train"],
            optimizer,
            updates,
            batch_size=100,
            seed=seed,
            objective=objective,
            validation=losses if name == "dropout" else None,
        )
        for seed in range(config.seeds)
    ]
    by_epoch = {"training, with dropout": [[loss for _, loss in one.losses] for one in trained]}
    for what in ("training, without dropout", "validation"):
        by_epoch[what] = [[score[what] for _, score in one.scores] for one in trained]
    return (
        Arm(
            [1 - accuracy(plain, one, parts["test"]) for one in trained],
            np.mean(
                [knocked_out(plain, one, parts["test"], config) for one in trained], 0
            ).tolist(),
            {what: np.mean(losses, 0).tolist() for what, losses in by_epoch.items()},
        ),
        trained[0],
    )


def knocked_out(layer: nn.Layer, learned: Learned, test: Any, config: Config) -> list[float]:
    """Test accuracy without so many units, drawn at random: nothing that they send arrives."""
    order = np.random.default_rng(0).permutation(config.units)
    kernel = np.asarray(learned.params["hidden2"]["kernel"])
    accuracies = []
    for count in config.knocked_out:
        alive = ~np.isin(np.arange(config.units), order[:count])
        hidden2 = {**learned.params["hidden2"], "kernel": kernel * alive[:, None]}
        params = {**learned.params, "hidden2": hidden2}
        accuracies.append(accuracy(layer, learned._replace(params=params), test))
    return accuracies


def ensemble(learned: Learned, test: Any, config: Config) -> tuple[list[float], float]:
    """Test accuracy of the mean over 1, 2, … masks of the probabilities, and with none dropped."""
    layer = network(config.units, VISIBLE, HIDDEN)

    @jax.jit
    def thinned(key: Any) -> Any:
        logits, _ = layer.apply(learned.params, learned.state, test["x"], key=key, train=True)
        return jax.nn.softmax(logits)

    total, accuracies = np.zeros(()), []
    for mask in range(config.masks):
        total = total + np.asarray(thinned(jax.random.key(mask)))
        accuracies.append(float((total.argmax(-1) == test["y"]).mean()))
    return accuracies, accuracy(network(config.units), learned, test)
