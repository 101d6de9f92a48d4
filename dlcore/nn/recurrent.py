"""Recurrent networks: cells of one step, any cell over time, and the three that are made fast.

    nn.recurrent(nn.lstm_cell(8, 16))       # x [B, T, 8] -> [B, T, 16], and so
    nn.lstm(8, 16)                          # with the same parameters but for the child's name

What they remember (`nn.memory`) is their carry: absent, a sequence starts from zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore import functional as F
from dlcore import keys
from dlcore.checks import floating
from dlcore.functional.broadcast import broadcast
from dlcore.functional.dropout import check_rate
from dlcore.keys import Key
from dlcore.nn import init as initializers
from dlcore.nn.arguments import factory
from dlcore.nn.combinators import concat, serial
from dlcore.nn.describing import describe
from dlcore.nn.dropout import dropout as dropout_layer
from dlcore.nn.dropout import needed
from dlcore.nn.embedding import Rows
from dlcore.nn.init import Initializer
from dlcore.nn.layer import (
    Layer,
    Params,
    State,
    as_layer,
    check_sizes,
    init_children,
    is_empty,
    make,
    named,
    select,
    with_info,
)
from dlcore.nn.observing import call, scan
from dlcore.nn.places import cleaned
from dlcore.nn.remembering import joined, left, memory, parted, remembered, without_memory

Memory = dict[str, jax.Array]  # "h" [B, P], of an lstm also "c" [B, H]


# ------------------------------------------------------------------------------- the networks


class _Network(NamedTuple):
    """What the cell and the layer over time have in common.

    step: of (params, z [B, …], memory) the memory after it. steps: of (params, z [B, T, …], memory,
    mask, reverse and keep) every h [B, T, P] and the memory after all.
    """

    features: int
    draw: Callable[[Key], Params]
    zeros: Callable[[int], Memory]
    step: Callable[..., Memory]
    steps: Callable[..., tuple[jax.Array, Memory]]


def _draw(
    features: int,
    hidden: int,
    gates: int,
    bias: bool,
    kernel_init: Initializer,
    recurrent_init: Initializer,
    outputs: int | None = None,
    first_bias: tuple[float, ...] = (),
) -> Callable[[Key], Params]:
    """Draws kernel, recurrent_kernel (its gates one by one) and bias."""

    def draw(key: Key) -> Params:
        kernel = kernel_init(keys.child(key, "kernel"), (features, gates * hidden))
        own = keys.child(key, "recurrent_kernel")
        shape = (outputs or hidden, hidden)
        parts = [recurrent_init(jax.random.fold_in(own, gate), shape) for gate in range(gates)]
        params = {"kernel": kernel, "recurrent_kernel": jnp.concatenate(parts, axis=1)}
        if bias:
            first = first_bias or (0.0,) * gates
            params["bias"] = jnp.repeat(jnp.asarray(first, jnp.float32), hidden)
        return params

    return draw


def _rnn(features: int, hidden: int, activation: str, *how: Any) -> _Network:
    check_sizes("rnn", features=features, hidden=hidden)

    def step(params: Params, z: jax.Array, memory: Memory) -> Memory:
        kernel = params["recurrent_kernel"]
        return {"h": F.rnn_cell(z, kernel, memory["h"], activation=activation)}

    def steps(params: Params, z: jax.Array, memory: Memory, mask: Any, **how: Any) -> Any:
        kernel = params["recurrent_kernel"]
        hs, h = F.rnn(z, kernel, memory["h"], mask, activation=activation, **how)
        return hs, {"h": h}

    def zeros(batch: int) -> Memory:
        return {"h": jnp.zeros((batch, hidden))}

    return _Network(features, _draw(features, hidden, 1, *how), zeros, step, steps)


def _lstm(
    features: int,
    hidden: int,
    peepholes: bool,
    projection: int | None,
    forget_bias: float,
    bias: bool,
    kernel_init: Initializer,
    recurrent_init: Initializer,
) -> _Network:
    check_sizes("lstm", features=features, hidden=hidden, projection=projection or 1)
    gates = (0.0, forget_bias, 0.0, 0.0)
    common = _draw(
        features, hidden, 4, bias, kernel_init, recurrent_init, projection, first_bias=gates
    )

    def draw(key: Key) -> Params:
        params = common(key)
        if peepholes:
            params["peepholes"] = jnp.zeros((3, hidden))
        if projection is not None:
            own = keys.child(key, "projection")
            params["projection"] = kernel_init(own, (hidden, projection))
        return params

    def extra(params: Params) -> dict[str, Any]:
        return {name: params.get(name) for name in ("peepholes", "projection")}

    def step(params: Params, z: jax.Array, memory: Memory) -> Memory:
        carry = memory["h"], memory["c"]
        h, c = F.lstm_cell(z, params["recurrent_kernel"], carry, **extra(params))
        return {"h": h, "c": c}

    def steps(params: Params, z: jax.Array, memory: Memory, mask: Any, **how: Any) -> Any:
        carry = memory["h"], memory["c"]
        hs, (h, c) = F.lstm(z, params["recurrent_kernel"], carry, mask, **extra(params), **how)
        return hs, {"h": h, "c": c}

    def zeros(batch: int) -> Memory:
        return {"h": jnp.zeros((batch, projection or hidden)), "c": jnp.zeros((batch, hidden))}

    return _Network(features, draw, zeros, step, steps)


def _gru(features: int, hidden: int, reset: str, bias: bool, *how: Any) -> _Network:
    check_sizes("gru", features=features, hidden=hidden)
    if reset not in ("after", "before"):
        raise ValueError(f'gru: reset is {reset!r}, but "after" or "before" is wanted')
    common = _draw(features, hidden, 3, bias, *how)
    has_bias = bias and reset == "after"

    def draw(key: Key) -> Params:
        params = common(key)
        if has_bias:
            params["recurrent_bias"] = jnp.zeros(hidden)
        return params

    def step(params: Params, z: jax.Array, memory: Memory) -> Memory:
        own = {"bias": params.get("recurrent_bias"), "reset": reset}
        return {"h": F.gru_cell(z, params["recurrent_kernel"], memory["h"], **own)}

    def steps(params: Params, z: jax.Array, memory: Memory, mask: Any, **how: Any) -> Any:
        own = {"bias": params.get("recurrent_bias"), "reset": reset}
        hs, h = F.gru(z, params["recurrent_kernel"], memory["h"], mask, **own, **how)
        return hs, {"h": h}

    def zeros(batch: int) -> Memory:
        return {"h": jnp.zeros((batch, hidden))}

    return _Network(features, draw, zeros, step, steps)


# -------------------------------------------------------------------------------------- cells


@factory()
def rnn_cell(
    features: int,
    hidden: int,
    *,
    activation: str = "tanh",
    bias: bool = True,
    kernel_init: Initializer = initializers.lecun_normal(),
    recurrent_init: Initializer = initializers.orthogonal(),
) -> Layer:
    """h' = activation(x · kernel + bias + h · recurrent_kernel), for x [B, features]: one step.

    It gives h' [B, hidden], and remembers it. Parameters are those of `rnn`.
    """
    network = _rnn(features, hidden, activation, bias, kernel_init, recurrent_init)
    config = {"features": features, "hidden": hidden, "activation": activation, "bias": bias}
    return _cell(rnn_cell, network, config)


@factory()
def lstm_cell(
    features: int,
    hidden: int,
    *,
    peepholes: bool = False,
    projection: int | None = None,
    forget_bias: float = 1.0,
    bias: bool = True,
    kernel_init: Initializer = initializers.lecun_normal(),
    recurrent_init: Initializer = initializers.orthogonal(),
) -> Layer:
    """One step of an LSTM, `functional.lstm_cell`, for x [B, features].

    It gives h [B, hidden], and remembers h and c. Parameters are those of `lstm`.
    """
    own = (peepholes, projection, forget_bias, bias, kernel_init, recurrent_init)
    network = _lstm(features, hidden, *own)
    config: dict[str, Any] = {
        "features": features,
        "hidden": hidden,
        "peepholes": peepholes,
        "projection": projection,
        "forget_bias": forget_bias,
        "bias": bias,
    }
    return _cell(lstm_cell, network, config)


@factory()
def gru_cell(
    features: int,
    hidden: int,
    *,
    reset: str = "after",
    bias: bool = True,
    kernel_init: Initializer = initializers.lecun_normal(),
    recurrent_init: Initializer = initializers.orthogonal(),
) -> Layer:
    """One step of a GRU, `functional.gru_cell`, for x [B, features].

    It gives h [B, hidden], and remembers it. Parameters are those of `gru`.
    """
    network = _gru(features, hidden, reset, bias, kernel_init, recurrent_init)
    config = {"features": features, "hidden": hidden, "reset": reset, "bias": bias}
    return _cell(gru_cell, network, config)


def _cell(kind: Callable[..., Layer], network: _Network, config: dict[str, Any]) -> Layer:
    def apply(
        params: Params, state: State, x: jax.Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, State]:
        z = _inputs(kind.__name__, network, params, x, "[B, {}]")
        after = network.step(params, z, remembered(state, network.zeros(x.shape[0]), x))
        return after["h"], left(state, after)

    layer = make(kind, lambda key: (network.draw(key), ()), apply, **config)
    return with_info(layer, memory=network.zeros)


def recurrent(cell: Any, *, reverse: bool = False) -> Layer:
    """`cell` at every step of x [B, T, …], each from what the step before left it to remember.

    y [B, T, …] is all that the cell gives. Any layer that remembers (`nn.memory`) is a cell, also
    `serial(gru_cell(8, 16), gru_cell(16, 16))`; it runs in a `nn.scan`. With `reverse` the last
    step is the first, while y keeps the order of time.

    Reads `mask` [B, T]: where it is False nothing is remembered and y is that of the step before
    (0 before the first). Every other side input goes to the cell as it is, at each step the same.
    Each step has a key of its own.
    """
    cell = as_layer(cell)

    def apply(
        params: Params,
        state: State,
        x: jax.Array,
        *,
        key: Key | None = None,
        train: bool = False,
        mask: jax.Array | None = None,
        **side: Any,
    ) -> tuple[Any, State]:
        x = cleaned("recurrent", x, mask)
        own = select(state, "cell")
        streams = not is_empty(parted(own)[1])
        start = own if streams else joined(own, memory(cell, x.shape[0]))

        def turn(before: State, at: Any) -> tuple[State, Any]:
            index, x, real = at
            turn_key = None if key is None else jax.random.fold_in(keys.check(key), index)
            how: dict[str, Any] = {"key": turn_key, "train": train, **side}
            y, after = call("cell", cell, params, {"cell": before}, x, **how)
            if real is not None:
                rest, now = parted(after)
                after = joined(rest, _where(real, now, parted(before)[1]))
            return after, y

        real = None if mask is None else jnp.swapaxes(mask, 0, 1)
        steps = jnp.arange(x.shape[1]), jnp.swapaxes(x, 0, 1), real
        end, ys = scan(turn, start, steps, reverse=reverse)
        rest, remembers = parted(end)
        rest = rest if train else parted(own)[0]
        own = joined(rest, remembers) if streams else rest
        return _held(ys, real, reverse), (state if is_empty(own) else {"cell": own})

    children = (("cell", cell),)
    layer = make(
        recurrent,
        lambda key: init_children(children, key),
        apply,
        children,
        lambda children: recurrent(children[0][1], reverse=reverse),
        reverse=reverse,
    )
    return with_info(layer, memory=_backward if reverse else None)


_backward = without_memory("begins at the end")


def _where(real: jax.Array, new: Any, old: Any) -> Any:
    """Trees whose leaves have the axes of `real` first: the new where it is True, else the old."""

    def one(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(real.reshape(*real.shape, *[1] * (new.ndim - real.ndim)), new, old)

    return jax.tree.map(one, new, old)


def _held(ys: Any, real: jax.Array | None, reverse: bool) -> Any:
    """What the steps gave, [T, B, …], as [B, T, …]; where none was real, what the last one gave."""
    if real is not None:
        steps = real.shape[0]
        places = jnp.arange(steps)[:, None]
        if reverse:
            nearest = jax.lax.cummin(jnp.where(real, places, steps), reverse=True)
        else:
            nearest = jax.lax.cummax(jnp.where(real, places, -1))
        found = (nearest >= 0) & (nearest < steps)
        rows = jnp.clip(nearest, 0, steps - 1), jnp.arange(real.shape[1])
        ys = jax.tree.map(lambda y: _where(found, y[rows], jnp.zeros((), y.dtype)), ys)
    return jax.tree.map(lambda y: jnp.swapaxes(y, 0, 1), ys)


# ---------------------------------------------------------------------------------- over time


@factory()
def rnn(
    features: int,
    hidden: int,
    *,
    activation: str = "tanh",
    layers: int = 1,
    bidirectional: bool = False,
    reverse: bool = False,
    dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    bias: bool = True,
    kernel_init: Initializer = initializers.lecun_normal(),
    recurrent_init: Initializer = initializers.orthogonal(),
) -> Layer:
    """hₜ = activation(xₜ · kernel + bias + hₜ₋₁ · recurrent_kernel), for x [B, T, features].

    It gives every hₜ, [B, T, hidden], and remembers the last. kernel [features, hidden],
    recurrent_kernel [hidden, hidden], bias [hidden]; PyTorch has two biases, which add up. Reads
    `mask` [B, T]: a step where it is False is none, there h stays what it was. `activation` is
    "tanh" or "relu". Elman 1990. For x that are `Rows` of a table smaller than B · T it multiplies
    the table by the kernel in their place.

    layers, dropout: so many on top of each other, and what is dropped between two of them.
    bidirectional: each is two, one of which begins at the end; their h stand side by side, in the
        order of time, [B, T, 2 · hidden]. With a mask the second begins at the last real step.
    reverse: the one begins at the end.
    recurrent_dropout: the probability of dropping, in training, a unit of h where it enters the
        product; the same units at all steps of a sequence. Gal and Ghahramani 2016, section 4.2.

    Neither a bidirectional nor a reversed one has a memory.
    """

    def one(features: int, reverse: bool) -> Layer:
        network = _rnn(features, hidden, activation, bias, kernel_init, recurrent_init)
        config: dict[str, Any] = {
            "features": features,
            "hidden": hidden,
            "activation": activation,
            "reverse": reverse,
            "recurrent_dropout": recurrent_dropout,
            "bias": bias,
        }
        return _over_time(rnn, network, reverse, recurrent_dropout, config)

    return _stacked(rnn, one, features, hidden, layers, bidirectional, reverse, dropout)


@factory()
def lstm(
    features: int,
    hidden: int,
    *,
    layers: int = 1,
    bidirectional: bool = False,
    reverse: bool = False,
    dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    peepholes: bool = False,
    projection: int | None = None,
    forget_bias: float = 1.0,
    bias: bool = True,
    kernel_init: Initializer = initializers.lecun_normal(),
    recurrent_init: Initializer = initializers.orthogonal(),
) -> Layer:
    """Long short-term memory: `functional.lstm` of x [B, T, features], with every h [B, T, P].

    kernel [features, 4 · hidden] and bias [4 · hidden] have the gates i, f, g, o, and so has
    recurrent_kernel [P, 4 · hidden]; P = hidden, or `projection`. It remembers h [B, P] and
    c [B, hidden]. Otherwise as `rnn`.

    peepholes: the gates see c, by peepholes [3, hidden] of i, f, o, from 0 on.
    projection: h is a product of as many units, by projection [hidden, P].
    forget_bias: where the forget gate's part of the bias begins: at 1 little is forgotten
        (Jozefowicz et al. 2015). PyTorch begins at a random one around 0.

    As in PyTorch there is one recurrent kernel, whose gates are drawn one by one, orthogonal; there
    all is U(−1/√hidden, 1/√hidden).
    """

    def one(features: int, reverse: bool) -> Layer:
        own = (peepholes, projection, forget_bias, bias, kernel_init, recurrent_init)
        network = _lstm(features, hidden, *own)
        config: dict[str, Any] = {
            "features": features,
            "hidden": hidden,
            "reverse": reverse,
            "recurrent_dropout": recurrent_dropout,
            "peepholes": peepholes,
            "projection": projection,
            "forget_bias": forget_bias,
            "bias": bias,
        }
        return _over_time(lstm, network, reverse, recurrent_dropout, config)

    outputs = projection or hidden
    return _stacked(lstm, one, features, outputs, layers, bidirectional, reverse, dropout)


@factory()
def gru(
    features: int,
    hidden: int,
    *,
    reset: str = "after",
    layers: int = 1,
    bidirectional: bool = False,
    reverse: bool = False,
    dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    bias: bool = True,
    kernel_init: Initializer = initializers.lecun_normal(),
    recurrent_init: Initializer = initializers.orthogonal(),
) -> Layer:
    """Gated recurrent units: `functional.gru` of x [B, T, features], with every h [B, T, hidden].

    kernel [features, 3 · hidden], recurrent_kernel [hidden, 3 · hidden] and bias [3 · hidden] have
    the parts r, u, n. With the reset gate "after" the product (PyTorch, Flax) n has a bias there
    too, recurrent_bias [hidden]; "before" it (Cho et al. 2014) none. Otherwise as `rnn`.
    """

    def one(features: int, reverse: bool) -> Layer:
        network = _gru(features, hidden, reset, bias, kernel_init, recurrent_init)
        config: dict[str, Any] = {
            "features": features,
            "hidden": hidden,
            "reset": reset,
            "reverse": reverse,
            "recurrent_dropout": recurrent_dropout,
            "bias": bias,
        }
        return _over_time(gru, network, reverse, recurrent_dropout, config)

    return _stacked(gru, one, features, hidden, layers, bidirectional, reverse, dropout)


def _over_time(
    kind: Callable[..., Layer],
    network: _Network,
    reverse: bool,
    rate: float,
    config: dict[str, Any],
) -> Layer:
    name = kind.__name__
    check_rate(name, rate)

    def apply(
        params: Params,
        state: State,
        x: jax.Array | Rows,
        *,
        key: Key | None = None,
        train: bool = False,
        mask: jax.Array | None = None,
    ) -> tuple[Any, State]:
        x = x if isinstance(x, Rows) else cleaned(name, x, mask)
        z = _inputs(name, network, params, x, "[B, T, {}]")
        start = remembered(state, network.zeros(z.shape[0]), z)
        keep = None
        if train and rate:
            keep = F.dropout(needed(key, name), jnp.ones_like(start["h"]), rate)
        hs, end = network.steps(params, z, start, mask, reverse=reverse, keep=keep)
        return hs, left(state, end)

    layer = make(kind, lambda key: (network.draw(key), ()), apply, **config)
    return with_info(layer, memory=_backward if reverse else network.zeros)


def _inputs(
    name: str, network: _Network, params: Params, x: jax.Array | Rows, wanted: str
) -> jax.Array:
    """What the input gives to the gates: x · kernel + bias."""
    wanted = wanted.format(network.features)
    if len(x.shape) != wanted.count(",") + 1 or x.shape[-1] != network.features:
        raise ValueError(f"{name} expected {wanted}, got {describe(x)}")

    def project(x: jax.Array) -> jax.Array:
        z = F.linear(floating(name, "x", x), params["kernel"])
        return z + broadcast(params["bias"], z) if "bias" in params else z

    return x.gathered(project) if isinstance(x, Rows) else project(x)


def _stacked(
    kind: Callable[..., Layer],
    one: Callable[[int, bool], Layer],
    features: int,
    outputs: int,
    layers: int,
    bidirectional: bool,
    reverse: bool,
    dropout: float,
) -> Layer:
    """`layers` of `one`, each both ways or one; a single one alone."""
    check_sizes(kind.__name__, layers=layers)
    check_rate(kind.__name__, dropout)
    if bidirectional and reverse:
        raise ValueError(f"{kind.__name__} is bidirectional or reverse, not both")
    if dropout and layers == 1:
        raise ValueError(
            f"{kind.__name__}: dropout={dropout} is between layers, but there is one: give layers, "
            f"or write nn.serial({kind.__name__}(…), nn.dropout({dropout}))"
        )

    def both(features: int) -> Layer:
        if not bidirectional:
            return one(features, reverse)
        return concat(
            named("forward", one(features, False)), named("backward", one(features, True))
        )

    config = {**one(features, reverse).info.config, "layers": layers}
    config |= {"bidirectional": bidirectional, "dropout": dropout}
    if layers == 1:
        alone = both(features)
        return with_info(alone, kind=kind.__name__, config=config) if bidirectional else alone
    stack: list[Layer] = []
    for index in range(layers):
        stack += [dropout_layer(dropout)] if dropout and index else []
        stack.append(named(str(index), both(features)))
        features = outputs * (2 if bidirectional else 1)
    return with_info(serial(*stack), kind=kind.__name__, config=config)
