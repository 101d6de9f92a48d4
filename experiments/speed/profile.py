"""Where a network's arithmetic is, its time is too; and its layers one by one take what it takes.

A network of the bench at its batch, layer by layer: each is compiled and timed by itself, forward
and backward (`analysis.profile`), as is the network as one program. Beside them the step as `fit`
runs it, with the loss, the optimizer and the choice of the batch.

    share of the layers' time that the kind with the most FLOPs takes      ≥ 0.75
    layers one by one / network as one program, forward and backward       0.7 … 1.4

ResNet-20 and LeNet-5 are convolutions, mlp and VAE products. Of layers as small as the playground's
a call takes longer than the arithmetic: there neither holds.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import analysis
from experiments import claim
from experiments.choice import at_least, one_of
from experiments.speed import _compare
from experiments.speed._networks import NETWORKS
from experiments.speed.peers import dlcore_fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DEAREST = 10  # layers that are shown
COLORS = {"forward": "#0072B2", "backward": "#E69F00"}


@dataclasses.dataclass(frozen=True)
class Config:
    """What is taken apart, and how often it is measured."""

    network: str = "resnet20"
    """One of mlp, playground, lenet5, resnet20 and vae."""
    rounds: int = 10
    """In which all programs take turns."""
    out: Path | None = None
    """Folder for everything written; by default runs/profile."""

    def __post_init__(self) -> None:
        one_of("network", self.network, NETWORKS)
        at_least(1, rounds=self.rounds)

    @classmethod
    def smoke(cls) -> Config:
        """Seconds."""
        return cls(network="playground", rounds=1)


@dataclasses.dataclass(frozen=True)
class Result:
    """The profile of a network, the seconds of a step of `fit`, and the share of the machine that
    other processes took meanwhile.
    """

    network: str
    profile: analysis.Profile
    step: float
    others: float | None
    claims: list[claim.Claim]

    @property
    def dearest(self) -> list[analysis.Row]:
        """The layers that take the most, most first."""
        return sorted(self.profile.rows, key=lambda row: row.seconds, reverse=True)[:DEAREST]

    def __rich__(self) -> Any:
        """The profile with the dearest layers only, and the step."""
        from rich.text import Text

        layers, network = self.profile.layers, self.profile.network
        share = "unknown" if self.others is None else f"{self.others:.0%}"
        return Text(
            f"{self.network}, the dearest layers, the kinds, the whole\n"
            f"{self.profile._replace(rows=tuple(self.dearest))}\n"
            f"forward and backward: layers one by one {1e3 * layers.seconds:,.3f} ms, "
            f"as one program {1e3 * network.seconds:,.3f} ms; "
            f"a step of fit {1e3 * self.step:,.3f} ms\n"
            f"other processes took {share} of the CPUs"
        )


def run(config: Config) -> Result:
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
    return Result(
        network=config.network,
        profile=profile,
        step=step,
        others=clock.others(),
        claims=claims(config.network, profile),
    )


def step_seconds(name: str, examples: dict[str, jax.Array], rounds: int) -> float:
    """Seconds a step of `fit` takes: the median of rounds of the bench."""
    _, losses = dlcore_fit.start(name, [], examples)
    taken = []
    for _ in range(2 + rounds):  # the first step compiles, and the next turn is short
        began = time.perf_counter()
        float(next(losses)[0])  # there only when the round is done
        taken.append(time.perf_counter() - began)
    return float(np.median(taken[2:])) / NETWORKS[name].turn_steps


def claims(name: str, profile: analysis.Profile) -> list[claim.Claim]:
    """Time goes where the arithmetic is, and the parts are those of the whole."""
    most = max(profile.by_kind, key=lambda row: row.flops)
    ratio = profile.layers.seconds / profile.network.seconds
    return [
        claim.at_least(f"{name}: share of {most.path}", 0.75, most.share, "dlcore"),
        claim.at_least(f"{name}: layers / network", 0.7, ratio, "dlcore"),
        claim.at_most(f"{name}: layers / network", 1.4, ratio, "dlcore"),
    ]


def plot(result: Result) -> Figure:
    """Forward and backward of the kinds and the whole, and of the dearest layers."""
    from matplotlib.figure import Figure

    profile = result.profile
    whole = [*profile.by_kind, profile.layers, profile.network]
    figure = Figure(
        figsize=(11, 1.2 + 0.3 * max(len(whole), len(result.dearest))), layout="constrained"
    )
    left, right = figure.subplots(1, 2)
    _bars(left, f"{result.network}: kinds of layers, and the whole", whole)
    left.axvline(1e3 * result.step, color="#333333", linewidth=1, linestyle="--")
    left.plot([], [], "--", color="#333333", linewidth=1, label="a step of fit")
    left.legend(frameon=False, fontsize=9)
    _bars(right, "The dearest layers", result.dearest)
    return figure


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
