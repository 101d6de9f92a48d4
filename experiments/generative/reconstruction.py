"""An autoencoder gives digits back with less error than PCA; a linear one is PCA.

A digit of 784 pixels goes through a code of a few numbers, by a network with hidden layers, by
convolutions (32 numbers, half the epochs), and by PCA with as many components; what comes back is
compared on digits that none of them has seen. An autoencoder without hidden layers and activations
finds the space that PCA's components span (Baldi and Hornik 1989): how far its own is turned from
that is the largest principal angle between the two.

The space turns the slower, the nearer two eigenvalues are: after as many updates Adam's error is
near PCA's, and its space far from it; Muon has both, since its updates are as large in all
directions. The recipe (hidden layers of 512 and 256, Adam's rate 1e-3, 20 epochs) was chosen
on the validation images.

Lecture C: autoencoders for unsupervised feature learning. Hinton and Salakhutdinov 2006.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np

from dlcore import data, models, nn, optim, train
from experiments._learning import first
from experiments.choice import at_least
from experiments.frame import Claim, DataConfig, Figure, Result, Table

LECTURE = "lecture C"
CODES = (2, 8, 32, 64)
CLAIMS = (
    *(
        Claim(f"test error, code of {size}: autoencoder / PCA", "≤ 0.85", "tried; " + LECTURE)
        for size in CODES
    ),
    Claim("linear autoencoder by Muon: degrees from PCA's space, the largest", "≤ 1", "theorem"),
    Claim("linear autoencoder by Muon: its error / PCA's, the largest", "≤ 1.001", "theorem"),
)
SHOWN_CODE = 32  # numbers that the digits in the picture go through


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    train_images: int = 55_000
    """Digits of MNIST to learn."""
    test_images: int = 10_000
    """Digits to measure the error on."""
    epochs: int = 20
    """Epochs of the autoencoders."""
    hidden: tuple[int, ...] = (512, 256)
    """Hidden layers of the dense autoencoder; its decoder has them the other way round."""
    linear_images: int = 2_000
    """Digits for the linear autoencoders, which see all of them at once."""
    linear_updates: int = 1_000
    """Updates of the linear autoencoders."""
    seed: int = 0
    """Of the networks and their batches."""

    def __post_init__(self) -> None:
        at_least(max(CODES), train_images=self.train_images, linear_images=self.linear_images)
        at_least(1, test_images=self.test_images)
        at_least(1, epochs=self.epochs, linear_updates=self.linear_updates)
        at_least(0, seed=self.seed)


SMOKE = Config(
    train_images=64, test_images=10, epochs=1, hidden=(4,), linear_images=64, linear_updates=2
)


class Linear(NamedTuple):
    """A linear autoencoder: error on what it has learned, PCA's, and degrees between the two."""

    error: float
    pca: float
    degrees: float


class Measured(NamedTuple):
    """Test errors [model][code size], a mean over pixels; the linear networks [optimizer][size];
    and digits as they came back, [model or "original"]: [·, 28, 28, 1], through 32 numbers."""

    errors: dict[str, dict[int, float]]
    linear: dict[str, dict[int, Linear]]
    pictures: dict[str, np.ndarray]


def run(config: Config) -> Measured:
    """PCA and the networks, by the size of the code."""
    digits = data.load("mnist", config.root)
    learned = {"x": digits.train["x"][: config.train_images]}
    test = first(digits.test, config.test_images)["x"]
    errors: dict[str, dict[int, float]] = {}
    _, shown = np.unique(digits.test["y"][: len(test)], return_index=True)  # one of each class
    pictures = {"original": test[shown]}
    for name, size, again in reconstructions(config, learned, test):
        errors.setdefault(name, {})[size] = float(np.mean(np.square(again - test)))
        if size == SHOWN_CODE:
            pictures[name] = again[shown]
        print(f"{name}, code of {size}: test error {errors[name][size]:.5f}")
    few = digits.train["x"][: config.linear_images].reshape(-1, 784)
    few = few - few.mean(0)
    linear = {
        name: {size: spanned(few, size, optimizer, config) for size in CODES}
        for name, optimizer in (("Muon", muon), ("Adam", functools.partial(adam, rate=1e-2)))
    }
    return Measured(errors, linear, pictures)


def reconstructions(config: Config, learned: dict[str, np.ndarray], test: np.ndarray) -> Any:
    """(model, size of its code, the test digits as it gives them back)"""
    x, flat = learned["x"].reshape(len(learned["x"]), -1), test.reshape(len(test), -1)
    components, mean = principal(x), x.mean(0)
    for size in CODES:
        kept = components[:, :size]
        yield "PCA", size, ((flat - mean) @ kept @ kept.T + mean).reshape(test.shape)
    dense = [models.autoencoder((28, 28, 1), config.hidden, size) for size in CODES]
    networks = [("autoencoder", size, one) for size, one in zip(CODES, dense, strict=True)]
    # One alone: its updates take five times as long.
    networks.append(("convolutional", SHOWN_CODE, models.conv_autoencoder(code=SHOWN_CODE)))
    for name, size, layer in networks:
        epochs = config.epochs if name == "autoencoder" else -(-config.epochs // 2)
        state = trained(layer, learned, adam, epochs, 128, config.seed)
        yield name, size, train.predict(layer, state.params, state.state, test)


def principal(x: np.ndarray) -> np.ndarray:
    """The principal directions of x [N, D] as columns [D, D], the largest variance first."""
    centred = x - x.mean(0)
    return np.linalg.eigh(centred.T @ centred)[1][:, ::-1]


def spanned(x: np.ndarray, size: int, optimizer: Any, config: Config) -> Linear:
    """A linear autoencoder of centred x [N, D], beside PCA."""
    from scipy.linalg import subspace_angles

    layer = models.autoencoder(x.shape[1], (), size)
    state = trained(layer, {"x": x}, optimizer, config.linear_updates, len(x), config.seed)
    again = train.predict(layer, state.params, state.state, x)
    kept = principal(x)[:, :size]
    own = np.asarray(state.params["decoder"]["linear1"]["kernel"]).T
    return Linear(
        float(np.mean(np.square(again - x))),
        float(np.mean(np.square(x @ kept @ kept.T - x))),
        float(np.degrees(subspace_angles(own, kept).max())),
    )


def adam(updates: int, rate: float = 1e-3) -> Any:
    """A rate that rises for a twentieth of the updates, and falls to 0."""
    return optim.adam(optim.warmup_cosine(rate, updates, warmup_steps=updates // 20))


def muon(updates: int) -> Any:
    """The same, with updates of orthogonal directions."""
    return optim.muon(optim.warmup_cosine(0.02, updates, warmup_steps=updates // 20))


def trained(
    layer: nn.Layer,
    examples: dict[str, np.ndarray],
    optimizer: Any,
    epochs: int,
    batch_size: int,
    seed: int,
) -> train.TrainState:
    """The state after so many epochs."""
    batch_size = min(batch_size, len(examples["x"]))
    method = optimizer(epochs * (len(examples["x"]) // batch_size))
    step = train.make_step(train.reconstruction(layer), method)
    state = train.train_state(layer, method, seed=seed)
    return train.run(
        step, state, examples, epochs=epochs, batch_size=batch_size, visible=False
    ).state


def figures(result: Result[Measured]) -> list[float]:
    """The autoencoder beside PCA, and the linear one beside PCA."""
    errors, linear = result.measured.errors, result.measured.linear["Muon"].values()
    return [
        *(errors["autoencoder"][size] / errors["PCA"][size] for size in CODES),
        max(one.degrees for one in linear),
        max(one.error / one.pca for one in linear),
    ]


def table(result: Result[Measured]) -> dict[str, Table]:
    """The errors, then the linear networks."""
    errors, linear = result.measured.errors, result.measured.linear
    return {
        "Test error, the mean square over pixels": [
            ("model", *(f"code of {size}" for size in CODES)),
            *(
                (name, *(f"{own[size]:.5f}" if size in own else None for size in CODES))
                for name, own in errors.items()
            ),
        ],
        "Linear autoencoders": [
            ("optimizer", "code", "error", "PCA's", "degrees between the spaces"),
            *(
                (name, size, f"{one.error:.6f}", f"{one.pca:.6f}", f"{one.degrees:.3f}")
                for name, own in linear.items()
                for size, one in own.items()
            ),
        ],
    }


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """Error by the size of the code, and digits as they came back."""
    from dlcore import plot

    lines = {name: ([*own], [*own.values()]) for name, own in result.measured.errors.items()}
    panel = plot.Panel(
        "Digits through a code of a few numbers",
        "numbers in the code",
        "test error",
        lines,
        log="xy",
    )
    return {
        "errors": plot.lines(panel),
        "digits": plot.mosaic(
            result.measured.pictures, title=f"Test digits through {SHOWN_CODE} numbers"
        ),
    }
