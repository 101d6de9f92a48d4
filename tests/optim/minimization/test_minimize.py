"""`minimize` as such: trees, transformations, what it keeps, and what it refuses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from dlcore import optim
from dlcore.optim import landscapes

START = jnp.asarray([-1.2, 1.0])


def rosenbrock_of_a_tree(tree):
    return landscapes.rosenbrock.f(jnp.stack([tree["x"], tree["deep"][0][0]]))


def test_a_tree_is_minimised_as_its_vector_is():
    """To rounding, that is: the sums run over the leaves in the order of the tree."""
    options = {"direction": optim.newton("absolute"), "step_size": optim.armijo()}
    tree = {"x": START[0], "deep": [START[1:]]}
    result = optim.minimize(rosenbrock_of_a_tree, tree, **options)
    vector = optim.minimize(landscapes.rosenbrock.f, START, **options)
    assert result.converged
    assert jax.tree.structure(result.x) == jax.tree.structure(result.gradient)
    assert jax.tree.structure(result.x) == jax.tree.structure(tree)
    assert result.iterations == vector.iterations
    np.testing.assert_allclose([result.x["x"], *result.x["deep"][0]], vector.x, rtol=1e-4)


def test_the_history_is_what_happened():
    def record(x):
        return {"x": x, "quadrant": jnp.sum(x > 0)}

    result = optim.minimize(
        landscapes.rosenbrock.f, START, direction=optim.bfgs(), max_iterations=100, record=record
    )
    n = int(result.iterations)
    history = jax.tree.map(np.asarray, result.history)
    assert result.message == f"converged after {n} iterations, f = {float(result.value):.6g}"
    for rows in history[:4]:
        assert rows.shape == (101,)
        assert np.all(np.isnan(rows[n + 1 :]))
    path = history.record["x"]
    np.testing.assert_array_equal(path[0], START)
    np.testing.assert_array_equal(path[n], result.x)
    gradients = scipy.optimize.rosen_der(np.float64(path[: n + 1]).T).T
    np.testing.assert_allclose(
        history.value[: n + 1], scipy.optimize.rosen(path[: n + 1].T), rtol=1e-3, atol=1e-6
    )
    np.testing.assert_allclose(
        history.gradient_norm[: n + 1], np.linalg.norm(gradients, axis=-1), rtol=1e-2, atol=1e-4
    )
    assert history.gradient_norm[n] <= 1e-5 < history.gradient_norm[n - 1]
    moves = np.diff(path[: n + 1], axis=0) / history.step_size[1 : n + 1, None]
    slopes = np.sum(moves * gradients[:-1], axis=-1)
    np.testing.assert_allclose(history.slope[1 : n + 1], slopes, rtol=2e-2, atol=1e-6)
    np.testing.assert_array_equal(history.record["quadrant"][n], 2)


@pytest.mark.slow
def test_many_starts_at_once_are_the_single_runs():
    starts = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    traces = []

    @jax.jit
    def run(x0):
        traces.append(x0)
        return optim.minimize(landscapes.rosenbrock.f, x0, max_iterations=100)

    many = jax.jit(jax.vmap(run))(starts)
    assert np.all(many.converged)
    for start, x, iterations in zip(starts, many.x, many.iterations, strict=True):
        one = run(start)
        np.testing.assert_allclose(x, one.x, atol=1e-4)
        assert abs(iterations - one.iterations) <= 10
    assert len(traces) == 1


def test_args_are_what_would_be_closed_over():
    """Of f, the constraints and Gauss-Newton's residuals; and SciPy's minimum of the same."""
    x = np.linspace(-1, 1, 7)
    targets = np.stack([np.exp(x), np.sin(x)]).astype(np.float32)

    def residuals(w, x, y):
        return w[0] + w[1] * x - y

    def f(w, x, y):
        return jnp.sum(residuals(w, x, y) ** 2)

    @jax.jit
    def fit(y):
        w0, line = jnp.zeros(2), jnp.asarray(x, jnp.float32)
        ways = optim.l_bfgs(), optim.gauss_newton(residuals)
        found = [optim.minimize(f, w0, args=(line, y), direction=way).x for way in ways]
        bound = optim.minimize(f, w0, args=(line, y), equality=lambda w, x, y: w[1] - y[0] - x[-1])
        return [*found, bound.x]

    for y in targets:
        by_descent, by_gauss_newton, constrained = fit(y)
        expected = scipy.optimize.minimize(f, np.zeros(2), args=(x, y), jac=jax.grad(f)).x
        np.testing.assert_allclose(by_descent, expected, atol=1e-4)
        np.testing.assert_allclose(by_gauss_newton, expected, atol=1e-4)
        assert constrained[1] == pytest.approx(y[0] + 1, abs=1e-4)
        assert constrained[0] == pytest.approx(y.mean(), abs=1e-3)  # of what is left: Σx = 0


def test_any_function_of_trees_can_be_the_direction():
    calls = []

    def momentless(f, tree, gradient):
        calls.append(f(tree).shape)
        return jax.tree.map(lambda g: -0.5 * g, gradient)

    def f(tree):
        return tree["a"] ** 2 + jnp.sum(tree["b"] ** 2)

    result = optim.minimize(f, {"a": 3.0, "b": jnp.ones(2)}, direction=momentless, step_size=1.0)
    assert result.converged
    assert result.iterations == 1
    assert set(calls) == {()}


def test_a_direction_that_leads_uphill_is_reported_and_not_followed():
    """From the third step on it turns about."""

    def direction(f, x, g):
        return jnp.where(f(x) > 1, -g, g)

    result = optim.minimize(lambda x: x**2, 8.0, direction=direction, step_size=0.25)
    assert result.status == optim.Status.NOT_A_DESCENT
    assert (result.iterations, result.x) == (3, 1.0)
    assert result.history.slope[4] == 4.0
    assert np.isnan(result.history.value[4])
    across = optim.minimize(
        lambda x: x @ x, jnp.ones(2), direction=lambda f, x, g: jnp.asarray([1.0, -1.0])
    )
    assert across.status == optim.Status.NOT_A_DESCENT


def test_a_start_at_the_minimum_stays_there():
    result = optim.minimize(landscapes.rosenbrock.f, jnp.ones(2))
    assert (result.status, result.iterations) == (optim.Status.CONVERGED, 0)


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_a_start_without_a_finite_value_is_reported(value):
    result = optim.minimize(lambda x: jnp.sum(x) * value, jnp.ones(2))
    assert (result.status, result.iterations) == (optim.Status.NOT_FINITE, 0)


@pytest.mark.slow
def test_a_singular_hessian_is_reported_by_newton_and_no_trouble_to_the_convexified():
    def f(x):
        return x[0] ** 2 + 0 * x[1]

    plain = optim.minimize(f, jnp.ones(2), direction=optim.newton(), step_size=1.0)
    assert plain.status == optim.Status.NOT_FINITE
    result = optim.minimize(f, jnp.ones(2), direction=optim.newton("zero"), step_size=1.0)
    np.testing.assert_array_equal(result.x, [0, 1])


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_precision_is_that_of_the_start(precision):
    with jax.enable_x64(precision == "float64"):
        x0 = jnp.zeros(2, precision)
        result = optim.minimize(landscapes.beale.f, x0, direction=optim.newton("absolute"))
        leaves = [result.x, result.value, result.gradient, *result.history[:4]]
        assert {leaf.dtype for leaf in leaves} == {jnp.dtype(precision)}


BAD = {
    "an empty tree": (ValueError, "tree of parameters is empty", {"x0": {}}),
    "integers": (TypeError, "only real floating-point leaves", {"x0": jnp.arange(2)}),
    "two dtypes": (
        TypeError,
        "x0 is of bfloat16 and float32, but one dtype is wanted",
        {"x0": [jnp.zeros(1), jnp.zeros(1, jnp.bfloat16)], "f": lambda x: jnp.sum(x[0])},
    ),
    "many values": (ValueError, "f gives shape (2,), but one number", {"f": lambda x: x}),
    "tolerance": (ValueError, "tolerance must be finite and at least 0", {"tolerance": -1.0}),
    "iterations": (ValueError, "max_iterations must be at least 1", {"max_iterations": 0}),
    "no step": (ValueError, "step_size must be finite and above 0", {"step_size": 0.0}),
    "a word": (TypeError, "step_size must be a number or a schedule", {"step_size": "wolfe"}),
    "uncalled search": (TypeError, "step_size was not called", {"step_size": optim.wolfe}),
    "uncalled direction": (TypeError, "direction must be one such as", {"direction": optim.bfgs}),
    "a name": (TypeError, "direction must be one such as", {"direction": "newton"}),
    "short direction": (
        ValueError,
        "direction gives 1 numbers, but x has 2",
        {"direction": lambda f, x, g: x[:1]},
    ),
    "box upside down": (ValueError, "lower bound above its upper", {"box": (1.0, 0.0)}),
    "box of another shape": (
        ValueError,
        "upper bounds are of shapes (3,), but a number or shapes (2,)",
        {"box": (0.0, jnp.ones(3))},
    ),
    "farther than the box": (
        ValueError,
        "in a box the step size is at most 1",
        {"box": (0.0, 1.0), "step_size": optim.exact()},
    ),
}


@pytest.mark.parametrize(("error", "words", "arguments"), BAD.values(), ids=BAD)
def test_bad_input_is_one_clear_error(error, words, arguments):
    arguments = {"f": lambda x: jnp.sum(x**2), "x0": jnp.ones(2)} | arguments
    with pytest.raises(error) as caught:
        optim.minimize(arguments.pop("f"), arguments.pop("x0"), **arguments)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


BAD_PARTS = {
    "convexify": (lambda: optim.newton("flip"), "newton: convexify is 'flip', but must be one of"),
    "floor": (lambda: optim.newton("floor", floor=0.0), "floor must be finite and above 0"),
    "damping": (lambda: optim.newton(damping=-1.0), "damping must be finite and at least 0"),
    "memory": (lambda: optim.l_bfgs(0), "memory must be at least 1"),
    "products": (lambda: optim.newton_cg(0), "max_iterations must be at least 1"),
    "shrink": (lambda: optim.armijo(shrink=1.0), "shrink must be in [0, 1)"),
    "order": (lambda: optim.wolfe(decrease=0.5, curvature=0.1), "decrease must be in [0, 0.1)"),
    "flatness": (lambda: optim.exact(tolerance=1.0), "tolerance must be in [0, 1)"),
}


@pytest.mark.parametrize(("build", "words"), BAD_PARTS.values(), ids=BAD_PARTS)
def test_a_part_out_of_range_is_refused_when_it_is_built(build, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        build()
    assert words in str(caught.value)
