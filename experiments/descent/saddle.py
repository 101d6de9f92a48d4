"""A saddle holds plain descent for long; where a network's gradient is small, most are saddles.

On x² − y² + y⁴/4 from (1, y₀): updates until |y| > 1, by optimizer and by how near y₀ is to the
line that leads into the saddle. Then a small network: from many places to where ‖∇f‖ is least,
near zero but seldom zero, and the share of negative eigenvalues of the Hessian there, its index.

Lecture A: saddle points, not local minima, are the worse problem, for there the gradient is almost
0 in all directions. The index against the loss: Dauphin et al. 2014, figure 1 (Pascanu et al.).
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from dlcore import data, models, optim
from dlcore import functional as F
from dlcore.optim import landscapes
from experiments.choice import at_least
from experiments.frame import BaseConfig, Claim, Figure, Result, Table

RATE = 0.02  # η of all optimizers
A_DECADE = np.log(10) / np.log1p(2 * RATE)
FASTER = ("momentum", "RMSProp", "Adam")
CLAIMS = (
    Claim(
        "updates of gradient descent a decade of 1/y₀",
        f"{A_DECADE:.4f} ± {A_DECADE / 10:.4f}",
        "theory: ln 10/ln(1 + 2η)",
    ),
    *(Claim(f"updates: gradient descent / {name}", "> 1", "lecture A") for name in FASTER),
    Claim("share of the network's flat places: saddles", "> 0.5", "lecture A"),
    Claim("correlation of the index with the loss", "> 0", "Dauphin et al. 2014"),
)
OPTIMIZERS: dict[str, Any] = {
    "gradient descent": optim.sgd,
    "momentum": optim.momentum,
    "Nesterov": optim.nesterov,
    "Adagrad": optim.adagrad,
    "RMSProp": optim.rmsprop,
    "Adam": optim.adam,
}
NEAR = tuple(10.0**-k for k in range(1, 7))  # y₀


@dataclasses.dataclass(frozen=True)
class Config(BaseConfig):
    """How long is waited, and how many flat places are looked for."""

    updates: int = 1500
    """At the saddle."""
    examples: int = 100
    """Digits that the small network learns."""
    starts: int = 100
    """Places from which a flat place is looked for."""
    iterations: int = 200
    """Of Newton's method at most, from each."""

    def __post_init__(self) -> None:
        at_least(400, updates=self.updates)
        at_least(8, examples=self.examples, starts=self.starts)
        at_least(1, iterations=self.iterations)


SMOKE = Config(updates=800, examples=20, starts=8, iterations=30)


class Flat(NamedTuple):
    """Where the gradient of the network's loss is small: the loss, and the share of λ < 0."""

    loss: float
    negative: float


class Measured(NamedTuple):
    """Updates at the saddle, by optimizer and y₀; the flat places found."""

    updates: dict[str, list[int]]
    places: list[Flat]


def run(config: Config) -> Measured:
    """Waits at the saddle, and looks for others."""
    updates = {name: leaving(make, config) for name, make in OPTIMIZERS.items()}
    return Measured(updates, flat_places(config))


def figures(result: Result[Measured]) -> list[float]:
    """How long, and how many."""
    updates, places = result.measured
    plain = updates["gradient descent"]
    index = np.array([one.negative for one in places])
    loss = np.array([one.loss for one in places])
    varied = len(places) > 2 and index.std() > 0
    return [
        np.polyfit(-np.log10(NEAR[1:]), plain[1:], 1)[0],
        *(plain[3] / updates[name][3] for name in FASTER),
        (index > 0).mean() if len(index) else 0.0,
        np.corrcoef(index, loss)[0, 1] if varied else 0.0,
    ]


def table(result: Result[Measured]) -> Table:
    """A line for each optimizer."""
    yield "updates to leave from y₀ =", *(f"{y:g}" for y in NEAR)
    late = result.config.updates
    for name, updates in result.measured.updates.items():
        yield name, *(n if n <= late else f"> {late:,}" for n in updates)


def plot(result: Result[Measured]) -> Figure:
    """Updates against y₀; the index of the flat places against their loss."""
    from dlcore import plot

    held = {name: (NEAR, updates) for name, updates in result.measured.updates.items()}
    found = {
        "saddles": [one for one in result.measured.places if one.negative > 0],
        "minima": [one for one in result.measured.places if one.negative == 0],
    }
    points = {
        name: ([one.loss for one in some], [one.negative for one in some])
        for name, some in found.items()
        if some
    }
    return plot.lines(
        plot.Panel("At a saddle", "y₀, distance from the line into it", "updates", held, log="x"),
        plot.Panel(
            "A small network, where ‖∇f‖ is small",
            "training loss",
            "negative eigenvalues",
            points,
            percent=True,
            lines=False,
        ),
    )


def leaving(make: Any, config: Config) -> list[int]:
    """Updates until |y| > 1, from each y₀."""

    def heights(y: jax.Array) -> jax.Array:
        x0 = jnp.stack([jnp.ones_like(y), y])
        way = optim.path(landscapes.saddle.f, x0, make(RATE), config.updates)
        return jnp.abs(way.record[:, 1])

    away = np.asarray(jax.jit(jax.vmap(heights))(jnp.asarray(NEAR))) > 1
    return np.where(away.any(axis=1), away.argmax(axis=1), config.updates + 1).tolist()


def flat_places(config: Config) -> list[Flat]:
    """From a place on each of many ways of Adam: to where ‖∇f‖ is least, by damped Newton steps.

    With g = ∇f and its Jacobian H these are Gauss and Newton's for ‖g‖², (H² + λI)d = −Hg, with λ
    in proportion to ‖g‖². Those are kept where ‖g‖ is at most a hundredth of the median start's.
    """
    with jax.enable_x64(True):
        loss, start = network(config)
        slope, curvature = jax.grad(loss), jax.hessian(loss)

        def newton(f: Any, w: jax.Array, gradient: jax.Array) -> jax.Array:
            hessian, damping = curvature(w), 1e-2 * jnp.sum(slope(w) ** 2) + 1e-10
            return -jnp.linalg.solve(hessian @ hessian + damping * jnp.eye(w.size), gradient)

        def search(key: jax.Array) -> tuple[jax.Array, ...]:
            way = optim.path(loss, start(key), optim.adam(0.05), 100).record
            begin = way[jax.random.randint(jax.random.fold_in(key, 1), (), 0, len(way))]
            end = optim.minimize(
                lambda w: jnp.sum(slope(w) ** 2) / 2,
                begin,
                direction=newton,
                step_size=optim.armijo(max_trials=20),
                max_iterations=config.iterations,
                tolerance=1e-12,
            ).x
            index = jnp.mean(jnp.linalg.eigvalsh(curvature(end)) < -1e-6)
            return jnp.linalg.norm(slope(way[0])), jnp.linalg.norm(slope(end)), loss(end), index

        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(1), i))(
            jnp.arange(config.starts)
        )
        at_start, norms, *found = map(np.asarray, jax.jit(lambda k: jax.lax.map(search, k))(keys))
        kept = norms <= 0.01 * np.median(at_start)
        return [Flat(float(loss), float(share)) for loss, share in np.stack(found, axis=1)[kept]]


def network(config: Config) -> tuple[Any, Any]:
    """The loss of a network 4-4-3 on three kinds of digits, and its parameters by key."""
    digits = data.load("digits").train
    flat = digits["x"].reshape(len(digits["x"]), -1)
    flat = data.whiten(data.fit_pca(flat, components=4), flat)
    rows = np.flatnonzero(digits["y"] < 3)[: config.examples]
    x, y = jnp.asarray(flat[rows], jnp.float64), jnp.asarray(digits["y"][rows])
    layer = models.mlp((4,), (4,), classes=3, dropout=0.0, activation=F.tanh)
    unravel = ravel_pytree(_double(layer.init(jax.random.key(0))[0]))[1]

    def loss(w: jax.Array) -> jax.Array:
        # Without a little decay the loss has no minimum at a finite place.
        logits, _ = layer.apply(unravel(w), (), x)
        return F.cross_entropy(logits, y) + 1e-3 * jnp.sum(w**2)

    return loss, lambda key: 2 * ravel_pytree(_double(layer.init(key)[0]))[0]


def _double(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
