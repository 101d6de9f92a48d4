"""dlcore: a deep-learning course as a library of pure functions over parameter pytrees.

Layer           init(key) -> (params, state);  apply(params, state, x, *, key, train) -> (y, state)
Objective       objective(params, state, batch, *, key, train) -> (loss, (state, metrics))
Transformation  an optimizer in optax's own protocol and type
Step            step(train_state, batch) -> (train_state, metrics)
Fit             for record in fit(step, train_state, data, epochs=...): ...
"""

import importlib
from typing import TYPE_CHECKING, Any

from dlcore.names import api

if TYPE_CHECKING:
    from dlcore import (
        analysis,
        data,
        derivatives,
        flops,
        functional,
        generate,
        interop,
        keys,
        models,
        nn,
        optim,
        plot,
        search,
        train,
        tree,
    )

__version__ = "0.1.0"

__all__ = [
    "analysis",
    "data",
    "derivatives",
    "flops",
    "functional",
    "generate",
    "interop",
    "keys",
    "models",
    "nn",
    "optim",
    "plot",
    "search",
    "train",
    "tree",
]

_missing, __dir__ = api(__name__, __all__)


def __getattr__(name: str) -> Any:
    """A room is imported when it is first asked for: who trains waits for no data sets' readers."""
    return importlib.import_module(f"dlcore.{name}") if name in __all__ else _missing(name)
