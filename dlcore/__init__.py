"""dlcore: a deep-learning course as a library of pure functions over parameter pytrees.

Layer           init(key) -> (params, state);  apply(params, state, x, *, key, train) -> (y, state)
Objective       objective(params, state, batch, *, key, train) -> (loss, (state, metrics))
Transformation  an optimizer in optax's own protocol and type
Step            step(train_state, batch) -> (train_state, metrics)
Fit             for record in fit(step, train_state, data, epochs=...): ...
"""

from dlcore import (
    analysis,
    data,
    derivatives,
    flops,
    functional,
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
