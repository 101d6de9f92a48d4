"""The Layer: two pure functions and a static description.

    init(key) -> (params, state)
    apply(params, state, x, *, key=None, train=False, **side) -> (y, state)

`params` is what is learned by gradient, `state` what is learned without one (batch norm's running
averages). Both are nested dicts by the children's names; "nothing" is `()`, and a child that has
nothing is left out. `apply` returns a state of the structure, shapes and dtypes it was given, and
in evaluation (`train=False`) the very state it was given, memory (see `nn.memory`) apart.

`side` are the side inputs (a mask, an encoder's output), which each leaf names that reads them.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax

from dlcore import keys, tracebacks
from dlcore.fields import documented
from dlcore.keys import Key
from dlcore.nn import fitting, side_inputs
from dlcore.nn.describing import describe

Params = Any
State = Any
Children = tuple[tuple[str, "Layer"], ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Info:
    """What a Layer is, as data: nothing of it is computed with.

    kind: what it is called, "linear".
    config: its settings by name, in order.
    children: the layers inside, each as (name, Layer), in order.
    name: the one it was given by `nn.named`, or None.
    rebuild: makes the same Layer of other children; None where nobody can.
    frozen: the paths of the leaves that `nn.freeze` holds, in a Layer without children.
    thawed: the Layer before it was frozen; None where it was not.
    factory: the function that made it, of which its kind is the name; None where that is unknown.
    reads: the side inputs that it reads, or a layer inside it.
    needs: those that it cannot do without itself, whatever those inside it need.
    memory: a function of the batch's size that gives what it remembers when nothing was seen (see
        `nn.memory`), or None.
    weights: the parameters that make it one of the weighted layers that a depth counts.
    side_by_side: whether its children are alternatives, and not one after another.
    has_moments: whether the state's `mean` and `var` follow the moments of what it is given.
    around: what was put around it and has to be around its parts where they are used apart; None
        where nothing was.
    """

    kind: str
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    children: Children = ()
    name: str | None = None
    rebuild: Callable[[Children], Layer] | None = None
    frozen: frozenset[str] = frozenset()
    thawed: Layer | None = None
    factory: Callable[..., Layer] | None = None
    reads: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    memory: Callable[[int], dict[str, Any]] | None = None
    weights: frozenset[str] = frozenset({"kernel"})
    side_by_side: bool = False
    has_moments: bool = False
    around: Callable[[Layer], Layer] | None = None


@documented
class Layer(NamedTuple):
    """A pair of pure functions, `init` and `apply`, and `info`, which describes them.

    init: init(key) -> (params, state), for a typed key: nested dicts of arrays by the children's
        names, () where there are none.
    apply: apply(params, state, x, *, key=None, train=False, **side) -> (y, state); the state has
        the form it was given, and in evaluation is the one that was given, memory apart.
    info: what it is, an `Info`: kind, settings, children, what it reads beside x.
    """

    init: Callable[[Key], tuple[Params, State]]
    apply: Callable[..., tuple[Any, State]]
    info: Info

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refused: a Layer is no object that holds its parameters."""
        raise TypeError(
            "a Layer is a pair of functions, and holds no parameters: "
            "params, state = layer.init(jax.random.key(0)), then "
            "y, state = layer.apply(params, state, x)"
        )

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={_plain(value)}" for name, value in self.info.config.items())
        head = self.info.kind + (f"({settings})" if settings else "")
        head += f"  frozen: {', '.join(sorted(self.info.frozen))}" if self.info.frozen else ""
        body = "".join(
            f"\n  {name}: " + repr(child).replace("\n", "\n  ")
            for name, child in self.info.children
        )
        return head + body


def make(
    kind: str | Callable[..., Layer],
    draw: Callable[[Key], tuple[Params, State]],
    apply: Callable[..., tuple[Any, State]],
    children: Children = (),
    rebuild: Callable[[Children], Layer] | None = None,
    reads: Iterable[str] | None = None,
    needs: Iterable[str] | None = None,
    /,
    **config: Any,
) -> Layer:
    """A Layer of `draw`, which gives (params, state) for a key, and `apply`; typed keys only.

    `kind` is its name, or the factory that makes it, whose defaults `nn.summary` leaves out. One
    with children that can be replaced or frozen apart also has `rebuild`, which makes it anew of
    others. `reads` are its side inputs; by default the keyword-only arguments of `apply`, and where
    that takes `**side` also what the children read; `needs` those that it cannot do without, by
    default those arguments that have no default.

    The Layer's apply refuses a side input that nobody reads, with the nearest one; and what is not
    a pair of y and a state of the structure, shapes and dtypes that went in.
    """
    name = kind if isinstance(kind, str) else kind.__name__
    if reads is None:
        handed_on = side_inputs.takes_all(apply)
        inner = [child.info.reads for _, child in children] if handed_on else []
        reads = side_inputs.named(apply).union(*inner)
    known = frozenset(reads)
    needed = side_inputs.named(apply, required=True) if needs is None else frozenset(needs)
    side_inputs.check_names(name, known)
    inside = {child for child, _ in children} or None

    @tracebacks.short
    def init(key: Key) -> tuple[Params, State]:
        return draw(keys.check(key))

    @tracebacks.short
    @functools.wraps(apply)
    def checked(
        params: Params,
        state: State,
        x: Any,
        *,
        key: Key | None = None,
        train: bool = False,
        **side: Any,
    ) -> tuple[Any, State]:
        side_inputs.check(name, side, known)
        side_inputs.check_given(name, side, needed)
        if inside is None or (isinstance(params, dict) and not params.keys() <= inside):
            fitting.check(name, draw, params, state)
        try:
            given = apply(params, state, x, key=key, train=train, **side)
        except (AttributeError, KeyError, TypeError, ValueError):
            fitting.check(name, draw, params, state)
            raise
        _check_pair(name, given, state)
        return given

    factory = None if isinstance(kind, str) else kind
    info = Info(name, config, children, rebuild=rebuild, factory=factory, reads=known, needs=needed)
    return Layer(init, checked, info)


def _check_pair(kind: str, given: Any, before: State) -> None:
    """Refuses what an apply gave, unless it is (y, a state like the one before)."""
    if not isinstance(given, tuple) or len(given) != 2:
        raise TypeError(
            f"{kind}: apply gave {describe(given)}, but the pair (y, state) is wanted: end it with "
            "`return y, state`"
        )
    after = given[1]
    if after is before:
        return
    if _form(before) != _form(after):
        raise ValueError(
            f"{kind}: apply was given the state {describe(before)} and gave back "
            f"{describe(after)}; its structure, shapes and dtypes never change"
        )


def _form(state: State) -> Any:
    """Structure, shapes and dtypes."""

    def one(leaf: Any) -> Any:
        return getattr(leaf, "shape", ()), getattr(leaf, "dtype", type(leaf))

    return jax.tree.structure(state), [*map(one, jax.tree.leaves(state))]


def read_by(layer: Layer, side: Mapping[str, Any]) -> dict[str, Any]:
    """Of `side`, what `layer` reads."""
    return {name: side[name] for name in sorted(layer.info.reads) if name in side}


def with_info(layer: Layer, **facts: Any) -> Layer:
    """`layer` with these fields of its `info`."""
    return layer._replace(info=dataclasses.replace(layer.info, **facts))


def from_function(
    function: Callable[[Any], Any], kind: str | Callable[..., Layer], /, **config: Any
) -> Layer:
    """A Layer without parameters or state: y = function(x). `kind` is that of `make`.

    Its side inputs are the keyword-only arguments that `function` cannot do without:
    `def real(x, *, mask)`.
    """
    name = kind if isinstance(kind, str) else kind.__name__
    needed = side_inputs.named(function, required=True)

    def apply(
        params: Params,
        state: State,
        x: Any,
        *,
        key: Key | None = None,
        train: bool = False,
        **side: Any,
    ) -> tuple[Any, State]:
        y = function(x, **side)
        if isinstance(y, Layer):
            raise TypeError(f"{name} makes a Layer and was not called: write {name}(…)")
        return y, state

    return make(kind, lambda key: ((), ()), apply, (), None, needed, needed, **config)


def as_layer(thing: Any) -> Layer:
    """`thing` as a Layer: a Layer itself, or a plain function of one array.

    Refused, with the corrected call: a factory that was not called (`flatten` is a function, but
    `relu` needs no call and `linear` does), and `init` or `apply` taken out of a Layer.
    """
    if isinstance(thing, Layer):
        return thing
    if isinstance(thing, list | tuple):
        raise TypeError(
            f"expected a Layer or a function of one array, got a {type(thing).__name__} of "
            f"{len(thing)}: give them one by one, serial(*layers)"
        )
    if not callable(thing) or inspect.isclass(thing):
        raise TypeError(f"expected a Layer or a function of one array, got {thing!r}")
    function = thing.func if isinstance(thing, functools.partial) else thing
    name = getattr(function, "__name__", type(function).__name__).strip("<>")
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):  # a builtin or a ufunc tells nothing of itself
        return from_function(thing, name)
    if inspect.formatannotation(signature.return_annotation).split(".")[-1].strip("'") == "Layer":
        call = name + _example(signature)
        raise TypeError(f"{name} makes a Layer and was not called: write {call}")
    required = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if name in ("init", "apply") and required[:1] in (["key"], ["params"]):
        raise TypeError(f"{name} is only one half of a Layer: pass the Layer itself")
    if len(required) > 1:
        raise TypeError(
            f"a function used as a layer takes one array, but {name} needs "
            f"{', '.join(required)}: fix the others with functools.partial or a lambda"
        )
    config = thing.keywords if isinstance(thing, functools.partial) else {}
    return from_function(thing, name, **config)


def named(name: str, layer: Any) -> Layer:
    """`layer` with the name that its parent uses: `serial(named("stem", conv(3, 64, 7)))`."""
    check_name(name)
    return with_info(as_layer(layer), name=name)


def check_name(name: str) -> None:
    """Refuses a name that could not be a segment of a path."""
    if not isinstance(name, str) or not name or "/" in name or "*" in name:
        raise ValueError(f"a layer's name is a non-empty text without '/' or '*', got {name!r}")
    if name == "memory":
        raise ValueError("no layer can be called 'memory': a state keeps what a layer remembers so")


def check_sizes(kind: str, **sizes: Any) -> None:
    """Refuses a size that is not a positive integer, naming it."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            wanted = "≥ 1" if type(size) is int else "≥ 1, an integer"
            raise ValueError(f"{kind} needs {name} {wanted}, got {name}={size!r}")


def name_children(layers: Iterable[Any]) -> Children:
    """The layers with unique names: the one given, else kind and position (conv1, conv2)."""
    counts: Counter[str] = Counter()
    children = []
    for layer in map(as_layer, layers):
        name = layer.info.name
        if name is None:
            counts[layer.info.kind] += 1
            name = f"{layer.info.kind}{counts[layer.info.kind]}"
        children.append((name, layer))
    repeated = [name for name, count in Counter(name for name, _ in children).items() if count > 1]
    if repeated:
        raise ValueError(f"children need unique names, but {repeated[0]!r} occurs more than once")
    return tuple(children)


def init_children(children: Children, key: Key) -> tuple[Params, State]:
    """Initialises every child from its own key; children that have nothing are left out."""
    pairs = {name: layer.init(keys.child(key, name)) for name, layer in children}
    return (
        gather({name: params for name, (params, _) in pairs.items()}),
        gather({name: state for name, (_, state) in pairs.items()}),
    )


def gather(trees: dict[str, Any]) -> Any:
    """The dict without its empty entries; `()` where nothing is left."""
    return {name: tree for name, tree in trees.items() if not is_empty(tree)} or ()


def select(tree: Any, name: str) -> Any:
    """The part of params or state that belongs to the child `name`; `()` where it has none."""
    return tree[name] if isinstance(tree, dict) and name in tree else ()


def is_empty(tree: Any) -> bool:
    """Whether `tree` is the empty tree `()`."""
    return isinstance(tree, tuple) and not tree


def _plain(value: Any) -> str:
    return getattr(value, "__name__", None) or repr(value)


def _example(signature: inspect.Signature) -> str:
    """The call with its required arguments, `(in_features, out_features)`."""
    return (
        "("
        + ", ".join(
            parameter.name
            for parameter in signature.parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        )
        + ")"
    )
