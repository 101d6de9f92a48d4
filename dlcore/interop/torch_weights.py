"""PyTorch's state dicts, in and out.

Names of modules come from `torch_names`; names and layouts of a layer's own leaves are here, by
kind of layer. A tensor of torch is a leaf with its axes in another order, and both directions are
read from one description, `_Place`.
"""

from __future__ import annotations

import os
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import files
from dlcore.interop import weights
from dlcore.interop.torch_names import NAMES, TIMM, Names
from dlcore.interop.weights import WeightsError, WeightsWarning, about, check_fit
from dlcore.misfits import listed
from dlcore.nn.layer import Info, Layer, Params, State
from dlcore.tree import leaves_with_paths

# Of each kind of layer: what torch calls its leaves, and which of our axes torch's axes are; None
# is an axis of length 1 that only torch has. Leaves of other kinds are the same in torch.
Layout = dict[str, tuple[str, tuple[int | None, ...]]]
_CONV: Layout = {"kernel": ("weight", (3, 2, 0, 1)), "bias": ("bias", (0,))}
_LINEAR: Layout = {"kernel": ("weight", (1, 0)), "bias": ("bias", (0,))}
_NORM: Layout = {"scale": ("weight", (0,)), "offset": ("bias", (0,))}
# Its name for a recurrent layer's leaf ends with the place in the stack, "_l0" or "_l1_reverse".
_RECURRENT: Layout = {
    "kernel": ("weight_ih", (1, 0)),
    "recurrent_kernel": ("weight_hh", (1, 0)),
    "bias": ("bias_ih", (0,)),
}
LAYOUTS: dict[str, Layout] = {
    "conv": _CONV,
    "conv_transpose": _CONV,
    "linear": _LINEAR,
    "dropconnect": _LINEAR,
    "batch_norm": _NORM | {"mean": ("running_mean", (0,)), "var": ("running_var", (0,))},
    "layer_norm": _NORM,
    "group_norm": _NORM,
    "instance_norm": _NORM,
    "rms_norm": _NORM,
    "layer_scale": {"scale": ("", (0, None, None))},
    "rnn": _RECURRENT,
    "lstm": _RECURRENT | {"projection": ("weight_hr", (1, 0))},
    "gru": _RECURRENT | {"recurrent_bias": ("bias_hh", (0,))},
    "prelu": {"alpha": ("weight", (0,))},
    "embedding": {"embedding": ("weight", (0, 1))},
    "class_token": {"embedding": ("", (None, None, 0))},
    "patch_position": {"embedding": ("", (None, 0, 1))},
    "position": {"embedding": ("weight", (0, 1))},
}
# The leaves whose first axis is the features of the input, wherever that is a vector.
_BY_FEATURE = {"kernel", "scale", "offset", "mean", "var", "alpha"}
# torch's MultiheadAttention has three projections in one tensor, in this order.
_PACKED = ("query", "key", "value")
_STACKS = {"rnn", "lstm", "gru"}
_COUNTER = "num_batches_tracked"
_COUNTERS = (_COUNTER, "n_averaged")  # batch norm's and AveragedModel's
# What torch.compile and FSDP put into names, wherever they wrap a part.
_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_CHECKPOINT = ("state_dict", "model", "model_state_dict")
_DEPTH = 8  # of checkpoints in each other
# What may be a Sequential, as the globs of hints: the network, all that is in it, or both.
_SEQUENTIALS = ("", "?*/**", "**")


def from_torch(
    layer: Layer,
    source: Mapping[str, Any] | str | os.PathLike[str],
    *,
    names: Names | None = None,
    channels: int | None = None,
) -> tuple[Params, State]:
    """(params, state) of `layer` from a torch state dict, or from a file that holds one.

    Modules are matched by the names in `torch_names` for the kind of model, torchvision's or those
    of timm, or by `names` (a model with a part replaced is no longer of its kind); in other
    networks torch has "." for "/", and of a Sequential numbers: `names=Names(numbered=("",))`.
    Leaves are matched by the kind of layer: a kernel is torch's weight [O, I, h, w] or [O, I],
    scale and offset are weight and bias, mean and var are running_mean and running_var (torch's var
    is unbiased, and comes in as it is; num_batches_tracked does not).

    A linear layer after `flatten` has its features in torch's order, [C, H, W]. C is what the
    layers before it say, or a model's `inputs`; where none does, as in serial(flatten, linear), say
    it by `channels`. A function used as a layer is taken to keep C.

    Leaves have the layer's own dtypes, float32: half precision is widened, float64 rounded. One
    prefix before all names, such as Lightning's `model.` or DataParallel's `module.`, what
    torch.compile and FSDP put into them, and a state dict in a checkpoint are understood. A
    .safetensors file is read by `weights`, any other by torch, which must be installed, with
    `weights_only`: nothing in it runs.

    Raises WeightsError, which names every tensor that is missing, too much or misshapen. Tensors
    with NaN or infinity come in, and are named in a WeightsWarning.
    """
    if not isinstance(source, str | os.PathLike):
        params, state, unsound = _fitted(layer, source, names, channels)
    else:
        path = files.located(source, WeightsError)
        tensors = _read(path)
        with about(path, "cannot be read"):
            params, state, unsound = _fitted(layer, tensors, names, channels)
    if unsound:
        holders = f"{len(unsound)} tensors hold NaN or infinity: {listed(unsound)}"
        warnings.warn(f"{holders}; train again, or take another file", WeightsWarning, stacklevel=2)
    return params, state


def to_torch(
    layer: Layer,
    params: Params,
    state: State,
    *,
    names: Names | None = None,
    channels: int | None = None,
    numpy: bool = False,
) -> dict[str, Any]:
    """The state dict that a torch module of the same form loads; `from_torch` reversed.

    Its values are torch tensors, or with `numpy` NumPy arrays, which need no torch and which
    `weights.save` writes as safetensors. num_batches_tracked is 0. Names are torchvision's; with
    `names=torch_names.TIMM["vit"]` they are timm's.
    """
    places = _places(layer, _shapes(layer), NAMES, names, channels)
    leaves = _by_path((params, state))
    wanted = {place.path: _described(place.shape, place.dtype) for place in places}
    given = {path: _described(leaf.shape, leaf.dtype) for path, leaf in leaves.items()}
    check_fit(f"leaves do not fit this {layer.info.kind}", wanted, given)
    pieces: dict[str, list[np.ndarray]] = {}
    for place in sorted(places, key=lambda place: place.part):
        pieces.setdefault(place.name, []).append(place.theirs(leaves[place.path]))
    shapes = {place.name: place.torch_shape for place in places}
    for first, second in _second_biases(shapes).items():
        own, shapes[second] = pieces.get(second, []), shapes[first]
        rest = sum(map(len, pieces[first])) - sum(map(len, own))
        pieces[second] = [np.zeros(rest, pieces[first][0].dtype), *own]
    axes = {place.name: place.axis for place in places}
    arrays = {
        name: np.concatenate(piece, axes.get(name, 0)).reshape(shapes[name])
        for name, piece in pieces.items()
    }
    for name in pieces:
        if name.endswith("running_mean"):
            arrays[name.removesuffix("running_mean") + _COUNTER] = np.zeros((), np.int64)
    return arrays if numpy else _as_tensors(arrays)


def _fitted(
    layer: Layer, source: Any, names: Names | None, channels: int | None
) -> tuple[Params, State, list[str]]:
    """params, state, and the names of the tensors that hold NaN or infinity."""
    trees = _shapes(layer)
    tensors = _without_wrappers(_state_dict(source))
    readings = [
        _reading(_places(layer, trees, tables, names, channels), tensors)
        for tables in (NAMES, TIMM)
    ]
    reading = max(readings, key=lambda one: one.found)  # the first, where they are alike
    spare = names or NAMES.get(layer.info.kind, Names())
    needed = {
        name: tensor
        for name, tensor in reading.tensors.items()
        if name in reading.wanted or not (name.endswith(_COUNTERS) or spare.spares(name))
    }
    behind = f" behind {reading.prefix!r:.200}" if reading.prefix else ""
    what = f"tensors do not fit this {layer.info.kind}{behind}"
    try:
        check_fit(what, reading.wanted, {name: _form(one) for name, one in needed.items()})
    except WeightsError as error:
        hint = reading.hint or _numbers_hint(layer, trees, channels, tensors)
        raise WeightsError(f"{error}; {hint}" if hint else str(error)) from None
    arrays = _with_one_bias(
        reading.places, {name: _as_array(name, tensor) for name, tensor in needed.items()}
    )
    leaves = [place.ours(arrays[place.name]) for place in reading.places]
    unsound = {
        place.name: None
        for place, leaf in zip(reading.places, leaves, strict=True)
        if not np.isfinite(np.asarray(leaf)).all()
    }
    return *jax.tree.unflatten(jax.tree.structure(trees), leaves), list(unsound)


# -------------------------------------------------------------------------- which names are theirs


class _Reading(NamedTuple):
    """Tensors under the names that a table gives to a network's leaves.

    `tensors` are without the `prefix` that they have in torch, and `found` is how many of them have
    a name that is wanted. Where not all have that prefix, or several would do, `hint` says so.
    """

    places: list[_Place]
    wanted: dict[str, str]
    tensors: dict[str, Any]
    found: int
    prefix: str = ""
    hint: str = ""


def _reading(places: list[_Place], tensors: dict[str, Any]) -> _Reading:
    wanted = {place.name: _described(place.torch_shape, place.dtype) for place in places}
    wanted |= {second: wanted[first] for first, second in _second_biases(wanted).items()}
    counts = _prefixes(tensors, wanted)
    found = max(counts.values(), default=0)
    if counts[""] == found:
        return _Reading(places, wanted, tensors, found)
    prefixes = [prefix for prefix, count in counts.items() if count == found]
    hint = (
        f"names fit behind {listed([*map(repr, prefixes)])}: with that as p, give "
        "{name.removeprefix(p): tensor for name, tensor in tensors.items() if name.startswith(p)}"
    )
    prefix = prefixes[0]
    bare = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    if len(prefixes) > 1 or len(bare) < len(tensors):
        return _Reading(places, wanted, tensors, found, hint=hint)
    is_common = all(name.startswith(prefix) or name.endswith(_COUNTERS) for name in tensors)
    return _Reading(places, wanted, bare, found, prefix, hint="" if is_common else hint)


def _prefixes(tensors: Mapping[str, Any], wanted: Mapping[str, Any]) -> Counter[str]:
    """What stands before the names that are wanted, and before how many of them; "" is nothing."""
    depth = max((name.count(".") for name in wanted), default=0) + 1
    counts: Counter[str] = Counter()
    for name in tensors:
        parts = name.rsplit(".", depth)
        ends = (".".join(parts[at:]) for at in range(len(parts)))
        counts.update(name.removesuffix(end) for end in ends if end in wanted)
    return counts


def _numbers_hint(layer: Layer, trees: Any, channels: int | None, tensors: dict[str, Any]) -> str:
    """How the network is loaded, where its parts have numbers in torch, as a Sequential's have."""
    tensors = {name: one for name, one in tensors.items() if not name.endswith(_COUNTERS)}
    for glob in _SEQUENTIALS:
        names = Names(numbered=(glob,))
        reading = _reading(_places(layer, trees, NAMES, names, channels), tensors)
        if reading.wanted == {name: _form(one) for name, one in reading.tensors.items()}:
            return f"names of a Sequential: names=interop.torch_names.Names(numbered=({glob!r},))"
    return ""


# ------------------------------------------------------------------ where each leaf lies in torch


class _Place(NamedTuple):
    """A leaf of params or state, and the tensor of torch that it is, or is a part of."""

    path: str
    shape: tuple[int, ...]
    dtype: Any
    name: str
    split: tuple[int, ...]  # the leaf's shape, with an axis of flattened features as H·W, C
    order: tuple[int, ...]  # torch's axes among the split ones
    piece: tuple[int, ...]  # the shape of this part of the tensor
    part: int
    parts: int
    axis: int  # of the tensor, along which its parts lie
    torch_shape: tuple[int, ...]  # that of the tensor

    def theirs(self, leaf: Any) -> np.ndarray:
        return np.asarray(leaf).reshape(self.split).transpose(self.order).reshape(self.piece)

    def ours(self, tensor: np.ndarray) -> jax.Array:
        piece = np.split(tensor, self.parts, self.axis)[self.part]
        piece = piece.reshape([self.split[axis] for axis in self.order])
        leaf = piece.transpose(np.argsort(self.order)).reshape(self.shape)
        with np.errstate(over="ignore"):  # what float32 cannot hold is told of as infinity
            return jnp.array(leaf, self.dtype)  # a copy, since torch may train its own


def _second_biases(names: Iterable[str]) -> dict[str, str]:
    """The two biases that torch's recurrent layers have, by the name of the first."""
    firsts = [name for name in names if re.search(r"(^|\.)bias_ih_l\d+(_reverse)?$", name)]
    return {name: name.replace("bias_ih_l", "bias_hh_l") for name in firsts}


def _with_one_bias(places: list[_Place], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors with both biases in the first; what a leaf is of the second stays there (GRU's n)."""
    added = dict(arrays)
    apart = {place.name: place.piece[0] for place in places}
    for first, second in _second_biases(arrays).items():
        own = arrays[second].copy()
        if second in apart:
            own[-apart[second] :] = 0
        added[first] = arrays[first] + own
    return added


def _shapes(layer: Layer) -> tuple[Params, State]:
    return jax.eval_shape(layer.init, jax.eval_shape(lambda: jax.random.key(0)))


def _places(
    layer: Layer,
    trees: tuple[Params, State],
    tables: Mapping[str, Names],
    names: Names | None,
    channels: int | None,
) -> list[_Place]:
    """The places of the leaves of (params, state), in tree order."""
    names = names or tables.get(layer.info.kind, Names())
    modules = dict(_modules(layer, _At("", "", names, [], tables), _Flow(channels)))
    return [
        _place(path, leaf, modules[path.rpartition("/")[0]])
        for path, leaf in _by_path(trees).items()
    ]


def _by_path(trees: tuple[Params, State]) -> dict[str, Any]:
    return {path: leaf for tree in trees for path, leaf in leaves_with_paths(tree)}


def _place(path: str, leaf: jax.ShapeDtypeStruct, module: _Module) -> _Place:
    own = path.rpartition("/")[2]
    split, axes = leaf.shape, tuple(range(leaf.ndim))
    name, layout = LAYOUTS.get(module.kind, {}).get(own, (own, axes))
    is_conv1d = module.names.conv1d and module.kind == "linear"
    layout = axes if is_conv1d else layout
    if not axes:  # torch has one number as [1]
        layout = (None,)
    sizes = [1 if axis is None else split[axis] for axis in layout]
    images = [1] * len(axes)  # of each axis, the channels of an image that it is, flattened
    if module.flow.is_flat and own in _BY_FEATURE:
        images[0] = module.flow.channels_in(split[0], path)
    image = module.flow.image
    if image > 1 and axes and own in {"bias", *_BY_FEATURE} and split[-1] % image == 0:
        images[-1] = image
    split, order = _channels_first(split, layout, images)
    part, parts = (2, 3) if own == "recurrent_bias" else (module.part, module.parts)  # r, u, n
    name = (module.prefix + name + module.suffix).rstrip(".")
    axis, whole = layout.index(len(axes) - 1) if is_conv1d else 0, sizes.copy()
    whole[axis] *= parts
    return _Place(
        path,
        leaf.shape,
        leaf.dtype,
        name,
        split,
        tuple(order),
        tuple(sizes),
        part,
        parts,
        axis,
        module.names.shape(name, tuple(whole)),
    )


def _channels_first(
    shape: tuple[int, ...], layout: Sequence[int | None], images: Sequence[int]
) -> tuple[tuple[int, ...], list[int]]:
    """`shape` with an axis for the places and one for the channels of each image, H·W·C, and the
    order of all axes in torch, where it is C, H·W.
    """
    split: list[int] = []
    at: list[tuple[int, ...]] = []
    for size, channels in zip(shape, images, strict=True):
        here = len(split)
        at.append((here,) if channels == 1 else (here + 1, here))
        split += [size] if channels == 1 else [size // channels, channels]
    return tuple(split), [one for axis in layout if axis is not None for one in at[axis]]


class _At(NamedTuple):
    """A position in a network: its path, and what torch calls it.

    `inner` is the path, as (name, position) of each segment, inside the model which `names` are of,
    and torch calls that `base`. `tables` has the names of the models inside.
    """

    path: str
    base: str
    names: Names
    inner: list[tuple[str, int]]
    tables: Mapping[str, Names]

    @property
    def name(self) -> str:
        return ".".join(filter(None, (self.base, self.names.translate(self.inner))))

    @property
    def prefix(self) -> str:
        return self.name and f"{self.name}."

    def children(self, layer: Layer) -> Iterator[tuple[str, Layer, _At]]:
        """The name of each child of the layer that is here, the child, and where it is."""
        for position, (name, child) in enumerate(layer.info.children):
            path = f"{self.path}/{name}" if self.path else name
            at = self._replace(path=path, inner=[*self.inner, (name, position)])
            if child.info.children and child.info.kind in self.tables:
                names = self.tables[child.info.kind]
                at = at._replace(base=at.name, names=names, inner=[])
            yield name, child, at


class _Flow(NamedTuple):
    """What is known of x on its way: its channels, whether an image was flattened; and of how many
    channels the image is that y becomes next.
    """

    channels: int | None
    is_flat: bool = False
    image: int = 1

    def channels_in(self, features: int, path: str) -> int:
        """The channels of the image that was flattened to so many features."""
        if self.channels is None or features % self.channels:
            known = "unknown" if self.channels is None else f"not {self.channels}"
            raise ValueError(
                f"{path} is of {features} flattened features, whose order in torch depends on the "
                f"image's channels, which are {known}: say channels=, 1 for gray images and vectors"
            )
        return self.channels

    def after(self, layer: Layer) -> _Flow:
        config = layer.info.config
        if layer.info.kind == "flatten":
            return _Flow(self.channels, is_flat=True)
        if layer.info.kind == "labelled" and self.is_flat and self.channels != 1:
            return _Flow(None, is_flat=True)  # the label, which is no pixel, stands behind them
        for size in ("out_channels", "out_features", "units"):
            if size in config:
                return _Flow(config[size])
        return self


class _Module(NamedTuple):
    """A layer without layers inside, with what its leaves' names begin with in torch."""

    kind: str
    prefix: str
    names: Names
    flow: _Flow
    part: int = 0
    parts: int = 1
    suffix: str = ""


def _modules(layer: Layer, at: _At, flow: _Flow) -> Generator[tuple[str, _Module], None, _Flow]:
    """Every layer without layers inside, by path; returns what is known of y."""
    inputs = layer.info.config.get("inputs")
    if inputs is not None:  # of a model: [H, W, C], or the size of a vector
        flow = _Flow(1 if isinstance(inputs, int) else inputs[-1])
    if layer.info.kind in _STACKS:
        yield from _stack(layer, at, flow, "_l0")
        return _Flow(None)
    if not layer.info.children:
        yield at.path, _Module(layer.info.kind, at.prefix, at.names, flow)
        return flow.after(layer)
    is_packed = at.names.packed and not {"kv_heads", "source"} & layer.info.config.keys()
    if layer.info.kind == "attention" and is_packed:
        yield from _projections(layer, at, flow)
        return _Flow(layer.info.config["features"])
    form = _made_by(layer)
    outputs, last = [], flow.image
    children = [child for _, child in layer.info.children]
    for position, (_, child, inner) in enumerate(at.children(layer), 1):
        if form.kind in ("serial", "repeat"):
            image = _next_image(children[position:], last)
            flow = yield from _modules(child, inner, flow._replace(image=image))
        else:
            known = flow if form.kind in ("residual", "branch", "concat") else _Flow(None)
            outputs.append((yield from _modules(child, inner, known)))
    return _joined(form, outputs) if outputs else flow


def _next_image(following: Sequence[Layer], last: int) -> int:
    """The channels of the image that y becomes in one of the layers after it; `last` where it comes
    out of them as it is.
    """
    for layer in following:
        config = layer.info.config
        if layer.info.kind == "unflatten":
            return config["shape"][-1] if len(config["shape"]) > 1 else 1
        if layer.info.children or {"out_channels", "out_features", "units"} & config.keys():
            return 1
    return last


def _stack(layer: Layer, at: _At, flow: _Flow, suffix: str) -> Iterator[tuple[str, _Module]]:
    """The recurrent layers of a stack, which are one module in torch."""
    if layer.info.config.get("reset") == "before":
        raise WeightsError(f'{at.path or "gru"}: torch resets after the product: reset="after"')
    if not layer.info.children:
        yield at.path, _Module(layer.info.kind, at.prefix, at.names, flow, suffix=suffix)
    for name, child, inner in at.children(layer):
        own = {"forward": suffix, "backward": f"{suffix}_reverse"}.get(name, f"_l{name}")
        yield from _stack(child, inner._replace(inner=at.inner, base=at.base), flow, own)


def _projections(layer: Layer, at: _At, flow: _Flow) -> Iterator[tuple[str, _Module]]:
    """The linear layers of attention, as torch's MultiheadAttention has them."""
    assert at.names.packed
    inward, outward = (at.prefix + name for name in at.names.packed)
    for name, child, inner in at.children(layer):
        if name in _PACKED:
            part = (_PACKED.index(name), len(_PACKED))
            yield inner.path, _Module(child.info.kind, inward, at.names, flow, *part)
        else:
            yield inner.path, _Module(child.info.kind, outward, at.names, flow)


def _made_by(layer: Layer) -> Info:
    """What a layer is made by: a model's description does not say that it is a serial."""
    rebuild = layer.info.rebuild
    return rebuild(layer.info.children).info if rebuild else layer.info


def _joined(form: Info, outputs: list[_Flow]) -> _Flow:
    """What is known of the output of branches."""
    known = [one.channels for one in outputs if one.channels is not None]
    if form.kind == "residual" or (form.kind == "branch" and len(set(outputs)) == 1):
        return outputs[0]
    if form.kind == "concat" and form.config["axis"] == -1 and len(known) == len(outputs):
        return _Flow(sum(known))
    return _Flow(None)


# ------------------------------------------------------------------------------- tensors of torch


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return dict(leaves_with_paths(weights.load(path)[0]))
    try:
        import torch
    except ModuleNotFoundError:
        raise WeightsError(
            f"{path}: torch reads such a file, and is not installed: save it as .safetensors, or "
            "pip install torch"
        ) from None
    with about(path, "cannot be read"), files.plain(path) as file:
        try:
            _check_zip(file)
            return torch.load(file, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except Exception as error:  # a damaged file may raise anything, anywhere in the reader
            raise WeightsError(
                f"refused by torch.load with weights_only ({type(error).__name__}): it is damaged "
                "or holds more than tensors; save it by torch.save(module.state_dict(), path)"
            ) from error


def _check_zip(file: BinaryIO) -> None:
    """Refuses a zip with more in it than in the file: torch stores tensors as they are."""
    if zipfile.is_zipfile(file):
        size = file.seek(0, os.SEEK_END)
        if sum(member.file_size for member in zipfile.ZipFile(file).infolist()) > size:
            raise zipfile.BadZipFile("its members are larger than the file")
    file.seek(0)


def _state_dict(source: Any) -> dict[str, Any]:
    """The tensors by name, also out of a checkpoint that has more than these."""
    for _ in range(_DEPTH):
        if not isinstance(source, Mapping):
            advice = ": give its .state_dict()" if hasattr(source, "state_dict") else ""
            raise WeightsError(
                f"a state dict of tensors is wanted, got a {type(source).__name__}{advice}"
            )
        others = [name for name, value in source.items() if not _is_tensor(name, value)]
        if not others:
            return dict(source)
        inside = [name for name in _CHECKPOINT if isinstance(source.get(name), Mapping)]
        inside = inside or [name for name in others if _is_state_dict(source[name])]
        if len(inside) != 1:
            entries = listed([f"{name} ({type(source[name]).__name__})" for name in others])
            raise WeightsError(
                f"a state dict of tensors is wanted, or a checkpoint with one under "
                f"{', '.join(_CHECKPOINT)}; no tensors are {entries}"
            )
        source = source[inside[0]]
    raise WeightsError(
        f"a state dict of tensors is wanted, got dictionaries in each other, {_DEPTH} deep"
    )


def _is_tensor(name: Any, value: Any) -> bool:
    return isinstance(name, str) and hasattr(value, "shape")


def _is_state_dict(value: Any) -> bool:
    is_full = isinstance(value, Mapping) and len(value) > 0
    return is_full and all(_is_tensor(*item) for item in value.items())


def _without_wrappers(tensors: dict[str, Any]) -> dict[str, Any]:
    """The tensors without the segments that wrappers put into their names."""
    bare = {
        ".".join(part for part in name.split(".") if part not in _WRAPPERS): tensor
        for name, tensor in tensors.items()
    }
    return bare if len(bare) == len(tensors) else tensors


def _as_array(name: str, tensor: Any) -> np.ndarray:
    """A NumPy array of a tensor of torch, or of anything that NumPy takes."""
    if not hasattr(tensor, "detach"):
        return np.asarray(tensor)
    try:
        tensor = tensor.detach().cpu()
        narrow = tensor.is_floating_point() and tensor.element_size() < 4
        return (tensor.float() if narrow else tensor).numpy()  # NumPy has no bfloat16
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise WeightsError(f"{name}: no plain tensor ({error!s:.200})") from error


def _as_tensors(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    import torch

    half = np.dtype(jnp.bfloat16)
    return {
        name: torch.tensor(array.astype(np.float32)).bfloat16()
        if array.dtype == half
        else torch.tensor(array)
        for name, array in arrays.items()
    }


def _form(tensor: Any) -> str:
    """`_described` of a tensor of torch, whose values are not looked at, or of an array."""
    if not hasattr(tensor, "detach"):
        return _described(np.shape(tensor), np.asarray(tensor).dtype)
    kind = "" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
    return f"{kind}{list(tensor.shape)}"


def _described(shape: Any, dtype: Any) -> str:
    """A shape; of what is not floating point with the dtype, since it cannot be a weight."""
    kind = "" if jnp.issubdtype(dtype, jnp.floating) else str(dtype)
    return f"{kind}{list(shape)}"
