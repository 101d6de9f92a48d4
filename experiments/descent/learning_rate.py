"""Too small a rate crawls, too large a one diverges; on a quadratic the bound is 2/λmax.

Gradient descent on random quadratics ½x·Hx with eigenvalues from 1 to 20, at rates about 2/λmax;
then on handwritten digits, at rates from far too small to diverging.

Lectures A, B and D. Lecture B has the rate in [0, 1], which is no bound of stability.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import data, models, optim, train
from dlcore.optim import landscapes
from experiments.choice import at_least
from experiments.frame import Claim, DataConfig, Figure, Result, Table

LECTURES = "lectures A, B, D"
CLAIMS = (
    Claim("largest η·λmax at which every quadratic shrinks", "2 ± 0.01", "theory"),
    Claim("smallest η·λmax at which every quadratic grows", "2 ± 0.01", "theory"),
    Claim("loss on digits: a hundredth of the best rate / the best", "> 2", LECTURES),
    Claim("loss on digits: the largest rate / ln 10, a mere guess", "≥ 0.9", LECTURES),
)
EIGENVALUES = (1.0, 20.0)  # the least and the largest
SHOWN = {"too small": 0.05, "right": 1.9, "too large": 1.97, "diverging": 2.03}  # η·λmax


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is tried."""

    quadratics: int = 50
    """Random quadratics of 10 numbers."""
    updates: int = 2000
    """Of each quadratic."""
    images: int = 10_000
    """Digits of MNIST to learn."""
    learning: int = 1000
    """Updates on digits, in batches of 100."""

    def __post_init__(self) -> None:
        at_least(1, quadratics=self.quadratics, learning=self.learning)
        at_least(100, updates=self.updates, images=self.images)


SMOKE = Config(quadratics=4, updates=100, images=100, learning=10)


class Measured(NamedTuple):
    """Which rates shrink a quadratic, ways down a ravine, and the loss on digits by rate."""

    shrinks_up_to: float
    grows_from: float
    ways: dict[str, list[float]]
    losses: dict[str, list[float]]  # of digits, by rate: the mean of each tenth of the updates


def run(config: Config) -> Measured:
    """Descends with all rates."""
    return Measured(*stability(config), ways(), digits(config))


def figures(result: Result[Measured]) -> list[float]:
    """The bound, and what is on either side of the best rate."""
    found = result.measured
    last = [one[-1] for one in found.losses.values()]
    at = best(found.losses)
    largest = last[-1] if math.isfinite(last[-1]) else math.inf
    return [
        found.shrinks_up_to,
        found.grows_from,
        last[max(0, at - 4)] / last[at],
        largest / math.log(10),
    ]


def table(result: Result[Measured]) -> dict[str, Table]:
    """A line for each rate."""
    losses = result.measured.losses.items()
    lines = [(rate, f"{by_tenth[-1]:.4f}") for rate, by_tenth in losses]
    return {"Digits": [("rate", "training loss, last tenth of the updates"), *lines]}


def plot(result: Result[Measured]) -> Figure:
    """f in a ravine, and the loss on digits over the updates, and by rate."""
    from dlcore import plot

    ways = {
        f"{name}: {SHOWN[name]:g}/λmax": (range(len(values)), values)
        for name, values in result.measured.ways.items()
    }
    tenth = result.config.learning / 10
    updates = [tenth * (k + 1) for k in range(10)]
    every = list(result.measured.losses.items())
    at = best(result.measured.losses)
    chosen = sorted({max(0, at + k) for k in (-4, -2, 0, 1, 2)})
    curves = {
        f"η = {rate}": (updates, losses)
        for rate, losses in (every[k] for k in chosen if k < len(every))
    }
    rates = [float(rate) for rate, _ in every]
    last = [losses[-1] for _, losses in every]
    finite = [(r, loss) for r, loss in zip(rates, last, strict=True) if math.isfinite(loss)]
    return plot.lines(
        plot.Panel("A ravine, κ = 20", "updates", "f", ways, log="y"),
        plot.Panel("Digits", "updates", "training loss", curves, log="y"),
        plot.Panel(
            f"Digits after {result.config.learning} updates",
            "learning rate",
            "training loss",
            {"loss": tuple(zip(*finite, strict=True))},
            log="xy",
            level=("a guess, ln 10", math.log(10)),
        ),
    )


def stability(config: Config) -> tuple[float, float]:
    """The largest η·λmax of a grid that shrinks all quadratics, and the smallest that none."""
    multiples = jnp.linspace(1.9, 2.1, 40)  # without 2 itself
    values = jnp.asarray(np.geomspace(*EIGENVALUES, 10), jnp.float32)

    def grown(key: jax.Array, multiple: jax.Array) -> jax.Array:
        """f at the end over f at the start."""
        turn, _ = jnp.linalg.qr(jax.random.normal(jax.random.fold_in(key, 0), (10, 10)))
        x0 = jax.random.normal(jax.random.fold_in(key, 1), (10,))

        def f(x: jax.Array) -> jax.Array:
            return jnp.sum(values * (turn @ x) ** 2) / 2

        optimizer = optim.sgd(multiple / EIGENVALUES[1])
        way = optim.path(f, x0, optimizer, config.updates, record=lambda x: ())
        return way.value[-1] / way.value[0]

    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(
        jnp.arange(config.quadratics)
    )
    ratio = jax.jit(jax.vmap(jax.vmap(grown, (None, 0)), (0, None)))(keys, multiples)
    shrinks = np.asarray(ratio < 1).all(axis=0)
    grows = ~np.asarray(ratio < 1).any(axis=0)
    return float(multiples[shrinks].max()), float(multiples[grows].min())


def ways() -> dict[str, list[float]]:
    """f on the way down a ravine from (1, 1)."""
    f = landscapes.ravine(EIGENVALUES[1]).f

    def way(multiple: jax.Array) -> jax.Array:
        return optim.path(f, jnp.ones(2), optim.sgd(multiple / EIGENVALUES[1]), 100).value

    values = jax.jit(jax.vmap(way))(np.array([*SHOWN.values()], np.float32))
    return dict(zip(SHOWN, values.tolist(), strict=True))


def digits(config: Config) -> dict[str, list[float]]:
    """The training loss of a small network, for all rates at once and on the same batches."""
    rates = 10.0 ** np.arange(-4, 2.5, 0.5)
    examples = {
        name: jnp.asarray(leaf[: config.images])
        for name, leaf in data.load("mnist", config.root).train.items()
    }
    layer = models.mlp(examples["x"].shape[1:], (64,), dropout=0.0)
    objective = train.classification(layer)
    params, state = layer.init(jax.random.key(0))

    def loss(params: Any, key: jax.Array) -> jax.Array:
        rows = jax.random.randint(key, (100,), 0, len(examples["y"]))
        batch = {name: leaf[rows] for name, leaf in examples.items()}
        return objective(params, state, batch, train=True)[0]

    def learned(rate: jax.Array) -> jax.Array:
        way = optim.path(
            loss,
            params,
            optim.sgd(rate),
            config.learning,
            key=jax.random.key(1),
            record=lambda x: (),
        )
        return way.value[:-1]

    values = np.asarray(jax.jit(jax.vmap(learned))(jnp.asarray(rates, jnp.float32)))
    tenths = [part.mean(axis=1) for part in np.array_split(values, 10, axis=1)]
    return {
        f"{rate:.2g}": np.asarray(curve).tolist()
        for rate, curve in zip(rates, zip(*tenths, strict=True), strict=True)
    }


def best(losses: dict[str, list[float]]) -> int:
    """The place of the rate with the least loss in the end."""
    return int(np.nanargmin([one[-1] for one in losses.values()]))
