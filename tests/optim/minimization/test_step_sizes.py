"""What each choice of a step promises, at every step that was taken, recomputed without dlcore."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der

from dlcore import optim
from dlcore.optim import landscapes

pytestmark = pytest.mark.usefixtures("x64")
STARTS = np.random.default_rng(0).uniform(-2, 2, (6, 3))


def runs(direction, step_size, iterations=30):
    """(x, α, x₊) of every step down scipy's Rosenbrock function from each of the starts."""

    @jax.jit
    @jax.vmap
    def run(x0):
        return optim.minimize(
            landscapes.rosenbrock.f,
            x0,
            direction=direction,
            step_size=step_size,
            tolerance=1e-6,
            max_iterations=iterations,
            record=lambda x: x,
        )

    result = run(jnp.asarray(STARTS))
    steps = []
    for i, n in enumerate(result.iterations):
        path = np.asarray(result.history.record[i])
        alphas = np.asarray(result.history.step_size[i])
        steps += [(path[k], alphas[k + 1], path[k + 1]) for k in range(n)]
    assert len(steps) > 60
    assert set(np.asarray(result.status)) <= {optim.Status.CONVERGED, optim.Status.MAX_ITERATIONS}
    return steps


def sufficient(x, d, alpha, decrease):
    rounding = 1e-14 * rosen(x)
    return rosen(x + alpha * d) <= rosen(x) + decrease * alpha * rosen_der(x) @ d + rounding


def test_armijos_is_the_first_step_that_is_enough():
    c, shrink = 0.2, 0.4
    steps = runs(optim.steepest(), optim.armijo(2.0, c, shrink))
    for x, alpha, new in steps:
        d = -rosen_der(x)
        np.testing.assert_allclose(new, x + alpha * d, rtol=1e-12, atol=1e-12)
        assert sufficient(x, d, alpha, c)
        halvings = np.log(alpha / 2.0) / np.log(shrink)
        assert halvings == pytest.approx(round(halvings), abs=1e-9)
        assert alpha == 2.0 or not sufficient(x, d, alpha / shrink, c)


@pytest.mark.parametrize(
    ("direction", "decrease", "curvature"),
    [
        pytest.param(optim.bfgs(), 1e-4, 0.9, id="bfgs"),
        pytest.param(optim.steepest(), 0.1, 0.2, id="steepest", marks=pytest.mark.slow),
    ],
)
def test_wolfes_conditions_hold_at_every_step(direction, decrease, curvature):
    steps = runs(direction, optim.wolfe(decrease=decrease, curvature=curvature))
    for x, alpha, new in steps:
        d = (new - x) / alpha
        assert sufficient(x, d, alpha, decrease)
        slope = rosen_der(x) @ d
        assert abs(rosen_der(new) @ d) <= -curvature * slope * (1 + 1e-6)
    alphas = np.asarray([alpha for _, alpha, _ in steps])
    assert np.any(alphas < 1)


@pytest.mark.slow
def test_an_exact_step_ends_where_the_gradient_is_orthogonal_to_it():
    for x, alpha, new in runs(optim.steepest(), optim.exact()):
        d = -rosen_der(x)
        assert alpha > 0
        assert abs(rosen_der(new) @ d) <= 1e-8 * (d @ d)
        assert rosen(new) < rosen(x)


def test_an_exact_step_on_a_quadratic_is_the_formula():
    """α = −g·d/d·Hd, here far from the first trial in both directions."""
    start = np.asarray([1.0, -2.0])

    @jax.jit
    def run(h):
        return optim.minimize(
            lambda x: x @ h @ x / 2,
            start,
            direction=optim.steepest(),
            step_size=optim.exact(),
            max_iterations=1,
        )

    for scale in (1e-3, 1.0, 1e3):
        h = scale * np.asarray([[2.0, 0.5], [0.5, 1.0]])
        g = h @ start
        alpha = float(run(h).history.step_size[1])
        assert alpha == pytest.approx(g @ g / (g @ h @ g), rel=1e-9)


def test_steepest_descent_in_a_ravine_is_as_slow_as_the_theorem_says():
    """Nocedal and Wright, theorem 3.3: from its worst start the bound is met with equality."""
    condition = 30.0
    ravine = landscapes.ravine(condition, 0.4)
    result = optim.minimize(
        ravine.f,
        jnp.asarray(ravine.start),
        direction=optim.steepest(),
        step_size=optim.exact(),
        max_iterations=40,
    )
    values = result.history.value
    shrinks = ((condition - 1) / (condition + 1)) ** 2
    np.testing.assert_allclose(values[1:] / values[:-1], shrinks, rtol=1e-8)


def test_a_constant_step_converges_below_two_over_the_curvature_and_diverges_above():
    ravine = landscapes.ravine(10.0)
    run = functools.partial(
        optim.minimize, ravine.f, jnp.asarray(ravine.start), direction=optim.steepest()
    )
    below, above = (run(step_size=step, max_iterations=6000) for step in (1.9 / 10, 2.1 / 10))
    assert below.converged
    assert above.status == optim.Status.NOT_FINITE
    assert jnp.all(jnp.isfinite(above.x))
    assert above.value > 1e100


def test_steps_on_a_schedule_are_its_values():
    ravine = landscapes.ravine(10.0)
    schedule = optim.diminishing(0.1)
    result = optim.minimize(
        ravine.f,
        jnp.asarray(ravine.start),
        direction=optim.steepest(),
        step_size=schedule,
        max_iterations=20,
    )
    np.testing.assert_allclose(result.history.step_size[1:], 0.1 / np.arange(1, 21), rtol=1e-6)


@pytest.mark.parametrize("step_size", [optim.wolfe(), optim.exact()], ids=["wolfe", "exact"])
def test_where_f_falls_for_ever_there_is_no_step(step_size):
    result = optim.minimize(lambda x: -x, 1.0, direction=optim.steepest(), step_size=step_size)
    assert result.status == optim.Status.NO_STEP
    assert result.x == 1.0
    assert "no step along the direction" in result.message


@pytest.mark.parametrize(
    "step_size", [optim.armijo(), optim.wolfe(), optim.exact()], ids=["armijo", "wolfe", "exact"]
)
def test_where_f_is_not_defined_is_too_far(step_size):
    """x − 4 log x is NaN for x < 0, where the first trial along −∇f ends."""
    result = optim.minimize(
        lambda x: 30 * (x - 4 * jnp.log(x)), 5.0, direction=optim.steepest(), step_size=step_size
    )
    assert result.converged
    assert result.x == pytest.approx(4, abs=1e-5)
