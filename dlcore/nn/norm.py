"""Normalising layers: they differ in what the mean and the variance are taken over.

batch_norm takes a feature over the batch, layer_norm all the features of one place, group_norm
some features of one example and instance_norm one. `rms_norm` has no mean, `standardize` constants.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore import functional as F
from dlcore.checks import floating
from dlcore.keys import Key
from dlcore.names import arguments
from dlcore.nn import side_inputs
from dlcore.nn.arguments import factory
from dlcore.nn.describing import describe
from dlcore.nn.layer import Layer, Params, State, check_sizes, from_function, make, with_info

Statistics = tuple[jax.Array, jax.Array, State]


@factory()
def batch_norm(
    features: int,
    *,
    eps: float = 1e-5,
    momentum: float = 0.9,
    scale: bool = True,
    offset: bool = True,
    axis_name: Hashable | None = None,
) -> Layer:
    """y = (x − mean) / √(var + eps) · scale + offset, for x [B, ..., features].

    In training mean and var are those of the batch, over all axes but the last, and the state
    moves towards them: mean ← momentum·mean + (1 − momentum)·batch mean, and so var. In evaluation
    they are the state's, which stays. Statistics are float32, or wider as x is. Where each feature
    has one value only (a batch of 1 without spatial axes) the variance is 0 and y = offset.

    Under vmap each member has the statistics of its own batch. With `axis_name` the batch is that
    of all the members together, of vmap(…, axis_name=…) or of the devices of shard_map or pmap,
    and they all leave the same state (PyTorch's SyncBatchNorm).

    Reads `mask`, of the shape of x's first axes ([B, T] for x [B, T, features]): in training only
    the places count where it is True. Where there are none, as in an empty batch, the state stays.

    Ioffe and Szegedy 2015, algorithms 1 and 2. As in Flax, `momentum` weighs the old value (its
    default is 0.99) and the running variance is the biased one; PyTorch's momentum is 1 − this one
    (its default 0.1 is 0.9 here), and its running variance is unbiased, n/(n − 1) times as large.
    """
    if not 0 <= momentum <= 1:
        raise ValueError(f"batch_norm: momentum is {momentum}, but 0 ≤ momentum ≤ 1 is wanted")

    def start() -> State:
        return {"mean": jnp.zeros(features, jnp.float32), "var": jnp.ones(features, jnp.float32)}

    def statistics(
        x: jax.Array, state: State, train: bool, *, mask: jax.Array | None = None
    ) -> Statistics:
        if not train or not x.size:
            return state["mean"], state["var"], state
        mean, var = F.batch_moments(x, axis_name=axis_name, mask=mask)
        new = {"mean": running(state["mean"], mean), "var": running(state["var"], var)}
        if mask is not None:
            seen = jnp.any(mask) if axis_name is None else lax.pmax(jnp.any(mask), axis_name)
            new = jax.tree.map(lambda one, old: jnp.where(seen, one, old), new, state)
        return mean, var, new

    def running(old: jax.Array, batch: jax.Array) -> jax.Array:
        return momentum * old + (1 - momentum) * batch.astype(old.dtype)

    layer = _norm(
        batch_norm,
        2,
        _by(statistics, eps),
        start,
        features=features,
        momentum=momentum,
        eps=eps,
        scale=scale,
        offset=offset,
        axis_name=axis_name,
    )
    return with_info(layer, has_moments=True)


@factory()
def layer_norm(
    features: int, *, eps: float = 1e-5, scale: bool = True, offset: bool = True
) -> Layer:
    """y = (x − mean) / √(var + eps) · scale + offset, for x [..., features].

    mean and var are those of each vector, over the last axis alone: one number each for a place of
    an image and for a step of a sequence. No example depends on another, so training and
    evaluation are the same. Statistics are float32, or wider as x is.

    Ba et al. 2016, equations 3 and 4. PyTorch's eps is the same, Flax's 1e-6.
    """

    def normalized(
        x: jax.Array, state: State, train: bool, scale: Any, offset: Any
    ) -> tuple[jax.Array, State]:
        return F.layer_norm(x, scale, offset, eps=eps), state

    return _norm(
        layer_norm,
        1,
        normalized,
        features=features,
        eps=eps,
        scale=scale,
        offset=offset,
    )


@factory()
def group_norm(
    features: int, groups: int, *, eps: float = 1e-5, scale: bool = True, offset: bool = True
) -> Layer:
    """y = (x − mean) / √(var + eps) · scale + offset, for x [B, ..., features].

    mean and var are those of each example and each of `groups` parts of its channels in turn, over
    all axes between too. scale and offset are one a channel. Otherwise as `layer_norm`.

    Wu and He 2018, section 3.1. PyTorch's eps is the same, Flax's 1e-6.
    """
    check_sizes("group_norm", features=features, groups=groups)
    if features % groups:
        raise ValueError(
            f"group_norm needs features that groups divides, got features={features}, "
            f"groups={groups}"
        )
    size = features // groups

    def statistics(x: jax.Array, state: State, train: bool) -> Statistics:
        parts = x.reshape(*x.shape[:-1], groups, size)
        mean, var = F.moments(parts, (*range(1, x.ndim - 1), -1), keepdims=True)
        return jnp.repeat(mean[..., 0], size, -1), jnp.repeat(var[..., 0], size, -1), state

    return _norm(
        group_norm,
        2,
        _by(statistics, eps),
        features=features,
        groups=groups,
        eps=eps,
        scale=scale,
        offset=offset,
    )


@factory()
def instance_norm(
    features: int, *, eps: float = 1e-5, scale: bool = True, offset: bool = True
) -> Layer:
    """y = (x − mean) / √(var + eps) · scale + offset, for x [B, H, ..., features].

    mean and var are those of each channel of each example, over all axes between: `group_norm`
    with a group for each channel. Otherwise as `layer_norm`.

    Ulyanov et al. 2016, section 2. PyTorch's InstanceNorm has no scale and offset by default and
    the same eps, Flax's eps is 1e-6.
    """

    def statistics(x: jax.Array, state: State, train: bool) -> Statistics:
        return *F.moments(x, tuple(range(1, x.ndim - 1)), keepdims=True), state

    return _norm(
        instance_norm,
        3,
        _by(statistics, eps),
        features=features,
        eps=eps,
        scale=scale,
        offset=offset,
    )


@factory()
def rms_norm(features: int, *, eps: float = 1e-5, scale: bool = True) -> Layer:
    """y = x / √(mean(x²) + eps) · scale, for x [..., features]: `layer_norm` without the mean.

    The mean is that of each vector, over the last axis alone, and float32, or wider as x is.

    Zhang and Sennrich 2019, equation 4. Flax's eps is 1e-6, PyTorch's that of x's dtype, 1.2e-7
    in float32.
    """
    check_sizes("rms_norm", features=features)
    if not eps > 0:
        raise ValueError(f"rms_norm: eps is {eps}, but eps > 0 is wanted")

    def init(key: Key) -> tuple[Params, State]:
        params = {"scale": jnp.ones(features, jnp.float32)} if scale else ()
        return params, ()

    def apply(
        params: Params, state: State, x: jax.Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, State]:
        if x.ndim < 1 or x.shape[-1] != features:
            raise ValueError(f"rms_norm expected [..., {features}], got {describe(x)}")
        return F.rms_norm(x, params["scale"] if scale else None, eps=eps), state

    return make(rms_norm, init, apply, features=features, eps=eps, scale=scale)


def _norm(
    factory: Callable[..., Layer],
    axes: int,
    normalized: Callable[..., tuple[jax.Array, State]],
    start: Callable[[], State] = lambda: (),
    /,
    **config: Any,
) -> Layer:
    """What the norms share: all but the numbers that mean and var are taken over.

    `normalized(x, state, train, scale, offset)` gives y and the new state, for x of at least `axes`
    axes, and names the side inputs that the norm reads; `start()` is the first state.
    """
    features, eps, scale, offset = (config[name] for name in ("features", "eps", "scale", "offset"))
    kind = factory.__name__
    check_sizes(kind, features=features)
    if not eps > 0:
        raise ValueError(f"{kind}: eps is {eps}, but eps > 0 is wanted")

    def init(key: Key) -> tuple[Params, State]:
        params = {}
        if scale:
            params["scale"] = jnp.ones(features, jnp.float32)
        if offset:
            params["offset"] = jnp.zeros(features, jnp.float32)
        return params or (), start()

    def apply(
        params: Params,
        state: State,
        x: jax.Array,
        *,
        key: Key | None = None,
        train: bool = False,
        **side: Any,
    ) -> tuple[Any, State]:
        if x.ndim < axes or x.shape[-1] != features:
            wanted = ", ".join([*"BH"[: axes - 1], "...", str(features)])
            raise ValueError(f"{kind} expected [{wanted}], got {describe(x)}")
        affine = (params["scale"] if scale else None, params["offset"] if offset else None)
        return normalized(x, state, train, *affine, **side)

    return make(factory, init, apply, (), None, side_inputs.named(normalized), **config)


def _by(
    statistics: Callable[..., Statistics], eps: float
) -> Callable[..., tuple[jax.Array, State]]:
    """x normalised by the mean and var that `statistics(x, state, train)` gives, and a new state.

    It reads the side inputs that `statistics` names.
    """

    @functools.wraps(statistics)
    def normalized(
        x: jax.Array, state: State, train: bool, scale: Any, offset: Any, **side: Any
    ) -> tuple[jax.Array, State]:
        mean, var, state = statistics(x, state, train, **side)
        return F.normalize(x, mean, var, scale, offset, eps=eps), state

    return normalized


@arguments()
def standardize(mean: float | Sequence[float], std: float | Sequence[float]) -> Layer:
    """y = (x − mean) / std with constants, one or one a channel of x [..., C]; nothing is learned.

    A network's first layer, so that it takes raw images in [0, 1] wherever it is used.
    """
    constants = {"mean": _numbers("mean", mean), "std": _numbers("std", std)}
    if not np.all(np.asarray(constants["std"]) > 0):
        raise ValueError(f"standardize: std is {std}, but std > 0 is wanted")

    def apply(x: jax.Array) -> jax.Array:
        x = floating("standardize", "x", x)
        for name, value in constants.items():
            if np.shape(value) not in ((), x.shape[-1:]):
                raise ValueError(f"standardize: {name}={value} does not fit {describe(x)}")
        shift, factor = (jnp.asarray(value, x.dtype) for value in constants.values())
        return (x - shift) / factor

    return from_function(apply, standardize, **constants)


def _numbers(name: str, value: Any) -> Any:
    """A number, or numbers as a tuple, of Python's own kind: a description is data."""
    array = np.asarray(value, float)
    if array.ndim > 1:
        raise ValueError(f"standardize: {name} has shape {array.shape}, but () or [C] is wanted")
    return tuple(array.tolist()) if array.ndim else float(array)
