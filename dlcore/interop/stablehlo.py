"""A trained network as one file that runs without dlcore."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from dlcore import files
from dlcore.interop.weights import about
from dlcore.nn.layer import Layer, Params, State

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
    **side: tuple[Shape, Any],
) -> None:
    """Write the network in evaluation, y = layer(x), as StableHLO with its weights inside.

    `shape` is that of x, where None is an axis of any size: (None, 28, 28, 1). By jax alone, which
    reads it for six months of its versions, the file runs on CPU, CUDA and TPU:

        network = jax.export.deserialize(Path(path).read_bytes())
        y = network.call(x)

    side: shape and dtype of each side input, then called as `network.call(x, mask=mask)`. An axis
    None is as long as that axis of x; one of another length has a name in its place:
    `source=(("n0", "S", 64), jnp.float32)`, where n0 is axis 0 of x.

    Needs the package flatbuffers (`pip install "dlcore[export]"`), to write and to read.
    """
    from jax import export

    scope = export.SymbolicScope()

    def form(shape: Shape, dtype: Any) -> jax.ShapeDtypeStruct:
        sizes = (f"n{axis}" if size is None else str(size) for axis, size in enumerate(shape))
        free = export.symbolic_shape(f"({', '.join(sizes)},)", scope=scope)
        return jax.ShapeDtypeStruct(free, dtype)

    network = jax.jit(lambda x, **side: layer.apply(params, state, x, **side)[0])
    also = {name: form(*given) for name, given in side.items()}
    data = export.export(network, platforms=PLATFORMS)(form(shape, dtype), **also).serialize()
    with about(Path(path), "cannot be written"):
        files.replace(Path(path), bytes(data))
