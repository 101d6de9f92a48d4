"""Learning-rate schedules: functions of the number of updates done, 0, 1, 2, …"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.optim._checks import Scalar, check_numbers


def constant(value: Scalar) -> optax.Schedule:
    """ηₜ = value, at least 0. Equals `optax.constant_schedule`.

    >>> constant(0.1)(1000)
    0.1
    """
    check_numbers(value=value)
    return lambda count: value


def warmup_cosine(
    peak_value: Scalar,
    decay_steps: int,
    *,
    warmup_steps: int = 0,
    init_value: Scalar = 0.0,
    end_value: Scalar = 0.0,
) -> optax.Schedule:
    """Linear warm-up, then half a cosine, with W = warmup_steps and T = decay_steps:

    t < W: ηₜ = init + (peak − init) t/W
    t ≥ W: ηₜ = end + (peak − end) ½(1 + cos(π min((t − W)/(T − W), 1)))

    Args:
        peak_value: the rate at t = W, at least 0.
        decay_steps: T, the whole length, warm-up included; from there on the rate is `end_value`.
        warmup_steps: W, 0 ≤ W < T. Without it the cosine starts at once.
        init_value: the rate at t = 0 of a warm-up, at least 0.
        end_value: the rate at t = T, at least 0.

    Raises:
        TypeError, ValueError: for a value that is no number or negative; for steps out of order.

    Loshchilov and Hutter 2017, without restarts; warm-up: Goyal et al. 2017. Equals
    `optax.warmup_cosine_decay_schedule` (with init_value first) within rounding.

    >>> [round(float(warmup_cosine(0.4, 6, warmup_steps=2)(t)), 6) for t in (0, 1, 2, 4, 6, 9)]
    [0.0, 0.2, 0.4, 0.2, 0.0, 0.0]
    """
    check_numbers(peak_value=peak_value, init_value=init_value, end_value=end_value)
    _check_steps(warmup_steps, decay_steps)

    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        values = (count, init_value, peak_value, end_value)
        t, init, peak, end = (jnp.asarray(value, jnp.float32) for value in values)
        rising = init + (peak - init) * t / max(warmup_steps, 1)
        progress = jnp.clip((t - warmup_steps) / (decay_steps - warmup_steps), 0, 1)
        falling = end + (peak - end) * 0.5 * (1 + jnp.cos(jnp.pi * progress))
        return jnp.where(t < warmup_steps, rising, falling)

    return schedule


def _check_steps(warmup_steps: int, decay_steps: int) -> None:
    for name, steps in {"warmup_steps": warmup_steps, "decay_steps": decay_steps}.items():
        if isinstance(steps, bool) or not isinstance(steps, int | np.integer):
            raise TypeError(f"{name} must be a whole number of updates, got {steps!r}")
    if not 0 <= warmup_steps < decay_steps:
        raise ValueError(
            f"wanted 0 <= warmup_steps < decay_steps (the whole length, warm-up included), "
            f"got warmup_steps={warmup_steps}, decay_steps={decay_steps}"
        )
