"""The theorems of each direction."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from dlcore import optim
from dlcore.optim import landscapes
from dlcore.optim.minimization.directions import Flat

pytestmark = pytest.mark.usefixtures("x64")


def quadratic(eigenvalues, seed=0):
    """½x·Hx − b·x with these eigenvalues: the function, H and b."""
    rng = np.random.default_rng(seed)
    n = len(eigenvalues)
    vectors = np.linalg.qr(rng.normal(size=(n, n)))[0]
    h, b = vectors * np.asarray(eigenvalues) @ vectors.T, rng.normal(size=n)
    return (lambda x: x @ jnp.asarray(h) @ x / 2 - jnp.asarray(b) @ x), h, b


def one(direction, f, x):
    """The direction at x, as if it were the start."""

    @jax.jit
    def d(x):
        g = jax.grad(f)(x)
        return direction.next(Flat(f, lambda x: x), x, g, direction.init(x, g))[0]

    return np.asarray(d(jnp.asarray(x)))


# ---------------------------------------------------------------------------------------- Newton


@pytest.mark.parametrize("convexify", ["none", "absolute"])
def test_newton_solves_a_convex_quadratic_in_one_step(convexify):
    f, h, b = quadratic([0.1, 1.0, 20.0, 500.0])
    result = optim.minimize(
        f, jnp.ones(4), direction=optim.newton(convexify), step_size=1.0, tolerance=1e-9
    )
    assert (result.status, result.iterations) == (optim.Status.CONVERGED, 1)
    np.testing.assert_allclose(result.x, np.linalg.solve(h, b), rtol=1e-9)


def test_newton_converges_quadratically():
    """‖xₖ₊₁ − x*‖ ≤ C‖xₖ − x*‖²: the number of right digits doubles with each step."""
    result = optim.minimize(
        landscapes.beale.f,
        jnp.asarray([2.8, 0.45]),
        direction=optim.newton(),
        step_size=1.0,
        tolerance=1e-12,
        record=lambda x: x,
    )
    path = result.history.record[: result.iterations + 1]
    errors = np.linalg.norm(np.asarray(path) - [3, 0.5], axis=-1)
    errors = errors[errors > 1e-13]
    assert len(errors) >= 4
    assert np.all(errors[1:] <= 3 * errors[:-1] ** 2)


RULES = {
    "none": lambda values: values,
    "zero": lambda values: np.maximum(values, 0),
    "floor": lambda values: np.maximum(values, 0.7),
    "absolute": np.abs,
}


@pytest.mark.parametrize("convexify", RULES)
def test_newtons_model_is_the_hessian_with_its_eigenvalues_changed(convexify):
    f, h, b = quadratic([-3.0, -0.2, 0.5, 4.0])
    values, vectors = np.linalg.eigh(h)
    for damping in (0.0, 0.3):
        d = one(optim.newton(convexify, floor=0.7, damping=damping), f, np.ones(4))
        changed = vectors * (RULES[convexify](values) + damping) @ vectors.T
        expected = -np.linalg.pinv(changed, rcond=1e-10) @ (h @ np.ones(4) - b)
        np.testing.assert_allclose(d, expected, rtol=1e-8, atol=1e-12)


def test_convexified_newton_descends_where_newtons_does_not():
    """At every start where Newton's own direction leads up Beale's function."""
    f = landscapes.beale.f
    places = np.random.default_rng(0).uniform(-3, 3, (200, 2))

    @jax.jit
    @jax.vmap
    def slopes(x):
        g = jax.grad(f)(x)
        flat = Flat(f, lambda x: x)
        return [g @ optim.newton(name).next(flat, x, g, ())[0] for name in RULES]

    newtons, *convexified = map(np.asarray, slopes(places))
    upward = newtons > 0
    assert np.sum(upward) > 20
    assert np.all(np.asarray(convexified) < 0)
    uphill = np.flatnonzero(upward)[0]
    refused = optim.minimize(f, places[uphill], direction=optim.newton(), step_size=1.0)
    assert (refused.status, refused.iterations) == (optim.Status.NOT_A_DESCENT, 0)
    assert refused.history.slope[1] == pytest.approx(newtons[uphill])
    assert "does not descend" in refused.message


@pytest.mark.parametrize("convexify", ["absolute", pytest.param("floor", marks=pytest.mark.slow)])
def test_removing_negative_curvature_leaves_nowhere_to_go_where_there_is_nothing_else(convexify):
    """½(u² − v²), turned: on the line u = 0 the gradient lies in the negative space alone."""
    turn = np.asarray([[0.8, 0.6], [-0.6, 0.8]])

    def f(x):
        u, v = turn @ x
        return (u**2 - v**2) / 2 + v**4 / 4

    start = turn.T @ [0.0, 0.3]
    removed = optim.minimize(f, start, direction=optim.newton("zero"), step_size=optim.armijo())
    assert removed.status == optim.Status.NO_DIRECTION
    assert "the direction is 0" in removed.message
    np.testing.assert_array_equal(removed.x, start)
    direction = optim.newton(convexify)
    result = optim.minimize(f, start, direction=direction, step_size=optim.armijo())
    assert result.converged
    np.testing.assert_allclose(turn @ np.asarray(result.x), [0, 1], atol=1e-5)


# ---------------------------------------------------------------------------------- Gauss-Newton


def test_gauss_newton_solves_a_linear_problem_in_one_step_as_least_squares_does():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(9, 3)), rng.normal(size=9)

    def r(x):
        return {"all": jnp.asarray(a) @ x - jnp.asarray(b)}

    def f(x):
        return 5 * jnp.sum(r(x)["all"] ** 2)

    result = optim.minimize(
        f, jnp.ones(3), direction=optim.gauss_newton(r), step_size=1.0, tolerance=1e-10
    )
    assert (result.status, result.iterations) == (optim.Status.CONVERGED, 1)
    np.testing.assert_allclose(result.x, np.linalg.lstsq(a, b)[0], rtol=1e-10)
    damped = one(optim.gauss_newton(r, damping=0.5), f, np.ones(3))
    ridge = np.linalg.solve(a.T @ a + 0.5 * np.eye(3), -a.T @ (a @ np.ones(3) - b))
    np.testing.assert_allclose(damped, ridge, rtol=1e-10)


def test_gauss_newton_takes_two_steps_on_rosenbrocks_function():
    """Its residuals are 10(y − x²) and 1 − x: the first step solves one, the second the other."""

    def r(x):
        return jnp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])

    result = optim.minimize(
        landscapes.rosenbrock.f,
        jnp.asarray([-1.2, 1.0]),
        direction=optim.gauss_newton(r),
        step_size=1.0,
        tolerance=1e-9,
    )
    assert (result.status, result.iterations) == (optim.Status.CONVERGED, 2)
    np.testing.assert_allclose(result.x, [1, 1], rtol=1e-12)


# ----------------------------------------------------------------------------------- together


METHODS = {
    "spectral": optim.spectral(),
    "newton": optim.newton("absolute"),
    "newton_cg": optim.newton_cg(),
    "bfgs": optim.bfgs(),
    "l_bfgs": optim.l_bfgs(),
}


@pytest.mark.parametrize(
    "direction",
    # One without `slow`: what each promises has tests of its own.
    [
        pytest.param(direction, id=name, marks=[] if name == "bfgs" else pytest.mark.slow)
        for name, direction in METHODS.items()
    ],
)
def test_every_method_ends_where_scipys_does(direction):
    """Beale's function from three starts in one program."""
    f = jax.jit(landscapes.beale.f)
    starts = np.asarray([[1.0, 1.5], [2.0, -1.0], [0.5, 0.0]])

    @jax.jit
    @jax.vmap
    def run(x0):
        return optim.minimize(f, x0, direction=direction, tolerance=1e-8)

    result = run(jnp.asarray(starts))
    assert jnp.all(result.converged)
    gradient = jax.jit(jax.grad(f))
    for start, x, value in zip(starts, result.x, result.value, strict=True):
        theirs = scipy.optimize.minimize(f, start, jac=gradient, method="BFGS", tol=1e-8)
        np.testing.assert_allclose(x, theirs.x, atol=1e-5)
        assert value <= theirs.fun + 1e-10
