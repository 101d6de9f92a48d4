"""`fit` trains as fast as the fastest library, and faster than every framework on JAX.

Each peer trains the same networks on the same batches from the same weights, in a process of its
own, as its documentation recommends (`experiments.speed.peers`); dlcore by `train.fit`, as anybody
calls it. They take turns, round by round, while the others wait, so that whatever else the machine
does befalls them all. The first round compiles and is not timed; in it parameter counts must be
equal, and mean losses within 0.1 % (of the VAE, whose noise each draws itself, 2 %).

    network      layers, optimizer, batch                      expected, fit / framework on JAX
    mlp          784-512-512-10 relu, Adam, 128                1.1
    playground   2-8-8-1 tanh, gradient descent, 32            10
    lenet5       61,706 numbers, momentum, 128                 2
    resnet20     269,722 numbers, momentum and L2, 128         2
    vae          784-400-20, Adam, 128                         1.1

    fit / the fastest peer, on each                            1
    seconds to the first loss, fit / the least of a framework  ≤ 1
    memory, fit / the fastest framework on JAX                 ≤ 1.1

Ratios are medians over the rounds of each round's own. The time to the first loss is from data that
lie ready and a library that is imported: the building of the network, its compilation and a step.
Memory is what is taken beyond the imported library.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore import files
from experiments import claim
from experiments.choice import at_least, one_of
from experiments.speed._compare import Clock, Row, Side, compare
from experiments.speed._networks import NETWORKS
from experiments.speed.peers import DLCORE, OPTIONS, PEERS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of fit / the fastest framework on JAX.
FLOORS = {"mlp": 1.1, "playground": 10, "lenet5": 2, "resnet20": 2, "vae": 1.1}
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclasses.dataclass(frozen=True)
class Config:
    """What is compared, and how often."""

    networks: str = ",".join(NETWORKS)
    """Which of mlp, playground, lenet5, resnet20 and vae, with commas between them."""
    peers: str = ",".join(OPTIONS)
    """Which of optax (a step written by hand), torch, flax, equinox, keras and sklearn."""
    rounds: int = 15
    """Turns of each, after one that does not count."""
    out: Path | None = None
    """Folder for everything written; by default runs/bench."""

    def __post_init__(self) -> None:
        for name in named(self.networks):
            one_of("network", name, NETWORKS)
        for name in named(self.peers):
            one_of("peer", name, OPTIONS)
        at_least(1, rounds=self.rounds)

    @classmethod
    def smoke(cls) -> Config:
        """Seconds."""
        return cls(networks="playground", peers="optax", rounds=1)


def named(names: str) -> list[str]:
    """The names between the commas."""
    return [name.strip() for name in names.split(",")]


@dataclasses.dataclass(frozen=True)
class Result:
    """A row for each network, and the share of the machine that other processes took meanwhile."""

    rows: list[Row]
    missing: list[str]
    others: float | None
    claims: list[claim.Claim]

    def markdown(self) -> str:
        """The tables, and a line on how they came about."""
        return "\n\n".join([*map(_markdown, self._tables()), *self._notes()]) + "\n"

    def __rich__(self) -> Any:
        """The same, for a terminal."""
        from rich.console import Group
        from rich.table import Table

        shown: list[Any] = []
        for head, *lines in self._tables():
            shown.append(Table(*head))
            for line in lines:
                shown[-1].add_row(*line)
        return Group(*shown, *self._notes())

    def _tables(self) -> list[list[list[str]]]:
        """Steps a second, and what they cost; each a head and a line for each network."""
        labels = [label for label in PEERS if any(label in row.sides for row in self.rows)]

        def cells(row: Row, cell: Callable[[Side], str]) -> list[str]:
            return [cell(row.sides[label]) if label in row.sides else "–" for label in labels]

        speeds = [
            [_network(row), *cells(row, lambda side: _number(side.speed)), _lead(row)]
            for row in self.rows
        ]
        costs = [
            [row.network, _operations(row.flops), _share(row), *cells(row, _cost)]
            for row in self.rows
        ]
        return [
            [["steps/s: network (batch)", *labels, "fit / fastest peer"], *speeds],
            [["first loss, memory", "FLOPs a step", "of peak, fit", *labels], *costs],
        ]

    def _notes(self) -> list[str]:
        share = "unknown" if self.others is None else f"{self.others:.0%}"
        rounds = len(self.rows[0].sides[DLCORE].speeds)
        peak = np.median([row.peak for row in self.rows]) / 1e9
        absent = f" Not installed: {', '.join(self.missing)}." if self.missing else ""
        return [
            f"Medians of {rounds} rounds, ratios with quartiles; other processes took {share} of "
            f"the CPUs. Peak: products of float32 matrices, {peak:,.0f} GFLOP/s. Memory beyond the "
            f"imported library (with it). –: no such network.{absent}",
            f"{', '.join(_versions(self.rows))}.",
        ]


def run(config: Config) -> Result:
    """Measures network by network."""
    chosen = {label: peer for label, peer in PEERS.items() if peer.option in named(config.peers)}
    missing = [label for label, peer in chosen.items() if _version(peer.distribution) is None]
    labels = [label for label in chosen if label not in missing]
    clock = Clock()
    rows = [compare(name, labels, config.rounds) for name in named(config.networks)]
    result = Result(rows, missing, clock.others(), [one for row in rows for one in claims(row)])
    if config.out is not None:
        files.replace(config.out / "bench.md", result.markdown().encode())
    return result


def claims(row: Row) -> Iterable[claim.Claim]:
    """Those that can be made of the peers that ran."""
    name, fit = row.network, row.sides[DLCORE]
    peers = [label for label in row.sides if label != DLCORE]
    frameworks = [label for label in peers if PEERS[label].is_jax_framework]
    if fastest := row.fastest(peers):
        yield claim.at_least(f"{name}: fit / {fastest}", 1, row.ratio(fastest), "dlcore")
    if fastest := row.fastest(frameworks):
        floor = FLOORS[name]
        yield claim.at_least(f"{name}: fit / {fastest}", floor, row.ratio(fastest), "dlcore")
        first = min(frameworks, key=lambda label: row.sides[label].first_step_seconds)
        seconds = fit.first_step_seconds / row.sides[first].first_step_seconds
        yield claim.at_most(f"{name}: time to first loss, fit / {first}", 1, seconds, "dlcore")
        memory = fit.growth / row.sides[fastest].growth
        yield claim.at_most(f"{name}: memory, fit / {fastest}", 1.1, memory, "dlcore")


def plot(result: Result) -> Figure:
    """How many times as fast as each peer `fit` is: medians and quartiles."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    rows = result.rows
    ran = {label for row in rows for label in row.sides}
    labels = [label for label in PEERS if label in ran and label != DLCORE]
    figure = Figure(
        figsize=(8.5, 1.6 + len(rows) * (0.3 + 0.13 * len(labels))), layout="constrained"
    )
    axes = figure.subplots()
    for k, label in enumerate(labels):
        places = [place for place, row in enumerate(rows) if label in row.sides]
        low, middle, high = np.transpose(
            [np.percentile(rows[place].ratios(label), [25, 50, 75]) for place in places]
        )
        axes.errorbar(
            middle,
            np.add(places, 0.7 * ((k + 0.5) / len(labels) - 0.5)),
            xerr=[middle - low, high - middle],
            fmt=MARKERS[k],
            color=COLORS[k],
            markersize=5,
            linewidth=1.2,
            label=label,
        )
    axes.axvline(1, color="#333333", linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="x", color="#D9D9D9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_yticks(range(len(rows)), [_network(row) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_title("How many times as fast as each peer fit is", loc="left", fontsize=11)
    axes.set_xlabel("steps per second of fit / of the peer: medians and quartiles of the rounds")
    axes.spines[["top", "right"]].set_visible(False)
    if labels:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _markdown(table: list[list[str]]) -> str:
    head, *lines = table
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *lines])


def _network(row: Row) -> str:
    return f"{row.network} ({NETWORKS[row.network].batch})"


def _number(value: float) -> str:
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def _lead(row: Row) -> str:
    """fit over the peer that it is the least ahead of, with quartiles."""
    fastest = row.fastest([label for label in row.sides if label != DLCORE])
    if fastest is None:
        return "–"
    low, middle, high = np.percentile(row.ratios(fastest), [25, 50, 75])
    return f"{middle:.2f} ({low:.2f} – {high:.2f}), {fastest}"


def _operations(count: int) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.3g} k"


def _share(row: Row) -> str:
    return f"{row.flops * row.sides[DLCORE].speed / row.peak:.2%}"


def _cost(side: Side) -> str:
    """Seconds to the first loss, and memory beyond the library's."""
    growth, memory = side.growth / 2**20, side.memory / 2**20
    return f"{side.first_step_seconds:.2f} s, {growth:,.0f} ({memory:,.0f}) MB"


def _versions(rows: list[Row]) -> list[str]:
    ran = [PEERS[label].distribution for row in rows for label in row.sides if label != DLCORE]
    return [f"{name} {_version(name)}" for name in dict.fromkeys(["jax", *ran])]


def _version(distribution: str) -> str | None:
    """Which is installed, if any."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
