"""Schedules: functions of the number of updates done, t = 0, 1, 2, …

They make a learning rate, or a momentum. Each returns float32 for any count, traced or not.
Numbers are at least 0, where optax takes any: a negative rate would climb. Lengths may lie beyond
the int32 in which updates are counted, up to 2⁶³ − 1.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.names import arguments
from dlcore.optim._checks import Scalar, check_numbers, check_positive, check_shares, check_whole

_check_steps = functools.partial(check_whole, most=2**63 - 1)


@arguments()
def constant(value: Scalar) -> optax.Schedule:
    """ηₜ = value, at least 0. Equals `optax.constant_schedule`.

    >>> constant(0.1)(1000)
    0.1
    """
    check_numbers(value=value)
    return lambda count: value


# ------------------------------------------------------------------------------------ in steps


@arguments()
def step_decay(init_value: Scalar, transition_steps: int, decay_rate: Scalar) -> optax.Schedule:
    """ηₜ = η₀ r^⌊t/n⌋: multiplied by r = decay_rate ≥ 0 every n = transition_steps ≥ 1 updates.

    Equals PyTorch's StepLR, and `optax.exponential_decay(…, staircase=True)` but that optax reads
    r = 0 as no decay at all; here the rate is 0 from t = n on.

    >>> [round(float(step_decay(0.1, 30, 0.5)(t)), 6) for t in (0, 29, 30, 60)]
    [0.1, 0.1, 0.05, 0.025]
    """
    check_numbers(init_value=init_value, decay_rate=decay_rate)
    _check_steps(transition_steps=transition_steps)
    return lambda count: (
        _float(init_value) * _float(decay_rate) ** _float(_divided(count, transition_steps)[0])
    )


@arguments()
def piecewise_constant(
    init_value: Scalar, boundaries_and_scales: Mapping[int, Scalar]
) -> optax.Schedule:
    """ηₜ = η₀ times every scale ≥ 0 whose boundary is reached, 0 ≤ boundary ≤ t.

    Equals `optax.piecewise_constant_schedule`, and PyTorch's MultiStepLR where the scales are one.

    >>> [round(float(piecewise_constant(1.0, {10: 0.1, 20: 0.5})(t)), 6) for t in (9, 10, 20)]
    [1.0, 0.1, 0.05]
    """
    check_numbers(init_value=init_value)
    for boundary, scale in boundaries_and_scales.items():
        _check_steps(least=0, boundary=boundary)
        check_numbers(scale=scale)

    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        value = _float(init_value)
        for boundary, scale in boundaries_and_scales.items():
            value = value * jnp.where(_since(count, boundary) >= 0, _float(scale), 1)
        return value

    return schedule


# --------------------------------------------------------------------------------- falling for ever


@arguments()
def exponential(init_value: Scalar, decay: Scalar) -> optax.Schedule:
    """ηₜ = η₀ e^(−kt), with k = decay ≥ 0: a rate that grows without end (optax: r > 1) is refused.

    Lecture E. Equals `optax.exponential_decay(η₀, n, r)` with r = e^(−kn). Its sum is finite: the
    weights come no further than η₀/(1 − e^(−k)) times the largest gradient.

    >>> float(exponential(1.0, 0.5)(2))
    0.3678794503211975
    """
    check_numbers(init_value=init_value, decay=decay)
    return lambda count: _float(init_value) * jnp.exp(-_float(decay) * _float(count))


@arguments()
def inverse_time(init_value: Scalar, decay: Scalar) -> optax.Schedule:
    """ηₜ = η₀/(1 + kt), with k = decay ≥ 0. Lecture E's 1/t decay; Σηₜ = ∞.

    >>> [float(inverse_time(1.0, 0.5)(t)) for t in (0, 2, 6)]
    [1.0, 0.5, 0.25]
    """
    check_numbers(init_value=init_value, decay=decay)
    return lambda count: _float(init_value) / (1 + _float(decay) * _float(count))


@arguments()
def diminishing(init_value: Scalar, power: Scalar = 1.0) -> optax.Schedule:
    """ηₜ = η₀/kᵖ at the k-th update, k = t + 1 = 1, 2, …, with p = power ≥ 0.

    Lecture C: η₀/k. For p ≤ 1, Σηₜ = ∞ and any distance can be covered; for p > 1 the sum is finite
    and descent may stop short of the minimum. With noisy gradients Σηₜ² < ∞ is wanted too, which is
    p > ½ (Robbins and Monro 1951).

    >>> [float(diminishing(1.0)(t)) for t in (0, 1, 3)]
    [1.0, 0.5, 0.25]
    """
    check_numbers(init_value=init_value, power=power)
    return lambda count: _float(init_value) / (1 + _float(count)) ** _float(power)


# ------------------------------------------------------------------------------ from here to there


@arguments()
def polynomial(
    init_value: Scalar,
    end_value: Scalar,
    power: Scalar,
    transition_steps: int,
    transition_begin: int = 0,
) -> optax.Schedule:
    """ηₜ = end + (init − end)(1 − s)ᵖ, where s goes from 0 at t = B to 1 at t = B + T and stays.

    Args:
        init_value: the rate up to B, at least 0.
        end_value: the rate from B + T on, at least 0.
        power: p ≥ 0.
        transition_steps: T ≥ 1.
        transition_begin: B ≥ 0.

    Raises:
        TypeError, ValueError: for a value that is no number or negative, or steps that are none.

    Equals `optax.polynomial_schedule`, which reads T < 1 as no transition at all.

    >>> [round(float(polynomial(1.0, 0.0, 2, 10)(t)), 6) for t in (0, 5, 10, 11)]
    [1.0, 0.25, 0.0, 0.0]
    """
    check_numbers(init_value=init_value, end_value=end_value, power=power)
    _check_steps(transition_steps=transition_steps)
    _check_steps(least=0, transition_begin=transition_begin)

    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        left = 1 - _progress(count, transition_begin, transition_steps)
        return _between(init_value, end_value, left ** _float(power))

    return schedule


@arguments()
def linear(
    init_value: Scalar, end_value: Scalar, transition_steps: int, transition_begin: int = 0
) -> optax.Schedule:
    """`polynomial` with p = 1. Equals `optax.linear_schedule`."""
    return polynomial(init_value, end_value, 1.0, transition_steps, transition_begin)


@arguments()
def cosine(init_value: Scalar, decay_steps: int, alpha: Scalar = 0.0) -> optax.Schedule:
    """Half a cosine: ηₜ = η₀(α + (1 − α) ½(1 + cos(π min(t/T, 1)))), with T = decay_steps ≥ 1.

    η₀ and α, the share of it that is left at the end, are at least 0.
    Loshchilov and Hutter 2017; with `restarts`, all of it. Equals `optax.cosine_decay_schedule`.

    >>> [round(float(cosine(0.4, 10)(t)), 6) for t in (0, 5, 10, 11)]
    [0.4, 0.2, 0.0, 0.0]
    """
    check_numbers(init_value=init_value, alpha=alpha)
    _check_steps(decay_steps=decay_steps)

    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        left = _half_cosine(_progress(count, 0, decay_steps))
        return _float(init_value) * _between(1.0, alpha, left)

    return schedule


@arguments()
def warmup(schedule: optax.Schedule, warmup_steps: int, init_value: Scalar = 0.0) -> optax.Schedule:
    """A linear way to the schedule's first value, then the schedule, W = warmup_steps ≥ 0 late:

    t < W: ηₜ = init + (schedule(0) − init) t/W, with init ≥ 0
    t ≥ W: ηₜ = schedule(t − W)

    Goyal et al. 2017, section 2.2. Equals optax's linear_schedule joined with the schedule at W.

    >>> [round(float(warmup(constant(0.4), 4)(t)), 6) for t in (0, 1, 4, 100)]
    [0.0, 0.1, 0.4, 0.4]
    """
    if not callable(schedule):
        raise TypeError(
            f"warmup leads to a schedule, got {schedule!r}: write warmup(constant({schedule!r}), …)"
        )
    _check_steps(least=0, warmup_steps=warmup_steps)
    check_numbers(init_value=init_value)

    def warmed(count: jax.typing.ArrayLike) -> jax.Array:
        since = _since(count, warmup_steps)
        rising = _between(init_value, schedule(0), 1 - _progress(count, 0, warmup_steps))
        return jnp.where(since < 0, rising, _float(schedule(since.clip(0))))

    return warmed


@arguments()
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
    check_numbers(peak_value=peak_value, end_value=end_value)
    _check_steps(least=0, warmup_steps=warmup_steps)
    _check_steps(decay_steps=decay_steps)
    if warmup_steps >= decay_steps:
        raise ValueError(
            "wanted warmup_steps < decay_steps (the whole length, warm-up included), "
            f"got warmup_steps={warmup_steps}, decay_steps={decay_steps}"
        )

    def falling(count: jax.typing.ArrayLike) -> jax.Array:
        left = _half_cosine(_progress(count, 0, decay_steps - warmup_steps))
        return _between(peak_value, end_value, left)

    return warmup(falling, warmup_steps, init_value)


# ------------------------------------------------------------------------------------- up and down


@arguments()
def one_cycle(
    transition_steps: int,
    peak_value: Scalar,
    pct_start: float = 0.3,
    div_factor: Scalar = 25.0,
    final_div_factor: Scalar = 1e4,
) -> optax.Schedule:
    """Half a cosine up to the peak η, half a cosine down to almost nothing, with T the length:

    from η/d at t = 0 to η at t = ⌊pT⌋, and to η/(d·f) at t = T, where it stays.

    Args:
        transition_steps: T ≥ 1.
        peak_value: η ≥ 0.
        pct_start: p in [0, 1], the share of the rise.
        div_factor: d > 0.
        final_div_factor: f > 0.

    Raises:
        TypeError, ValueError: for a value that is no number or out of range, or T that is none.

    Smith and Topin 2018, whose lines are half cosines here, as fastai draws them. Equals
    `optax.cosine_onecycle_schedule`; PyTorch's OneCycleLR comes to each place one update earlier.
    """
    _check_steps(transition_steps=transition_steps)
    check_numbers(peak_value=peak_value)
    check_shares(pct_start=pct_start)
    check_positive(div_factor=div_factor, final_div_factor=final_div_factor)
    rise = int(pct_start * transition_steps)

    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        low = _float(peak_value) / _float(div_factor)
        up = _half_cosine(_progress(count, 0, rise))
        down = _half_cosine(_progress(count, rise, transition_steps - rise))
        final = low / _float(final_div_factor)
        rising, falling = _between(low, peak_value, up), _between(peak_value, final, down)
        return jnp.where(_since(count, rise) < 0, rising, falling)

    return schedule


@arguments()
def cyclic(
    base_value: Scalar, peak_value: Scalar, half_cycle: int, shrink: Scalar = 1.0
) -> optax.Schedule:
    """A triangle wave: ηₜ = base + (peak − base) rᶜ (1 − |t/n − 2c − 1|) in cycle c = ⌊t/2n⌋.

    Args:
        base_value: the least rate, at least 0.
        peak_value: the greatest rate of the first cycle, at least 0.
        half_cycle: n ≥ 1, the updates of one flank.
        shrink: r ≥ 0, what the height is multiplied by after each cycle.

    Raises:
        TypeError, ValueError: for a value that is no number or negative, or n that is none.

    Smith 2017. Equals PyTorch's CyclicLR: "triangular" for r = 1, "triangular2" for r = ½.

    >>> [round(float(cyclic(0.1, 0.5, 2)(t)), 6) for t in range(6)]
    [0.1, 0.3, 0.5, 0.3, 0.1, 0.3]
    """
    check_numbers(base_value=base_value, peak_value=peak_value, shrink=shrink)
    _check_steps(half_cycle=half_cycle)

    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        cycle, within = map(_float, _divided(count, 2 * half_cycle))
        height = _float(shrink) ** cycle * (1 - jnp.abs(within / _float(half_cycle) - 1))
        return _between(peak_value, base_value, height)

    return schedule


@arguments()
def restarts(schedule: optax.Schedule, period: int) -> optax.Schedule:
    """The schedule begun again every `period` ≥ 1 updates: ηₜ = schedule(t mod period).

    `restarts(cosine(0.1, n), n)` is SGDR (Loshchilov and Hutter 2017), with restarts of one length.

    >>> [float(restarts(linear(1.0, 0.0, 4), 4)(t)) for t in range(6)]
    [1.0, 0.75, 0.5, 0.25, 1.0, 0.75]
    """
    _check_steps(period=period)
    return lambda count: schedule(_divided(count, period)[1])


# --------------------------------------------------------------------------------------- momentum


@arguments()
def annealed_momentum(transition_steps: int, max_value: Scalar = 0.99) -> optax.Schedule:
    """γₜ = min(1 − ½/(⌊t/n⌋ + 1), γmax), for `momentum`: ½, ¾, ⅚, … every n updates.

    The reach 1/(1 − γ) of the velocity grows in proportion to the updates done: 2, 4, 6, …, and
    with γmax = 0.99 it stays at 100 from t = 49n on.

    Args:
        transition_steps: n ≥ 1.
        max_value: γmax in [0, 1).

    Raises:
        TypeError, ValueError: for γmax that is no number or out of range, or n that is none.

    Sutskever et al. 2013, equation 5, where n = 250; lecture E's annealing from 0.5 to 0.99.

    >>> [round(float(annealed_momentum(250)(t)), 4) for t in (0, 250, 500, 100_000)]
    [0.5, 0.75, 0.8333, 0.99]
    """
    _check_steps(transition_steps=transition_steps)
    check_numbers(below=1, max_value=max_value)
    return lambda count: jnp.minimum(
        1 - 0.5 / (_float(_divided(count, transition_steps)[0]) + 1), _float(max_value)
    )


def _float(value: Any) -> jax.Array:
    known = isinstance(value, jax.Array)
    return jnp.asarray(value if known else np.asarray(value, np.float32), jnp.float32)


def _since(count: jax.typing.ArrayLike, begin: int) -> Any:
    """t − begin in whole numbers, and −1 before a `begin` that t is too short to reach."""
    t = _whole(count)
    return np.full(t.shape, -1) if _is_beyond(begin, t) else t - begin


def _divided(count: jax.typing.ArrayLike, steps: int) -> tuple[Any, Any]:
    """⌊t/steps⌋ and t mod steps in whole numbers: 0 and t where t is too short to reach them."""
    t = _whole(count)
    return (np.zeros(t.shape), t) if _is_beyond(steps, t) else (t // steps, t % steps)


def _whole(count: jax.typing.ArrayLike) -> Any:
    """The count, signed; by NumPy where it is a number of Python's, too large for JAX perhaps."""
    t = count if isinstance(count, jax.Array) else np.asarray(count)
    return t.astype(int) if jnp.issubdtype(t.dtype, jnp.unsignedinteger) else t


def _is_beyond(steps: int, t: Any) -> bool:
    return jnp.issubdtype(t.dtype, jnp.integer) and steps > jnp.iinfo(t.dtype).max


def _progress(count: jax.typing.ArrayLike, begin: int, steps: int) -> jax.Array:
    """From 0 at `begin` to 1 after that many steps, and constant outside."""
    return jnp.clip(_float(_since(count, begin)) / _float(max(steps, 1)), 0, 1)


def _half_cosine(progress: jax.Array) -> jax.Array:
    """From 1 to 0."""
    return 0.5 * (1 + jnp.cos(jnp.pi * progress))


def _between(start: Scalar, end: Scalar, left: jax.Array) -> jax.Array:
    """The end, and what is left of the way from the start."""
    return _float(end) + (_float(start) - _float(end)) * left
