"""A plain recurrent network forgets what lies 30 steps back; LSTM and GRU keep it.

Two problems whose answer lies far back: symbols to be given again after a delay (copying), and the
sum of two marked numbers among many (adding). An RNN, an LSTM (forget gate's bias 1) and a GRU of
the same width, and what is left of a gradient on its way back through each, before and after
learning: vₜ₋₁ = vₜ · ∂mₜ/∂mₜ₋₁ of the memory m, from a random v of length 1 at the end.

All begin with orthogonal recurrent kernels, the best case of an RNN. No curriculum: each network
learns one delay alone. The loss counts the places of recall only.

Lectures A and B; Hochreiter and Schmidhuber 1997; Pascanu et al. 2013; Arjovsky et al. 2016.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore import data, keys, nn, optim, train, tree
from dlcore import functional as F
from experiments._learning import learn
from experiments.choice import at_least, rising
from experiments.frame import BaseConfig, Claim, Figure, Result, Table

Draw = Callable[..., dict[str, np.ndarray]]  # (n, seed=…)
Factory = Callable[..., nn.Layer]  # (features, hidden)

LECTURES = "lectures A, B"
CLAIMS = (
    Claim("copying, the longest delay: symbols that the LSTM recalls", "≥ 0.99", LECTURES),
    Claim("copying, the longest delay: symbols that the GRU recalls", "≥ 0.99", LECTURES),
    Claim("copying, the longest delay: RNN − chance", "0 ± 0.03", LECTURES),
    Claim("copying, the shortest delay: symbols that the RNN recalls", "≥ 0.99", "tried"),
    Claim("adding: squared error / chance, the worse of LSTM and GRU", "≤ 0.05", LECTURES),
    Claim("adding: squared error / chance of the RNN", "1 ± 0.1", LECTURES),
    Claim("gradient left where the symbols lie, after learning: LSTM / RNN", "> 100", LECTURES),
)
# A layer, its cell, and the learning rate. On another seed the RNN learns a delay of 30 at none of
# 1e-4, 3e-4, 1e-3 and 3e-3.
NETWORKS: dict[str, tuple[Factory, Factory, float]] = {
    "RNN": (nn.rnn, nn.rnn_cell, 1e-3),
    "LSTM": (nn.lstm, nn.lstm_cell, 5e-3),
    "GRU": (nn.gru, nn.gru_cell, 5e-3),
}
SYMBOLS, ALPHABET, BATCH = 3, 8, 64
CHANCE_COPYING = 1 / ALPHABET  # of the symbols
CHANCE_ADDING = 1 / 6  # squared error: the variance of the sum


@dataclasses.dataclass(frozen=True)
class Config(BaseConfig):
    """How far back, and how much is learned."""

    delays: tuple[int, ...] = (5, 10, 20, 30)
    """Steps between the symbols and their recall."""
    length: int = 150
    """Numbers among which two are added."""
    hidden: int = 64
    """Units of each network."""
    copying_updates: int = 2_500
    """Updates on copying, each on 64 new sequences."""
    adding_updates: int = 1_250
    """Updates on adding, each on 64 new sequences."""
    test_sequences: int = 2_000
    """New sequences to test on."""
    seed: int = 7
    """Of the networks and of what is drawn."""

    def __post_init__(self) -> None:
        at_least(1, delays=min(self.delays, default=None), hidden=self.hidden)
        at_least(1, copying_updates=self.copying_updates, adding_updates=self.adding_updates)
        at_least(2, length=self.length)
        at_least(1, test_sequences=self.test_sequences)
        at_least(0, seed=self.seed)
        rising(delays=self.delays)


SMOKE = Config(
    delays=(2,),
    length=4,
    hidden=4,
    copying_updates=2,
    adding_updates=2,
    test_sequences=10,
)


class Network(NamedTuple):
    """One network: what it recalls by delay, its error in adding, what is left of a gradient.

    recalled: the share of the symbols. squared_error: the mean. before, after: the length of v by
    steps back, the median over sequences, at the start and after learning the longest delay.
    """

    kind: str
    parameters: int
    recalled: list[float]
    squared_error: float
    before: list[float]
    after: list[float]


def run(config: Config) -> list[Network]:
    """Trains each network on each problem."""
    return [measure(kind, config) for kind in NETWORKS]


def figures(result: Result[list[Network]]) -> list[float]:
    """What is recalled, how well is added, and what is left of the gradient."""
    rnn, lstm, gru = result.measured
    distance = SYMBOLS + result.config.delays[-1]
    return [
        lstm.recalled[-1],
        gru.recalled[-1],
        rnn.recalled[-1] - CHANCE_COPYING,
        rnn.recalled[0],
        max(lstm.squared_error, gru.squared_error) / CHANCE_ADDING,
        rnn.squared_error / CHANCE_ADDING,
        lstm.after[distance] / rnn.after[distance],
    ]


def table(result: Result[list[Network]]) -> dict[str, Table]:
    """A line for each network."""
    config = result.config
    distance = SYMBOLS + config.delays[-1]
    delays = [f"delay {delay}" for delay in config.delays]
    recalled = [
        (one.kind, one.parameters, *(f"{share:.3f}" for share in one.recalled))
        for one in result.measured
    ]
    others = [
        (
            one.kind,
            *(f"{v:.2g}" for v in (one.squared_error, one.before[distance], one.after[distance])),
        )
        for one in result.measured
    ]
    back = f"gradient {distance} steps back"
    return {
        f"Copying: symbols recalled (chance {CHANCE_COPYING:g})": [
            ("network", "parameters", *delays),
            *recalled,
        ],
        f"Adding {config.length} numbers: squared error (chance {CHANCE_ADDING:.3f})": [
            ("network", "squared error", f"{back}, before learning", "after"),
            *others,
        ],
    }


def plot(result: Result[list[Network]]) -> Figure:
    """What is recalled by the delay, and the gradient by the distance."""
    from dlcore import plot

    networks, delays = result.measured, result.config.delays
    back = range(len(networks[0].before))

    def gradients(title: str, when: str) -> plot.Panel:
        series = {one.kind: (back, getattr(one, when)) for one in networks}
        return plot.Panel(title, "steps back", "length of the gradient", series, log="y")

    return plot.lines(
        plot.Panel(
            "Symbols recalled",
            "delay, steps",
            "share",
            {one.kind: (delays, one.recalled) for one in networks},
            percent=True,
            level=("chance", CHANCE_COPYING),
        ),
        gradients("Before learning", "before"),
        gradients(f"After learning a delay of {delays[-1]}", "after"),
    )


def measure(kind: str, config: Config) -> Network:
    """Trains a network on each delay, and on adding."""
    make, make_cell, rate = NETWORKS[kind]
    optimizer = optax.chain(optim.clip_by_global_norm(1.0), optim.adam(rate))
    count, seed = config.test_sequences, config.seed

    def learned(layer: nn.Layer, objective: train.Objective, draw: Draw, updates: int) -> Any:
        """The parameters after so many updates, and the numbers of the test."""
        examples = draw(BATCH * updates, seed=2 * seed)
        how: dict[str, Any] = {"batch_size": BATCH, "seed": seed, "objective": objective}
        params = learn(layer, examples, optimizer, updates, **how).params
        return params, train.evaluate(objective, params, (), draw(count, seed=2 * seed + 1))

    copier, objective = copying(make, config.hidden)
    recalled = []
    for delay in config.delays:
        draw = functools.partial(data.copying, delay=delay, symbols=SYMBOLS, alphabet=ALPHABET)
        params, scores = learned(copier, objective, draw, config.copying_updates)
        recalled.append(scores["accuracy"])
    x = draw(100, seed=2 * seed + 1)["x"]
    start = train.train_state(copier, optimizer, seed=seed).params
    cell = make_cell(ALPHABET + 2, config.hidden)
    before, after = gradient_lengths(cell, [start, params], x, seed)
    adder = network(F.identity, make(2, config.hidden), 1, 1)
    draw = functools.partial(data.adding, length=config.length)
    _, scores = learned(adder, train.regression(adder), draw, config.adding_updates)
    return Network(kind, tree.count(params), recalled, scores["loss"], before, after)


def copying(make: Factory, hidden: int) -> tuple[nn.Layer, train.Objective]:
    """A network that gives the symbols at the places of recall, and what it minimises."""
    inputs = ALPHABET + 2
    layer = network(nn.embedding(inputs, inputs), make(inputs, hidden), SYMBOLS, ALPHABET)
    loss = functools.partial(F.cross_entropy, reduction="none")
    return layer, train.supervised(layer, loss, {"accuracy": train.metrics.mean_of(F.correct)})


def network(symbols: Any, recurrent: nn.Layer, places: int, outputs: int) -> nn.Layer:
    """x [B, T, …] -> what a linear layer makes of the last `places` of the recurrent outputs."""
    return nn.serial(
        nn.named("symbols", symbols),
        nn.named("recurrent", recurrent),
        nn.from_function(lambda h: h[:, -places:] if places > 1 else h[:, -1], "last"),
        nn.linear(recurrent.info.config["hidden"], outputs),
    )


def gradient_lengths(
    cell: nn.Layer, copiers: list[Any], x: np.ndarray, seed: int
) -> list[list[float]]:
    """‖v‖ at 0, 1, …, T steps back from the end of x [B, T], the median, for each one's parameters.

    vₜ₋₁ = vₜ · ∂mₜ/∂mₜ₋₁, where m is all that the cell remembers, from a random v of length 1.
    """

    @jax.jit
    def all_steps(params: Any, x: jax.Array) -> jax.Array:
        def step(m: Any, x: jax.Array) -> Any:
            return cell.apply(params["recurrent"], m, x)[1]

        def back(v: Any, at: Any) -> Any:
            m, x = at
            (v,) = jax.vjp(lambda m: step(m, x), m)[1](v)
            return v, lengths(v)

        xs = params["symbols"]["embedding"][x.T]
        end, ms = jax.lax.scan(lambda m, x: (step(m, x), m), nn.memory(cell, len(x)), xs)
        v = direction(jax.random.key(seed), end)
        return jax.lax.scan(back, v, (ms, xs), reverse=True)[1]

    by_time = [np.asarray(all_steps(params, x)) for params in copiers]
    return [[1.0, *np.median(one, axis=1)[::-1].tolist()] for one in by_time]


def direction(key: jax.Array, m: dict[str, dict[str, jax.Array]]) -> Any:
    """A random v like the memory m, of length 1 for each sequence."""
    v = {
        kind: {
            name: jax.random.normal(keys.child(key, name), leaf.shape) for name, leaf in own.items()
        }
        for kind, own in m.items()
    }
    return jax.tree.map(lambda leaf: leaf / lengths(v)[:, None], v)


def lengths(v: Any) -> jax.Array:
    """The length of each sequence's part of v, [B]."""
    return jnp.sqrt(sum(jnp.sum(leaf**2, axis=-1) for leaf in jax.tree.leaves(v)))
