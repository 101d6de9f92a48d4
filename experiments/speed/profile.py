"""Where a network's arithmetic is, its time is too; and its layers one by one take what it takes.

A network of the bench at its batch, layer by layer: each is compiled and timed by itself, forward
and backward (`analysis.profile`), as is the network as one program. Beside them the step as `fit`
runs it, with the loss, the optimizer and the choice of the batch.

ResNet-20 and LeNet-5 are convolutions, mlp and VAE products. Of layers as small as the playground's
a call takes longer than the arithmetic: there neither holds. Of a GPT the layers are less than the
whole, since attention's own products, and those of its head, are in none of them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import analysis
from experiments.choice import at_least, one_of
from experiments.frame import BaseConfig, Claim, Result, Table
from experiments.speed import _compare
from experiments.speed._networks import NETWORKS
from experiments.speed.peers import dlcore_fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLAIMS = (
    Claim("share of the time of the kind with the most FLOPs", "≥ 0.75", "dlcore"),
    Claim("layers one by one / network as one program", "1.05 ± 0.35", "dlcore"),
)
DEAREST = 10  # layers that are shown
COLORS = {"forward": "#0072B2", "backward": "#E69F00"}


@dataclasses.dataclass(frozen=True)
class Config(BaseConfig):
    """What is taken apart, and how often it is measured."""

    network: str = "resnet20"
    """One of mlp, playground, lenet5, resnet20, vae, gpt and lstm."""
    rounds: int = 10
    """In which all programs take turns."""

    def __post_init__(self) -> None:
        one_of("network", self.network, NETWORKS)
        at_least(1, rounds=self.rounds)


SMOKE = Config(network="playground", rounds=1)


class Measured(NamedTuple):
    """The profile of a network, the seconds of a step of `fit`, and the share of the machine that
    other processes took meanwhile.
    """

    profile: analysis.Profile
    step: float
    others: float | None

    @property
    def dearest(self) -> list[analysis.Row]:
        """The layers that take the most, most first."""
        return sorted(self.profile.rows, key=lambda row: row.seconds, reverse=True)[:DEAREST]

    @property
    def whole(self) -> list[analysis.Row]:
        """The kinds of layers, all of them, and the network as one program."""
        return [*self.profile.by_kind, self.profile.layers, self.profile.network]


def run(config: Config) -> Measured:
    """Takes a network apart, and trains it."""
    clock = _compare.Clock()
    examples = jax.tree.map(jnp.array, _compare.examples(config.network))
    layer, _, start = dlcore_fit.begin(config.network)
    profile = analysis.profile(
        layer,
        start.params,
        start.state,
        examples["x"][: NETWORKS[config.network].batch],
        key=jax.random.key(dlcore_fit.SEED),
        rounds=config.rounds,
    )
    step = step_seconds(config.network, examples, config.rounds)
    return Measured(profile, step, clock.others())


def figures(result: Result[Measured]) -> list[float]:
    """Time goes where the arithmetic is, and the parts are those of the whole."""
    profile = result.measured.profile
    most = max(profile.by_kind, key=lambda row: row.flops)
    return [most.share, profile.layers.seconds / profile.network.seconds]


def table(result: Result[Measured]) -> dict[str, Table]:
    """The dearest layers, the kinds, the whole and the step."""
    found = result.measured
    share = "unknown" if found.others is None else f"{found.others:.0%}"
    return {
        f"{result.config.network}: forward and backward in ms": _lines(found),
        f"A step of fit takes {1e3 * found.step:,.3f} ms. Other processes took {share} of the "
        "CPUs.": (),
    }


def step_seconds(name: str, examples: dict[str, jax.Array], rounds: int) -> float:
    """Seconds a step of `fit` takes: the median of rounds of the bench."""
    _, losses = dlcore_fit.start(name, [], examples)
    taken = []
    for _ in range(2 + rounds):  # the first step compiles, and the next turn is short
        began = time.perf_counter()
        float(next(losses)[0])  # there only when the round is done
        taken.append(time.perf_counter() - began)
    return float(np.median(taken[2:])) / NETWORKS[name].turn_steps


def plot(result: Result[Measured]) -> Figure:
    """Forward and backward of the kinds and the whole, and of the dearest layers."""
    from matplotlib.figure import Figure

    found = result.measured
    figure = Figure(
        figsize=(11, 1.2 + 0.3 * max(len(found.whole), len(found.dearest))), layout="constrained"
    )
    left, right = figure.subplots(1, 2)
    _bars(left, f"{result.config.network}: kinds of layers, and the whole", found.whole)
    left.axvline(1e3 * found.step, color="#333333", linewidth=1, linestyle="--")
    left.plot([], [], "--", color="#333333", linewidth=1, label="a step of fit")
    left.legend(frameon=False, fontsize=9)
    _bars(right, "The dearest layers", found.dearest)
    return figure


def _lines(found: Measured) -> Table:
    yield "path", "layer", "output", "forward", "backward", "share", "GFLOP/s"
    for row in (*found.dearest, *found.whole):
        times = (f"{1e3 * seconds:,.3f}" for seconds in (row.forward, row.backward))
        rate = f"{row.flops / row.forward / 1e9:,.1f}" if row.forward > 0 else None
        yield row.path, row.layer, row.output, *times, f"{row.share:.1%}", rate


def _bars(axes: Axes, title: str, rows: Sequence[analysis.Row]) -> None:
    """A bar for each row, forward and then backward."""
    places, ends = range(len(rows)), np.zeros(len(rows))
    for part, color in COLORS.items():
        lengths = np.array([1e3 * getattr(row, part) for row in rows])
        axes.barh(places, lengths, 0.7, ends, color=color, label=part)
        ends += lengths
    axes.set_yticks(places, [row.path for row in rows])
    axes.invert_yaxis()
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("milliseconds")
    axes.grid(axis="x", color="#D9D9D9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
