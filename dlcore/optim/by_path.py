"""Learning rates that differ between the parts of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import optax

from dlcore.names import arguments, written
from dlcore.optim._checks import Scalar, check_leaves, check_numbers
from dlcore.optim._parts import chosen, like


@arguments()
def scale_by_path(
    factors: Mapping[Any, Scalar],
) -> optax.GradientTransformationExtraArgs:
    """Δw ← factor·Δw, by the path of the leaf: discriminative learning rates.

        optax.chain(optim.adamw(1e-3), optim.scale_by_path({"stem/**": 0.01, "stage1/**": 0.1}))

    The keys are globs, or tuples of them (see `tree.match`), of which the first that fits counts; a
    leaf that none fits keeps its update. Last in the chain it scales the learning rate, and with it
    a decoupled weight decay. A glob that fits no leaf is a ValueError, a negative factor too.
    Howard and Ruder 2018, section 3.2, whose factor is 1/2.6 for each layer downwards
    (`train.layerwise`).
    """
    if not isinstance(factors, Mapping):
        raise TypeError(
            "scale_by_path takes a factor for each glob, got "
            f'{written(factors)}: scale_by_path({{"stem/**": 0.1}})'
        )
    for factor in factors.values():
        check_numbers(factor=factor)

    def init(params: Any) -> optax.EmptyState:
        check_leaves(params)
        for globs in factors:
            chosen(params, globs)
        return optax.EmptyState()

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        def scaled(leaf: Any, *marks: bool) -> Any:
            fitting = (one for one, mark in zip(factors.values(), marks, strict=True) if mark)
            factor = next(fitting, None)
            return leaf if factor is None else like(factor, leaf) * leaf

        masks = [chosen(updates, globs) for globs in factors]
        return jax.tree.map(scaled, updates, *masks), state

    return optax.GradientTransformationExtraArgs(init, update)
