"""Flax's modules as Layers, and Layers as Flax's modules; linen and nnx, both ways."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dlcore import keys
from dlcore.keys import Key
from dlcore.nn.layer import Layer, Params, State, make, with_info
from dlcore.nn.remembering import KEY, joined, parted
from dlcore.nn.side_inputs import RESERVED
from dlcore.tree import path_string

# What the arguments that say whether a module trains are called, and their value when it does.
_TRAINING = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}


# ------------------------------------------------------------------------ Flax's modules as Layers


def from_flax(module: Any, *example: Any) -> Layer:
    """A Flax module as a Layer.

    A linen module comes with an example of its input, an array or a `jax.ShapeDtypeStruct`:
    `from_flax(CNN(10), x)`. `init(key)` is `module.init(key, x)`: its collection "params" are the
    params, the others (batch_stats) the state.

    An nnx module has its variables already: `init` of `from_flax(module)` gives these, whatever the
    key. A class or function is called as `make(rngs=...)` by each `init`, and so drawn anew:
    `from_flax(functools.partial(CNN, 10))`. The nnx.Param are the params, the rest the state, but
    for the random streams.

    `train` is said by those arguments of `__call__` that are called train, training or is_training,
    or in reverse deterministic or use_running_average, and to nnx modules also by their own train()
    and eval(). Each random stream of the module is drawn from the key of the application. Where
    there are several examples, x is a tuple of as many inputs. The other arguments of `__call__`
    are side inputs (a mask), by their names.

    Linen's collection "cache" is memory (see `nn.memory`), that of an attention made with
    decode=True. It counts the positions of all rows together, so they begin anew together.
    """
    from flax import linen, nnx

    inputs = max(1, len(example))
    if isinstance(module, linen.Module):
        if not example:
            raise TypeError(
                "from_flax: a linen module needs an example of its input: from_flax(module, x)"
            )
        return _from_linen(module, example)
    if isinstance(module, nnx.Module):
        return _from_nnx(type(module), lambda rngs: module, inputs)
    if callable(module):
        return _from_nnx(module, lambda rngs: module(rngs=rngs), inputs)
    raise TypeError(f"from_flax: expected a Flax module, got {module!r}")


def _from_linen(module: Any, example: tuple[Any, ...]) -> Layer:
    several = len(example) > 1

    def init(key: Key) -> tuple[Params, State]:
        state = dict(module.lazy_init(key, *example, **_mode(module, False)))
        state.pop("cache", None)
        params = state.pop("params", ())
        return params, state or ()

    def apply(
        params: Params,
        state: State,
        x: Any,
        *,
        key: Key | None = None,
        train: bool = False,
        **side: Any,
    ) -> tuple[Any, State]:
        # linen draws from "params" where there is no stream of the name asked for
        streams = ("dropout", "params")
        inputs = x if several else (x,)
        collections = dict(state) if state else {}
        remembered = collections.pop(KEY, None)
        cache = {} if remembered is None else {"cache": _as_cache(remembered, forms(inputs))}
        y, updated = module.apply(
            {**collections, **cache, "params": params or {}},
            *inputs,
            rngs={} if key is None else {name: keys.child(key, name) for name in streams},
            mutable=["cache", *(collections if train else ())],
            **_mode(module, train),
            **side,
        )
        kept = {name: value for name, value in updated.items() if name != "cache"}
        if remembered is not None:
            kept[KEY] = jax.tree.map(_by_row, updated["cache"], remembered)
        return y, {**collections, **kept} if kept else state

    def forms(inputs: Any) -> Any:
        """The shapes of the cache for such inputs."""
        return jax.eval_shape(module.lazy_init, jax.random.key(0), *inputs).get("cache", {})

    def memory(batch: int) -> Any:
        inputs = [jax.ShapeDtypeStruct((batch, *one.shape[1:]), one.dtype) for one in example]
        return jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape or (batch,), leaf.dtype), forms(inputs)
        )

    layer = make(type(module).__name__, init, apply, (), None, _reads(module, len(example)))
    return with_info(layer, memory=memory)


def _as_cache(memory: Any, forms: Any) -> Any:
    """A memory as linen's cache, which counts all rows together."""
    return jax.tree.map(lambda leaf, form: leaf if form.shape else leaf[0], memory, forms)


def _by_row(leaf: jax.Array, like: jax.Array) -> jax.Array:
    return leaf if leaf.ndim else jnp.broadcast_to(leaf, like.shape)


def _reads(module: Any, inputs: int) -> frozenset[str]:
    """The arguments of the module's call that are side inputs, after so many inputs."""
    known = [*inspect.signature(module.__call__).parameters.values()][inputs:]
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = {one.name for one in known if one.kind not in variadic}
    return frozenset(names - {*_TRAINING} - RESERVED)


def _from_nnx(maker: Any, build: Callable[[Any], Any], inputs: int) -> Layer:
    from flax import nnx

    several = inputs > 1

    def parts(module: Any) -> tuple[Any, Params, State, Any]:
        form, *trees = nnx.split(module, nnx.Param, nnx.RngState, ...)
        params, streams, state = (nnx.to_pure_dict(tree) or () for tree in trees)
        return form, params, state, streams

    kind = getattr(maker, "func", maker).__name__
    like = nnx.eval_shape(lambda: build(nnx.Rngs(0)))
    form, _, _, streams = parts(like)

    def init(key: Key) -> tuple[Params, State]:
        _, params, state, _ = parts(build(nnx.Rngs(key)))
        return jax.tree.map(jnp.array, (params, state))  # a copy: an instance keeps its own

    def apply(
        params: Params,
        state: State,
        x: Any,
        *,
        key: Key | None = None,
        train: bool = False,
        **side: Any,
    ) -> tuple[Any, State]:
        if train and key is None and streams:
            raise ValueError(f"{kind} draws random numbers: apply(..., key=key, train=True)")
        seeded = _seeded(streams, jax.random.key(0) if key is None else key)
        module = nnx.merge(form, params or {}, state or {}, seeded or {})
        module.train() if train else module.eval()
        y = module(*(x if several else (x,)), **_mode(module, train), **side)
        return y, parts(module)[2] if train else state

    return make(kind, init, apply, (), None, _reads(like, inputs))


def _seeded(streams: Any, key: Key) -> Any:
    """Keys for random streams, each by its path, and their counts at 0."""

    def one(path: Any, leaf: Any) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jnp.zeros(leaf.shape, leaf.dtype)
        own = keys.child(key, path_string(path))
        return jax.random.split(own, leaf.shape) if leaf.shape else own

    return jax.tree.map_with_path(one, streams)


def _mode(module: Any, train: bool) -> dict[str, bool]:
    """The arguments of the module's call that say whether it trains."""
    known = inspect.signature(module.__call__).parameters
    return {name: train == value for name, value in _TRAINING.items() if name in known}


# ------------------------------------------------------------------------ Layers as Flax's modules


def to_flax(layer: Layer) -> Any:
    """A Layer as a linen module, called as `module(x, train=False, **side)`.

    Its parameters are in "params" by their paths, its state in "batch_stats"; where it trains, its
    key comes from the stream "dropout", if there is one. What it remembers is the collection
    "cache", which `nn.memory(layer, batch)` begins: given, and mutable, it goes on from there.
    """
    return _linen()(layer)


def to_nnx(layer: Layer, *, rngs: Any) -> Any:
    """A Layer as an nnx module, called as `module(x, **side)`.

    Its parameters are nnx.Param under `params`, its state nnx.BatchStat under `state`. As nnx's own
    it trains until `eval()`, and then draws from the stream "dropout" of `rngs`.
    """
    return _nnx()(layer, rngs)


@functools.cache
def _linen() -> Any:
    from flax import core, linen

    class FromLayer(linen.Module):
        layer: Layer

        @linen.compact
        def __call__(self, x: Any, train: bool = False, **side: Any) -> Any:
            if self.is_initializing():
                params, state = self.layer.init(self.make_rng("params"))
                self.put("params", params)
                self.put("batch_stats", state)
            variables: Any = core.unfreeze(dict(self.variables))
            cache = variables.get("cache") or ()
            y, state = self.layer.apply(
                variables.get("params", ()),
                joined(variables.get("batch_stats", ()), cache),
                x,
                key=self.make_rng("dropout") if train and self.has_rng("dropout") else None,
                train=train,
                **side,
            )
            state, cache = parted(state)
            if self.is_mutable_collection("cache"):
                self.put("cache", cache)
            if train and not self.is_initializing():
                self.put("batch_stats", state)
            return y

        def put(self, collection: str, tree: Any) -> None:
            for name, value in (tree or {}).items():
                self.put_variable(collection, name, value)

    return FromLayer


@functools.cache
def _nnx() -> Any:
    from flax import nnx

    class FromLayer(nnx.Module):
        def __init__(self, layer: Layer, rngs: Any) -> None:
            params, state = layer.init(rngs.params())
            self.layer = nnx.static(layer)
            self.params = nnx.data(jax.tree.map(nnx.Param, params))
            self.state = nnx.data(jax.tree.map(nnx.BatchStat, state))
            self.rngs = rngs.dropout.fork()
            self.deterministic = False

        def __call__(self, x: Any, **side: Any) -> Any:
            train = not self.deterministic
            params, state = (values(tree) for tree in (self.params, self.state))
            key = self.rngs() if train else None
            y, new = self.layer.apply(params, state, x, key=key, train=train, **side)
            jax.tree.map(lambda one, value: one.set_value(value), self.state, new, is_leaf=leaf)
            return y

    def leaf(thing: Any) -> bool:
        return isinstance(thing, nnx.Variable)

    def values(tree: Any) -> Any:
        return jax.tree.map(lambda one: one.get_value(), tree, is_leaf=leaf)

    return FromLayer
