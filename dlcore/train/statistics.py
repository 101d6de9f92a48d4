"""Batch norm's statistics, measured anew for weights that were never trained as they are."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import device, keys, tree
from dlcore import functional as F
from dlcore.data.batching import HostData
from dlcore.data.dataset import check_count
from dlcore.nn import remembering
from dlcore.nn.layer import Layer, Params, State, read_by
from dlcore.nn.observing import Call, observed
from dlcore.train.evaluate import examples, given, take
from dlcore.train.objective import Batch


def batch_norm_statistics(
    layer: Layer,
    params: Params,
    state: State,
    data: Batch | HostData,
    *,
    batch_size: int = 1000,
    seed: int = 0,
) -> State:
    """`state` with batch norm's mean and var those of all that it is given over `data`.

    One pass in training, in batches of about `batch_size`: layers before normalise by their own
    batch, and dropout draws from `seed`. mean and var are the moments of all batches together,
    not an average that follows them. Statistics that `nn.freeze` holds, and state of other layers,
    stay.

    Averaged weights need it (Izmailov et al. 2018, section 3.2): no batch was ever seen by them.

        params = optim.averaged(trained.opt_state, trained.params)
        state = train.batch_norm_statistics(layer, params, trained.state, data.train)

    PyTorch's `swa_utils.update_bn` averages the batches' variances, which leaves out how their
    means differ.
    """
    remembering.refuse("batch_norm_statistics", state)
    data = given(data)
    n = examples(data)
    check_count("batch_size", batch_size, 1)
    on_device = () if isinstance(data, HostData) else jax.tree.map(jnp.asarray, data)
    key = keys.stream(seed, "evaluation")
    seen = defaultdict(list)
    for index, rows in enumerate(np.array_split(np.arange(n), -(-n // batch_size))):
        batch = data.gather(rows) if isinstance(data, HostData) else take(on_device, rows)
        side = read_by(layer, batch)
        for path, one in _moments(params, state, batch["x"], side, key, index, layer=layer).items():
            seen[_own(path)].append(one)
    fresh = {}
    for path, parts in seen.items():
        fresh[f"{path}/mean"], fresh[f"{path}/var"] = _together(
            *map(np.asarray, zip(*parts, strict=True))
        )
    return jax.tree.map_with_path(
        lambda path, leaf: jnp.asarray(fresh.get(tree.path_string(path), leaf), leaf.dtype), state
    )


@device.jit_each("layer")
def _moments(
    params: Params, state: State, x: Any, side: Any, key: Any, index: Any, *, layer: Layer
) -> Any:
    """(places, mean, var) of what each batch norm that moves in training is given, by path."""
    key = jax.random.fold_in(key, index)
    (_, new), seen = observed(layer.apply, params, state, x, key=key, train=True, **side)
    pairs = zip(tree.leaves_with_paths(new), jax.tree.leaves(state), strict=True)
    moving = {path for (path, leaf), old in pairs if leaf is not old}
    return {
        path: (_places(call), *F.batch_moments(call.x, mask=call.side.get("mask")))
        for path, call in seen.items()
        if call.layer.info.has_moments and f"{_own(path)}/mean" in moving
    }


def _places(call: Call) -> jax.Array:
    """How many places the moments of a call are taken over."""
    mask = call.side.get("mask")
    shape = call.x.shape[:-1]
    if mask is None:
        return jnp.asarray(math.prod(shape), jnp.float32)
    return jnp.sum(mask, dtype=jnp.float32) * math.prod(shape[mask.ndim :])


def _own(path: str) -> str:
    """The path of the parameters of a layer that `wire` may call several times."""
    return path.rstrip("'")


def _together(sizes: Any, means: Any, variances: Any) -> tuple[np.ndarray, np.ndarray]:
    """The mean and variance of all the parts as one: σ² = Σ nᵢ (σᵢ² + (μᵢ − μ)²) / n."""
    share = (sizes / sizes.sum(dtype=np.float64))[:, None]
    mean = (share * means).sum(0, dtype=np.float64)
    return mean, (share * (variances + np.square(means - mean))).sum(0)
