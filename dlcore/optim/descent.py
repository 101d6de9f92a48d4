"""Gradient descent: plain, with momentum, with Nesterov's momentum."""

from __future__ import annotations

import functools

import optax

from dlcore.checks import one_of
from dlcore.optim._arguments import optimizer
from dlcore.optim._checks import check_scheduled
from dlcore.optim._parts import accumulate, average, scale_by_learning_rate, scheduled, trace


@optimizer(momentum="momentum.momentum", nesterov="nesterov")
def sgd(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformationExtraArgs:
    """Gradient descent: w ← w − ηg.

    Batch, mini-batch or stochastic is a matter of which examples g averages, not of the optimizer.
    On a quadratic it converges if and only if η < 2/λmax, the Hessian's largest eigenvalue.

    Args:
        learning_rate: η ≥ 0, or a schedule: a function of the number of updates done.

    Raises:
        TypeError, ValueError: for a rate that is no number, negative or not finite; and, from
            `init`, for an integer or complex leaf, by its path, and for a tree without leaves.

    Equals `optax.sgd(learning_rate)`. Momentum is `momentum` and `nesterov`, not an option here.

    >>> optimizer = sgd(0.1)
    >>> optimizer.update(2.0, optimizer.init(1.0))[0]
    Array(-0.2, dtype=float32)
    """
    return scale_by_learning_rate(learning_rate)


@optimizer(nesterov="nesterov")
def momentum(
    learning_rate: optax.ScalarOrSchedule,
    momentum: optax.ScalarOrSchedule = 0.9,
    form: str = "polyak",
) -> optax.GradientTransformationExtraArgs:
    """Gradient descent with momentum, in one of three forms:

    "polyak":    v ← g + γv,         w ← w − ηv
    "average":   v ← (1 − γ)g + γv,  w ← w − ηv
    "classical": v ← γv − ηg,        w ← w + v

    In Polyak's and the classical form v is a sum: a constant gradient is multiplied by 1/(1 − γ) in
    the end. The average at the rate η is Polyak's at η(1 − γ), for a constant γ and any η. The
    classical form is Polyak's while η is constant; its velocity remembers the rates it was made
    with, so when η falls it slows down only gradually.

    Args:
        learning_rate: η ≥ 0, or a schedule.
        momentum: γ in [0, 1), or a schedule such as `annealed_momentum`; 0 is `sgd`.
        form: "polyak", "average" or "classical".

    Raises:
        TypeError, ValueError: as `sgd`; for γ outside [0, 1); and for another form.

    Polyak 1964, in the form of PyTorch and of lecture C. Equals
    `optax.sgd(learning_rate, momentum)`. The average is lecture A's (whose Δw = −ηΔv is read as
    −ηv), the classical form lecture E's, after Sutskever et al. 2013, equations 1 and 2.
    """
    check_scheduled(below=1, momentum=momentum)
    combine = one_of(
        "momentum",
        "form",
        form,
        {"polyak": accumulate, "average": average, "classical": accumulate},
    )
    velocity = scheduled(momentum, functools.partial(trace, combine=combine))
    descent = scale_by_learning_rate(learning_rate)
    parts = [descent, velocity] if form == "classical" else [velocity, descent]
    return optax.chain(*parts)


@optimizer(nesterov="nesterov")
def nesterov(
    learning_rate: optax.ScalarOrSchedule, momentum: optax.ScalarOrSchedule = 0.9
) -> optax.GradientTransformationExtraArgs:
    """Nesterov's momentum: v ← g + γv, w ← w − η(g + γv).

    The step looks one ahead: the new velocity is decayed once more and the gradient added again.

    Args:
        learning_rate: η ≥ 0, or a schedule.
        momentum: γ in [0, 1), or a schedule; 0 is `sgd`.

    Raises:
        TypeError, ValueError: as `momentum`.

    Sutskever et al. 2013, after Nesterov 1983, in the variables of PyTorch: the gradient is taken
    where the weights are, and w is the point looked ahead to. Equals
    `optax.sgd(learning_rate, momentum, nesterov=True)`.
    """
    check_scheduled(below=1, momentum=momentum)
    velocity = scheduled(momentum, functools.partial(trace, nesterov=True))
    return optax.chain(velocity, scale_by_learning_rate(learning_rate))
