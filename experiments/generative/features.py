"""What an autoencoder's units learn follows from what is asked: to mend, be few, be steady.

One layer of sigmoid units codes digits of MNIST, the decoder has the same weights transposed. Asked
for no more than the digits back (plain), it has units of no form that one could name. Others are
asked for digits of which 40 % of the pixels were blackened, as they were before (denoising); that
few units be on, by L1 or by a share of the digits for which each may be (KL); that the code move
little with x (contractive). Whether they do what they were asked is measured; what their units look
like, dots, strokes, whole digits, and by L1 units that are never used, the pictures show.

The strengths (1 of L1, 10 of KL at a share of 0.1, 1 of the contraction) were chosen on validation
images. Errors are mean squares over pixels of test digits.

Lecture C: autoencoders for unsupervised feature learning. Vincent et al. 2008; Ng 2011; Rifai et
al. 2011.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import data, models, nn, optim, train
from dlcore import functional as F
from experiments._learning import first
from experiments.choice import at_least
from experiments.frame import Claim, DataConfig, Figure, Result, Table

LECTURE = "lecture C"
MASKED, SHARE = 0.4, 0.1
CLAIMS = (
    Claim("error where 40 % are blackened: denoising / plain", "≤ 0.7", "Vincent et al. 2008"),
    Claim("L1: share of units below 0.05", "≥ 0.8", LECTURE),
    Claim("KL: mean activation of a unit, asked for 0.1", "0.1 ± 0.02", "Ng 2011"),
    Claim("‖∂code/∂x‖: contractive / plain", "≤ 0.5", "Rifai et al. 2011"),
)
ASKED: dict[str, dict[str, Any]] = {
    "plain": {},
    "denoising": {"corrupt": data.augment.masking(MASKED)},
    "L1": {"l1": 1.0},
    "KL": {"kl": 10.0, "rho": SHARE},
    "contractive": {"contraction": 1.0},
}
SHOWN = 12  # digits in the picture


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    train_images: int = 30_000
    """Digits of MNIST to learn."""
    test_images: int = 2_000
    """Digits to measure on."""
    units: int = 256
    """Units of the code."""
    epochs: int = 20
    """Epochs of each network."""
    seed: int = 0
    """Of the networks, their batches, and what is blackened."""

    def __post_init__(self) -> None:
        at_least(32, train_images=self.train_images)
        at_least(SHOWN, test_images=self.test_images)
        at_least(1, units=self.units, epochs=self.epochs)
        at_least(0, seed=self.seed)


SMOKE = Config(train_images=32, test_images=12, units=4, epochs=1)


class Arm(NamedTuple):
    """What came of what was asked: errors of digits as they are and with pixels blackened, the
    share of units that are off, a unit's mean activation, ‖∂code/∂x‖, and the units' weights
    [units, 28, 28]."""

    error: float
    mended: float
    off: float
    activation: float
    steepness: float
    weights: np.ndarray


class Measured(NamedTuple):
    """The networks by what was asked of them, and digits as the first two mend them."""

    arms: dict[str, Arm]
    pictures: dict[str, np.ndarray]


def run(config: Config) -> Measured:
    """One network for each thing asked."""
    digits = data.load("mnist", config.root)
    learned = {"x": digits.train["x"][: config.train_images]}
    test = first(digits.test, config.test_images)["x"]
    blackened = np.asarray(data.augment.masking(MASKED)(jax.random.key(config.seed), test))
    arms, pictures = {}, {"original": test[:SHOWN], "blackened": blackened[:SHOWN]}
    layer = models.autoencoder((28, 28, 1), (), config.units, code_activation=F.sigmoid, tied=True)
    for name, asked in ASKED.items():
        state = trained(layer, learned, asked, config)
        arms[name] = measured(layer, state, test, blackened)
        if name in ("plain", "denoising"):
            pictures[name] = again(layer, state, blackened[:SHOWN])
        print(f"{name}: error {arms[name].error:.4f}, blackened {arms[name].mended:.4f}")
    return Measured(arms, pictures)


def trained(
    layer: nn.Layer, learned: dict[str, np.ndarray], asked: dict[str, Any], config: Config
) -> train.TrainState:
    """The state after so many epochs."""
    batch = min(128, len(learned["x"]))
    updates = config.epochs * data.batches_per_epoch(len(learned["x"]), batch)
    optimizer = optim.adam(optim.warmup_cosine(3e-3, updates, warmup_steps=updates // 20))
    objective = train.reconstruction(layer, loss=F.binary_cross_entropy, **asked)
    return train.run(
        train.make_step(objective, optimizer),
        train.train_state(layer, optimizer, seed=config.seed),
        learned,
        epochs=config.epochs,
        batch_size=batch,
        visible=False,
    ).state


def again(layer: nn.Layer, state: train.TrainState, x: np.ndarray) -> np.ndarray:
    """The digits as they come back."""
    return np.asarray(F.sigmoid(train.predict(layer, state.params, state.state, x)))


def measured(
    layer: nn.Layer, state: train.TrainState, test: np.ndarray, blackened: np.ndarray
) -> Arm:
    """What test digits say of a network."""
    encoder, params = dict(layer.info.children)["encoder"], state.params["encoder"]
    code = train.predict(encoder, params, (), test)
    some = jnp.asarray(test[:200])
    squares = jax.jit(lambda x: F.contraction(lambda x: encoder.apply(params, (), x)[0], x))(some)
    return Arm(
        error=float(np.mean(np.square(again(layer, state, test) - test))),
        mended=float(np.mean(np.square(again(layer, state, blackened) - test))),
        off=float(np.mean(code < 0.05)),
        activation=float(np.mean(code)),
        steepness=float(np.mean(np.sqrt(squares))),
        weights=np.asarray(params["linear1"]["kernel"]).T.reshape(-1, 28, 28),
    )


def figures(result: Result[Measured]) -> list[float]:
    """What was asked, and what was got."""
    arms = result.measured.arms
    return [
        arms["denoising"].mended / arms["plain"].mended,
        arms["L1"].off,
        arms["KL"].activation,
        arms["contractive"].steepness / arms["plain"].steepness,
    ]


def table(result: Result[Measured]) -> Table:
    """A line for each network."""
    head = ("asked", "error", "error, 40 % blackened", "units off", "activation", "‖∂code/∂x‖")
    lines = [
        (
            name,
            f"{arm.error:.4f}",
            f"{arm.mended:.4f}",
            f"{arm.off:.3f}",
            f"{arm.activation:.3f}",
            f"{arm.steepness:.3f}",
        )
        for name, arm in result.measured.arms.items()
    ]
    return [head, *lines]


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """The units' weights as pictures, grey where they are 0, and digits mended."""
    from dlcore import plot

    drawn = {"mended": plot.mosaic(result.measured.pictures, title="40 % of the pixels blackened")}
    for name, arm in result.measured.arms.items():
        most = np.abs(arm.weights).max(axis=(1, 2), keepdims=True)
        pictures = 0.5 + arm.weights / (2 * np.maximum(most, 1e-12))
        drawn[f"weights-{name.lower()}"] = plot.mosaic(pictures, title=f"Weights: {name}")
    return drawn
