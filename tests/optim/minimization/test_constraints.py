"""Programs with constraints, against scipy and against the conditions of Karush, Kuhn, Tucker."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from dlcore import optim
from dlcore.optim import landscapes

pytestmark = pytest.mark.usefixtures("x64")


@functools.partial(jax.jit, static_argnums=0)
def value_and_jacobian(function, x):
    return function(x), jax.jacobian(function)(x)


def assert_kkt(result, f, *, equality=None, inequality=None, atol=1e-5):
    """∇f + λ·∇h + μ·∇g = 0, h = 0, g ≤ 0, μ ≥ 0 and μ·g = 0."""
    x, constraints = result.x, jax.tree.map(np.asarray, result.constraints)
    gradient = np.asarray(jax.jit(jax.grad(f))(x))
    if equality is not None:
        values, slopes = map(np.atleast_1d, value_and_jacobian(equality, x))
        gradient = gradient + constraints.equality @ np.atleast_2d(slopes)
        np.testing.assert_allclose(values, 0, atol=atol)
    if inequality is not None:
        values, slopes = map(np.atleast_1d, value_and_jacobian(inequality, x))
        gradient = gradient + constraints.inequality @ np.atleast_2d(slopes)
        assert np.all(values <= atol)
        assert np.all(constraints.inequality >= 0)
        np.testing.assert_allclose(constraints.inequality * values, 0, atol=atol)
    np.testing.assert_allclose(gradient, 0, atol=atol)
    np.testing.assert_allclose(result.gradient, gradient, atol=atol)


@pytest.mark.slow
def test_a_linear_program_ends_where_linprog_does_from_every_start():
    rng = np.random.default_rng(0)
    a, c = rng.normal(size=(8, 3)), rng.normal(size=3)
    b = rng.uniform(0.5, 1.5, 8)
    theirs = scipy.optimize.linprog(c, a, b, bounds=(-5, 5))
    rows = np.concatenate([a, np.eye(3), -np.eye(3)])
    limits = np.concatenate([b, np.full(6, 5.0)])

    @jax.jit
    @jax.vmap
    def solve(x0):
        return optim.minimize(
            lambda x: jnp.asarray(c) @ x,
            x0,
            inequality=lambda x: jnp.asarray(rows) @ x - jnp.asarray(limits),
            tolerance=1e-6,
        )

    result = solve(jnp.asarray(rng.uniform(-5, 5, (4, 3))))
    assert jnp.all(result.converged)
    np.testing.assert_allclose(result.x, np.tile(theirs.x, (4, 1)), atol=1e-5)
    shadow_prices = result.constraints.inequality[:, :8]
    expected = np.tile(-theirs.ineqlin.marginals, (4, 1))
    np.testing.assert_allclose(shadow_prices, expected, atol=1e-4)


def test_a_convex_program_with_both_kinds_of_constraints():
    h = np.asarray([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])

    @jax.jit
    def f(x):
        return x @ h @ x / 2 - jnp.sum(x)

    @jax.jit
    def equality(x):
        return jnp.sum(x) - 2

    @jax.jit
    def inequality(x):
        return jnp.stack([x[0] - 0.1, -x[1], x[2] - 5])

    result = optim.minimize(
        f, np.zeros(3), equality=equality, inequality=inequality, tolerance=1e-7
    )
    theirs = scipy.optimize.minimize(
        f,
        np.zeros(3),
        jac=jax.jit(jax.grad(f)),
        method="SLSQP",
        constraints=[
            {"type": "eq", "fun": equality},
            {"type": "ineq", "fun": lambda x: -np.asarray(inequality(x))},
        ],
    )
    assert result.converged
    np.testing.assert_allclose(result.x, theirs.x, atol=1e-5)
    assert_kkt(result, f, equality=equality, inequality=inequality)
    binds, _, does_not = np.asarray(result.constraints.inequality)
    assert binds > 0.1
    assert does_not == 0


def test_a_nonlinear_program_has_its_known_solution():
    """Hock and Schittkowski 7: log(1 + x²) − y on (1 + x²)² + y² = 4 is least at (0, √3)."""

    def f(x):
        return jnp.log(1 + x[0] ** 2) - x[1]

    def equality(x):
        return (1 + x[0] ** 2) ** 2 + x[1] ** 2 - 4

    result = optim.minimize(f, jnp.asarray([2.0, 2.0]), equality=equality, tolerance=1e-8)
    assert result.converged
    np.testing.assert_allclose(result.x, [0, np.sqrt(3)], atol=1e-6)
    assert_kkt(result, f, equality=equality)
    rounds = result.history
    value, violation, penalty = map(np.asarray, (rounds.value, rounds.violation, rounds.penalty))
    n = np.sum(~np.isnan(value)) - 1
    assert violation[n] < 1e-8 < violation[1]
    assert np.all(np.diff(penalty[: n + 1]) >= 0)


def test_a_constraint_that_binds_in_a_box():
    """Rosenbrock's function in a disc and a box, as SLSQP solves it."""
    f = jax.jit(landscapes.rosenbrock.f)
    start = np.asarray([-0.3, 0.2])
    result = optim.minimize(
        f,
        jnp.asarray(start),
        inequality=lambda x: x @ x - 0.5,
        box=(-1.0, jnp.asarray([0.5, 1.0])),
        tolerance=1e-6,
        max_iterations=3000,
    )
    theirs = scipy.optimize.minimize(
        f,
        start,
        jac=jax.jit(jax.grad(f)),
        method="SLSQP",
        bounds=[(-1, 0.5), (-1, 1)],
        constraints={"type": "ineq", "fun": lambda x: 0.5 - x @ x},
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert result.converged
    np.testing.assert_allclose(result.x, theirs.x, atol=1e-4)
    assert result.x[0] <= 0.5


def test_a_box_is_never_left_and_ends_where_l_bfgs_b_does():
    f, start = jax.jit(landscapes.beale.f), np.asarray([1.0, -1.0])
    gradient = jax.jit(jax.grad(f))
    uppers = np.asarray([[2.0, 5.0], [5.0, 0.2], [1.5, -0.5]])

    @jax.jit
    @jax.vmap
    def run(upper):
        return optim.minimize(
            f,
            jnp.asarray(start),
            box=(-2.0, upper),
            tolerance=1e-7,
            max_iterations=3000,
            record=lambda x: x,
        )

    result = run(jnp.asarray(uppers))
    assert jnp.all(result.converged)
    paths = np.asarray(result.history.record)
    for upper, x, path, steps in zip(uppers, result.x, paths, result.iterations, strict=True):
        theirs = scipy.optimize.minimize(
            f,
            start,
            jac=gradient,
            method="L-BFGS-B",
            bounds=[(-2, bound) for bound in upper],
            options={"ftol": 1e-15, "gtol": 1e-9},
        )
        np.testing.assert_allclose(x, theirs.x, atol=1e-5)
        assert np.all((path[: steps + 1] >= -2) & (path[: steps + 1] <= upper))


def test_a_start_out_of_the_box_is_brought_in():
    result = optim.minimize(lambda x: jnp.sum(x**2), jnp.asarray([9.0, -9.0]), box=(1.0, 3.0))
    np.testing.assert_array_equal(result.x, [1, 1])
    assert result.converged


def test_a_box_without_bounds_changes_nothing():
    run = [
        optim.minimize(
            landscapes.beale.f,
            jnp.asarray([1.0, 1.0]),
            direction=optim.bfgs(),
            step_size=optim.armijo(),
            box=box,
        )
        for box in (None, (-jnp.inf, jnp.inf))
    ]
    jax.tree.map(np.testing.assert_array_equal, *run)


def test_a_direction_that_the_box_bends_uphill_is_reported():
    h = jnp.asarray([[1.0, 0.9], [0.9, 1.0]])
    result = optim.minimize(
        lambda x: x @ h @ x / 2 - x[0] - 0.95 * x[1],
        jnp.zeros(2),
        direction=lambda f, x, g: jnp.asarray([-10.0, 20.0]),
        box=(-1.0, jnp.asarray([1.0, 0.1])),
    )
    assert result.status == optim.Status.NOT_A_DESCENT


def test_a_program_without_a_solution_says_so():
    result = optim.minimize(lambda x: x**2, 1.0, equality=lambda x: x**2 + 1)
    assert result.status == optim.Status.INFEASIBLE
    assert "constraints are not met" in result.message
    assert result.constraints.violation == pytest.approx(1, abs=1e-3)


def test_where_the_penalty_does_not_hold_f_the_round_is_taken_back_and_it_grows():
    """−x⁶ for x² ≤ 1 from 5, where the first Lagrangian, −x⁶ + 5(x² − 1)², falls for ever."""
    result = optim.minimize(
        lambda x: -(x**6),
        5.0,
        inequality=lambda x: x**2 - 1,
        tolerance=1e-7,
        step_size=optim.armijo(),
    )
    assert result.converged
    assert result.x == pytest.approx(1, abs=1e-6)
    assert result.history.penalty[2] == 10 * result.history.penalty[1]


def test_many_starts_on_a_nonlinear_program_end_in_several_values():
    @jax.jit
    @jax.vmap
    def solve(x0):
        return optim.minimize(
            lambda x: jnp.sin(3 * x[0]) + x[1],
            x0,
            equality=lambda x: x[1] - x[0] ** 2 / 4,
            step_size=optim.armijo(),
        )

    result = solve(np.stack([np.linspace(-3, 3, 8), np.ones(8)], axis=1))
    assert jnp.all(result.converged)
    assert len(np.unique(np.round(result.value, 3))) > 1
