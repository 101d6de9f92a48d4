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

    test error, no dropout − dropout                                  > 0  (paper: 1.6 − 1.35 %)
    test error, dropout − dropout with max-norm                       > 0  (1.35 − 1.25 %, and
                                                                      1.05 % with larger nets)
    test error, no dropout − DropConnect                              > 0
    accuracy lost with half of the units gone, none − dropout         > 0
    accuracy, mean of 30 masks − scaled weights, either way           ≤ 0.5 points
    epochs with the validation loss below the training loss           > 0
    in these, validation loss − training loss without dropout         > 0

Lectures B, C and E. Srivastava et al. 2014, table 2 (there of 60,000 digits, 3 layers of 1,024
units), sections 5.1 and 7.5; Wan et al. 2013, who draw a mask for each example.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import optax

from dlcore import data, keys, nn, optim, train
from dlcore import functional as F
from experiments import claim
from experiments._learning import Learned, accuracy, classification, first, learn
from experiments.choice import at_least

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VISIBLE, HIDDEN = 0.2, 0.5  # the shares dropped
RADIUS = 3.0
HALF = 4  # of eight eighths
ARMS = ("none", "dropout", "dropout, max-norm", "DropConnect")


@dataclasses.dataclass(frozen=True)
class Config:
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
    root: Path | None = None
    """Folder that holds the data set mnist; by default the user's cache."""
    out: Path | None = None
    """Folder for everything written; by default runs/dropout."""

    def __post_init__(self) -> None:
        at_least(10, train_images=self.train_images, test_images=self.test_images)
        at_least(8, units=self.units)
        at_least(1, epochs=self.epochs, seeds=self.seeds, masks=self.masks)

    @classmethod
    def smoke(cls) -> Config:
        """Seconds."""
        return cls(train_images=20, test_images=20, units=8, epochs=2, seeds=1, masks=2)

    @property
    def knocked_out(self) -> list[int]:
        """So many units are knocked out: none, an eighth, …, seven eighths."""
        return [self.units * i // 8 for i in range(8)]


class Arm(NamedTuple):
    """One way to train: means over the seeds."""

    errors: list[float]  # in the test, of each seed
    robustness: list[float]  # test accuracy with Config.knocked_out units gone
    losses: dict[str, list[float]]  # by epoch

    @property
    def error(self) -> float:
        """The mean over the seeds."""
        return float(np.mean(self.errors))


@dataclasses.dataclass(frozen=True)
class Result:
    """The arms, and the test accuracy of the mean of 1, 2, … masks beside the scaled weights'."""

    arms: dict[str, Arm]
    ensemble: list[float]
    scaled: float
    seconds: float
    claims: list[claim.Claim]
    config: Config

    def __rich__(self) -> Any:
        """A row for each arm."""
        from rich.table import Table

        gone = [f"{count} gone" for count in self.config.knocked_out[1:]]
        shown = Table("arm", "test error", "of each seed", *gone, title="Dropout")
        for name, arm in self.arms.items():
            each = " ".join(f"{error:.2%}" for error in arm.errors)
            shown.add_row(name, f"{arm.error:.2%}", each, *(f"{a:.3f}" for a in arm.robustness[1:]))
        return shown


def run(config: Config) -> Result:
    """Trains the arms, knocks units out of each, and averages thinned networks."""
    began = time.perf_counter()
    digits = data.load("mnist", config.root)
    parts = {
        "train": first(digits.train, config.train_images),
        "validation": first(digits.validation, config.test_images),
        "test": first(digits.test, config.test_images),
    }
    arms, trained = {}, {}
    for name in ARMS:
        arms[name], trained[name] = measure(name, parts, config)
    votes, scaled = ensemble(trained["dropout"], parts["test"], config)
    return Result(
        arms=arms,
        ensemble=votes,
        scaled=scaled,
        seconds=time.perf_counter() - began,
        claims=claims(arms, votes, scaled),
        config=config,
    )


def plot(result: Result) -> dict[str, Figure]:
    """Errors, and the three whys."""
    from dlcore import plot

    epochs = range(1, result.config.epochs + 1)
    units = result.config.units
    gone = result.config.knocked_out
    votes = {"mean of thinned networks": (range(1, len(result.ensemble) + 1), result.ensemble)}
    losses = {name: (epochs, loss) for name, loss in result.arms["dropout"].losses.items()}
    robustness = {name: (gone, arm.robustness) for name, arm in result.arms.items()}
    return {
        "errors": plot.bars(
            {f"784-{units}-{units}-10": {name: arm.error for name, arm in result.arms.items()}},
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
                level=("scaled weights", result.scaled),
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


def claims(arms: dict[str, Arm], votes: list[float], scaled: float) -> list[claim.Claim]:
    """What dropout brings, and why."""
    none, dropout, max_norm, connect = (arms[name] for name in ARMS)
    paper = "Srivastava et al. 2014"
    lost = [arm.robustness[0] - arm.robustness[HALF] for arm in (none, dropout)]
    during, after, validation = map(np.array, dropout.losses.values())
    below = validation < during
    gap = float((validation - after)[below].mean()) if below.any() else 0.0
    return [
        claim.more_than("test error, none − dropout", 0, none.error - dropout.error, paper),
        claim.more_than(
            "test error, dropout − with max-norm", 0, dropout.error - max_norm.error, paper
        ),
        claim.more_than(
            "test error, none − DropConnect", 0, none.error - connect.error, "Wan et al. 2013"
        ),
        claim.more_than(
            "accuracy lost, half the units gone: none − dropout",
            0,
            lost[0] - lost[1],
            "lectures B, E",
        ),
        claim.at_most(
            "mean of masks and scaled weights differ", 0.005, abs(votes[-1] - scaled), paper
        ),
        claim.more_than(
            "epochs with validation below training loss", 0, float(below.sum()), "lecture E"
        ),
        claim.more_than("in these, validation − training without dropout", 0, gap, "lecture E"),
    ]
