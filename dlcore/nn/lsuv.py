"""Layer-sequential unit variance: an initialization that looks at data."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import tree
from dlcore.nn.layer import Layer, Params, State
from dlcore.nn.observing import observed
from dlcore.nn.surgery import frozen


def lsuv(
    layer: Layer,
    params: Params,
    state: State,
    x: Any,
    *,
    tolerance: float = 0.01,
    attempts: int = 10,
    **side: Any,
) -> Params:
    """`params` with every kernel scaled so that its layer's outputs on the batch x have variance 1.

    One layer after another, in the order in which they complete: kernel ← kernel / √Var(y), until
    |Var(y) − 1| ≤ tolerance. Var is over the batch, all places and all units together, in
    evaluation, with the side inputs `side`. A layer without a bias, or with one of zeros, takes one
    attempt. What `nn.freeze` holds stays; of a layer that `wire` calls several times the first call
    counts.

    Raises ValueError, by the layer's path, for outputs that no scale brings to variance 1.

    Mishkin and Matas 2016, algorithm 1, whose first step, orthonormal kernels, is
    `kernel_init=init.orthogonal()` in the layers.

        params = nn.lsuv(layer, *layer.init(key), data.train["x"][:500])
    """
    scaled = {path for path, _ in tree.leaves_with_paths(params)} - set(frozen(layer))
    paths: list[str] = []

    @jax.jit
    def variances(params: Params, x: Any) -> list[jax.Array]:
        _, seen = observed(layer.apply, params, state, x, **side)
        paths[:] = [path for path in seen if f"{path}/kernel" in scaled]
        return [jnp.var(seen[path].y) for path in paths]

    if not variances(params, x):
        raise ValueError(f"lsuv: a network with layers that have kernels is wanted, got {layer!r}")
    for place, path in enumerate(paths):
        for attempt in range(attempts + 1):
            variance = float(variances(params, x)[place])
            if abs(variance - 1) <= tolerance:
                break
            if attempt == attempts or not 0 < variance < np.inf:
                raise ValueError(
                    f"lsuv: {path} has outputs of variance {variance:.3g} after {attempt} attempts,"
                    f" but 1 ± {tolerance} is wanted: its kernel, its bias or x does not allow it"
                )
            params = _times(params, f"{path}/kernel", variance**-0.5)
    return params


def _times(params: Params, path: str, factor: float) -> Params:
    """`params` with the leaf at `path` multiplied."""
    return jax.tree.map_with_path(
        lambda key_path, leaf: leaf * factor if tree.path_string(key_path) == path else leaf,
        params,
    )
