"""Activations with parameters; those without are plain functions in `dlcore.functional`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dlcore import functional as F
from dlcore import keys
from dlcore.checks import one_of
from dlcore.keys import Key
from dlcore.nn import init as initializers
from dlcore.nn.arguments import factory
from dlcore.nn.init import Initializer
from dlcore.nn.layer import Layer, Params, State, check_sizes, make, with_info


@factory()
def prelu(features: int | Sequence[int] | None = None, *, initial: float = 0.25) -> Layer:
    """y = max(0, x) + alpha·min(0, x), where alpha is learned and starts at `initial`.

    One alpha () shared by all, one for each of the channels of x [..., features], or one for each
    element: of x [B, 28, 28, 6] with features=(28, 28, 6). He et al. 2015, equation 1 (who, like
    PyTorch, start at 0.25 and keep weight decay away from alpha).
    """
    given = () if features is None else features
    shape = tuple(given) if isinstance(given, tuple | list) else (given,)
    for size in shape:
        check_sizes("prelu", features=size)

    def init(key: Key) -> tuple[Params, State]:
        return {"alpha": jnp.full(shape, initial, jnp.float32)}, ()

    def apply(
        params: Params, state: State, x: jax.Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, State]:
        return F.prelu(x, params["alpha"]), state

    return make(prelu, init, apply, features=features, initial=initial)


@factory()
def rbf(
    in_features: int,
    units: int,
    *,
    form: str = "squared_distance",
    beta: float = 1.0,
    center_init: Initializer = initializers.normal(1.0),
) -> Layer:
    """Radial basis functions of x [..., in_features], with learned centers [units, in_features].

    "squared_distance": yⱼ = Σᵢ (xᵢ − centersⱼᵢ)², as the output of LeNet-5 (LeCun et al. 1998,
    equation 7); "gaussian": yⱼ = exp(−beta · that), where beta > 0 is fixed.
    """
    check_sizes("rbf", in_features=in_features, units=units)
    forms = {
        "squared_distance": F.rbf_squared_distance,
        "gaussian": lambda x, centers: F.rbf_gaussian(x, centers, beta),
    }
    function = one_of("rbf", "form", form, forms)
    if not beta > 0:
        raise ValueError(f"rbf: beta is {beta}, but beta > 0 is wanted")

    def init(key: Key) -> tuple[Params, State]:
        return {"centers": center_init(keys.child(key, "centers"), (units, in_features))}, ()

    def apply(
        params: Params, state: State, x: jax.Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, State]:
        return function(x, params["centers"]), state

    layer = make(rbf, init, apply, in_features=in_features, units=units, form=form, beta=beta)
    return with_info(layer, weights=frozenset({"centers"}))
