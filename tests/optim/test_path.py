"""The way of an optimizer, against optax step by step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import optim
from dlcore.optim import landscapes

START = jnp.array([1.0, 1.5])


def by_hand(f, x, optimizer, steps):
    @jax.jit
    def step(x, state):
        updates, state = optimizer.update(jax.grad(f)(x), state, x)
        return optax.apply_updates(x, updates), state

    state, places = jax.jit(optimizer.init)(x), [x]
    for _ in range(steps):
        x, state = step(x, state)
        places.append(x)
    return np.stack(places)


@pytest.mark.usefixtures("standard_promotion")
def test_goes_where_optax_goes():
    f = landscapes.beale.f
    way = optim.path(f, START, optim.adam(0.05), 30)
    expected = by_hand(f, START, optax.adam(0.05), 30)
    np.testing.assert_allclose(way.record, expected, rtol=1e-4)
    np.testing.assert_allclose(way.value, jax.jit(jax.vmap(f))(way.record), rtol=1e-5)
    np.testing.assert_array_equal(way.x, way.record[-1])


def test_many_rates_are_one_program():
    @jax.jit
    @jax.vmap
    def end(rate):
        return optim.path(jnp.sum, jnp.ones(2), optim.sgd(rate), 4).x

    ways = end(np.float32([0.1, 0.3]))
    np.testing.assert_allclose(ways, [[0.6, 0.6], [-0.2, -0.2]], rtol=1e-5)


def test_each_update_draws_anew_and_the_same_key_alike():
    def f(x, key):
        return jax.random.normal(key) * x

    ways = [
        optim.path(f, jnp.array(1.0), optim.sgd(1.0), 5, key=jax.random.key(seed)).record
        for seed in (0, 0, 1)
    ]
    assert len(set(np.diff(ways[0]).tolist())) == 5
    np.testing.assert_array_equal(ways[0], ways[1])
    assert not np.allclose(ways[0], ways[2])


def test_keeps_what_is_asked_for_of_a_tree():
    x0 = {"a": jnp.ones(3), "b": jnp.ones(())}
    way = optim.path(
        lambda x: x["a"].sum() + x["b"], x0, optim.sgd(0.5), 2, record=lambda x: x["b"]
    )
    np.testing.assert_allclose(way.record, [1, 0.5, 0])
    np.testing.assert_allclose(way.x["a"], np.zeros(3))


def test_refuses_no_steps():
    with pytest.raises(ValueError, match="steps must be at least 1"):
        optim.path(jnp.sum, jnp.ones(2), optim.sgd(0.1), 0)
