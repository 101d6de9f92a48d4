"""Schedules against optax's and PyTorch's values, and what is known of their sums."""

from __future__ import annotations

import itertools
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import optim

COUNTS = np.arange(60, dtype=np.int32)


def values(schedule, counts=COUNTS):
    return np.asarray(jax.jit(jax.vmap(schedule))(np.asarray(counts, np.int32)))


# Ours, and optax's, which take the same numbers.
PAIRS = {
    "constant": (optim.constant(0.3), optax.constant_schedule(0.3)),
    "step_decay": (
        optim.step_decay(0.3, 7, 0.5),
        optax.exponential_decay(0.3, 7, 0.5, staircase=True),
    ),
    "piecewise_constant": (
        optim.piecewise_constant(0.3, {30: 0.5, 10: 0.1, 0: 2.0}),
        optax.piecewise_constant_schedule(0.3, {30: 0.5, 10: 0.1, 0: 2.0}),
    ),
    "exponential": (
        optim.exponential(0.3, 0.05),
        optax.exponential_decay(0.3, 10, math.exp(-0.05 * 10)),
    ),
    "polynomial": (
        optim.polynomial(0.3, 0.01, 2.5, 30, 10),
        optax.polynomial_schedule(0.3, 0.01, 2.5, 30, 10),
    ),
    "linear": (optim.linear(0.1, 0.9, 40), optax.linear_schedule(0.1, 0.9, 40)),
    "cosine": (optim.cosine(0.3, 40, 0.1), optax.cosine_decay_schedule(0.3, 40, 0.1)),
    "one_cycle": (optim.one_cycle(50, 0.3), optax.cosine_onecycle_schedule(50, 0.3)),
    "one_cycle, unlike its defaults": (
        optim.one_cycle(45, 0.3, 0.51, 10.0, 50.0),
        optax.cosine_onecycle_schedule(45, 0.3, 0.51, 10.0, 50.0),
    ),
    "warmup": (
        optim.warmup(optim.exponential(0.3, 0.1), 10, 0.05),
        optax.join_schedules(
            [optax.linear_schedule(0.05, 0.3, 10), optax.exponential_decay(0.3, 1, math.exp(-0.1))],
            [10],
        ),
    ),
    "restarts": (
        optim.restarts(optim.cosine(0.3, 20), 20),
        optax.sgdr_schedule(
            [
                {"init_value": 0.3, "peak_value": 0.3, "warmup_steps": 0, "decay_steps": 20}
                for _ in range(3)
            ]
        ),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_equals_optax(name):
    ours, theirs = PAIRS[name]
    with jax.numpy_dtype_promotion("standard"):
        expected = values(theirs)
    np.testing.assert_allclose(values(ours), expected, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("warmup_steps", [0, 1, 10])
@pytest.mark.parametrize(("init", "end"), [(0.0, 0.0), (0.01, 0.05), (0.6, 0.3)])
def test_warmup_cosine_equals_optax(warmup_steps, init, end):
    ours = optim.warmup_cosine(0.3, 40, warmup_steps=warmup_steps, init_value=init, end_value=end)
    theirs = optax.warmup_cosine_decay_schedule(init, 0.3, warmup_steps, 40, end)
    with jax.numpy_dtype_promotion("standard"):
        expected = values(theirs)
    np.testing.assert_allclose(values(ours), expected, atol=1e-7)


TORCH = {
    "step_decay": (optim.step_decay(0.3, 7, 0.5), "StepLR", {"step_size": 7, "gamma": 0.5}),
    "piecewise_constant": (
        optim.piecewise_constant(0.3, {10: 0.1, 30: 0.1}),
        "MultiStepLR",
        {"milestones": [10, 30], "gamma": 0.1},
    ),
    "exponential": (
        optim.exponential(0.3, 0.05),
        "ExponentialLR",
        {"gamma": math.exp(-0.05)},
    ),
    "inverse_time": (
        optim.inverse_time(0.3, 0.2),
        "LambdaLR",
        {"lr_lambda": lambda t: 1 / (1 + 0.2 * t)},
    ),
    "diminishing": (optim.diminishing(0.3), "LambdaLR", {"lr_lambda": lambda t: 1 / (t + 1)}),
    "polynomial": (
        optim.polynomial(0.3, 0.0, 2, 40),
        "PolynomialLR",
        {"total_iters": 40, "power": 2.0},
    ),
    "cosine, restarted": (
        optim.restarts(optim.cosine(0.3, 20), 20),
        "CosineAnnealingWarmRestarts",
        {"T_0": 20},
    ),
    "cyclic": (
        optim.cyclic(0.05, 0.3, 8),
        "CyclicLR",
        {"base_lr": 0.05, "max_lr": 0.3, "step_size_up": 8, "cycle_momentum": False},
    ),
    "cyclic, shrinking": (
        optim.cyclic(0.05, 0.3, 8, 0.5),
        "CyclicLR",
        {
            "base_lr": 0.05,
            "max_lr": 0.3,
            "step_size_up": 8,
            "mode": "triangular2",
            "cycle_momentum": False,
        },
    ),
}


@pytest.mark.parametrize("name", TORCH)
def test_equals_torch(name, torch):
    ours, scheduler, options = TORCH[name]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    theirs = getattr(torch.optim.lr_scheduler, scheduler)(optimizer, **options)
    expected = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that no optimizer steps here
        for _ in range(60):
            expected.append(theirs.get_last_lr()[0])
            theirs.step()
    np.testing.assert_allclose(values(ours), expected, rtol=1e-5, atol=1e-7)


def test_warmup_cosine_goes_through_its_three_values():
    schedule = optim.warmup_cosine(
        0.3, 40, warmup_steps=10, init_value=0.1, end_value=jnp.float32(0.2)
    )
    found = values(schedule, [0, 10, 25, 40, 10_000])
    np.testing.assert_allclose(found, [0.1, 0.3, 0.25, 0.2, 0.2], rtol=1e-6)


def test_the_first_update_sees_count_zero():
    """As in optax: a warm-up from 0 does not move the first time."""
    optimizer = optim.sgd(optim.warmup_cosine(0.4, 6, warmup_steps=2))
    grad = jnp.float32(1.0)

    def step(state, _):
        update, state = optimizer.update(grad, state)
        return state, -update

    _, seen = jax.lax.scan(step, optimizer.init(grad), length=4)
    np.testing.assert_allclose(seen, [0.0, 0.2, 0.4, 0.341421], rtol=1e-5)


def test_a_sum_that_is_infinite_arrives_and_a_finite_one_stops_short():
    """Lecture C: α₀/k still explores all regions, α₀/k² does not. On ½(w − w*)², |Δw| ≤ α|w − w*|,
    so the share of the way that is left is at least ∏(1 − α₀/k²) = sin(π√α₀)/(π√α₀).
    """
    far, first = 1000.0, 0.5

    def left(schedule, steps=20_000):
        descend = lambda k, w: w - schedule(k) * (w - far)  # noqa: E731
        return 1 - float(jax.lax.fori_loop(0, steps, descend, jnp.float32(0.0))) / far

    assert left(optim.diminishing(first)) < 0.01  # as 1/√(πk)
    root = math.pi * math.sqrt(first)
    assert left(optim.diminishing(first, 2.0)) == pytest.approx(math.sin(root) / root, rel=1e-3)
    assert left(optim.inverse_time(first, 1.0)) < 0.01
    # e^(−kt): the steps add up to α₀/(1 − e^(−k)) at most.
    assert left(optim.exponential(first, 0.5)) > math.exp(-2 * first / (1 - math.exp(-0.5)))


def test_momentum_is_annealed_by_the_papers_equation():
    """Sutskever et al. 2013, equation 5: min(1 − 2^(−1 − log₂(⌊t/250⌋ + 1)), μmax)."""
    counts = np.arange(0, 20_000, 83)
    expected = np.minimum(1 - 2.0 ** (-1 - np.log2(counts // 250 + 1)), 0.99)
    ours = values(optim.annealed_momentum(250), counts)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    assert (ours[0], ours[-1]) == (0.5, np.float32(0.99))


STRETCHED = {  # each with its lengths times k
    "step_decay": lambda k: optim.step_decay(0.3, 3 * k, 0.5),
    "piecewise_constant": lambda k: optim.piecewise_constant(0.3, {6 * k: 0.5, 2 * k: 0.1}),
    "polynomial": lambda k: optim.polynomial(0.3, 0.01, 2.5, 6 * k, 2 * k),
    "linear": lambda k: optim.linear(0.1, 0.9, 8 * k),
    "cosine": lambda k: optim.cosine(0.3, 8 * k, 0.1),
    "warmup": lambda k: optim.warmup(optim.cosine(0.3, 4 * k), 5 * k, 0.05),
    "warmup_cosine": lambda k: optim.warmup_cosine(0.3, 9 * k, warmup_steps=3 * k),
    "one_cycle": lambda k: optim.one_cycle(10 * k, 0.3),
    "cyclic": lambda k: optim.cyclic(0.05, 0.3, 2 * k, 0.5),
    "restarts": lambda k: optim.restarts(optim.linear(1.0, 0.0, 4 * k), 4 * k),
    "annealed_momentum": lambda k: optim.annealed_momentum(3 * k),
}


@pytest.mark.slow
def test_lengths_beyond_int32_stretch_a_schedule():
    """ηₜ depends on t's share of the lengths alone, and a power of two rounds nothing."""
    k, counts = 2**30, np.arange(12)

    def both(plain, stretched, traced):
        return [
            (plain(counts), stretched(k * counts)),
            (plain(7), stretched(7 * k)),  # a number of Python's
            (jnp.stack([plain(0), plain(1)]), jax.vmap(stretched)(traced)),
        ]

    every = jax.jit(
        lambda traced: {name: both(make(1), make(k), traced) for name, make in STRETCHED.items()}
    )(np.int32([0, k]))
    for name, pairs in every.items():
        for expected, found in pairs:
            np.testing.assert_array_equal(found, expected, err_msg=name)


def test_a_count_may_be_unsigned():
    schedules = [make(9) for make in STRETCHED.values()]
    both = jax.jit(lambda *kinds: [[schedule(t) for schedule in schedules] for t in kinds])
    np.testing.assert_array_equal(*both(np.int32(4), np.uint32(4)))


def test_the_last_count_does_not_reach_a_length_beyond_it():
    last, beyond = np.int32(2**31 - 1), 2**31
    found = jax.jit(
        lambda t: [
            optim.step_decay(1.0, beyond, 0.5)(t),
            optim.piecewise_constant(1.0, {beyond: 0.5})(t),
            optim.restarts(optim.linear(0.0, 1.0, 2**31 - 1), beyond)(t),
            2 * optim.annealed_momentum(beyond)(t),
        ]
    )(last)
    np.testing.assert_array_equal(found, np.ones(4))


def test_a_decay_to_nothing_is_torchs_and_not_optaxs(torch):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    theirs = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.0)
    expected = []
    for _ in range(5):
        expected.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    ours = [float(optim.step_decay(0.3, 2, 0.0)(t)) for t in range(5)]
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    assert optax.exponential_decay(0.3, 2, 0.0, staircase=True)(4) == 0.3


def test_every_schedule_is_float32_for_every_count():
    ours = [pair[0] for pair in (*PAIRS.values(), *TORCH.values())]
    more = [optim.annealed_momentum(3)]
    for schedule, count in itertools.product(ours[1:] + more, (3, np.int64(3), jnp.int32(3))):
        value = jax.eval_shape(lambda schedule=schedule, count=count: schedule(count))
        assert (value.dtype, value.shape) == (jnp.float32, ())


def test_a_schedule_can_be_swept():
    """Its numbers may be traced."""
    rates = [0.1, 0.2]
    for make in (
        lambda rate: optim.exponential(rate, 0.5)(4),
        lambda rate: optim.inverse_time(rate, 0.5)(4),
        lambda rate: optim.diminishing(rate, 0.5)(4),
        lambda rate: optim.one_cycle(10, rate)(4),
    ):
        swept, alone = jax.jit(
            lambda traced, make=make: (jax.vmap(make)(traced), [make(rate) for rate in rates])
        )(np.float32(rates))
        np.testing.assert_allclose(swept, alone, rtol=1e-6)
        np.testing.assert_allclose(swept[1], 2 * swept[0], rtol=1e-6)
