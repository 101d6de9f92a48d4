"""Gradient descent: plain, with momentum, with Nesterov's momentum."""

from __future__ import annotations

import optax

from dlcore.optim._checks import Scalar, check_numbers
from dlcore.optim._parts import scale_by_learning_rate, trace


def sgd(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformationExtraArgs:
    """Gradient descent: w ← w − ηg.

    Batch, mini-batch or stochastic is a matter of which examples g averages, not of the optimizer.
    On a quadratic it converges if and only if η < 2/λmax, the Hessian's largest eigenvalue.

    Args:
        learning_rate: η ≥ 0, or a schedule: a function of the number of updates done.

    Raises:
        TypeError, ValueError: for a rate that is no number, negative or not finite; and, from
            `init`, for an integer or complex leaf, by its path.

    Equals `optax.sgd(learning_rate)`. Momentum is `momentum` and `nesterov`, not an option here.

    >>> optimizer = sgd(0.1)
    >>> optimizer.update(2.0, optimizer.init(1.0))[0]
    Array(-0.2, dtype=float32)
    """
    return scale_by_learning_rate(learning_rate)


def momentum(
    learning_rate: optax.ScalarOrSchedule, decay: Scalar = 0.9
) -> optax.GradientTransformationExtraArgs:
    """Gradient descent with momentum: v ← g + γv, w ← w − ηv.

    A constant gradient is multiplied by 1/(1 − γ) in the end: v is a sum, not an average.

    Args:
        learning_rate: η ≥ 0, or a schedule.
        decay: γ in [0, 1); 0 is `sgd`. To anneal it, use `optax.inject_hyperparams(momentum)`.

    Raises:
        TypeError, ValueError: as `sgd`; and for γ outside [0, 1).

    Polyak 1964, in the form of PyTorch and of lecture C. Equals
    `optax.sgd(learning_rate, momentum=decay)`. Lecture A averages, v ← γv + (1 − γ)g: the same with
    η(1 − γ) for η here (its Δw = −ηΔv is read as −ηv). Lecture E puts the rate into the velocity,
    v ← γv − ηg: the same while η is constant.
    """
    check_numbers(below=1, decay=decay)
    return optax.chain(trace(decay), scale_by_learning_rate(learning_rate))


def nesterov(
    learning_rate: optax.ScalarOrSchedule, decay: Scalar = 0.9
) -> optax.GradientTransformationExtraArgs:
    """Nesterov's momentum: v ← g + γv, w ← w − η(g + γv).

    The step looks one ahead: the new velocity is decayed once more and the gradient added again.

    Args:
        learning_rate: η ≥ 0, or a schedule.
        decay: γ in [0, 1); 0 is `sgd`.

    Raises:
        TypeError, ValueError: as `momentum`.

    Sutskever et al. 2013, after Nesterov 1983, in the variables of PyTorch: the gradient is taken
    where the weights are, and w is the point looked ahead to. Equals
    `optax.sgd(learning_rate, momentum=decay, nesterov=True)`.
    """
    check_numbers(below=1, decay=decay)
    return optax.chain(trace(decay, nesterov=True), scale_by_learning_rate(learning_rate))
