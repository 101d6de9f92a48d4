"""BFGS and L-BFGS against conjugate gradients, their formulas, and the theorem on their rate."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import optim
from dlcore.optim import landscapes

pytestmark = pytest.mark.usefixtures("x64")


def quadratic(eigenvalues, seed=0):
    """½x·Hx − b·x with these eigenvalues: the function, H and b."""
    rng = np.random.default_rng(seed)
    n = len(eigenvalues)
    vectors = np.linalg.qr(rng.normal(size=(n, n)))[0]
    h, b = vectors * np.asarray(eigenvalues) @ vectors.T, rng.normal(size=n)
    return (lambda x: x @ jnp.asarray(h) @ x / 2 - jnp.asarray(b) @ x), h, b


def conjugate_gradients(h, b, x, steps):
    """The iterates of Hestenes and Stiefel, in numpy."""
    path, r = [x], b - h @ x
    p = r
    for _ in range(steps):
        alpha = r @ r / (p @ h @ p)
        x, new = x + alpha * p, r - alpha * h @ p
        p, r = new + new @ new / (r @ r) * p, new
        path.append(x)
    return np.asarray(path)


@pytest.mark.parametrize(
    "direction",
    [optim.bfgs(), optim.l_bfgs(10), optim.l_bfgs(1)],
    ids=["bfgs", "l_bfgs", "l_bfgs of one step"],
)
def test_on_a_quadratic_quasi_newton_with_exact_search_is_conjugate_gradients(direction):
    f, h, b = quadratic([0.5, 1.0, 3.0, 8.0, 20.0])
    result = optim.minimize(
        f,
        jnp.ones(5),
        direction=direction,
        step_size=optim.exact(tolerance=1e-13),
        tolerance=1e-7,
        max_iterations=9,
        record=lambda x: x,
    )
    assert (result.status, result.iterations) == (optim.Status.CONVERGED, 5)
    expected = conjugate_gradients(h, b, np.ones(5), 5)
    np.testing.assert_allclose(result.history.record[:6], expected, rtol=1e-6, atol=1e-7)


def next_of(direction):
    """(x, gradient, memory) -> (direction, memory), compiled; these directions need no f."""
    return jax.jit(functools.partial(direction.next, None))


def dense_bfgs(scale, steps, n):
    """The inverse Hessian that the updates build from scale·I."""
    h = scale * np.eye(n)
    for s, y in steps:
        rho = 1 / (y @ s)
        left = np.eye(n) - rho * np.outer(s, y)
        h = left @ h @ left.T + rho * np.outer(s, s)
    return h


def test_bfgs_and_l_bfgs_are_their_formulas():
    rng = np.random.default_rng(0)
    n, memory = 4, 3
    _, h, _ = quadratic([0.5, 1.0, 3.0, 8.0])
    xs = rng.normal(size=(7, n))
    gs = xs @ h
    steps = list(zip(np.diff(xs, axis=0), np.diff(gs, axis=0), strict=True))
    last = {}
    for direction in (optim.bfgs(), optim.l_bfgs(memory)):
        remembered, follow = (
            direction.init(jnp.asarray(xs[0]), jnp.asarray(gs[0])),
            next_of(direction),
        )
        for x, g in zip(xs, gs, strict=True):
            d, remembered = follow(x, g, remembered)
        last[direction] = d
    dense, limited = last.values()
    scales = [y @ s / (y @ y) for s, y in steps]
    expected = dense_bfgs(scales[0], steps, n)
    np.testing.assert_allclose(dense, -expected @ gs[-1], rtol=1e-9)
    s, y = steps[-1]
    np.testing.assert_allclose(expected @ y, s, rtol=1e-8)
    expected = dense_bfgs(scales[-1], steps[-memory:], n)
    np.testing.assert_allclose(limited, -expected @ gs[-1], rtol=1e-9)


@pytest.mark.parametrize("direction", [optim.bfgs(), optim.l_bfgs()], ids=["bfgs", "l_bfgs"])
def test_a_step_without_positive_curvature_teaches_nothing(direction):
    """So the direction is as if it had not been: what was learned before still holds."""
    x, g, s = np.random.default_rng(0).normal(size=(3, 4))
    follow = next_of(direction)
    memory = follow(x, g, direction.init(jnp.asarray(x - s), jnp.asarray(g - 2 * s)))[1]
    before = np.asarray(follow(x, g, memory)[0])
    after = follow(x + s, g - s, memory)[1]
    np.testing.assert_allclose(follow(x + s, g, after)[0], before, rtol=1e-12)
    assert before @ g < 0


def test_bfgs_converges_superlinearly_and_steepest_descent_does_not():
    """‖xₖ₊₁ − x*‖/‖xₖ − x*‖ → 0, while steepest descent's stays where it is."""

    def ratios(direction, step_size, iterations):
        result = optim.minimize(
            landscapes.rosenbrock.f,
            jnp.asarray([-1.2, 1.0]),
            direction=direction,
            step_size=step_size,
            tolerance=1e-11,
            max_iterations=iterations,
            record=lambda x: x,
        )
        path = np.asarray(result.history.record[: result.iterations + 1])
        errors = np.linalg.norm(path - 1, axis=-1)
        errors = errors[errors > 1e-12]
        return errors[1:] / errors[:-1]

    bfgs = ratios(optim.bfgs(), optim.wolfe(), 100)
    assert np.min(bfgs[-2:]) < 0.02
    assert np.prod(bfgs[-6:]) < 1e-6
    assert np.min(ratios(optim.steepest(), optim.exact(), 100)[-6:]) > 0.9


def test_the_spectral_step_is_the_mean_curvature_of_the_last():
    _, h, _ = quadratic([0.5, 1.0, 3.0])
    x, new = np.random.default_rng(0).normal(size=(2, 3))
    direction = optim.spectral()
    memory, follow = direction.init(jnp.asarray(x), jnp.asarray(h @ x)), next_of(direction)
    d, memory = follow(new, h @ new, memory)
    s = new - x
    np.testing.assert_allclose(d, -(s @ s) / (s @ h @ s) * h @ new, rtol=1e-12)
    uphill = np.asarray(follow(x, -(h @ x), memory)[0])
    assert uphill @ (h @ x) > 0
    assert np.linalg.norm(uphill) <= 1 + 1e-12
