from __future__ import annotations

import functools

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


PARAMS = {"a": np.float32([1.0, -2.0]), "b": {"c": np.float32([[0.5, 1.5]]), "frozen": None}}
GRAD = jax.jit(jax.grad(bowl))


def sharpened(transformation, grads, params, grad_fn=GRAD):
    @jax.jit
    def updates(grads, params):
        state = transformation.init(params)
        return transformation.update(grads, state, params, grad_fn=grad_fn)[0]

    return updates(grads, params)


@pytest.mark.parametrize("rho", [0.05, 0.5])
def test_is_the_gradient_at_the_worst_place_of_the_linear_model(rho):
    grads = jax.tree.map(np.asarray, GRAD(PARAMS))
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grads)))
    expected = GRAD(jax.tree.map(lambda p, g: p + rho * g / norm, PARAMS, grads))
    updates = sharpened(optim.sam(rho), grads, PARAMS)
    jax.tree.map(lambda u, e: np.testing.assert_allclose(u, e, rtol=1e-5), updates, expected)
    assert updates["b"]["frozen"] is None


@pytest.mark.parametrize("size", [2.0**100, 2.0**-100])
def test_the_worst_place_does_not_depend_on_the_size_of_the_gradient(size):
    grads = jax.tree.map(np.asarray, GRAD(PARAMS))
    same = [
        sharpened(optim.sam(0.1), jax.tree.map(lambda g, s=s: g * np.float32(s), grads), PARAMS)
        for s in (1.0, size)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *same)


def test_equals_optax(standard_promotion):
    """Its opaque mode, whose grad_fn also takes the number of the inner step."""
    ours = optax.chain(optim.sam(0.1), optim.momentum(0.01))
    adversary = optax.chain(optax.contrib.normalize(), optax.sgd(0.1))
    theirs = optax.contrib.sam(optax.sgd(0.01, 0.9), adversary, opaque_mode=True)

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def end(optimizer, grad_fn):
        def step(_, carry):
            params, state = carry
            updates, state = optimizer.update(GRAD(params), state, params, grad_fn=grad_fn)
            return optax.apply_updates(params, updates), state

        return jax.lax.fori_loop(0, 20, step, (PARAMS, optimizer.init(PARAMS)))[0]

    ends = end(ours, GRAD), end(theirs, lambda params, i: GRAD(params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *ends)


def test_a_zero_gradient_and_a_zero_radius_stay_where_they_are():
    flat = jax.tree.map(np.zeros_like, PARAMS)
    updates = sharpened(optim.sam(), flat, flat)
    jax.tree.map(np.testing.assert_array_equal, updates, GRAD(flat))
    updates = sharpened(optim.sam(0.0), flat, PARAMS)
    jax.tree.map(np.testing.assert_array_equal, updates, GRAD(PARAMS))


def test_keeps_a_narrow_dtype():
    params = np.asarray([300.0, -400.0], np.float16)  # whose squares float16 does not hold
    updates = sharpened(optim.sam(1.0), params, params, grad_fn=lambda p: 2 * p)
    assert updates.dtype == jnp.float16
    np.testing.assert_allclose(updates, [601.2, -801.6], rtol=2e-3)


def test_prefers_the_flat_among_minima():
    """½(xy − 1)² is least all along xy = 1, and flattest (x² + y² least) at x = y = 1: gradient
    descent keeps to where it meets the curve, SAM slides along it.
    """

    def loss(w):
        return 0.5 * (w[0] * w[1] - 1) ** 2

    @functools.partial(jax.jit, static_argnums=0)
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
