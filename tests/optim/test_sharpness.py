from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from dlcore import optim


def bowl(params):
    """Something with third derivatives, and a leaf that is frozen."""
    return jnp.sum(jnp.cosh(params["a"]) * 2.0) + jnp.sum(params["b"]["c"] ** 4)


PARAMS = {"a": jnp.asarray([1.0, -2.0]), "b": {"c": jnp.asarray([[0.5, 1.5]]), "frozen": None}}
GRAD = jax.grad(bowl)


@pytest.mark.parametrize("rho", [0.05, 0.5])
def test_is_the_gradient_at_the_worst_place_of_the_linear_model(rho):
    grads = GRAD(PARAMS)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grads)))
    expected = GRAD(jax.tree.map(lambda p, g: p + rho * g / norm, PARAMS, grads))
    updates, _ = optim.sam(rho).update(grads, optim.sam(rho).init(PARAMS), PARAMS, grad_fn=GRAD)
    jax.tree.map(lambda u, e: np.testing.assert_allclose(u, e, rtol=1e-5), updates, expected)
    assert updates["b"]["frozen"] is None


def test_equals_optax(standard_promotion):
    """Its opaque mode, whose grad_fn also takes the number of the inner step."""
    ours = optax.chain(optim.sam(0.1), optim.momentum(0.01))
    adversary = optax.chain(optax.contrib.normalize(), optax.sgd(0.1))
    theirs = optax.contrib.sam(optax.sgd(0.01, 0.9), adversary, opaque_mode=True)
    ends = []
    for optimizer, grad_fn in ((ours, GRAD), (theirs, lambda params, i: GRAD(params))):
        params, state = PARAMS, optimizer.init(PARAMS)
        for _ in range(20):
            updates, state = optimizer.update(GRAD(params), state, params, grad_fn=grad_fn)
            params = optax.apply_updates(params, updates)
        ends.append(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *ends)


def test_a_zero_gradient_and_a_zero_radius_stay_where_they_are():
    flat = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = optim.sam().update(flat, optax.EmptyState(), flat, grad_fn=GRAD)
    jax.tree.map(np.testing.assert_array_equal, updates, GRAD(flat))
    updates, _ = optim.sam(0.0).update(flat, optax.EmptyState(), PARAMS, grad_fn=GRAD)
    jax.tree.map(np.testing.assert_array_equal, updates, GRAD(PARAMS))


def test_keeps_a_narrow_dtype():
    params = jnp.asarray([300.0, -400.0], jnp.float16)  # whose squares float16 does not hold
    updates, _ = optim.sam(1.0).update(
        params, optax.EmptyState(), params, grad_fn=lambda p: (2 * p).astype(jnp.float16)
    )
    assert updates.dtype == jnp.float16
    np.testing.assert_allclose(updates, [601.2, -801.6], rtol=2e-3)


def test_prefers_the_flat_among_minima():
    """½(xy − 1)² is least all along xy = 1, and flattest (x² + y² least) at x = y = 1: gradient
    descent keeps to where it meets the curve, SAM slides along it.
    """

    def loss(w):
        return 0.5 * (w[0] * w[1] - 1) ** 2

    def end(first):
        optimizer = optax.chain(first, optim.sgd(0.02))

        def step(_, carry):
            w, state = carry
            updates, state = optimizer.update(jax.grad(loss)(w), state, w, grad_fn=jax.grad(loss))
            return w + updates, state

        start = jnp.asarray([3.0, 0.5])
        return jax.lax.fori_loop(0, 20_000, step, (start, optimizer.init(start)))[0]

    sharp, flat = end(optax.identity()), end(optim.sam(0.1))
    np.testing.assert_allclose([sharp[0] * sharp[1], flat[0] * flat[1]], 1, atol=0.02)
    assert sharp[0] > 2.5
    np.testing.assert_allclose(flat, 1, atol=0.1)
