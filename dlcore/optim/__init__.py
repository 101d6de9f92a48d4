"""Optimizers as optax gradient transformations, written by hand, and what goes with them.

Each is an `optax.GradientTransformationExtraArgs`: `init(params) -> opt_state` and
`update(grads, opt_state, params, **extra) -> (updates, opt_state)`; extra arguments that are not
its own are ignored. `chain`, `masked`, `inject_hyperparams` and the types are optax's. In a chain
the order is: what changes the gradient, the optimizer, what changes or watches the weights.

    optax.chain(
        optim.clip_by_global_norm(1.0),
        optim.momentum(optim.warmup_cosine(0.1, 10_000), optim.annealed_momentum(200)),
        optim.max_norm(3.0, mask="**/kernel"),
        optim.ema_of_weights(0.999),
    )

What is for some leaves only (a decay, a penalty, a projection) takes them as `mask`: a glob,
several, or a tree of booleans (see `tree.mask`).

`minimize` is for a function as a whole, without batches and noise: from a direction (`newton`,
`bfgs`, …) and a line search (`armijo`, `wolfe`, `exact`), also under constraints. `path` shows the
way that an optimizer takes.
"""

from __future__ import annotations

from dlcore.names import api
from dlcore.optim import landscapes
from dlcore.optim.accumulation import accumulate
from dlcore.optim.adam import adam, adamw, amsgrad, nadam
from dlcore.optim.adaptive import adadelta, adagrad, rmsprop
from dlcore.optim.asynchronous import Arrivals, arrivals, delayed, hogwild
from dlcore.optim.averaging import averaged, ema_of_weights, lookahead, swa
from dlcore.optim.by_path import scale_by_path
from dlcore.optim.clipping import clip, clip_by_block_rms, clip_by_global_norm
from dlcore.optim.descent import momentum, nesterov, sgd
from dlcore.optim.layerwise import lamb
from dlcore.optim.matrix import muon
from dlcore.optim.minimization import (
    Direction,
    LineSearch,
    Result,
    Status,
    armijo,
    bfgs,
    conjugate_gradient,
    exact,
    gauss_newton,
    hessian_product,
    l_bfgs,
    minimize,
    newton,
    newton_cg,
    spectral,
    steepest,
    wolfe,
)
from dlcore.optim.path import Path, path
from dlcore.optim.penalties import Penalty, add_penalty, elastic_net, group_lasso, l1, l2
from dlcore.optim.plateau import reduce_on_plateau
from dlcore.optim.projection import decay_weights, max_norm, proximal
from dlcore.optim.schedules import (
    annealed_momentum,
    constant,
    cosine,
    cyclic,
    diminishing,
    exponential,
    inverse_time,
    linear,
    one_cycle,
    piecewise_constant,
    polynomial,
    restarts,
    step_decay,
    warmup,
    warmup_cosine,
)
from dlcore.optim.sharpness import sam
from dlcore.optim.sign import lion

__all__ = [
    "Arrivals",
    "Direction",
    "LineSearch",
    "Path",
    "Penalty",
    "Result",
    "Status",
    "accumulate",
    "adadelta",
    "adagrad",
    "adam",
    "adamw",
    "add_penalty",
    "amsgrad",
    "annealed_momentum",
    "armijo",
    "arrivals",
    "averaged",
    "bfgs",
    "clip",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "conjugate_gradient",
    "constant",
    "cosine",
    "cyclic",
    "decay_weights",
    "delayed",
    "diminishing",
    "elastic_net",
    "ema_of_weights",
    "exact",
    "exponential",
    "gauss_newton",
    "group_lasso",
    "hessian_product",
    "hogwild",
    "inverse_time",
    "l1",
    "l2",
    "l_bfgs",
    "lamb",
    "landscapes",
    "linear",
    "lion",
    "lookahead",
    "max_norm",
    "minimize",
    "momentum",
    "muon",
    "nadam",
    "nesterov",
    "newton",
    "newton_cg",
    "one_cycle",
    "path",
    "piecewise_constant",
    "polynomial",
    "proximal",
    "reduce_on_plateau",
    "restarts",
    "rmsprop",
    "sam",
    "scale_by_path",
    "sgd",
    "spectral",
    "steepest",
    "step_decay",
    "swa",
    "warmup",
    "warmup_cosine",
    "wolfe",
]

__getattr__, __dir__ = api(
    __name__,
    __all__,
    foreign={"clip_grad_norm_": "clip_by_global_norm", "scale_by_adam": "adam"},
)
