"""Changes to a finished network: a part replaced, a chain cut in two, leaves frozen and thawed.

All give a new Layer. Paths stay, so the trees of the old one serve the new one.
"""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

import jax

from dlcore import tree
from dlcore.keys import Key
from dlcore.names import arguments
from dlcore.nn.layer import Children, Layer, Params, State, as_layer, gather, select


@arguments()
def replace(layer: Layer, path: str, new: Any) -> Layer:
    """`layer` with the layer `new` in the place of the one at `path`.

    A model that was changed so is no longer of its published kind, but the serial that it is made
    of. See `graft` for the parameters.
    """
    name, _, rest = path.partition("/")
    _check_child(layer, name, path)
    children = tuple(
        (one, child if one != name else replace(child, rest, new) if rest else as_layer(new))
        for one, child in layer.info.children
    )
    return _rebuild(layer, children, path)


@arguments()
def graft(
    key: Key, layer: Layer, params: Params, state: State, path: str, new: Any
) -> tuple[Layer, Params, State]:
    """`replace`, with trees: those of `layer`, and for the `new` part freshly drawn ones.

    >>> from dlcore import nn
    >>> layer = nn.serial(nn.linear(4, 8), nn.named("head", nn.linear(8, 1000)))
    >>> params, state = layer.init(jax.random.key(0))
    >>> head = nn.linear(8, 5)
    >>> layer, params, state = nn.graft(jax.random.key(1), layer, params, state, "head", head)
    >>> params["head"]["kernel"].shape
    (8, 5)
    """
    grafted = replace(layer, path, new)
    own = as_layer(new).init(key)
    segments = path.split("/")
    return grafted, _put(params, segments, own[0]), _put(state, segments, own[1])


@arguments()
def split(layer: Layer, name: str) -> tuple[Layer, Layer]:
    """A serial in two: what comes before its child `name`, and that child with all after it.

    Each takes its part of the whole's trees: `part(before, params)`.
    """
    _check_child(layer, name, name)
    children = layer.info.children
    at = [one for one, _ in children].index(name)
    halves = _rebuild(layer, children[:at], name), _rebuild(layer, children[at:], name)
    if halves[0].info.kind != "serial":
        raise ValueError(f"split needs a serial, got a {layer.info.kind}")
    return halves


@arguments()
def part(layer: Layer, tree: Any) -> Any:
    """The part of params or state `tree` of a larger network that belongs to `layer`'s children."""
    return gather({name: select(tree, name) for name, _ in layer.info.children})


# --------------------------------------------------------------------------- freezing and thawing


@arguments()
def freeze(layer: Layer, mask: tree.Mask) -> Layer:
    """`layer` with the leaves that `mask` chooses held, as `freeze(net, "stem/**")`.

    A frozen leaf of params has no gradient, and a TrainState made with the frozen Layer
    (`train.train_state`) neither differentiates nor updates nor decays it, nor keeps moments of it.
    Batch norm's statistics stand still, and are those that normalise, where one of them is frozen
    or all of the layer's parameters are. Layers without leaves (dropout) go on as they were. An
    array that a `wire` uses at two places (tied weights) is held at both.

    The mask has all the forms of `tree.mask`: globs of params and state, or a tree of booleans like
    params. One that does not fit the leaves is a ValueError.
    """
    return _hold(layer, frozenset(frozen(layer)) | _chosen(layer, mask), {})


@arguments()
def thaw(layer: Layer, mask: tree.Mask) -> Layer:
    """The reverse of `freeze`: the leaves that `mask` chooses learn again."""
    return _hold(layer, frozenset(frozen(layer)) - _chosen(layer, mask), {})


def frozen(layer: Layer) -> tuple[str, ...]:
    """The paths of the leaves of params and state that are frozen, in order."""
    own = sorted(layer.info.frozen)
    return (
        *own,
        *(f"{name}/{path}" for name, child in layer.info.children for path in frozen(child)),
    )


def _chosen(layer: Layer, mask: tree.Mask) -> frozenset[str]:
    """The paths that the mask chooses, by globs also those of state."""
    params, state = jax.eval_shape(layer.init, jax.random.key(0))
    given = mask(params) if callable(mask) else mask
    leaves = dict(tree.leaves_with_paths(params))
    if given is None or tree.globs(given):
        leaves |= dict(tree.leaves_with_paths(state))
    return frozenset(path for path, chosen in tree.mask(leaves, given).items() if chosen)


def _hold(layer: Layer, paths: frozenset[str], made: dict[Any, Layer]) -> Layer:
    """`layer` with just these of its leaves frozen.

    Made from the Layer as it was before any freezing, and once: blocks that are one Layer, and are
    frozen alike, stay one, which `repeat` can scan.
    """
    layer = layer.info.thawed or layer
    known = (id(layer), paths)
    if known not in made:
        held = _held_parts if layer.info.children else _held_leaves
        made[known] = held(layer, paths, made)
    return made[known]


def _held_parts(layer: Layer, paths: frozenset[str], made: dict[Any, Layer]) -> Layer:
    children = tuple(
        (name, _hold(child, _below(paths, name), made)) for name, child in layer.info.children
    )
    if all(new is old for (_, new), (_, old) in zip(children, layer.info.children, strict=True)):
        return layer
    new = _rebuild(layer, children, layer.info.kind)
    info = dataclasses.replace(
        new.info, kind=layer.info.kind, config=layer.info.config, thawed=layer
    )
    return _without_gradient(new._replace(info=info), paths)


def _below(paths: frozenset[str], name: str) -> frozenset[str]:
    return frozenset(path.removeprefix(f"{name}/") for path in paths if path.startswith(f"{name}/"))


def _held_leaves(layer: Layer, paths: frozenset[str], made: dict[Any, Layer]) -> Layer:
    if not paths:
        return layer
    params, state = (
        {path for path, _ in tree.leaves_with_paths(one)}
        for one in jax.eval_shape(layer.init, jax.random.key(0))
    )
    stands_still = bool(state) and (bool(state & paths) or (bool(params) and params <= paths))

    held = _without_gradient(layer, paths)

    def apply(*args: Any, train: bool = False, **kwargs: Any) -> tuple[Any, State]:
        return held.apply(*args, train=train and not stands_still, **kwargs)

    return Layer(layer.init, apply, dataclasses.replace(layer.info, frozen=paths, thawed=layer))


def _without_gradient(layer: Layer, paths: frozenset[str]) -> Layer:
    """`layer` without a gradient of these leaves of params, wherever in it their arrays are used:
    a `wire` may use those of one part in another (tied weights).
    """

    def apply(params: Params, *args: Any, **kwargs: Any) -> tuple[Any, State]:
        return layer.apply(without_gradient(params, paths), *args, **kwargs)

    return layer._replace(apply=apply)


def without_gradient(params: Params, paths: frozenset[str]) -> Params:
    """`params`, of whose leaves at these paths there is no gradient."""

    def one(path: Any, leaf: Any) -> Any:
        return jax.lax.stop_gradient(leaf) if tree.path_string(path) in paths else leaf

    return jax.tree.map_with_path(one, params)


# ------------------------------------------------------------------------------------- rebuilding


def _rebuild(layer: Layer, children: Children, path: str) -> Layer:
    if layer.info.rebuild is None:
        raise ValueError(
            f"{path!r}: a {layer.info.kind} cannot be rebuilt of other parts: make it with "
            "`rebuild` (see nn.make), or of the combinators"
        )
    new = layer.info.rebuild(children)
    return new._replace(info=dataclasses.replace(new.info, name=layer.info.name))


def _check_child(layer: Layer, name: str, path: str) -> None:
    names = [one for one, _ in layer.info.children]
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=1)
        hint = f", did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(
            f"{path!r}: a {layer.info.kind} has no child {name!r}{hint} "
            f"It has {', '.join(names) or 'none'}"
        )


def _put(trees: Any, segments: list[str], new: Any) -> Any:
    """`trees` with `new` at that path; an empty one leaves no entry."""
    name, *rest = segments
    inner = _put(select(trees, name), rest, new) if rest else new
    return gather({**(trees or {}), name: inner})
