"""PyTorch's state dicts, in and out.

Names of modules come from `torch_names`; names and layouts of a layer's own leaves are here, by
kind of layer. A tensor of torch is a leaf with its axes in another order, and both directions are
read from one description, `_Place`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.interop import weights
from dlcore.interop.torch_names import NAMES, Names
from dlcore.interop.weights import WeightsError, about, check_fit, listed
from dlcore.nn.layer import Info, Layer, Params, State
from dlcore.tree import leaves_with_paths

# Of each kind of layer: what torch calls its leaves, and which of our axes torch's axes are; None
# is an axis of length 1 that only torch has. Leaves of other kinds are the same in torch.
Layout = dict[str, tuple[str, tuple[int | None, ...]]]
_CONV: Layout = {"kernel": ("weight", (3, 2, 0, 1)), "bias": ("bias", (0,))}
_LINEAR: Layout = {"kernel": ("weight", (1, 0)), "bias": ("bias", (0,))}
_NORM: Layout = {"scale": ("weight", (0,)), "offset": ("bias", (0,))}
LAYOUTS: dict[str, Layout] = {
    "conv": _CONV,
    "conv_transpose": _CONV,
    "linear": _LINEAR,
    "dropconnect": _LINEAR,
    "batch_norm": _NORM | {"mean": ("running_mean", (0,)), "var": ("running_var", (0,))},
    "layer_norm": _NORM,
    "group_norm": _NORM,
    "instance_norm": _NORM,
    "layer_scale": {"scale": ("", (0, None, None))},
    "prelu": {"alpha": ("weight", (0,))},
    "class_token": {"embedding": ("", (None, None, 0))},
    "position": {"embedding": ("", (None, 0, 1))},
}
# The leaves whose first axis is the features of the input, wherever that is a vector.
_BY_FEATURE = {"kernel", "scale", "offset", "mean", "var", "alpha"}
# torch's MultiheadAttention has three projections in one tensor, in this order.
_PACKED = ("query", "key", "value")
_COUNTER = "num_batches_tracked"
_WRAPPERS = ("module.", "_orig_mod.")  # DataParallel's and torch.compile's
_CHECKPOINT = ("state_dict", "model", "model_state_dict")


def from_torch(
    layer: Layer,
    source: Mapping[str, Any] | str | Path,
    *,
    names: Names | None = None,
    channels: int | None = None,
) -> tuple[Params, State]:
    """(params, state) of `layer` from a torch state dict, or from a file that holds one.

    Modules are matched by the names in `torch_names` for the kind of model, or by `names` (a
    model with a part replaced is no longer of its kind); in other networks torch has "." for "/".
    Leaves are matched by the kind of layer: a kernel is torch's weight [O, I, h, w] or [O, I],
    scale and offset are weight and bias, mean and var are running_mean and running_var (torch's var
    is unbiased, and comes in as it is; num_batches_tracked does not).

    A linear layer after `flatten` has its features in torch's order, [C, H, W]. C is what the
    layers before it say, or a model's `inputs`; where none does, as in serial(flatten, linear), say
    it by `channels`. A function used as a layer is taken to keep C.

    Leaves have the layer's own dtypes, float32: half precision is widened, float64 rounded. The
    prefixes `module.` and `_orig_mod.`, which DataParallel and torch.compile leave, and a state
    dict under "state_dict" or "model" in a checkpoint are understood. A .safetensors file is read
    by `weights`, any other by torch, which must be installed, with `weights_only`: nothing in it
    runs.

    Raises WeightsError, which names every tensor that is missing, too much or misshapen.
    """
    if not isinstance(source, str | Path):
        return _fitted(layer, source, names, channels)
    tensors = _read(Path(source))
    with about(Path(source), "cannot be read"):
        return _fitted(layer, tensors, names, channels)


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
    `weights.save` writes as safetensors. num_batches_tracked is 0.
    """
    places, _ = _places(layer, _names(layer, names), channels)
    leaves = _by_path((params, state))
    wanted = {place.path: _described(place.shape, place.dtype) for place in places}
    given = {path: _described(leaf.shape, leaf.dtype) for path, leaf in leaves.items()}
    check_fit(f"leaves do not fit this {layer.info.kind}", wanted, given)
    pieces: dict[str, list[np.ndarray]] = {}
    for place in sorted(places, key=lambda place: place.part):
        pieces.setdefault(place.name, []).append(place.theirs(leaves[place.path]))
    arrays = {name: np.concatenate(piece) for name, piece in pieces.items()}
    for name in pieces:
        if name.endswith("running_mean"):
            arrays[name.removesuffix("running_mean") + _COUNTER] = np.zeros((), np.int64)
    return arrays if numpy else _as_tensors(arrays)


def _fitted(
    layer: Layer, source: Any, names: Names | None, channels: int | None
) -> tuple[Params, State]:
    names = _names(layer, names)
    places, structure = _places(layer, names, channels)
    wanted = {place.name: _described(place.torch_shape, place.dtype) for place in places}
    tensors = _bare(_state_dict(source), wanted, names)
    arrays = {name: _as_array(name, tensor) for name, tensor in tensors.items()}
    given = {name: _described(array.shape, array.dtype) for name, array in arrays.items()}
    check_fit(f"tensors do not fit this {layer.info.kind}", wanted, given)
    leaves = [place.ours(arrays[place.name]) for place in places]
    params, state = jax.tree.unflatten(structure, leaves)
    return params, state


def _names(layer: Layer, names: Names | None) -> Names:
    return names or NAMES.get(layer.info.kind, Names())


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

    @property
    def torch_shape(self) -> tuple[int, ...]:
        return (self.parts * self.piece[0], *self.piece[1:])

    def theirs(self, leaf: Any) -> np.ndarray:
        return np.asarray(leaf).reshape(self.split).transpose(self.order).reshape(self.piece)

    def ours(self, tensor: np.ndarray) -> jax.Array:
        piece = np.split(tensor, self.parts)[self.part]
        piece = piece.reshape([self.split[axis] for axis in self.order])
        leaf = piece.transpose(np.argsort(self.order)).reshape(self.shape)
        return jnp.array(leaf, self.dtype)  # a copy, since torch may train its own


def _places(
    layer: Layer, names: Names, channels: int | None
) -> tuple[list[_Place], jax.tree_util.PyTreeDef]:
    """The places of the leaves of (params, state) in tree order, and the structure of the pair."""
    trees = jax.eval_shape(layer.init, jax.eval_shape(lambda: jax.random.key(0)))
    modules = dict(_modules(layer, _At("", "", names, []), _Flow(channels)))
    places = [
        _place(path, leaf, modules[path.rpartition("/")[0]])
        for path, leaf in _by_path(trees).items()
    ]
    return places, jax.tree.structure(trees)


def _by_path(trees: tuple[Params, State]) -> dict[str, Any]:
    return {path: leaf for tree in trees for path, leaf in leaves_with_paths(tree)}


def _place(path: str, leaf: jax.ShapeDtypeStruct, module: _Module) -> _Place:
    own = path.rpartition("/")[2]
    split, axes = leaf.shape, tuple(range(leaf.ndim))
    name, layout = LAYOUTS.get(module.kind, {}).get(own, (own, axes))
    if not axes:  # torch has one number as [1]
        layout = (None,)
    sizes = [1 if axis is None else split[axis] for axis in layout]
    order = [axis for axis in layout if axis is not None]
    if module.flow.is_flat and own in _BY_FEATURE:  # [H·W·C, …] is C, H·W in torch
        channels = module.flow.channels_in(split[0], path)
        split = (split[0] // channels, channels, *split[1:])
        order = [new for axis in order for new in ((axis + 1,) if axis else (1, 0))]
    return _Place(
        path,
        leaf.shape,
        leaf.dtype,
        (module.prefix + name).rstrip("."),
        split,
        tuple(order),
        tuple(sizes),
        module.part,
        module.parts,
    )


class _At(NamedTuple):
    """A position in a network: its path, and what torch calls it.

    `inner` is the path, as (name, position) of each segment, inside the model which `names` are of,
    and torch calls that `base`.
    """

    path: str
    base: str
    names: Names
    inner: list[tuple[str, int]]

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
            at = _At(path, self.base, self.names, [*self.inner, (name, position)])
            if child.info.children and child.info.kind in NAMES:
                at = _At(path, at.name, NAMES[child.info.kind], [])
            yield name, child, at


class _Flow(NamedTuple):
    """What is known of x on its way: its channels, and whether an image was flattened."""

    channels: int | None
    is_flat: bool = False

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
        for size in ("out_channels", "out_features", "units"):
            if size in config:
                return _Flow(config[size])
        return self


class _Module(NamedTuple):
    """A layer without layers inside, with what its leaves' names begin with in torch."""

    kind: str
    prefix: str
    flow: _Flow
    part: int = 0
    parts: int = 1


def _modules(layer: Layer, at: _At, flow: _Flow) -> Generator[tuple[str, _Module], None, _Flow]:
    """Every layer without layers inside, by path; returns what is known of y."""
    inputs = layer.info.config.get("inputs")
    if inputs is not None:  # of a model: [H, W, C], or the size of a vector
        flow = _Flow(1 if isinstance(inputs, int) else inputs[-1])
    if not layer.info.children:
        yield at.path, _Module(layer.info.kind, at.prefix, flow)
        return flow.after(layer)
    if layer.info.kind == "attention":
        yield from _projections(layer, at, flow)
        return _Flow(layer.info.config["features"])
    form = _form(layer)
    outputs = []
    for _, child, inner in at.children(layer):
        if form.kind in ("serial", "repeat"):
            flow = yield from _modules(child, inner, flow)
        else:
            known = flow if form.kind in ("residual", "branch", "concat") else _Flow(None)
            outputs.append((yield from _modules(child, inner, known)))
    return _joined(form, outputs) if outputs else flow


def _projections(layer: Layer, at: _At, flow: _Flow) -> Iterator[tuple[str, _Module]]:
    """The linear layers of attention, as torch's MultiheadAttention has them."""
    for name, child, inner in at.children(layer):
        if name in _PACKED:
            part = (_PACKED.index(name), len(_PACKED))
            yield inner.path, _Module(child.info.kind, f"{at.prefix}in_proj_", flow, *part)
        else:
            yield inner.path, _Module(child.info.kind, f"{at.prefix}out_proj.", flow)


def _form(layer: Layer) -> Info:
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
    with about(path, "cannot be read"):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except Exception as error:  # a damaged file may raise anything, anywhere in the reader
            raise WeightsError(
                f"refused by torch.load with weights_only ({type(error).__name__}): it is damaged "
                "or holds more than tensors; save it by torch.save(module.state_dict(), path)"
            ) from error


def _state_dict(source: Any) -> dict[str, Any]:
    """The tensors by name, also out of a checkpoint that has more than these."""
    if not isinstance(source, Mapping):
        raise WeightsError(f"a state dict of tensors is wanted, got a {type(source).__name__}")
    others = [
        name
        for name, value in source.items()
        if not (isinstance(name, str) and hasattr(value, "shape"))
    ]
    if not others:
        return dict(source)
    inside = [name for name in _CHECKPOINT if isinstance(source.get(name), Mapping)]
    if len(inside) == 1:
        return _state_dict(source[inside[0]])
    entries = listed([f"{name} ({type(source[name]).__name__})" for name in others])
    raise WeightsError(
        f"a state dict of tensors is wanted, or a checkpoint with one under "
        f"{', '.join(_CHECKPOINT)}; no tensors are {entries}"
    )


def _bare(tensors: dict[str, Any], wanted: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """The tensors without what wrappers put before their names, and without those not needed."""
    for prefix in _WRAPPERS * 2:  # each may be around the other
        fits = not wanted.keys().isdisjoint(tensors)
        if not fits and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return {
        name: tensor
        for name, tensor in tensors.items()
        if name in wanted or not (name.endswith(_COUNTER) or names.spares(name))
    }


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


def _described(shape: Any, dtype: Any) -> str:
    """A shape; of what is not floating point with the dtype, since it cannot be a weight."""
    kind = "" if jnp.issubdtype(dtype, jnp.floating) else str(dtype)
    return f"{kind}{list(shape)}"
