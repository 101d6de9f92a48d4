"""Newton's method trains a network of 100,000 weights without its Hessian, in memory O(W).

Newton's equations are solved by conjugate gradients, each of whose iterations takes one product of
the Hessian with a vector. Networks 784-H-10 learn some handwritten digits as a whole, without
mini-batches; for the widest, the training loss against gradient descent with the same line search.

Lecture C: conjugate gradients in the place of the inverse; Martens 2010. The memory is what XLA
reserves for the compiled `minimize`, beside the digits and the weights. The work, gradients and
Hessian products at most, is reported and not claimed: an iteration of Newton's method costs as many
gradients as it takes products, and on these few digits gradient descent needs less work.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import data, models, optim, train, tree
from dlcore import functional as F
from experiments._learning import first
from experiments.choice import at_least
from experiments.frame import Claim, DataConfig, Figure, Result, Table

CLAIMS = (
    Claim("parameters of the widest network", "≥ 100000", "lecture C"),
    Claim("memory beside the weights, growth with W, log-log", "≤ 1.1", "lecture C"),
    Claim("that memory / the memory of the Hessian, W² numbers", "≤ 0.01", "lecture C"),
    Claim("training loss after as many iterations, descent / Newton-CG", "> 1", "lecture C"),
)
GOAL = 0.01  # of the training loss
TINY = 1e-9  # a loss that float32 does not tell from 0


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    widths: tuple[int, ...] = (16, 32, 64, 128)
    """H, growing."""
    images: int = 500
    """Digits of MNIST, all in one batch."""
    iterations: int = 20
    """Of Newton's method; gradient descent goes on for as much work."""
    products: int = 20
    """Of the Hessian with a vector, at most, in each."""

    def __post_init__(self) -> None:
        at_least(10, images=self.images)
        at_least(1, iterations=self.iterations, products=self.products)
        if len(self.widths) < 2 or list(self.widths) != sorted(set(self.widths)):
            raise ValueError(f"widths are at least two that grow, got {self.widths}")

    @property
    def work(self) -> dict[str, int]:
        """Gradients and Hessian products of an iteration, at most."""
        return {"Newton-CG": self.products + 1, "gradient descent": 1}


SMOKE = Config(widths=(4, 8), images=20, iterations=3, products=5)


class Memory(NamedTuple):
    """Parameters of a network, and bytes that its training takes beside them."""

    parameters: int
    bytes: int


class Measured(NamedTuple):
    """Memory by width, and the training loss over the iterations."""

    memory: list[Memory]
    losses: dict[str, list[float]]


def run(config: Config) -> Measured:
    """Compiles for each width, and trains the widest."""
    digits = first(data.load("mnist", config.root).train, config.images)
    memory = [reserved(width, digits, config) for width in config.widths]
    directions = {
        "Newton-CG": optim.newton_cg(config.products),
        "gradient descent": optim.steepest(),
    }
    work = config.iterations * config.work["Newton-CG"]
    losses = {
        name: descend(config.widths[-1], digits, direction, work // config.work[name])
        for name, direction in directions.items()
    }
    return Measured(memory, losses)


def figures(result: Result[Measured]) -> list[float]:
    """How much memory, and to what end."""
    memory, losses = result.measured
    parameters, sizes = np.log(np.array(memory, float)).T
    widest = memory[-1]
    newton, descent = losses["Newton-CG"], losses["gradient descent"]
    return [
        widest.parameters,
        float(np.polyfit(parameters, sizes, 1)[0]),
        widest.bytes / (4 * widest.parameters**2),
        descent[len(newton) - 1] / max(newton[-1], TINY),
    ]


def table(result: Result[Measured]) -> dict[str, Table]:
    """A line for each width, and for each method."""

    def megabytes() -> Table:
        yield "parameters", "memory", "of the Hessian"
        for count, size in result.measured.memory:
            yield count, f"{size / 1e6:,.1f}", f"{4 * count**2 / 1e6:,.1f}"

    def reached() -> Table:
        yield "method", "iterations", "work"
        for name, values in result.measured.losses.items():
            count = until(values)
            yield name, f"{count:,.0f}", f"{count * result.config.work[name]:,.0f}"

    return {"Megabytes": megabytes(), f"To a training loss of {GOAL:g}": reached()}


def plot(result: Result[Measured]) -> Figure:
    """The memory against W beside that of the Hessian; the loss."""
    from dlcore import plot

    parameters = [one.parameters for one in result.measured.memory]
    sizes = {
        "Newton-CG": (parameters, [one.bytes / 1e6 for one in result.measured.memory]),
        "the Hessian": (parameters, [4 * count**2 / 1e6 for count in parameters]),
    }
    losses = {
        name: (result.config.work[name] * np.arange(len(values)), values)
        for name, values in result.measured.losses.items()
    }
    return plot.lines(
        plot.Panel("Memory", "parameters W", "megabytes", sizes, log="xy"),
        plot.Panel(
            f"{result.config.images} digits",
            "gradients and Hessian products",
            "training loss",
            losses,
            log="y",
        ),
    )


def network(width: int, digits: dict[str, np.ndarray]) -> tuple[Any, Any]:
    """The training loss of 784-`width`-10, and its parameters at the start."""
    layer = models.mlp(digits["x"].shape[1:], (width,), dropout=0.0, activation=F.tanh)
    objective = train.classification(layer)
    params, _ = layer.init(jax.random.key(0))
    return (lambda params, batch: objective(params, (), batch)[0]), params


def reserved(width: int, digits: dict[str, np.ndarray], config: Config) -> Memory:
    """What one iteration takes. Nothing is run."""
    loss, params = network(width, digits)

    def newton(params: Any, batch: Any) -> Any:
        return optim.minimize(
            lambda params: loss(params, batch),
            params,
            direction=optim.newton_cg(config.products),
            max_iterations=1,
        ).x

    analysis: Any = jax.jit(newton).lower(params, digits).compile().memory_analysis()
    return Memory(tree.count(params), analysis.temp_size_in_bytes)


def descend(
    width: int, digits: dict[str, np.ndarray], direction: optim.Direction, iterations: int
) -> list[float]:
    """The training loss after each iteration."""
    loss, params = network(width, digits)
    batch = {name: jnp.asarray(leaf) for name, leaf in digits.items()}
    found = optim.minimize(
        lambda params: loss(params, batch),
        params,
        direction=direction,
        tolerance=0.0,
        max_iterations=iterations,
    )
    values = np.asarray(found.history.value)
    return values[np.isfinite(values)].tolist()


def until(losses: list[float]) -> float:
    """Iterations to the goal; infinity where it is never reached."""
    return next((float(i) for i, loss in enumerate(losses) if loss <= GOAL), math.inf)
