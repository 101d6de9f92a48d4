"""The Layer: two pure functions and a static description.

    init(key) -> (params, state)
    apply(params, state, x, *, key=None, train=False) -> (y, state)

`params` is what is learned by gradient, `state` what is learned without one (batch norm's running
averages). Both are nested dicts by the children's names; "nothing" is `()`, and a child that has
nothing is left out. `apply` returns a state of the structure and shapes it was given, and in
evaluation (`train=False`) the very state it was given.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax

from dlcore import keys
from dlcore.keys import Key

Params = Any
State = Any
Children = tuple[tuple[str, "Layer"], ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Info:
    """What a Layer is: its kind, its configuration, its children in order, and its given name.

    `rebuild` makes the same Layer of other children. `frozen` are the paths of the leaves that
    `nn.freeze` holds, in a Layer without children; `thawed` is the Layer before it was frozen.
    """

    kind: str
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    children: Children = ()
    name: str | None = None
    rebuild: Callable[[Children], Layer] | None = None
    frozen: frozenset[str] = frozenset()
    thawed: Layer | None = None


class Layer(NamedTuple):
    """A pair of pure functions, `init` and `apply`, and `info`, which describes them."""

    init: Callable[[Key], tuple[Params, State]]
    apply: Callable[..., tuple[Any, State]]
    info: Info

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
    kind: str,
    draw: Callable[[Key], tuple[Params, State]],
    apply: Callable[..., tuple[Any, State]],
    children: Children = (),
    rebuild: Callable[[Children], Layer] | None = None,
    /,
    **config: Any,
) -> Layer:
    """A Layer of `draw`, which gives (params, state) for a key, and `apply`; typed keys only.

    One with children that can be replaced or frozen apart also has `rebuild`, which makes it anew
    of others.
    """

    def init(key: Key) -> tuple[Params, State]:
        return draw(keys.check(key))

    return Layer(init, apply, Info(kind, config, children, rebuild=rebuild))


def from_function(function: Callable[[Any], Any], kind: str, /, **config: Any) -> Layer:
    """A Layer without parameters or state: y = function(x)."""

    def apply(
        params: Params, state: State, x: Any, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, State]:
        y = function(x)
        if isinstance(y, Layer):
            raise TypeError(f"{kind} makes a Layer and was not called: write {kind}(…)")
        return y, state

    return make(kind, lambda key: ((), ()), apply, **config)


def as_layer(thing: Any) -> Layer:
    """`thing` as a Layer: a Layer itself, or a plain function of one array.

    Refused, with the corrected call: a factory that was not called (`flatten` is a function, but
    `relu` needs no call and `linear` does), and `init` or `apply` taken out of a Layer.
    """
    if isinstance(thing, Layer):
        return thing
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
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
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
    layer = as_layer(layer)
    return layer._replace(info=dataclasses.replace(layer.info, name=name))


def check_name(name: str) -> None:
    """Refuses a name that could not be a segment of a path."""
    if not isinstance(name, str) or not name or "/" in name or "*" in name:
        raise ValueError(f"a layer's name is a non-empty text without '/' or '*', got {name!r}")


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


def call(
    name: str,
    layer: Layer,
    params: Params,
    state: State,
    x: Any,
    *,
    key: Key | None,
    train: bool,
) -> tuple[Any, State]:
    """Applies the child `name` to `x` with its own part of its parent's params, state and key.

    An error gets a note with the path of the layer and what it was given.
    """
    params, state = select(params, name), select(state, name)
    key = None if key is None else keys.child(key, name)
    with _observed(name) as observe, noted(name, layer, params, x):
        y, state = layer.apply(params, state, x, key=key, train=train)
        observe(Call(layer, params, state, x, y))
    return y, state


# ------------------------------------------------------------------- what is seen from outside


class Call(NamedTuple):
    """One application of one layer, as an observer sees it."""

    layer: Layer
    params: Params
    state: State
    x: Any
    y: Any


class _Observer:
    def __init__(self) -> None:
        self.path: list[str] = []
        self.calls: dict[str, Call] = {}

    def record(self, call: Call) -> None:
        path = "/".join(self.path)
        while path in self.calls:  # a part that `wire` calls again
            path += "'"
        self.calls[path] = call


_observer = contextvars.ContextVar[_Observer | None]("observer", default=None)


@contextlib.contextmanager
def _observed(name: str) -> Iterator[Callable[[Call], None]]:
    observer = _observer.get()
    if observer is None:
        yield lambda call: None
        return
    observer.path.append(name)
    try:
        yield observer.record
    finally:
        observer.path.pop()


def is_observed() -> bool:
    """Whether `calls` is looking on: a loop then runs unrolled, since a look ends with the loop."""
    return _observer.get() is not None


def calls(
    layer: Layer,
    params: Params,
    state: State,
    x: Any,
    *,
    key: Key | None = None,
    train: bool = False,
) -> tuple[Any, State, dict[str, Call]]:
    """`layer.apply`, and every application inside it by path, in order of completion."""
    observer = _Observer()
    token = _observer.set(observer)
    try:
        y, state = layer.apply(params, state, x, key=key, train=train)
    finally:
        _observer.reset(token)
    return y, state, observer.calls


def intermediates(
    layer: Layer,
    params: Params,
    state: State,
    x: Any,
    *,
    key: Key | None = None,
    train: bool = False,
) -> dict[str, Any]:
    """The output of every layer inside `layer` by its path, e.g. `{"conv1": …, "relu1": …}`.

    A part that `wire` calls more than once has its later outputs under path', path'', …
    """
    _, _, seen = calls(layer, params, state, x, key=key, train=train)
    return {path: call.y for path, call in seen.items()}


# ------------------------------------------------------------------------------------- errors

_NOTE = "in layer "


@contextlib.contextmanager
def noted(name: str, layer: Layer, params: Params, x: Any) -> Iterator[None]:
    """Notes on an error inside that it arose in the child `name`, and what that was given."""
    try:
        yield
    except Exception as error:
        with contextlib.suppress(Exception):  # what cannot be said must not take its place
            _annotate(error, name, layer, params, x)
        raise


def _annotate(error: Any, name: str, layer: Layer, params: Params, x: Any) -> None:
    """Adds or extends the one note that says where in the network `error` arose."""
    notes = getattr(error, "__notes__", [])
    mine = [note for note in notes if note.startswith(_NOTE)]
    if mine and layer.info.children:
        note = f"{_NOTE}{name}/{mine[-1].removeprefix(_NOTE)}"
    else:
        note = f"{_NOTE}{name} ({layer.info.kind}), given {describe(x)}{_misfit(layer, params)}"
    error.__notes__ = [one for one in notes if one not in mine]
    error.add_note(note)


def _misfit(layer: Layer, params: Params) -> str:
    """What is wrong with the parameters, where their tree or shapes are not the layer's own."""
    wanted, given = shapes(jax.eval_shape(layer.init, jax.random.key(0))[0]), shapes(params)
    return "" if wanted == given else f"; its params should be {wanted}, got {given}"


def describe(x: Any) -> str:
    """An array as `float32[8, 28, 28, 1]`, a tree of arrays with that at each leaf."""
    return _describe(x, lambda leaf: f"{leaf.dtype}{list(leaf.shape)}")


def shapes(tree: Any) -> str:
    """A tree of arrays with the shape at each leaf: `{bias: [8], kernel: [4, 8]}`."""
    return _describe(tree, lambda leaf: str(list(leaf.shape)))


def _describe(tree: Any, leaf: Callable[[Any], str]) -> str:
    if hasattr(tree, "shape") and hasattr(tree, "dtype"):
        return leaf(tree)
    if isinstance(tree, dict):
        return (
            "{"
            + ", ".join(f"{k}: {_describe(v, leaf)}" for k, v in sorted(tree.items(), key=str))
            + "}"
        )
    if isinstance(tree, list | tuple):
        return "(" + ", ".join(_describe(value, leaf) for value in tree) + ")"
    return repr(tree)


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
