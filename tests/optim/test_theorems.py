"""What is known of the optimizers, apart from any other library's numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import optim


def updates_of(optimizer, grads, params=None):
    """The updates for the gradients along the leading axis of an array, at parameters that stay."""
    params = jnp.zeros_like(grads[0]) if params is None else params

    def step(state, grad):
        updates, state = optimizer.update(grad, state, params)
        return state, updates

    return jax.lax.scan(step, optimizer.init(params), grads)[1]


def grads_of(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


BOUNDS = {  # the largest stable rate on a quadratic, times λmax
    "sgd": (optim.sgd, 2.0),
    "momentum": (lambda rate: optim.momentum(rate, 0.8), 2 * (1 + 0.8)),
    "nesterov": (lambda rate: optim.nesterov(rate, 0.8), 2 * (1 + 0.8) / (1 + 2 * 0.8)),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_descent_on_a_quadratic_converges_below_its_bound_and_not_above(name):
    factory, bound = BOUNDS[name]
    curvatures = jnp.asarray([0.5, 2.0, 5.0])

    def distance(rate):
        optimizer = factory(rate)

        def step(carry, _):
            w, state = carry
            updates, state = optimizer.update(curvatures * w, state, w)
            return (w + updates, state), None

        w = jnp.ones(3)
        (w, _), _ = jax.lax.scan(step, (w, optimizer.init(w)), length=300)
        return jnp.linalg.norm(w)

    largest = bound / jnp.max(curvatures)
    below, above = jax.jit(jax.vmap(distance))(largest * jnp.asarray([0.98, 1.02]))
    assert below < 1e-4
    assert above > 1e4


def test_without_decay_momentum_and_nesterov_are_gradient_descent():
    grads = grads_of(10, 4)
    expected = -jnp.float32(0.1) * grads
    for optimizer in (optim.sgd(0.1), optim.momentum(0.1, 0.0), optim.nesterov(0.1, 0.0)):
        np.testing.assert_array_equal(updates_of(optimizer, grads), expected)


def test_momentum_multiplies_a_constant_gradient_by_one_over_one_minus_decay():
    last = updates_of(optim.momentum(0.1, 0.9), jnp.ones((300, 1)))[-1]
    np.testing.assert_allclose(last, [-0.1 / (1 - 0.9)], rtol=1e-5)


def test_momentum_is_the_lectures_average_with_the_rate_rescaled():
    """Lecture A: v ← γv + (1 − γ)g, w ← w − ηv equals this form at η(1 − γ)."""
    grads, rate, decay = grads_of(20, 3), 0.3, 0.8
    average, expected = np.zeros(3), []
    for grad in np.asarray(grads):
        average = decay * average + (1 - decay) * grad
        expected.append(-rate * average)
    ours = updates_of(optim.momentum(rate * (1 - decay), decay), grads)
    np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=1e-7)


def test_momentum_is_the_lectures_velocity_while_the_rate_is_constant():
    """Lecture E: v ← γv − ηg, w ← w + v."""
    grads, rate, decay = grads_of(20, 3), 0.3, 0.8
    velocity, expected = np.zeros(3), []
    for grad in np.asarray(grads):
        velocity = decay * velocity - rate * grad
        expected.append(velocity)
    ours = updates_of(optim.momentum(rate, decay), grads)
    np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=1e-7)


def test_the_decay_of_momentum_can_be_annealed():
    """Lecture E: γ begins at 0.5 and is annealed."""
    grads, decays = grads_of(10, 3), np.linspace(0.5, 0.99, 10)
    optimizer = optax.inject_hyperparams(optim.momentum)(
        0.1, decay=lambda count: jnp.asarray(decays, jnp.float32)[count]
    )
    velocity, expected = np.zeros(3), []
    for grad, decay in zip(np.asarray(grads), decays, strict=True):
        velocity = grad + decay * velocity
        expected.append(-0.1 * velocity)
    np.testing.assert_allclose(updates_of(optimizer, grads), expected, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("eps_in_sqrt", [False, True])
def test_rmsprop_without_eps_never_moves_a_dead_input(centered, eps_in_sqrt):
    """Lecture A's form has no ε; 0/0 is read as 0, and the living neighbour moves as ever."""
    grads = grads_of(50, 2).at[:, 1].set(0.0)
    optimizer = optim.rmsprop(0.1, eps=0.0, centered=centered, eps_in_sqrt=eps_in_sqrt)
    alive, dead = updates_of(optimizer, grads).T
    assert jnp.all(dead == 0)
    assert jnp.all(jnp.isfinite(alive) & (alive * grads[:, 0] < 0))


def test_rmsprop_first_step_does_not_depend_on_the_gradients_size():
    """Lecture A: ν = (1 − γ)g² after one step, so the update is −η sign(g)/√(1 − γ)."""
    grads = jnp.asarray([[1e-6, -1.0, 1e6, 0.0]])
    update = updates_of(optim.rmsprop(0.1, decay=0.9, eps=0.0), grads)[0]
    np.testing.assert_allclose(update, -0.1 / np.sqrt(1 - 0.9) * np.sign(grads[0]), rtol=1e-5)


def test_centered_rmsprop_stays_finite_where_rounding_makes_the_variance_negative():
    grads = jnp.broadcast_to(jnp.linspace(1.0, 100.0, 50), (400, 50))
    assert jnp.all(jnp.isfinite(updates_of(optim.rmsprop(0.1, centered=True), grads)))


def test_adam_first_step_is_the_rate_against_the_sign():
    grads = jnp.asarray([[1e-6, -1.0, 1e6, 0.0]])
    for factory in (optim.adam, lambda rate, eps: optim.adamw(rate, eps=eps, weight_decay=0.0)):
        update = updates_of(factory(0.1, eps=0.0), grads)[0]
        np.testing.assert_allclose(update, -0.1 * np.sign(grads[0]), rtol=1e-5)


@pytest.mark.parametrize(
    "optimizer",
    [
        optim.adam(0.1, eps=0.0),
        optim.rmsprop(0.1, eps=0.0),
        optim.rmsprop(0.1, eps=0, centered=True),
    ],
)
def test_adaptive_updates_do_not_depend_on_the_losses_scale(optimizer):
    grads = grads_of(30, 5)
    np.testing.assert_allclose(
        updates_of(optimizer, 1024 * grads), updates_of(optimizer, grads), rtol=1e-5
    )


def test_weight_decay_shrinks_what_the_mask_names_and_never_enters_the_moments():
    params = {"kernel": jnp.asarray([2.0]), "bias": jnp.asarray([2.0])}
    for mask in ({"kernel": True, "bias": False}, lambda p: {name: name == "kernel" for name in p}):
        optimizer = optim.adamw(0.1, weight_decay=0.5, mask=mask)
        state = optimizer.init(params)
        updates, state = optimizer.update(jax.tree.map(jnp.zeros_like, params), state, params)
        np.testing.assert_allclose(updates["kernel"], [-0.1 * 0.5 * 2.0], rtol=1e-6)
        assert updates["bias"] == 0
        assert optax.tree.norm(optax.tree.get(state, "nu")) == 0


@pytest.mark.parametrize(
    "optimizer",
    [optim.momentum(0.1), optim.nesterov(0.1), optim.adam(0.1, eps=0.0)]
    + [optim.rmsprop(0.1, eps=0.0, centered=centered) for centered in (False, True)],
)
def test_a_gradient_that_is_nan_is_not_hidden(optimizer):
    """Reading 0/0 as 0 does not read NaN as 0, not even in the moments of the steps after."""
    updates = updates_of(optimizer, jnp.asarray([[1.0, jnp.nan], [2.0, 1.0]]))
    assert jnp.isnan(updates).tolist() == [[False, True], [False, True]]
