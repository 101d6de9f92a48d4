"""Optimizers as optax gradient transformations, written by hand, and what goes with them.

Each is an `optax.GradientTransformationExtraArgs`: `init(params) -> opt_state` and
`update(grads, opt_state, params, **extra) -> (updates, opt_state)`; extra arguments are accepted
and ignored. `chain`, `masked`, `MultiSteps`, `inject_hyperparams` and the types are optax's.
"""

from __future__ import annotations

from dlcore.optim.adaptive import adam, adamw, rmsprop
from dlcore.optim.clipping import clip, clip_by_global_norm
from dlcore.optim.descent import momentum, nesterov, sgd
from dlcore.optim.schedules import constant, warmup_cosine

__all__ = [
    "adam",
    "adamw",
    "clip",
    "clip_by_global_norm",
    "constant",
    "momentum",
    "nesterov",
    "rmsprop",
    "sgd",
    "warmup_cosine",
]
