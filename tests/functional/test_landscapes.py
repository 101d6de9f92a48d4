"""What is written down of each landscape holds, against derivatives and against scipy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize

from dlcore.functional import landscapes

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


@every_landscape
def test_minima_are_minima_and_none_lies_lower(landscape):
    for place in landscape.minima:
        x = jnp.asarray(place, jnp.float64)
        assert landscape.f(x) == pytest.approx(landscape.value, abs=1e-12)
        np.testing.assert_allclose(jax.jit(jax.grad(landscape.f))(x), 0, atol=1e-12)
        assert np.all(np.linalg.eigvalsh(jax.jit(jax.hessian(landscape.f))(x)) > 0)
    axes = [np.linspace(*side, 101) for side in landscape.window]
    grid = jnp.stack(jnp.meshgrid(*map(jnp.asarray, axes)), axis=-1)
    values = landscape.f(grid)
    assert values.shape == (101, 101)
    assert jnp.min(values) >= landscape.value - 1e-12
    place = (3, 5)
    np.testing.assert_array_equal(values[place], landscape.f(grid[place]))


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
    found = scipy.optimize.differential_evolution(
        lambda x: float(landscape.f(jnp.asarray(x))), landscape.window, seed=0, popsize=5
    )
    np.testing.assert_allclose(found.x, landscape.minima[0], atol=1e-3)
    assert found.fun == pytest.approx(landscape.value, abs=1e-6)
    start = jnp.asarray(landscape.start, jnp.float64)
    assert landscape.f(start) > 0.9


def test_ripples_have_a_local_minimum_by_their_start():
    f = landscapes.ripples.f
    end = scipy.optimize.minimize(lambda x: float(f(jnp.asarray(x))), landscapes.ripples.start)
    np.testing.assert_allclose(end.x, [2, -1], atol=0.05)
    assert end.fun > 1


def test_the_plain_is_flat():
    slope = jnp.linalg.norm(jax.grad(landscapes.plain.f)(jnp.array([4.0, 0.0])))
    assert float(slope) == pytest.approx(4 * np.exp(-8), rel=1e-6)


def test_rosenbrock_is_scipys_in_any_dimension():
    x = np.random.default_rng(0).normal(size=(6, 4))
    expected = [scipy.optimize.rosen(row) for row in x]
    np.testing.assert_allclose(landscapes.rosenbrock.f(jnp.asarray(x)), expected, rtol=1e-12)


def test_the_saddle_is_one():
    eigenvalues = np.linalg.eigvalsh(jax.hessian(landscapes.saddle.f)(jnp.zeros(2)))
    np.testing.assert_allclose(eigenvalues, [-2, 2])


def test_the_long_valley_starts_where_the_slope_along_it_is_lost():
    valley = landscapes.long_valley
    along, across = np.abs(jax.grad(valley.f)(jnp.asarray(valley.start, jnp.float64)))
    assert across / along == pytest.approx(8000, rel=1e-3)


@pytest.mark.parametrize(("condition", "angle"), [(1.0, 0.0), (50.0, 0.3)])
def test_a_ravine_has_its_condition_number(condition, angle):
    hessian = jax.hessian(landscapes.ravine(condition, angle).f)(jnp.zeros(2))
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian), [1, condition], rtol=1e-12)


@pytest.mark.parametrize("condition", [0.5, float("nan")])
def test_a_ravine_that_is_none_is_refused(condition):
    with pytest.raises(ValueError, match=r"condition is (0\.5|nan), but at least 1"):
        landscapes.ravine(condition)
