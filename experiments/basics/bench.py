"""`fit` is as fast as a bare jitted step written by hand, and 5 times so on a tiny network.

A step of a person who knows JAX, written out below with jax.numpy, lax and optax: jitted, its
buffers donated, its batch gathered inside from data on the device, called from a Python loop. It
trains the same network from the same parameters on the same batches as `dlcore.train.fit`, which is
measured as everybody calls it; the losses must agree. The two take turns, round by round, so that
whatever else the machine does befalls both.

    network      layers            optimizer   batch   expected, fit / bare
    mlp          784-512-512-10    Adam          128   1
    playground   2-8-8-1, tanh     SGD            32   5
    lenet5       61,706 numbers    momentum      128   1

The ratio is the median over the rounds of each round's own. Time to first step includes compiling.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from dlcore import data, files, models, nn, optim, train
from dlcore import functional as F
from experiments import claim
from experiments.choice import at_least, one_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEED = 0
TOLERANCE = 1e-3  # of the mean loss in the first round, relative


# ------------------------------------------------------------------- the step written by hand


def dense(layer: Any, x: jax.Array) -> jax.Array:
    """x · kernel + bias"""
    kernel, bias = layer
    return x @ kernel + bias


def conv(layer: Any, x: jax.Array, padding: str) -> jax.Array:
    """A convolution, channels last."""
    kernel, bias = layer
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=numbers) + bias


def max_pool(x: jax.Array) -> jax.Array:
    """The largest of each 2×2."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def mlp(params: Any, x: jax.Array) -> jax.Array:
    """784-512-512-10"""
    first, second, third = params
    x = jax.nn.relu(dense(first, x.reshape(len(x), -1)))
    return dense(third, jax.nn.relu(dense(second, x)))


def playground(params: Any, x: jax.Array) -> jax.Array:
    """2-8-8-1"""
    first, second, third = params
    return dense(third, jnp.tanh(dense(second, jnp.tanh(dense(first, x)))))


def lenet5(params: Any, x: jax.Array) -> jax.Array:
    """LeNet-5"""
    conv1, conv2, linear1, linear2, linear3 = params
    x = max_pool(jax.nn.relu(conv(conv1, x, "SAME")))
    x = max_pool(jax.nn.relu(conv(conv2, x, "VALID")))
    x = jax.nn.relu(dense(linear1, x.reshape(len(x), -1)))
    return dense(linear3, jax.nn.relu(dense(linear2, x)))


def bare_step(forward: Callable, loss: Callable, optimizer: Any, batch_size: int) -> Callable:
    """(params, opt_state, data, order, index) -> (params, opt_state, loss)"""

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, opt_state: Any, data: Any, order: jax.Array, index: Any) -> Any:
        rows = lax.dynamic_slice(order, (index * batch_size,), (batch_size,))
        x, y = data["x"][rows], data["y"][rows]
        value, grads = jax.value_and_grad(lambda params: loss(forward(params, x), y).mean())(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, value

    return step


def softmax_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy [B]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def sigmoid_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Binary cross-entropy [B]."""
    return optax.sigmoid_binary_cross_entropy(logits[:, 0], labels)


# ---------------------------------------------------------------------------- the comparison


class Network(NamedTuple):
    """One network both ways. A round is `steps` updates, as many as `epochs` of the data have."""

    layer: nn.Layer
    objective: Callable
    optimizer: Any
    forward: Callable
    loss: Callable
    bare_optimizer: Any
    examples: Callable[[int], dict[str, np.ndarray]]
    batch: int
    steps: int
    epochs: int
    floor: float

    def on_device(self) -> dict[str, jax.Array]:
        """The examples on the device."""
        examples = self.examples(self.batch * self.steps // self.epochs)
        return jax.tree.map(jnp.asarray, examples)


def images(n: int) -> dict[str, np.ndarray]:
    """Real digits of 28×28 pixels, each as often as it takes."""
    digits = data.load("digits", size=28).train
    return {name: np.resize(array, (n, *array.shape[1:])) for name, array in digits.items()}


def points(n: int) -> dict[str, np.ndarray]:
    """Points in the plane, on two circles."""
    return data.load("circles", n=n).train


def networks() -> dict[str, Network]:
    """The three by name."""
    tiny = nn.serial(nn.linear(2, 8), F.tanh, nn.linear(8, 8), F.tanh, nn.linear(8, 1))
    return {
        "mlp": Network(
            layer=models.mlp(hidden=(512, 512), dropout=0),
            objective=train.classification,
            optimizer=optim.adam(1e-3),
            forward=mlp,
            loss=softmax_loss,
            bare_optimizer=optax.adam(1e-3),
            examples=images,
            batch=128,
            steps=50,
            epochs=1,
            floor=1,
        ),
        "playground": Network(
            layer=tiny,
            objective=train.binary_classification,
            optimizer=optim.sgd(0.03),
            forward=playground,
            loss=sigmoid_loss,
            bare_optimizer=optax.sgd(0.03),
            examples=points,
            batch=32,
            steps=2000,
            epochs=125,
            floor=5,
        ),
        "lenet5": Network(
            layer=models.lenet5(),
            objective=train.classification,
            optimizer=optim.momentum(0.01),
            forward=lenet5,
            loss=softmax_loss,
            bare_optimizer=optax.sgd(0.01, momentum=0.9),
            examples=images,
            batch=128,
            steps=20,
            epochs=1,
            floor=1,
        ),
    }


NAMES = ("mlp", "playground", "lenet5")


@dataclasses.dataclass(frozen=True)
class Config:
    """What is compared, and how often."""

    networks: str = ",".join(NAMES)
    """Which of mlp, playground and lenet5, with commas between them."""
    rounds: int = 15
    """Turns of each, after one that does not count."""
    out: Path | None = None
    """Folder for everything written; by default runs/bench."""

    def __post_init__(self) -> None:
        for name in self.names:
            one_of("network", name, NAMES)
        at_least(1, rounds=self.rounds)

    @property
    def names(self) -> list[str]:
        """The networks' names."""
        return [name.strip() for name in self.networks.split(",")]

    @classmethod
    def smoke(cls) -> Config:
        """Seconds."""
        return cls(networks="playground", rounds=3)


@dataclasses.dataclass(frozen=True)
class Row:
    """One network: steps a second of each round of `fit` and of the bare step."""

    network: str
    batch: int
    fit: list[float]
    bare: list[float]
    fit_first_step_seconds: float
    bare_first_step_seconds: float
    loss_difference: float

    @property
    def ratios(self) -> np.ndarray:
        """fit / bare, round by round."""
        return np.divide(self.fit, self.bare)

    @property
    def ratio(self) -> float:
        """Their median."""
        return float(np.median(self.ratios))

    def cells(self) -> tuple[str, ...]:
        """What a table shows."""
        low, high = np.percentile(self.ratios, [25, 75])
        return (
            f"{self.network} ({self.batch})",
            _steps(self.fit),
            _steps(self.bare),
            f"{self.ratio:.2f} ({low:.2f} – {high:.2f})",
            f"{self.fit_first_step_seconds:.2f} s",
            f"{self.bare_first_step_seconds:.2f} s",
        )


HEAD = ("network (batch)", "fit, steps/s", "bare, steps/s", "fit / bare", "first step, fit", "bare")


@dataclasses.dataclass(frozen=True)
class Result:
    """The rows, and the share of the machine that other processes took meanwhile."""

    rows: list[Row]
    others: float | None
    claims: list[claim.Claim]

    def markdown(self) -> str:
        """The table, medians with quartiles in brackets."""
        lines = [HEAD, ("---",) + ("---:",) * (len(HEAD) - 1), *(row.cells() for row in self.rows)]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{table}\n\n{self._note()}\n"

    def _note(self) -> str:
        share = "unknown" if self.others is None else f"{self.others:.0%}"
        rounds = len(self.rows[0].fit)
        return (
            f"Medians and quartiles of {rounds} rounds; other processes took {share} of the CPUs."
        )

    def __rich__(self) -> Any:
        """The same table, for a terminal."""
        from rich.console import Group
        from rich.table import Table

        shown = Table(*HEAD)
        for row in self.rows:
            shown.add_row(*row.cells())
        return Group(shown, self._note())


def run(config: Config) -> Result:
    """Measures network by network."""
    clock = _Clock()
    rows = [compare(name, config.rounds) for name in config.names]
    claims = [
        claim.at_least(
            f"fit / bare, {row.network}", networks()[row.network].floor, row.ratio, "dlcore"
        )
        for row in rows
    ]
    result = Result(rows, clock.others(), claims)
    if config.out is not None:
        files.replace(config.out / "bench.md", result.markdown().encode())
    return result


def compare(name: str, rounds: int) -> Row:
    """`fit` and the bare step in turns, the second of a pair being the first of the next."""
    network = networks()[name]
    sides = {"fit": fit_turns(network, rounds + 1), "bare": bare_turns(network, rounds + 1)}
    losses = {side: next(turns) for side, turns in sides.items()}  # compiles, and is not timed
    difference = abs(losses["fit"] / losses["bare"] - 1)
    if not difference <= TOLERANCE:
        raise RuntimeError(f"{name}: the mean losses of a round differ: {losses}")
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sorted(sides, reverse=number % 2 == 0):
            began = time.perf_counter()
            next(sides[side])
            speeds[side].append(network.steps / (time.perf_counter() - began))
    return Row(
        name,
        network.batch,
        fit=speeds["fit"],
        bare=speeds["bare"],
        fit_first_step_seconds=_first_step(fit_turns, network),
        bare_first_step_seconds=_first_step(bare_turns, network),
        loss_difference=difference,
    )


def plot(result: Result) -> Figure:
    """How many times as fast as the bare step `fit` is, each round a dot."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.2 + 0.6 * len(result.rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(result.rows):
        axes.plot(row.ratios, np.full(len(row.ratios), place), "o", color="#0072B2", alpha=0.4)
        axes.plot([row.ratio] * 2, [place - 0.3, place + 0.3], color="#D55E00", linewidth=2)
    axes.axvline(1, color="#333333", linewidth=0.8)
    ticks = [0.2, 0.5, 1, 2, 5, 10, 20]
    axes.set_xscale("log")
    axes.set_xlim(ticks[0], ticks[-1])
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(result.rows)), [row.network for row in result.rows])
    axes.set_ylim(len(result.rows) - 0.4, -0.6)
    axes.set_xlabel(
        "steps per second of fit / of the bare step: a dot a round, the bar their median"
    )
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def fit_turns(network: Network, rounds: int) -> Iterator[float]:
    """Trains a round by `fit` for each `next`, and gives its mean loss."""
    step = train.make_step(network.objective(network.layer), network.optimizer)
    for record in train.fit(
        step,
        train.train_state(network.layer, network.optimizer, seed=SEED),
        network.on_device(),
        epochs=rounds * network.epochs,
        batch_size=network.batch,
        every=network.steps,
    ):
        yield float(record.metrics["loss"])


def bare_turns(network: Network, rounds: int) -> Iterator[float]:
    """Trains a round by the bare step for each `next`, and gives its mean loss."""
    step = bare_step(network.forward, network.loss, network.bare_optimizer, network.batch)
    start = train.train_state(network.layer, network.optimizer, seed=SEED).params
    params = [(layer["kernel"], layer["bias"]) for _, layer in sorted(start.items())]
    opt_state = network.bare_optimizer.init(params)
    examples = network.on_device()
    n = len(examples["y"])
    orders = [data.order(n, SEED, epoch) for epoch in range(rounds * network.epochs)]
    order = jnp.concatenate(orders)
    for number in range(rounds):
        losses = []
        for index in range(number * network.steps, (number + 1) * network.steps):
            params, opt_state, loss = step(params, opt_state, examples, order, index)
            losses.append(loss)
        yield float(np.mean(jax.device_get(losses)))


def _first_step(turns: Callable, network: Network) -> float:
    """Seconds to the first loss of a step that has not been compiled yet."""
    one_step = network._replace(steps=1, epochs=1)
    began = time.perf_counter()
    next(turns(one_step, 1))
    return time.perf_counter() - began


def _steps(per_second: list[float]) -> str:
    """The median and the quartiles."""
    low, middle, high = np.percentile(per_second, [25, 50, 75])
    digits = 0 if middle >= 100 else 1
    return f"{middle:,.{digits}f} ({low:,.{digits}f} – {high:,.{digits}f})"


class _Clock:
    """What share of all processors' time other processes had since this was made."""

    def __init__(self) -> None:
        self.began = self._now()

    def others(self) -> float | None:
        """That share in [0, 1]; None where the system does not tell."""
        now = self._now()
        if now is None or self.began is None:
            return None
        busy, total, own = (after - before for after, before in zip(now, self.began, strict=True))
        return max(0.0, (busy - own) / total)

    def _now(self) -> tuple[float, float, float] | None:
        """Seconds of all processors that were busy, of all, and of this process."""
        try:
            line = Path("/proc/stat").read_text().partition("\n")[0]
        except OSError:
            return None
        ticks = os.sysconf("SC_CLK_TCK")
        fields = [int(text) for text in line.split()[1:9]]
        idle = fields[3] + fields[4]
        used = os.times()
        return (sum(fields) - idle) / ticks, sum(fields) / ticks, used.user + used.system
