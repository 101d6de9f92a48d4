"""A trained network as one file that runs without dlcore."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from dlcore import files, nn
from dlcore.interop.weights import WeightsError, about
from dlcore.nn import side_inputs
from dlcore.nn.describing import describe
from dlcore.nn.layer import Layer, Params, State, is_empty, make, select, with_info
from dlcore.nn.position import LengthError
from dlcore.nn.remembering import KEY, without_memory

Shape = Sequence[int | str | None]

PLATFORMS = ("cpu", "cuda", "tpu")


def export(
    layer: Layer,
    params: Params,
    state: State,
    shape: Shape,
    path: str | Path,
    *,
    dtype: Any = jnp.float32,
    memory: bool = False,
    **side: tuple[Shape, Any],
) -> None:
    """Write the network in evaluation, y = layer(x), as StableHLO with its weights inside.

    `shape` is that of x, where None is an axis of any size: (None, 28, 28, 1). By jax alone, which
    reads it for six months of its versions, the file runs on CPU, CUDA and TPU:

        network = jax.export.deserialize(Path(path).read_bytes())
        y = network.call(x)

    An axis that some layer bounds, as gpt's context, has the bound in its name: `n1_to_1024`.

    side: shape and dtype of each side input, then called as `network.call(x, mask=mask)`. An axis
    None is as long as that axis of x; one of another length has a name in its place:
    `source=(("n0", "S", 64), jnp.float32)`, where n0 is axis 0 of x.

    memory: what the network remembers (`nn.memory`) goes in and out, so that a text is written
    token by token: `export(lm, params, state, (None, None), path, dtype=jnp.int32, memory=True)`.

        logits, memory = network.call(prompt, zeros)            # [B, T], and [B, T, V]
        logits, memory = network.call(token[:, None], memory)   # one position a token

    The zeros are those of `nn.memory(layer, B)`; their shapes, without dlcore, the last ones in
    `jax.tree.unflatten(network.in_tree, network.in_avals)[0]`. `from_stablehlo` makes the file a
    Layer, with which `dlcore.generate` goes on.

    Needs the package flatbuffers (`pip install "dlcore[export]"`), to write and to read.
    """
    from jax import export

    if memory and is_empty(nn.memory(layer, 1)):
        raise ValueError(f"export: the {layer.info.kind} remembers nothing: leave memory=True out")

    def network(x: Any, *remembered: Any, **side: Any) -> Any:
        before = nn.joined(state, remembered[0]) if memory else state
        y, after = layer.apply(params, before, x, **side)
        return (y, nn.parted(after)[1]) if memory else y

    def written(bounds: dict[str, str]) -> bytearray:
        limits = [f"{name} <= {_bound(name)}" for name in bounds.values()]
        scope = export.SymbolicScope(limits)

        def form(shape: Shape, dtype: Any) -> jax.ShapeDtypeStruct:
            sizes = [f"n{axis}" if size is None else str(size) for axis, size in enumerate(shape)]
            named = ", ".join(bounds.get(size, size) for size in sizes)
            free = export.symbolic_shape(f"({named},)", scope=scope)
            return jax.ShapeDtypeStruct(free, dtype)

        x = form(shape, dtype)
        given = [jax.eval_shape(lambda: nn.memory(layer, x.shape[0]))] if memory else []
        also = {name: form(*one) for name, one in side.items()}
        return export.export(jax.jit(network), platforms=PLATFORMS)(x, *given, **also).serialize()

    data = _bounded(written)
    with about(Path(path), "cannot be written"):
        files.replace(Path(path), bytes(data))


def _bounded(written: Callable[[dict[str, str]], bytearray]) -> bytearray:
    """What is `written`, with other names for the axes that some layer bounds."""
    bounds: dict[str, str] = {}
    while True:
        try:
            return written(bounds)
        except LengthError as error:
            axis = next((one for one, name in bounds.items() if name == error.axis), error.axis)
            if not axis.isidentifier():  # a sum, of which no axis is bounded
                raise
            bounds[axis] = f"{axis}_to_{error.length}"


def _bound(axis: Any) -> int | None:
    """The most that an axis of this name may be, if it says so."""
    found = re.fullmatch(r"\w+_to_(\d+)", str(axis))
    return int(found[1]) if found else None


def from_stablehlo(path: str | Path) -> Layer:
    """The network in a file of `export`, as a Layer whose params and state are ().

    It has the memory that it was exported with, and reads the side inputs; a `mask` that is not
    given is True throughout. It cannot be differentiated.

        layer = interop.from_stablehlo("gpt.stablehlo")
        generate.sample(layer, (), (), prompt, 100, key=key)

    Raises WeightsError for what is no such file.
    """
    from jax import export

    with about(path, "cannot be read") as place, files.plain(place) as file:
        data = bytearray(file.read())
    try:
        network = export.deserialize(data)
        (like, *remembered), reads = jax.tree.unflatten(network.in_tree, network.in_avals)
    except ImportError:
        raise
    except Exception as error:  # whatever its parser falls over
        raise WeightsError(f"{place}: is no network of interop.export ({error})") from None

    def zeros(batch: int) -> Any:
        return jax.tree.map(
            lambda leaf: jnp.zeros((batch, *leaf.shape[1:]), leaf.dtype), remembered[0]
        )

    def apply(
        params: Params,
        state: State,
        x: Any,
        *,
        key: Any = None,
        train: bool = False,
        **side: Any,
    ) -> tuple[Any, State]:
        x = jnp.asarray(x)
        _check(place.name, x, like)
        if "mask" in reads and "mask" not in side:
            side["mask"] = jnp.ones(x.shape[:2], bool)
        side_inputs.check_given(place.name, side, frozenset(reads))
        if not remembered:
            return network.call(x, **side), state
        own = select(state, KEY)
        y, after = network.call(x, zeros(len(x)) if is_empty(own) else own, **side)
        return y, (state if is_empty(own) else {KEY: after})

    nothing: Any = ((), ())
    layer = make(place.name, lambda key: nothing, apply, (), None, reads)
    missing = without_memory("was exported without one: export(…, memory=True)")
    return with_info(layer, memory=zeros if remembered else missing)


def _check(name: str, x: jax.Array, like: Any) -> None:
    """Refuses an x that is not as the one that was exported."""

    def fits(size: int, wanted: Any) -> bool:
        bound = _bound(wanted)
        return size == wanted if isinstance(wanted, int) else bound is None or size <= bound

    is_alike = x.dtype == like.dtype and x.ndim == len(like.shape)
    if not is_alike or not all(map(fits, x.shape, like.shape)):
        raise ValueError(f"{name} was exported for {describe(like)}, got {describe(x)}")
