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

PLATFORMS = ("cpu", "cuda", "tpu")


def export(
    layer: Layer,
    params: Params,
    state: State,
    shape: Sequence[int | None],
    path: str | Path,
    *,
    dtype: Any = jnp.float32,
) -> None:
    """Write the network in evaluation, y = layer(x), as StableHLO with its weights inside.

    `shape` is that of x, where None is an axis of any size: (None, 28, 28, 1). By jax alone, which
    reads it for six months of its versions, the file runs on CPU, CUDA and TPU:

        network = jax.export.deserialize(Path(path).read_bytes())
        y = network.call(x)

    Needs the package flatbuffers (`pip install "dlcore[export]"`), to write and to read.
    """
    from jax import export

    free = ", ".join(f"n{axis}" if size is None else str(size) for axis, size in enumerate(shape))
    x = jax.ShapeDtypeStruct(export.symbolic_shape(f"({free},)"), dtype)
    network = jax.jit(lambda x: layer.apply(params, state, x)[0])
    data = export.export(network, platforms=PLATFORMS)(x).serialize()
    with about(Path(path), "cannot be written"):
        files.replace(Path(path), bytes(data))
