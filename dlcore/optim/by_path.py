"""Learning rates that differ between the parts of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import optax

from dlcore import tree
from dlcore.optim._checks import Scalar, check_leaves, check_numbers
from dlcore.optim._parts import chosen, like


def scale_by_path(factors: Mapping[str, Scalar]) -> optax.GradientTransformationExtraArgs:
    """Δw ← factor·Δw, by the path of the leaf: discriminative learning rates.

        optax.chain(optim.adamw(1e-3), optim.scale_by_path({"stem/**": 0.01, "stage1/**": 0.1}))

    The keys are globs (see `tree.match`), of which the first that fits counts; a leaf that none
    fits keeps its update. Last in the chain it scales the learning rate, and with it a decoupled
    weight decay. A glob that fits no leaf is a ValueError, a negative factor too. Howard and Ruder
    2018, section 3.2, whose factor is 1/2.6 for each layer downwards (`train.layerwise`).
    """
    for factor in factors.values():
        check_numbers(factor=factor)

    def init(params: Any) -> optax.EmptyState:
        check_leaves(params)
        chosen(params, tuple(factors))
        return optax.EmptyState()

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        def scaled(path: Any, leaf: Any) -> Any:
            name = tree.path_string(path)
            fitting = (factor for glob, factor in factors.items() if tree.match(glob, name))
            factor = next(fitting, None)
            return leaf if factor is None else like(factor, leaf) * leaf

        return jax.tree.map_with_path(scaled, updates), state

    return optax.GradientTransformationExtraArgs(init, update)
