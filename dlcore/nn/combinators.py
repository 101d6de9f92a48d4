"""Six combinators carry every architecture: serial, branch, residual, concat, repeat and wire."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.xla_metadata import set_xla_metadata
from jax.export import is_symbolic_dim

from dlcore import device, keys
from dlcore.functional import identity
from dlcore.keys import Key
from dlcore.nn import side_inputs
from dlcore.nn.describing import describe, shapes
from dlcore.nn.layer import (
    Children,
    Layer,
    Params,
    State,
    as_layer,
    check_name,
    gather,
    init_children,
    is_empty,
    make,
    name_children,
    read_by,
    select,
    with_info,
)
from dlcore.nn.observing import call, is_observed, note_tied, noted
from dlcore.nn.remembering import joined, parted
from dlcore.nn.surgery import frozen, without_gradient


def serial(*layers: Any) -> Layer:
    """One layer after another: y = fₙ(… f₂(f₁(x))).

    >>> from dlcore import functional as F, nn
    >>> nn.serial(nn.linear(4, 6), F.relu, nn.named("head", nn.linear(6, 2)))
    serial
      linear1: linear(in_features=4, out_features=6, bias=True)
      relu1: relu
      head: linear(in_features=6, out_features=2, bias=True)
    """
    return _serial(name_children(layers))


def _serial(children: Children) -> Layer:
    def apply(
        params: Params,
        state: State,
        x: Any,
        *,
        key: Key | None = None,
        train: bool = False,
        **side: Any,
    ) -> tuple[Any, State]:
        states = {}
        for name, layer in children:
            x, states[name] = call(name, layer, params, state, x, key=key, train=train, **side)
        return x, gather(states)

    return make("serial", lambda key: init_children(children, key), apply, children, _serial)


def branch(merge: Callable[..., Any], *layers: Any) -> Layer:
    """Several layers on the same input, their outputs merged: y = merge(f₁(x), …, fₙ(x))."""
    return _parallel("branch", merge, name_children(layers), merge=merge)


def concat(*branches: Any, axis: int = -1) -> Layer:
    """Several layers on the same input, their outputs joined along `axis` (channels)."""
    if not branches:
        raise ValueError("concat needs at least one branch: concat(conv(8, 16, 1), max_pool(3))")
    return _parallel(
        "concat",
        lambda *outputs: jnp.concatenate(outputs, axis=axis),
        name_children(branches),
        axis=axis,
    )


def residual(
    body: Any, skip: Any = None, *, activation: Callable[[Any], Any] | None = None
) -> Layer:
    """A shortcut around `body`: y = activation(body(x) + skip(x)); skip and activation are the
    identity by default.

    The shapes must be equal; nothing is broadcast (He et al. 2016, equations 1 and 2, figure 2).
    """
    children = (("body", as_layer(body)), ("skip", as_layer(identity if skip is None else skip)))

    def add(body: jax.Array, skip: jax.Array) -> Any:
        if body.shape != skip.shape:
            raise ValueError(
                f"the body gives {describe(body)} and the shortcut {describe(skip)}: give `skip` a "
                "layer that makes the shapes equal, such as a 1×1 convolution"
            )
        return body + skip if activation is None else activation(body + skip)

    config = {} if activation is None else {"activation": activation}
    return _parallel("residual", add, children, **config)


def _parallel(kind: str, merge: Callable[..., Any], children: Children, /, **config: Any) -> Layer:
    def rebuild(children: Children) -> Layer:
        return _parallel(kind, merge, children, **config)

    def apply(
        params: Params,
        state: State,
        x: Any,
        *,
        key: Key | None = None,
        train: bool = False,
        **side: Any,
    ) -> tuple[Any, State]:
        outputs, states = [], {}
        for name, layer in children:
            y, states[name] = call(name, layer, params, state, x, key=key, train=train, **side)
            outputs.append(y)
        return merge(*outputs), gather(states)

    layer = make(kind, lambda key: init_children(children, key), apply, children, rebuild, **config)
    return with_info(layer, side_by_side=True)


def repeat(
    layer: Any, n: int, *, first: Any = None, scan: bool | None = None, remat: bool = False
) -> Layer:
    """`n` blocks of the same form, each with its own parameters, one after another.

    Parameters and paths are per block ("0/kernel", "1/kernel", …) however the blocks run. `first`
    is another form of block 0, such as one that halves the image at the beginning of a stage.
    With `scan` the blocks that are alike run as one compiled loop, and each must return the shape
    it is given; with scan=False every block is compiled for itself. By default the device decides
    (see `dlcore.device.repeats_by_calls`). `remat` recomputes a block in the backward pass instead
    of keeping its activations.
    """
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"repeat needs at least one block, got n={n!r}")
    block = as_layer(layer)
    head = block if first is None else as_layer(first)
    blocks = [head, *[block] * (n - 1)]
    return _repeat(tuple((str(i), one) for i, one in enumerate(blocks)), scan, remat)


def _repeat(children: Children, scan: bool | None, remat: bool) -> Layer:
    def apply(
        params: Params,
        state: State,
        x: Any,
        *,
        key: Key | None = None,
        train: bool = False,
        **side: Any,
    ) -> tuple[Any, State]:
        states: dict[str, State] = {}
        for block, names in _runs(children):
            own = read_by(block, side)
            several = _unrolled if len(names) == 1 or is_observed() else _way(scan, own)
            x, new = several(_Alike(block, names, params, state, key, train, remat, own), x)
            states.update(new)
        return x, gather(states)

    return make(
        "repeat",
        lambda key: init_children(children, key),
        apply,
        children,
        lambda children: _repeat(children, scan, remat),
        n=len(children),
        scan=scan,
        remat=remat,
    )


def _way(scan: bool | None, side: dict[str, Any]) -> Callable[..., Any]:
    """How several blocks that are alike run.

    For a mask that is exported for any size each by itself: what is marked as a call, and counts in
    it (jnp.cumsum), jax cannot compile again once the size is known.
    """
    if scan is None:
        sizes = [size for leaf in jax.tree.leaves(side) for size in jnp.shape(leaf)]
        is_free = any(map(is_symbolic_dim, sizes))
        return _by_calls if device.repeats_by_calls() and not is_free else _unrolled
    return _by_loop if scan else _unrolled


def _runs(children: Children) -> Iterator[tuple[Layer, list[str]]]:
    """Each block with the names of those, one after another, that are the same Layer."""
    for _, run in itertools.groupby(children, key=lambda child: id(child[1])):
        named = list(run)
        yield named[0][1], [name for name, _ in named]


class _Alike(NamedTuple):
    """Children that are one block, with their parent's params, state and key."""

    block: Layer
    names: list[str]
    params: Params
    state: State
    key: Key | None
    train: bool
    remat: bool
    side: dict[str, Any]

    @property
    def how(self) -> dict[str, Any]:
        """The keyword arguments of `_one`."""
        span = f"{self.names[0]}…{self.names[-1]}"
        return {"block": self.block, "span": span, "remat": self.remat, "train": self.train}

    def part(self, name: str) -> tuple[Params, State]:
        """What is the child's own."""
        return select(self.params, name), select(self.state, name)

    def left(self, name: str, new: State) -> State:
        """The child's state afterwards: in evaluation nothing but its memory has moved."""
        old = select(self.state, name)
        return new if self.train else joined(parted(old)[0], parted(new)[1])


def _unrolled(alike: _Alike, x: Any) -> tuple[Any, dict[str, State]]:
    block, names, params, state, key, train, remat, side = alike
    states = {}
    for name in names:

        def one(params: Params, state: State, x: Any, key: Key | None, name: str = name) -> Any:
            return call(name, block, params, state, x, key=key, train=train, **side)

        one = jax.checkpoint(one) if remat and not is_observed() else one
        x, states[name] = one(params, state, x, key)
    return x, states


def _by_calls(alike: _Alike, x: Any) -> tuple[Any, dict[str, State]]:
    states = {}
    for name in alike.names:
        params, state = alike.part(name)
        own = None if alike.key is None else keys.child(alike.key, name)
        with set_xla_metadata(inlineable="false"):  # XLA would write the calls out
            x, new = _called(**alike.how)(params, state, x, own, alike.side)
        states[name] = alike.left(name, new)
    return x, states


@functools.lru_cache(maxsize=32)
def _called(**how: Any) -> Callable[..., Any]:
    """`_one`, compiled: the same function for the same block, whose trace it keeps."""
    one = _one(**how)

    @jax.jit
    def called(
        params: Params, state: State, x: Any, key: Key | None, side: dict[str, Any]
    ) -> tuple[Any, State]:
        with set_xla_metadata(inlineable="true"):  # what the block itself calls
            return one(params, state, x, key, side)

    return called


def _by_loop(alike: _Alike, x: Any) -> tuple[Any, dict[str, State]]:
    key, one = alike.key, _one(**alike.how, keeps_shape=True)

    def turn(x: Any, part: tuple[Params, State, jax.Array]) -> tuple[Any, State]:
        params, state, tag = part
        own = None if key is None else jax.random.fold_in(keys.check(key), tag)
        return one(params, state, x, own, alike.side)

    parts = [(*alike.part(name), jnp.uint32(keys.tag(name))) for name in alike.names]
    if len({shapes(state) for _, state, _ in parts}) > 1:
        raise ValueError(
            "scan=True needs memory in all blocks or in none: nn.memory(layer, batch) gives it all"
        )
    x, stack = jax.lax.scan(turn, x, jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts))
    return x, {
        name: alike.left(name, jax.tree.map(operator.itemgetter(i), stack))
        for i, name in enumerate(alike.names)
    }


def _one(
    block: Layer, span: str, remat: bool, train: bool, keeps_shape: bool = False
) -> Callable[..., Any]:
    """(params, state, x, key, side) -> (y, state) of any of the blocks `span`."""

    def one(
        params: Params, state: State, x: Any, key: Key | None, side: dict[str, Any]
    ) -> tuple[Any, State]:
        with noted(span, block, x):
            y, state = block.apply(params, state, x, key=key, train=train, **side)
            if keeps_shape and shapes(y) != shapes(x):
                raise ValueError(
                    f"scan=True needs blocks that keep the shape, but {shapes(x)} became "
                    f"{shapes(y)}: give repeat scan=False"
                )
        return y, state

    return jax.checkpoint(one) if remat else one


def wire(forward: Callable[..., Any], /, **parts: Any) -> Layer:
    """Any other architecture, written once as `forward(parts, x, *, key, train)`.

    A part is called as `parts.encoder(x)`; it uses, and keeps, its own parameters, state and key.
    Called again it continues from the state it left, with another key. `parts.encoder.params` and
    the pure `parts.encoder.apply` serve tied weights and use inside scan or checkpoint.

    The side inputs that it reads are the keyword-only arguments that `forward` names, and it hands
    them on by name: `forward(parts, x, *, key, train, mask=None)`, `parts.encoder(x, mask=mask)`.
    With `**side` it reads what its parts read, and `parts.encoder(x, **side)` takes its own of it.
    A part that remembers (see `nn.memory`) is called once.

    >>> def forward(parts, x, *, key, train):
    ...     return parts.decoder(parts.encoder(x))
    >>> wire(forward, encoder=lambda x: x, decoder=lambda x: 2 * x)
    wire(forward=forward)
      encoder: lambda
      decoder: lambda
    """
    for name in parts:
        check_name(name)
    return _wire(forward, tuple((name, as_layer(part)) for name, part in parts.items()))


def _wire(forward: Callable[..., Any], children: Children) -> Layer:
    inner = [child.info.reads for _, child in children if side_inputs.takes_all(forward)]
    reads = side_inputs.named(forward).union(*inner)
    needed = side_inputs.named(forward, required=True)

    def apply(
        params: Params,
        state: State,
        x: Any,
        *,
        key: Key | None = None,
        train: bool = False,
        **side: Any,
    ) -> tuple[Any, State]:
        parts = bound(children, params, state, key, train, reads)
        own = None if key is None else keys.child(key, "forward()")
        y = forward(parts, x, key=own, train=train, **side)
        return y, left_by(parts)

    return make(
        "wire",
        lambda key: init_children(children, key),
        apply,
        children,
        lambda children: _wire(forward, children),
        reads,
        needed,
        forward=forward,
    )


def parts_of(
    layer: Layer,
    names: Iterable[str],
    params: Params,
    state: State,
    *,
    key: Key | None = None,
    train: bool = False,
) -> Parts:
    """The children of `layer`, those of `names` among them, bound for one application of them all.

    So an objective uses the parts of a `wire` as its forward does: `parts.encoder(x)`.
    """
    children = dict(layer.info.children)
    missing = [name for name in names if name not in children]
    if missing:
        raise ValueError(
            f"a layer with the parts {', '.join(names)} is wanted, but the {layer.info.kind} has "
            f"{', '.join(children) or 'none'}: nn.wire(forward, {'=…, '.join(names)}=…)"
        )
    around = layer.info.around or identity
    inside = tuple((name, around(child)) for name, child in layer.info.children)
    return bound(inside, params, state, key, train, layer.info.reads)


def left_by(parts: Parts) -> State:
    """The state that the parts leave, that of their parent."""
    return gather({part.name: part.state for part in parts})


def bound(
    children: Children,
    params: Params,
    state: State,
    key: Key | None,
    train: bool,
    reads: frozenset[str] = frozenset(),
) -> Parts:
    """The children for one application of their parent, which reads `reads` itself."""
    return Parts(
        {name: Part(name, layer, params, state, key, train, reads) for name, layer in children}
    )


class Part:
    """A layer bound to its parameters, state and key for one application of `wire`."""

    def __init__(
        self,
        name: str,
        layer: Layer,
        params: Params,
        state: State,
        key: Key | None,
        train: bool,
        handed: frozenset[str],
    ) -> None:
        self.name = name
        self._params = select(params, name)
        self.state = select(state, name)
        self.apply = layer.apply
        self._layer, self._key, self._train, self._uses = layer, key, train, 0
        self._handed = handed  # what the wire itself reads, and may hand to any part

    @property
    def params(self) -> Params:
        """Its own, to be used outside of it; what is frozen in it has no gradient there either."""
        note_tied(self.name)
        return without_gradient(self._params, frozenset(frozen(self._layer)))

    def __call__(self, x: Any, **side: Any) -> Any:
        """The part's output; the state that it leaves is kept for its next call."""
        name, key = self.name, self._key
        if self._uses and not is_empty(parted(self.state)[1]):
            raise ValueError(
                f"part {name!r} is called twice, but remembers: which call goes on from which, "
                f"nobody knows; thread its memory by hand, through parts.{name}.apply"
            )
        if key is not None and self._uses:
            key = jax.random.fold_in(key, self._uses)
        self._uses += 1
        reads = self._layer.info.reads
        foreign = {one: value for one, value in side.items() if one not in self._handed}
        side_inputs.check(f"part {name!r}", foreign, reads)
        y, self.state = call(
            name,
            self._layer,
            {name: self._params},
            {name: self.state},
            x,
            key=key,
            train=self._train,
            **side,
        )
        return y


class Parts:
    """The bound parts of one application of `wire`, as attributes."""

    def __init__(self, parts: dict[str, Part]) -> None:
        self._parts = parts

    def __getattr__(self, name: str) -> Part:
        """The part of that name."""
        if name not in self._parts:
            raise AttributeError(f"wire has no part {name!r}; it has {', '.join(self._parts)}")
        return self._parts[name]

    def __getitem__(self, name: str) -> Part:
        """The part of that name, where the name is computed: parts[f"block{i}"]."""
        return self._parts[name]

    def __iter__(self) -> Iterator[Part]:
        return iter(self._parts.values())
