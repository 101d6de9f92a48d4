"""`fit` trains as fast as the fastest library, and faster than every framework on JAX.

Each peer trains the same networks on the same batches from the same weights, in a process of its
own, as its documentation recommends (`experiments.speed.peers`); dlcore by `train.fit`, as anybody
calls it. They take turns, round by round, while the others wait, so that whatever else the machine
does befalls them all. The first round compiles and is not timed; in it parameter counts must be
equal, and mean losses within 0.1 % (of the VAE, whose noise each draws itself, 2 %).

    mlp          784-512-512-10 relu, Adam, batches of 128
    playground   2-8-8-1 tanh, gradient descent, 32
    lenet5       61,706 numbers, momentum, 128
    resnet20     269,722 numbers, momentum and L2, 128
    vae          784-400-20, Adam, 128
    gpt          4 layers of 128, 4 heads, 65 characters, windows of 128, AdamW, 16
    lstm         65-64-256-65, windows of 64, Adam, 32

PyTorch is there twice, eager and by torch.compile, which needs a C++ compiler; where there is none
the table says so.

Ratios are medians over the rounds of each round's own. The time to the first loss is from data that
lie ready and a library that is imported: the building of the network, its compilation and a step.
Memory is what is taken beyond the imported library.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from importlib import metadata
from typing import NamedTuple

import numpy as np

from experiments.choice import at_least, one_of
from experiments.frame import BaseConfig, Claim, Figure, Result, Table
from experiments.speed._compare import Clock, Row, Side, compare
from experiments.speed._networks import NETWORKS
from experiments.speed.peers import DLCORE, OPTIONS, PEERS, Peer

# Of fit / the fastest peer, and fit / the fastest framework on JAX.
FLOORS = {
    "mlp": (1, 1.1),
    "playground": (1, 10),
    "lenet5": (1, 2),
    "resnet20": (1, 2),
    "vae": (1, 1.1),
    "gpt": (1.1, 1.1),
    "lstm": (1, 1.1),
}
CLAIMS = tuple(
    Claim(f"{name}: {what}", expected, "dlcore")
    for name, (peer, framework) in FLOORS.items()
    for what, expected in (
        ("fit / the fastest peer", f"≥ {peer:g}"),
        ("fit / the fastest framework on JAX", f"≥ {framework:g}"),
        ("time to the first loss, fit / the quickest framework", "≤ 1"),
        ("memory, fit / the fastest framework", "≤ 1.1"),
    )
)
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def named(names: str) -> list[str]:
    """The names between the commas."""
    return [name.strip() for name in names.split(",")]


@dataclasses.dataclass(frozen=True)
class Config(BaseConfig):
    """What is compared, and how often."""

    networks: str = ",".join(NETWORKS)
    """Which of mlp, playground, lenet5, resnet20, vae, gpt and lstm, with commas between them."""
    peers: str = ",".join(OPTIONS)
    """Which of optax (a step written by hand), torch, compile, flax, equinox, keras, sklearn."""
    rounds: int = 15
    """Turns of each, after one that does not count."""

    def __post_init__(self) -> None:
        for name in named(self.networks):
            one_of("network", name, NETWORKS)
        for name in named(self.peers):
            one_of("peer", name, OPTIONS)
        at_least(1, rounds=self.rounds)


SMOKE = Config(networks="playground", peers="optax", rounds=1)


class Measured(NamedTuple):
    """A row for each network, and the share of the machine that other processes took meanwhile."""

    rows: list[Row]
    missing: list[str]
    others: float | None


def run(config: Config) -> Measured:
    """Measures network by network."""
    chosen = {label: peer for label, peer in PEERS.items() if peer.option in named(config.peers)}
    missing = {label: lacking for label, peer in chosen.items() if (lacking := _lacking(peer))}
    labels = [label for label in chosen if label not in missing]
    clock = Clock()
    rows = [compare(name, labels, config.rounds) for name in named(config.networks)]
    named_missing = [f"{label} ({lacking})" for label, lacking in missing.items()]
    return Measured(rows, named_missing, clock.others())


def figures(result: Result[Measured]) -> list[float | None]:
    """Of the networks and peers that ran."""
    rows = {row.network: row for row in result.measured.rows}
    return [figure for name in FLOORS for figure in compared(rows.get(name))]


def compared(row: Row | None) -> list[float | None]:
    """Speed, time to the first loss and memory of `fit`, over those of the best peers."""
    if row is None:
        return [None] * 4
    fit, fastest, framework = (
        row.sides[DLCORE],
        row.fastest(peers(row)),
        row.fastest(frameworks(row)),
    )
    lead = None if fastest is None else row.ratio(fastest)
    if framework is None:
        return [lead, None, None, None]
    first = min(row.sides[label].first_step_seconds for label in frameworks(row))
    return [
        lead,
        row.ratio(framework),
        fit.first_step_seconds / first,
        fit.growth / row.sides[framework].growth,
    ]


def peers(row: Row) -> list[str]:
    """All but dlcore that ran."""
    return [label for label in row.sides if label != DLCORE]


def frameworks(row: Row) -> list[str]:
    """Those on JAX."""
    return [label for label in peers(row) if PEERS[label].is_jax_framework]


def table(result: Result[Measured]) -> dict[str, Table]:
    """Steps a second and what they cost, and how they came about."""
    rows, missing, others = result.measured
    share = "unknown" if others is None else f"{others:.0%}"
    rounds = len(rows[0].sides[DLCORE].speeds)
    peak = np.median([row.peak for row in rows]) / 1e9
    absent = f" Not installed: {', '.join(missing)}." if missing else ""
    return {
        "Speed": _speeds(rows),
        "Costs": _costs(rows),
        f"Medians of {rounds} rounds, ratios with quartiles; other processes took {share} of the "
        f"CPUs. Peak: products of float32 matrices, {peak:,.0f} GFLOP/s. Memory beyond the "
        f"imported library (with it). –: no such network.{absent} "
        f"{', '.join(_versions(rows))}.": (),
    }


def plot(result: Result[Measured]) -> Figure:
    """How many times as fast as each peer `fit` is: medians and quartiles."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    rows = result.measured.rows
    labels = [label for label in _ran(rows) if label != DLCORE]
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


def _speeds(rows: list[Row]) -> Table:
    labels = _ran(rows)
    yield "steps/s: network (batch)", *labels, "fit / fastest peer", "fit / fastest on JAX"
    for row in rows:
        speeds = [_number(row.sides[one].speed) if one in row.sides else None for one in labels]
        yield _network(row), *speeds, _lead(row, peers(row)), _lead(row, frameworks(row))


def _costs(rows: list[Row]) -> Table:
    labels = _ran(rows)
    yield "first loss, memory", "FLOPs a step", "of peak, fit", *labels
    for row in rows:
        costs = [_cost(row.sides[one]) if one in row.sides else None for one in labels]
        yield row.network, _operations(row.flops), _share(row), *costs


def _ran(rows: list[Row]) -> list[str]:
    return [label for label in PEERS if any(label in row.sides for row in rows)]


def _network(row: Row) -> str:
    return f"{row.network} ({NETWORKS[row.network].batch})"


def _number(value: float) -> str:
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def _lead(row: Row, labels: list[str]) -> str | None:
    """fit over the one that it is the least ahead of, with quartiles."""
    fastest = row.fastest(labels)
    if fastest is None:
        return None
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


def _lacking(peer: Peer) -> str | None:
    """What a peer needs and is not there."""
    if _version(peer.distribution) is None:
        return peer.distribution
    compilers = filter(None, [os.environ.get("CXX"), "g++", "clang++", "c++"])
    if peer.needs_compiler and not any(map(shutil.which, compilers)):
        return "a C++ compiler"
    return None


def _version(distribution: str) -> str | None:
    """Which is installed, if any."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
