"""What is written down of each landscape holds, against derivatives and against scipy."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize

from dlcore.optim import landscapes

LANDSCAPES = {
    "beale": landscapes.beale,
    "long_valley": landscapes.long_valley,
    "rosenbrock": landscapes.rosenbrock,
    "saddle": landscapes.saddle,
    "ravine": landscapes.ravine(),
    "turned_ravine": landscapes.ravine(20.0, 0.7),
}
every_landscape = pytest.mark.parametrize("landscape", LANDSCAPES.values(), ids=LANDSCAPES)
pytestmark = pytest.mark.usefixtures("x64")


def derivatives(f):
    """x to the value of f, its gradient and its Hessian."""
    return lambda x: (f(x), jax.grad(f)(x), jax.hessian(f)(x))


@every_landscape
def test_minima_are_minima_and_none_lies_lower(landscape):
    at_minima = jax.jit(jax.vmap(derivatives(landscape.f)))(np.asarray(landscape.minima, float))
    for value, gradient, hessian in zip(*map(np.asarray, at_minima), strict=True):
        assert value == pytest.approx(landscape.value, abs=1e-12)
        np.testing.assert_allclose(gradient, 0, atol=1e-12)
        assert np.all(np.linalg.eigvalsh(hessian) > 0)
    axes = [np.linspace(*side, 101) for side in landscape.window]
    grid = np.stack(np.meshgrid(*axes), axis=-1)
    place = (3, 5)
    values, one = jax.jit(lambda grid: (landscape.f(grid), landscape.f(grid[place])))(grid)
    assert values.shape == (101, 101)
    assert np.min(values) >= landscape.value - 1e-12
    np.testing.assert_array_equal(values[place], one)


@every_landscape
def test_minima_and_start_are_in_the_picture(landscape):
    for place in (*landscape.minima, landscape.start):
        assert all(a < at < b for at, (a, b) in zip(place, landscape.window, strict=True))


@every_landscape
def test_downhill_from_the_start_is_a_minimum(landscape):
    """Along the gradient itself, −∇f, the way ends at one of the minima."""
    gradient = jax.jit(jax.grad(landscape.f))
    way = scipy.integrate.solve_ivp(
        lambda t, x: -np.asarray(gradient(x)), (0, 200), landscape.start, method="LSODA"
    )
    distances = np.linalg.norm(way.y[:, -1] - np.asarray(landscape.minima), axis=-1)
    assert np.min(distances) < 1e-2


@pytest.mark.parametrize("landscape", [landscapes.ripples, landscapes.plain])
def test_the_middle_is_the_least_and_the_start_is_not_above_it(landscape):
    """Global minimum at the origin, and from the start the way down is long or leads elsewhere."""
    f = jax.jit(landscape.f)
    found = scipy.optimize.differential_evolution(
        lambda x: float(f(x)), landscape.window, seed=0, popsize=5
    )
    np.testing.assert_allclose(found.x, landscape.minima[0], atol=1e-3)
    assert found.fun == pytest.approx(landscape.value, abs=1e-6)
    assert f(np.asarray(landscape.start, float)) > 0.9


def test_ripples_have_a_local_minimum_by_their_start():
    f = jax.jit(landscapes.ripples.f)
    end = scipy.optimize.minimize(lambda x: float(f(x)), landscapes.ripples.start)
    np.testing.assert_allclose(end.x, [2, -1], atol=0.05)
    assert end.fun > 1


def test_the_plain_is_flat():
    slope = np.linalg.norm(jax.jit(jax.grad(landscapes.plain.f))(np.array([4.0, 0.0])))
    assert slope == pytest.approx(4 * np.exp(-8), rel=1e-6)


def test_rosenbrock_is_scipys_in_any_dimension():
    x = np.random.default_rng(0).normal(size=(6, 4))
    expected = [scipy.optimize.rosen(row) for row in x]
    np.testing.assert_allclose(jax.jit(landscapes.rosenbrock.f)(x), expected, rtol=1e-12)


def test_the_saddle_is_one():
    _, _, hessian = jax.jit(derivatives(landscapes.saddle.f))(np.zeros(2))
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian), [-2, 2])


def test_the_long_valley_starts_where_the_slope_along_it_is_lost():
    valley = landscapes.long_valley
    along, across = np.abs(jax.jit(jax.grad(valley.f))(np.asarray(valley.start, float)))
    assert across / along == pytest.approx(8000, rel=1e-3)


@pytest.mark.parametrize(("condition", "angle"), [(1.0, 0.0), (50.0, 0.3)])
def test_a_ravine_has_its_condition_number(condition, angle):
    _, _, hessian = jax.jit(derivatives(landscapes.ravine(condition, angle).f))(np.zeros(2))
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian), [1, condition], rtol=1e-12)


@pytest.mark.parametrize("condition", [0.5, float("nan")])
def test_a_ravine_that_is_none_is_refused(condition):
    with pytest.raises(ValueError, match=r"condition is (0\.5|nan), but at least 1"):
        landscapes.ravine(condition)
