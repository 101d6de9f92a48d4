"""Transfer learning: what is needed beside `nn.freeze`, `nn.graft` and `nn.split`.

head = nn.linear(512, classes)
network, params, state = nn.graft(key, network, params, state, "head", head)
network = nn.freeze(network, ("stem/**", "stage1/**"))
optimizer = optax.chain(optim.adamw(1e-3), optim.scale_by_path(train.layerwise(network)))
start = train.train_state(network, optimizer, params=params, state=state)
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from dlcore import files, tree
from dlcore.data.batching import HostData
from dlcore.interop import weights
from dlcore.nn.layer import Layer, Params, State
from dlcore.train.evaluate import applied
from dlcore.train.objective import Batch


def layerwise(layer: Layer, decay: float = 1 / 2.6) -> dict[str, float]:
    """Factors for `optim.scale_by_path`: 1 for the last child with parameters, decay for the one
    before it, then decay², …

    The children are those of `layer` itself (a ResNet's stem, stages and head). Howard and Ruder
    2018, section 3.2.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"layerwise: decay is {decay}, but 0 < decay ≤ 1 is wanted")
    params, _ = jax.eval_shape(layer.init, jax.random.key(0))
    names = [name for name, _ in layer.info.children if name in params]
    return {f"{name}/**": decay**depth for depth, name in enumerate(reversed(names))}


def extract(
    layer: Layer,
    params: Params,
    state: State,
    data: Batch | HostData,
    *,
    batch_size: int = 1000,
    cache: str | Path | None = None,
) -> Batch:
    """`data` with the outputs of `layer` in evaluation in the place of x: features for a new head.

    Computed once, so that training the head costs no pass through the rest. With `cache`, a
    safetensors file, also only once for several runs: what lies there is used if it was computed
    from the same layer, weights and data, and replaced if it was not.

        body, head = nn.split(network, "head")
        features = train.extract(body, nn.part(body, params), nn.part(body, state), data.train)
    """
    if cache is None:
        return _features(layer, params, state, data, batch_size)
    digest = _digest(layer, params, state, data)
    path = files.located(cache)
    if path.exists():
        stored, metadata = weights.load(path)
        if metadata == {"features_of": digest}:
            return stored
    features = _features(layer, params, state, data, batch_size)
    weights.save(path, features, {"features_of": digest})
    return features


def _features(
    layer: Layer, params: Params, state: State, data: Batch | HostData, batch_size: int
) -> Batch:
    parts = [{**batch, "x": y} for batch, y in applied(layer, params, state, data, batch_size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _digest(layer: Layer, params: Params, state: State, data: Any) -> str:
    """SHA-256 of everything that the features follow from."""
    if isinstance(data, HostData):
        raise ValueError("a cache needs data in memory, whose content can be compared")
    # The program, and not repr(layer): two functions may have one name.
    program = export.export(jax.jit(layer.apply))(params, state, data["x"])
    digest = hashlib.sha256(program.mlir_module().encode())
    for path, leaf in tree.leaves_with_paths({"params": params, "state": state, "data": data}):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{path} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
