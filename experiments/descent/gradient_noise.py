"""A hundred times the examples cost a hundred times the work, for a tenth of the gradient's error.

The gradient of a small network's loss over a batch of m handwritten digits, drawn with replacement,
against the gradient over all: the root of the mean squared distance over many draws, at the start
and after some training.

Lecture E (standard error σ/√m; 10,000 against 100 examples) and lecture D.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import data, flops, models, optim, train
from experiments._learning import first
from experiments.choice import at_least
from experiments.frame import Claim, DataConfig, Figure, Result, Table

CLAIMS = (
    *(
        Claim(f"growth of the error with m, log-log, {when}", "-0.5 ± 0.05", "lectures D, E")
        for when in ("at the start", "after training")
    ),
    Claim("error of 100 digits / error of 10,000", "10 ± 1.5", "lecture E"),
    Claim("work of 10,000 digits / work of 100, operations", "100 ± 1", "lecture E"),
)
SIZES = (10, 30, 100, 300, 1000, 3000, 10_000)


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is drawn."""

    images: int = 5_000
    """Digits of MNIST that make up all."""
    draws: int = 50
    """Batches of each size."""
    epochs: int = 3
    """Of training, in batches of 100, before the second measurement."""
    width: int = 16
    """Hidden units."""

    def __post_init__(self) -> None:
        at_least(100, images=self.images)
        at_least(5, draws=self.draws)
        at_least(1, epochs=self.epochs, width=self.width)


SMOKE = Config(images=100, draws=10, epochs=1, width=4)


class Measured(NamedTuple):
    """The error by batch size, at the start and after training, over the norm of the gradient."""

    errors: dict[str, list[float]]
    work: float


def run(config: Config) -> Measured:
    """Measures, trains, and measures again."""
    digits = first(data.load("mnist", config.root).train, config.images)
    layer = models.mlp(digits["x"].shape[1:], (config.width,), dropout=0.0)
    objective, optimizer = train.classification(layer), optim.sgd(0.3)
    step, state = train.make_step(objective, optimizer), train.train_state(layer, optimizer)
    *_, last = train.fit(step, state, digits, epochs=config.epochs, batch_size=100)
    errors = {
        "at the start": standard_errors(objective, state.params, digits, config),
        f"after {config.epochs} epochs": standard_errors(
            objective, last.state.params, digits, config
        ),
    }
    many, few = (
        flops.count(jax.grad(lambda p, batch: objective(p, (), batch)[0]), state.params, batch)
        for batch in (shaped(digits, 10_000), shaped(digits, 100))
    )
    return Measured(errors, many / few)


def figures(result: Result[Measured]) -> list[float]:
    """The slope, and what it means."""
    errors = list(result.measured.errors.values())
    few, many = SIZES.index(100), SIZES.index(10_000)
    return [
        *(float(np.polyfit(np.log(SIZES), np.log(one), 1)[0]) for one in errors),
        float(np.mean([one[few] / one[many] for one in errors])),
        result.measured.work,
    ]


def table(result: Result[Measured]) -> dict[str, Table]:
    """A line for each batch size."""
    errors = result.measured.errors
    lines = zip(SIZES, *([f"{one:.3f}" for one in way] for way in errors.values()), strict=True)
    return {"Error of the gradient / its norm": [("batch", *errors), *lines]}


def plot(result: Result[Measured]) -> Figure:
    """The error against the batch, and σ/√m from the first point."""
    from dlcore import plot

    measured = result.measured.errors
    lines: dict[str, Any] = {name: (SIZES, errors) for name, errors in measured.items()}
    start = next(iter(measured.values()))[0]
    lines["∝ 1/√m"] = (SIZES, [start * (SIZES[0] / size) ** 0.5 for size in SIZES])
    return plot.lines(
        plot.Panel("The gradient of a batch", "batch m", "error / norm", lines, log="xy")
    )


def standard_errors(
    objective: Any, params: Any, digits: dict[str, np.ndarray], config: Config
) -> list[float]:
    """√(mean ‖g_m − g‖²)/‖g‖ for each m. A batch is how often it has each digit: its weight."""
    count = len(digits["y"])
    batch = {name: jnp.asarray(leaf) for name, leaf in digits.items()}

    @jax.jit
    def gradient(weight: jax.Array) -> Any:
        return jax.grad(lambda p: objective(p, (), {**batch, "weight": weight})[0])(params)

    whole = gradient(jnp.ones(count))
    rng = np.random.default_rng(0)

    def square(tree: Any) -> float:
        return sum(float(jnp.vdot(leaf, leaf)) for leaf in jax.tree.leaves(tree))

    def error(size: int) -> float:
        weights = rng.multinomial(size, np.full(count, 1 / count), config.draws)
        squares = [
            square(jax.tree.map(jnp.subtract, gradient(jnp.asarray(w, jnp.float32)), whole))
            for w in weights
        ]
        return float(np.sqrt(np.mean(squares) / square(whole)))

    return [error(size) for size in SIZES]


def shaped(digits: dict[str, np.ndarray], count: int) -> dict[str, jax.ShapeDtypeStruct]:
    """A batch of so many, without its numbers."""
    return {
        name: jax.ShapeDtypeStruct((count, *leaf.shape[1:]), leaf.dtype)
        for name, leaf in digits.items()
    }
