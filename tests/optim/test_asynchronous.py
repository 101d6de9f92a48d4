"""Late gradients, against what the same workers do one after another in NumPy."""

from __future__ import annotations

import functools
import heapq

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import expit

from dlcore import optim

START = np.array([1.0, -2.0, 0.5], np.float32)
CURVATURES = np.array([0.3, 1.0, 2.0], np.float32)


def descent(optimizer, start, targets):
    """The parameters after each update of ½ Σ c (w − t)² over the targets [T, 3], one each."""

    def one(carry, target):
        w, state = carry

        def grad_fn(w):
            return CURVATURES * (w - target)

        updates, state = optimizer.update(grad_fn(w), state, w, grad_fn=grad_fn)
        w = optax.apply_updates(w, updates)
        return (w, state), w

    return jax.lax.scan(one, (start, optimizer.init(start)), targets)[1]


def descend(optimizer, targets):
    return np.asarray(jax.jit(functools.partial(descent, optimizer))(START, targets))


def by_hand(staleness, targets, rate, decay=0.0):
    """The same with every w kept."""
    ways, velocity = [START], np.zeros(3)
    for t, target in enumerate(targets):
        read = ways[max(0, t - staleness[t % len(staleness)])]
        velocity = CURVATURES * (read - target) + decay * velocity
        ways.append(ways[-1] - rate * velocity)
    return np.array(ways[1:])


TARGETS = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
STALENESS = {
    "none": [0],
    "constant": [3],
    "one worker": np.zeros(40, int),
    "drawn": np.random.default_rng(1).integers(0, 6, 40),
    "measured": optim.arrivals(np.array([[1.0], [2.0], [7.5]]), 40).staleness,
    "over again": [0, 4, 1],
}


@pytest.mark.parametrize("name", STALENESS)
def test_each_gradient_is_that_of_the_parameters_read(name):
    staleness = STALENESS[name]
    plain = descend(optim.delayed(optim.sgd(0.1), np.asarray(staleness)), TARGETS)
    np.testing.assert_allclose(plain, by_hand(staleness, TARGETS, 0.1), rtol=1e-4, atol=1e-5)
    heavy = descend(optim.delayed(optim.momentum(0.05), np.asarray(staleness)), TARGETS)
    np.testing.assert_allclose(heavy, by_hand(staleness, TARGETS, 0.05, 0.9), rtol=1e-4, atol=1e-5)


def test_more_room_changes_nothing_and_lets_runs_share_a_step():
    staleness = np.array(STALENESS["drawn"])
    optimizer = optim.delayed(optim.sgd(0.1), staleness)
    wide = optim.delayed(optim.sgd(0.1), staleness, longest=9)
    np.testing.assert_array_equal(descend(wide, TARGETS), descend(optimizer, TARGETS))
    other = optim.delayed(optim.sgd(0.1), np.zeros(40, int), longest=9)
    shared = wide._replace(init=other.init)
    np.testing.assert_array_equal(
        descend(shared, TARGETS), descend(optim.delayed(optim.sgd(0.1), 0), TARGETS)
    )


def test_a_late_gradient_narrows_the_rates_that_converge():
    """On ½w² late by τ the roots of z^(τ+1) = z^τ − η leave the circle at η = 2 sin(π/(4τ + 2))."""
    for tau in (0, 1, 4):

        @jax.jit
        @jax.vmap
        def way(rate, tau=tau):
            start, targets = np.float32([0.0, 1.0, 0.0]), np.zeros((1500, 3), np.float32)
            return descent(optim.delayed(optim.sgd(rate), tau), start, targets)[:, 1]

        limit = 2 * np.sin(np.pi / (4 * tau + 2))
        ends = way(np.float32([0.95 * limit, 1.05 * limit]))[:, -20:]
        below, above = np.abs(ends).max(axis=1)
        assert below < 1e-2, tau
        assert not above < 1e-2, tau  # NaN among them


def test_leaves_alone_what_is_frozen_and_keeps_dtypes():
    optimizer = optim.delayed(optim.sgd(0.1), 2)
    updates, state = jax.eval_shape(
        lambda p: optimizer.update(p, optimizer.init(p), p, grad_fn=lambda p: p),
        {"a": jnp.ones(2, jnp.bfloat16), "frozen": None},
    )
    assert updates["frozen"] is None
    assert updates["a"].dtype == state.history["a"].dtype == jnp.bfloat16
    assert state.history["a"].shape == (3, 2)


# ------------------------------------------------------------------------------------- arrivals


def queued(seconds, updates):
    """The events of a priority queue: (time, worker, staleness)."""
    finish = [(row[0], w, 0) for w, row in enumerate(seconds)]
    heapq.heapify(finish)
    made, came = [1] * len(seconds), []
    for t in range(updates):
        now, w, read = heapq.heappop(finish)
        came.append((now, w, t - read))
        length = seconds[w][made[w] % len(seconds[w])]
        heapq.heappush(finish, (now + length, w, t + 1))
        made[w] += 1
    return map(np.array, zip(*came, strict=True))


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_arrivals_are_those_of_an_event_queue(workers):
    seconds = np.random.default_rng(workers).lognormal(0, 0.5, (workers, 30))
    came = optim.arrivals(seconds, 200)
    for mine, other in zip(came, queued(seconds, 200), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert np.all(np.diff(came.seconds) >= 0)
    if workers == 1:
        assert not came.staleness.any()


def test_equal_workers_come_in_turn():
    came = optim.arrivals(np.full((4, 1), 2.0), 10)
    np.testing.assert_array_equal(came.worker, np.arange(10) % 4)
    np.testing.assert_array_equal(came.staleness, [0, 1, 2, 3, 3, 3, 3, 3, 3, 3])
    np.testing.assert_array_equal(came.seconds, 2.0 * (np.arange(10) // 4 + 1))


# ------------------------------------------------------------------------------------- Hogwild

SIZE, ROWS, K = 30, 60, 3


def sparse_rows(seed=0):
    """Logistic regression on rows of at most K features, missing ones at SIZE."""
    rng = np.random.default_rng(seed)
    index = np.array([rng.choice(SIZE, K, replace=False) for _ in range(ROWS)])
    index[::5, -1] = SIZE
    values = rng.normal(size=(ROWS, K)).astype(np.float32)
    return index, {"values": values, "y": rng.choice([-1.0, 1.0], ROWS).astype(np.float32)}


def logistic(weights, row):
    return jnp.logaddexp(0, -row["y"] * jnp.vdot(weights, row["values"]))


def locked(index, rows, rate, staleness):
    """The same with every x kept, and conflicts by sets."""
    ways, conflicts = [np.zeros(SIZE)], []
    for t, e in enumerate(index):
        inside = e < SIZE
        e, a, y = e[inside], rows["values"][t][inside], rows["y"][t]
        late = min(t, staleness[t])
        slope = -y * expit(-y * (ways[t - late][e] @ a)) * a
        x = ways[-1].copy()
        x[e] -= rate * slope
        ways.append(x)
        others = {i for other in index[t - late : t] for i in other}
        conflicts.append(bool(others & set(e.tolist())))
    return ways[-1], np.array(conflicts)


@pytest.mark.parametrize("longest", [0, 1, 8])
def test_hogwild_is_its_simulation(longest):
    index, rows = sparse_rows()
    staleness = np.random.default_rng(2).integers(0, longest + 1, ROWS)
    x, conflicts = optim.hogwild(logistic, jnp.zeros(SIZE), index, rows, 0.5, staleness)
    expected, met = locked(index, rows, 0.5, staleness)
    np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(conflicts, met)
    assert met.any() == (longest > 0)


def test_hogwild_without_conflicts_is_serial_to_the_bit():
    """Rows that share nothing with the ones before them read what a serial run reads."""
    index, rows = sparse_rows()
    index = np.arange(ROWS)[:, None] % 10 * K + np.arange(K)
    runs = [optim.hogwild(logistic, jnp.zeros(SIZE), index, rows, 0.5, tau).x for tau in (0, 5, 9)]
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_array_equal(runs[0], runs[2])
    assert not optim.hogwild(logistic, jnp.zeros(SIZE), index, rows, 0.5, 9).conflicts.any()
    assert optim.hogwild(logistic, jnp.zeros(SIZE), index, rows, 0.5, 10).conflicts.any()


def test_hogwild_of_several_values_a_coordinate_and_a_coordinate_twice():
    def loss(values, target):
        return 0.5 * jnp.sum((values.sum(0) - target) ** 2)

    x, _ = optim.hogwild(loss, jnp.zeros((4, 2)), [[1, 1]], jnp.asarray([[1.0, 3.0]]), 0.25)
    np.testing.assert_allclose(x, [[0, 0], [0.5, 1.5], [0, 0], [0, 0]])


# ------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: optim.delayed(optim.sgd(0.1), 1.5), TypeError, "staleness must be of whole"),
        (lambda: optim.delayed(optim.sgd(0.1), -1), ValueError, "delayed: staleness is -1"),
        (
            lambda: optim.delayed(optim.sgd(0.1), np.zeros((2, 2), int)),
            ValueError,
            "or one for each update is wanted",
        ),
        (lambda: optim.delayed(optim.sgd(0.1), 4, 3), ValueError, "longest=3 at most is wanted"),
        (lambda: optim.delayed(optim.sgd(0.1), 1).init({}), ValueError, "parameters is empty"),
        (
            lambda: optim.delayed(optim.sgd(0.1), 1).update(1.0, None, 1.0),
            ValueError,
            "delayed needs the gradient as a function of the parameters",
        ),
        (lambda: optim.arrivals(np.ones(3), 4), ValueError, r"seconds is \[3\]"),
        (lambda: optim.arrivals(np.zeros((1, 1)), 4), ValueError, "numbers above 0 is wanted"),
        (lambda: optim.arrivals(np.ones((1, 1)), 0), ValueError, "updates must be at least 1"),
        (
            lambda: optim.hogwild(logistic, jnp.zeros(3), [[0]], jnp.ones(1), 0.1, [0, 1]),
            ValueError,
            r"hogwild: index is \[1, 1\] and staleness \[2\]",
        ),
        (
            lambda: optim.hogwild(logistic, jnp.zeros(3), [[0]], jnp.ones(1), -0.1),
            ValueError,
            "learning_rate must be finite and at least 0",
        ),
    ],
)
def test_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call()
