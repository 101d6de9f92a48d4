"""Where the time of a forward and a backward pass goes, by layer."""

from __future__ import annotations

import functools
import math
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Lowered

from dlcore import device, flops, tree
from dlcore.fields import documented
from dlcore.keys import Key
from dlcore.nn import serial
from dlcore.nn.describing import describe
from dlcore.nn.layer import Layer, Params, State, as_layer, check_sizes, gather, select
from dlcore.nn.observing import Call, observed
from dlcore.nn.summary import applications, label, leaves, text_table, uses

TURN = 0.01  # seconds that a program's turn in a round fills, with as many calls as it takes,
CALLS = 200  # but no more than these

Inputs = tuple[Params, State, Any, dict[str, Any]]  # params, state, x, side inputs


@documented
class Cost(NamedTuple):
    """What a layer, or several, or the network takes.

    flops: of the forward pass.
    forward, backward: seconds of the pass.
    """

    flops: int
    forward: float
    backward: float


@documented
class Row(NamedTuple):
    """One layer: what it is, what it gives, and what it costs.

    path: where it is in the network, and in its params.
    layer: the call that makes it, and how often it is used where that is more than once.
    output: the shape of what it gives.
    flops: of the forward pass.
    forward, backward: seconds of the pass.
    share: of the seconds of all layers.
    """

    path: str
    layer: str
    output: str
    flops: int
    forward: float
    backward: float
    share: float

    @property
    def seconds(self) -> float:
        """Forward and backward."""
        return self.forward + self.backward


@documented
class Profile(NamedTuple):
    """What each layer of a network takes, and what the whole takes; it prints as a table.

    rows: the layers in the order of the description.
    by_kind: a row for each kind of them (conv, batch_norm, …), the dearest first.
    layers: all of them together.
    network: the network as one program.
    left: what that takes beyond the layers: joining what they give costs time, what XLA fuses into
        one pass over memory saves it, so that it may be negative.
    input: what the network was given, as dtype[shape].
    """

    rows: tuple[Row, ...]
    by_kind: tuple[Row, ...]
    layers: Row
    network: Row
    left: Row
    input: str

    def __repr__(self) -> str:
        head = ("path", "layer", "output", "forward", "backward", "share", "GFLOP/s")
        blocks = (self.rows, self.by_kind, (self.layers, self.network, self.left))
        width = shutil.get_terminal_size().columns
        spare = ("output", "GFLOP/s")
        table = text_table(
            head, *(map(_cells, block) for block in blocks), width=width, spare=spare
        )
        return f"input {self.input}, times in milliseconds\n{table}"


def profile(
    layer: Any,
    params: Params,
    state: State,
    x: Any,
    *,
    key: Key | None = None,
    train: bool = True,
    rounds: int = 10,
    **side: Any,
) -> Profile:
    """Where the time of a forward and a backward pass of `layer` goes.

    Each layer that has no layers inside is compiled by itself and timed on the input that it gets
    in the network for `x`; it is a row, as in `nn.summary`. `forward` is what `apply` takes,
    `backward` what the gradients of its floating-point parameters and input take beyond that, for
    a cotangent of ones. The network as a whole is timed the same way; what combinators and `wire`
    compute between their layers is only in that. Training wants no gradient of the data: so the
    network has none of its input, nor has any layer up to the first that learns.

    Layers that are the same program are timed once and count as often as they occur; a part that
    `wire` calls several times, or in a loop, is one row, with the sum of its calls. Of the
    activations only the inputs of what is timed are kept, and ones in the shape of their outputs.
    All layers get the same `key`. `side` are side inputs.

    Seconds are medians over `rounds`, in each of which all programs take a turn of one call, or of
    as many as fill 10 ms (at most 200), with one wait at the end. What a call costs by itself is
    not taken off: 5 to 30 µs on a CPU, and a copy where a layer only passes on what it is given.

        print(analysis.profile(network, params, state, batch["x"], key=jax.random.key(0)))
    """
    check_sizes("profile", rounds=rounds)
    layer, x = as_layer(layer), jax.tree.map(jnp.asarray, x)
    if not layer.info.children:
        layer = serial(layer)
        ((name, _),) = layer.info.children
        params, state = gather({name: params}), gather({name: state})
    start = (params, state, x, jax.tree.map(jnp.asarray, side))
    seen = applications(layer, *start[:3], key=key, train=train, **start[3])
    programs, like = _distinct(seen, key, train)
    inputs = _inputs(layer, start, key, train, list(programs))
    network = _trace(layer, start, key, train, through=False)
    own, *costs = _measure([network, *programs.values()], [start, *inputs], key, rounds)
    known = dict(zip(programs, costs, strict=True))
    paid = {path: _times(seen[path].times, known[first]) for path, first in like.items()}
    return _table(layer, x, seen, own, paid)


def _table(
    layer: Layer, x: Any, seen: dict[str, Call], network: Cost, costs: dict[str, Cost]
) -> Profile:
    """The Profile of `layer`, given what it and the application at each path cost."""
    layers = _sum(costs.values())
    seconds = layers.forward + layers.backward

    def row(path: str, layer: str, output: str, cost: Cost) -> Row:
        share = (cost.forward + cost.backward) / seconds if seconds else 0.0
        return Row(path, layer, output, *cost, share)

    rows: list[Row] = []
    kinds: dict[str, list[Cost]] = {}
    for path, leaf in leaves(layer):
        own = uses(path, seen)
        cost = _sum(costs[use] for use in own)
        rows.append(row(path, *label(leaf, own), cost))
        kinds.setdefault(leaf.info.kind, []).append(cost)
    by_kind = [row(kind, f"× {len(alike)}", "", _sum(alike)) for kind, alike in kinds.items()]
    left = Cost(
        network.flops - layers.flops,
        network.forward - layers.forward,
        network.backward - layers.backward,
    )
    return Profile(
        rows=tuple(rows),
        by_kind=tuple(sorted(by_kind, key=lambda one: one.seconds, reverse=True)),
        layers=row("layers", "one by one", "", layers),
        network=row("network", "as one program", "", network),
        left=row("left", "network − layers", "", left),
        input=describe(x),
    )


def _sum(costs: Iterable[Cost]) -> Cost:
    return Cost(*map(sum, zip(Cost(0, 0.0, 0.0), *costs, strict=True)))


def _times(count: int, cost: Cost) -> Cost:
    return Cost(count * cost.flops, count * cost.forward, count * cost.backward)


def _cells(row: Row) -> tuple[str, ...]:
    rate = f"{row.flops / row.forward / 1e9:,.1f}" if row.forward > 0 else ""
    milliseconds = (f"{1e3 * one:,.3f}" for one in (row.forward, row.backward))
    return (*row[:3], *milliseconds, f"{row.share:.1%}", rate)


# ------------------------------------------------------------------------------------ the programs


class _Program(NamedTuple):
    """A layer's forward pass, and that with the gradient, both still to be compiled."""

    flops: int
    forward: Lowered
    gradient: Lowered
    cotangents: list[jax.ShapeDtypeStruct]


def _distinct(
    seen: dict[str, Call], key: Key | None, train: bool
) -> tuple[dict[str, _Program], dict[str, str]]:
    """The programs by the path where each is met first; and for each path, which that is."""
    programs: dict[str, _Program] = {}
    like: dict[str, str] = {}
    first: dict[str, str] = {}  # by the program's text
    learns = False
    for path, call in seen.items():
        if not call.layer.info.children:
            program = _trace(call.layer, _given(call), key, train, through=learns)
            like[path] = first.setdefault(program.gradient.as_text(), path)
            programs.setdefault(like[path], program)
            learns = learns or _learns(call)
    return programs, like


def _trace(
    layer: Layer, inputs: Inputs, key: Key | None, train: bool, *, through: bool
) -> _Program:
    """The programs of one layer, of arrays or shapes; `through`: with the gradient of its input."""

    def forward(
        params: Params, state: State, x: Any, side: dict[str, Any], key: Key | None
    ) -> tuple[Any, State]:
        return layer.apply(params, state, x, key=key, train=train, **side)

    def gradient(
        params: Params,
        state: State,
        x: Any,
        side: dict[str, Any],
        key: Key | None,
        cotangents: Any,
    ) -> Any:
        def outputs(params: Params, x: Any) -> tuple[Any, Any]:
            y, new = forward(params, state, x, side, key)
            return _floats(y), (y, new)

        _, back, given = jax.vjp(outputs, params, x, has_aux=True)
        return given, _floats(back(cotangents)[: 1 + through])

    traced = jax.jit(forward).trace(*inputs, key)
    cotangents = _floats(traced.out_info[0])
    return _Program(
        flops.count_jaxpr(traced.jaxpr),
        device.lower(forward, *inputs, key),
        device.lower(gradient, *inputs, key, cotangents),
        cotangents,
    )


def _with_params(call: Call, params: Params, path: str) -> Call:
    """The call with its arrays of the network's params, which in a loop it does not hold."""
    return call._replace(params=functools.reduce(select, path.rstrip("'").split("/"), params))


def _given(call: Call) -> Inputs:
    return call.params, call.state, call.x, call.side


def _learns(call: Call) -> bool:
    """Whether a layer has parameters that are not frozen."""
    paths = {path for path, _ in tree.leaves_with_paths(call.params)}
    return not paths <= call.layer.info.frozen


def _floats(values: Any) -> list[Any]:
    """The leaves that have a gradient: integers have none."""
    return [leaf for leaf in jax.tree.leaves(values) if jnp.issubdtype(leaf.dtype, jnp.inexact)]


def _inputs(
    layer: Layer, start: Inputs, key: Key | None, train: bool, paths: Sequence[str]
) -> list[Inputs]:
    """What the applications at these paths are given, of all that is computed from `start`."""

    @jax.jit
    def run(
        params: Params, state: State, x: Any, side: dict[str, Any], key: Key | None
    ) -> list[Inputs]:
        _, seen = observed(layer.apply, params, state, x, key=key, train=train, **side)
        hidden = [path for path in paths if not seen[path].has_values]
        if hidden:
            raise ValueError(
                f"profile: {hidden[0]} is applied inside a jit, vmap or lax.scan of its own, where "
                "its input cannot be seen; nn.scan is a loop that can be seen into"
            )
        return [_given(_with_params(seen[path].once(), params, path)) for path in paths]

    return run(*start, key)


# --------------------------------------------------------------------------------------- the clock


def _measure(
    programs: Sequence[_Program], inputs: Sequence[Inputs], key: Key | None, rounds: int
) -> list[Cost]:
    """What each program costs on its inputs."""
    runs = []
    for program, own in zip(programs, inputs, strict=True):
        ones = [jnp.ones(one.shape, one.dtype) for one in program.cotangents]
        runs.append(functools.partial(program.forward.compile(), *own, key))
        runs.append(functools.partial(program.gradient.compile(), *own, key, ones))
    seconds = iter(_medians(runs, rounds))
    return [
        Cost(program.flops, forward, max(0.0, both - forward))
        for program, forward, both in zip(programs, seconds, seconds, strict=True)
    ]


def _medians(runs: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """Seconds of each, the median of its turns."""
    many = []
    for run in runs:
        jax.block_until_ready(run())  # the first time is not like the others
        many.append(max(1, min(CALLS, math.ceil(TURN / _turn(run, 1)))))
    turns = [[_turn(*one) for one in zip(runs, many, strict=True)] for _ in range(rounds)]
    return np.median(turns, axis=0).tolist()


def _turn(run: Callable[[], Any], calls: int) -> float:
    """Seconds of a call, one of so many in a row."""
    began = time.perf_counter()
    for _ in range(calls):
        y = run()
    jax.block_until_ready(y)
    return (time.perf_counter() - began) / calls
