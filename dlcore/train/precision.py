"""Precision policy: parameters in float32, computation in another type."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp

from dlcore.keys import Key
from dlcore.nn.layer import Layer, Params, State
from dlcore.nn.observing import cast, computed_in

PRECISIONS = ("float32", "bfloat16")


def with_precision(layer: Layer, compute: str) -> Layer:
    """`layer` computed in `compute`, "float32" or "bfloat16".

    Parameters and inputs are cast on the way in, outputs back to float32, so the loss, the
    gradients of the parameters, their updates and the state stay in float32. Parameters, paths
    and description are the layer's own (Micikevicius et al. 2018, section 3.1; bfloat16 has the
    range of float32, so there is no loss scaling). Of the side inputs those are cast that have
    features at each place, [B, T, D]: a time of 999 is 1000 in bfloat16. What each layer inside
    gives is cast too, since one with a float32 state of its own would otherwise have everything
    after it computed in float32.
    """
    if compute not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, got {compute!r}")
    if compute == "float32":
        return layer

    def apply(
        params: Params,
        state: State,
        x: Any,
        *,
        key: Key | None = None,
        train: bool = False,
        **side: Any,
    ) -> tuple[Any, State]:
        dtype = jnp.dtype(compute)
        params, x = cast((params, x), dtype)
        side = {name: cast(one, dtype) if jnp.ndim(one) > 2 else one for name, one in side.items()}
        how = {"key": key, "train": train, **side}
        y, state = computed_in(dtype, layer.apply, params, state, x, **how)
        return cast(y, jnp.dtype("float32")), state

    rebuild, thawed = layer.info.rebuild, layer.info.thawed
    info = dataclasses.replace(
        layer.info,
        rebuild=rebuild and (lambda children: with_precision(rebuild(children), compute)),
        thawed=thawed and with_precision(thawed, compute),
        around=functools.partial(with_precision, compute=compute),
    )
    return Layer(layer.init, apply, info)
