"""Hessian-vector products and conjugate gradients, and Newton's method on a network by them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from sklearn.datasets import load_digits

from dlcore import functional as F
from dlcore import nn, optim, tree


def spd(eigenvalues, seed=0):
    rng = np.random.default_rng(seed)
    n = len(eigenvalues)
    vectors = np.linalg.qr(rng.normal(size=(n, n)))[0]
    return vectors * np.asarray(eigenvalues) @ vectors.T, rng.normal(size=n)


def solved(a, b, **options):
    run = jax.jit(lambda a, b: optim.conjugate_gradient(lambda v: a @ v, b, **options))
    return run(a, b)


def test_a_product_with_the_hessian_is_the_hessians(x64):
    rng = np.random.default_rng(0)
    x, v, w = ({"a": rng.normal(size=(2, 2)), "b": s * np.ones(3)} for s in (1, 2, 3))

    def f(x):
        return jnp.sum(jnp.tanh(x["a"]) ** 3) * jnp.sum(jnp.exp(x["b"]) * x["b"][0])

    @jax.jit
    def both(x):
        flat, unravel = ravel_pytree(x)
        product = optim.hessian_product(f, x)
        products = [ravel_pytree(product(vector))[0] for vector in (v, w)]
        return products, jax.hessian(lambda flat: f(unravel(flat)))(flat)

    products, hessian = both(x)
    for vector, found in zip((v, w), products, strict=True):
        expected = hessian @ np.concatenate([vector["a"].ravel(), vector["b"]])
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_conjugate_gradients_solve_in_as_many_steps_as_there_are_eigenvalues(x64):
    a, b = spd([2.0] * 5 + [7.0] * 4 + [11.0] * 3)
    solution = solved(a, b, tolerance=1e-10)
    assert solution.iterations == 3
    assert not solution.negative_curvature
    np.testing.assert_allclose(solution.x, np.linalg.solve(a, b), rtol=1e-9)
    assert solution.residual_norm <= 1e-10 * np.linalg.norm(b)


def test_each_iterate_is_the_best_in_its_krylov_space(x64):
    a, b = spd(np.geomspace(0.1, 30, 8))
    for k in (1, 3, 6):
        basis = np.stack([np.linalg.matrix_power(a, i) @ b for i in range(k)], axis=1)
        basis = np.linalg.qr(basis)[0]
        best = basis @ np.linalg.solve(basis.T @ a @ basis, basis.T @ b)
        solution = solved(a, b, tolerance=0.0, max_iterations=k)
        np.testing.assert_allclose(solution.x, best, rtol=1e-6, atol=1e-9)
        assert solution.iterations == k


def test_conjugate_gradients_stop_where_the_curvature_is_not_positive(x64):
    a, b = np.diag([1.0, 2.0, -3.0]), np.asarray([1.0, 1.0, 0.1])
    later = solved(a, b, tolerance=0.0)
    assert later.negative_curvature
    assert later.iterations >= 1
    first = solved(a, np.asarray([0.0, 0.0, 1.0]))
    assert first.negative_curvature
    assert first.iterations == 0
    np.testing.assert_array_equal(first.x, np.zeros(3))
    nothing = solved(a, np.zeros(3))
    assert not nothing.negative_curvature
    np.testing.assert_array_equal(nothing.x, np.zeros(3))


def test_newton_by_conjugate_gradients_descends_where_the_curvature_is_negative(x64):
    """On cos x + y² by (0.3, 0), where the gradient lies in the negative space alone."""

    def f(x):
        return jnp.cos(x[0]) + x[1] ** 2

    result = optim.minimize(f, jnp.asarray([0.3, 0.0]), direction=optim.newton_cg(), tolerance=1e-9)
    assert result.converged
    assert result.value == pytest.approx(-1, abs=1e-12)
    np.testing.assert_array_less(result.history.slope[1 : result.iterations + 1], 0)


def network(hidden):
    """The mean cross-entropy of 64-hidden-hidden-10 on scikit-learn's digits, and parameters."""
    images, labels = load_digits(return_X_y=True)
    x, y = jnp.asarray(images[:300] / 16, jnp.float32), jnp.asarray(labels[:300])
    layer = nn.serial(
        nn.linear(64, hidden), F.tanh, nn.linear(hidden, hidden), F.tanh, nn.linear(hidden, 10)
    )
    params, state = layer.init(jax.random.key(0))
    return (lambda params: F.cross_entropy(layer.apply(params, state, x)[0], y)), params


def compiled(hidden, iterations=6):
    loss, params = network(hidden)

    def run(params):
        direction = optim.newton_cg(10, damping=1e-3)
        return optim.minimize(loss, params, direction=direction, max_iterations=iterations)

    return jax.jit(run).lower(params).compile(), params


@pytest.mark.slow
def test_newton_trains_a_network_of_100_000_parameters_in_memory_of_its_size():
    """The Hessian would have 10¹⁰ entries. Twice the width, four times W: memory grows with W."""
    program, params = compiled(290)
    size = tree.count(params)
    assert size > 100_000
    result = program(params)
    values = result.history.value[: result.iterations + 1]
    assert jnp.all(jnp.diff(values) < 0)
    assert values[-1] < values[0] / 10
    peak = program.memory_analysis().temp_size_in_bytes
    assert peak < 60 * tree.size_in_bytes(params)
    larger, more = compiled(580)  # which nobody runs
    growth = larger.memory_analysis().temp_size_in_bytes / peak
    assert growth < 1.1 * tree.count(more) / size
