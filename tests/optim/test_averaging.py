"""Averages of the weights against sums over all of them, look-ahead against optax's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import optim

STEPS = 30


def path_of(last, optimizer=None, dtype="float32", start=None, grads=None):
    """(the weights after each update, the average then), with `last` behind the optimizer."""
    optimizer = optax.chain(optimizer or optim.momentum(0.1), last)
    rng = np.random.default_rng(0)
    params = np.asarray(rng.normal(size=4) if start is None else start).astype(dtype)
    if grads is None:
        grads = rng.normal(size=(STEPS, *params.shape)).astype(dtype)

    def step(carry, grad):
        params, state = carry
        updates, state = optimizer.update(grad, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, optim.averaged(state, params))

    @jax.jit
    def path(params, grads):
        return jax.lax.scan(step, (params, optimizer.init(params)), grads)[1]

    weights, averages = path(params, grads)
    return np.float64(weights), np.float64(averages)


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999])
def test_the_exponential_average_is_the_weighted_mean_of_all_weights(decay):
    """Σ βᵗ⁻ⁱ wᵢ / Σ βᵗ⁻ⁱ over i = 1 … t, and so w₁ after the first."""
    weights, averages = path_of(optim.ema_of_weights(decay))
    for t in range(1, STEPS + 1):
        shares = decay ** np.arange(t - 1.0, -1, -1)
        expected = shares @ weights[:t] / shares.sum()
        np.testing.assert_allclose(averages[t - 1], expected, rtol=1e-4, atol=1e-5)


def test_the_exponential_average_equals_optaxs(standard_promotion):
    weights, averages = path_of(optim.ema_of_weights(0.95))
    theirs = optax.ema(0.95, debias=True)

    def step(state, w):
        average, state = theirs.update(w, state)
        return state, average

    _, expected = jax.lax.scan(step, theirs.init(jnp.zeros(4)), jnp.asarray(np.float32(weights)))
    np.testing.assert_allclose(averages, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("last", [optim.ema_of_weights(0.9), optim.swa(5), optim.lookahead(1, 1.0)])
def test_the_start_has_no_share_however_large(last):
    """Where all of the average is the weights, it is the weights to the bit."""
    start, weights = np.float32([-3e38, -3e38, 1e8]), np.float32([3e38, 1e-30, 0.1])
    _, state = jax.jit(last.update)(weights, last.init(start), np.zeros(3, np.float32))
    np.testing.assert_array_equal(state.average, weights)


def test_an_average_of_opposite_ends_of_the_range_lies_between_them():
    weights, last = np.float32([3e38]), optim.ema_of_weights(0.5)
    state = last.init(-weights)._replace(count=np.int32(1), average=-weights)  # d = 2/3
    _, state = jax.jit(last.update)(weights, state, np.zeros(1, np.float32))
    np.testing.assert_allclose(state.average, weights / 3, rtol=1e-6)


@pytest.mark.parametrize(("start", "every"), [(0, 1), (10, 1), (10, 5), (7, 4)])
def test_stochastic_weight_averaging_is_the_plain_mean(start, every):
    weights, averages = path_of(optim.swa(start, every))
    for t in range(1, STEPS + 1):
        chosen = weights[[i - 1 for i in range(start, t + 1, every) if i > 0]]
        if start == 0:  # the weights before the first update are the first of the mean
            chosen = np.vstack([np.random.default_rng(0).normal(size=4), chosen])
        expected = weights[t - 1] if t < start else chosen.mean(axis=0)
        np.testing.assert_allclose(averages[t - 1], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("last", [optim.ema_of_weights(0.9), optim.swa(3)])
def test_an_average_changes_nothing_on_the_way(last):
    weights, _ = path_of(last)
    plain, _ = path_of(optax.chain(optax.identity(), optim.swa(1000)))
    np.testing.assert_array_equal(weights, plain)


@pytest.mark.parametrize(("period", "size"), [(5, 0.5), (3, 0.8), (1, 0.3), (4, 1.0)])
def test_lookahead_equals_optax(period, size, standard_promotion):
    rng = np.random.default_rng(0)
    start, grads = (rng.normal(size=n).astype(np.float32) for n in (4, (STEPS, 4)))
    weights, averages = path_of(optim.lookahead(period, size), start=start, grads=grads)
    theirs = optax.lookahead(optax.sgd(0.1, 0.9), period, size)
    pair = optax.LookaheadParams.init_synced(jnp.asarray(start))

    def step(carry, grad):
        pair, state = carry
        updates, state = theirs.update(grad, state, pair)
        pair = optax.apply_updates(pair, updates)
        return (pair, state), pair

    _, expected = jax.lax.scan(step, (pair, theirs.init(pair)), grads)
    np.testing.assert_allclose(weights, expected.fast, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(averages, expected.slow, rtol=1e-5, atol=1e-6)


def test_before_the_first_update_the_average_is_the_weights():
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.zeros(2, jnp.bfloat16)}
    for last in (optim.ema_of_weights(), optim.swa(10), optim.lookahead()):
        found = optim.averaged(optax.chain(optim.sgd(0.1), last).init(params), params)
        jax.tree.map(np.testing.assert_array_equal, found, params)


def test_a_narrow_leaf_is_averaged_in_float32():
    """In bfloat16 0.999 is 1 and an average would never move."""
    down = jnp.full((1000, 1), 2.0**-7, jnp.bfloat16)
    last = optim.ema_of_weights(0.999)
    weights, averages = path_of(last, optim.sgd(1.0), "bfloat16", jnp.ones(1), down)
    shares = 0.999 ** np.arange(999, -1, -1)
    expected = shares @ weights / shares.sum()
    assert weights[-1] < -1.5
    np.testing.assert_allclose(averages[-1], expected, rtol=1e-2, atol=1e-2)


def test_what_is_frozen_has_no_average_and_comes_from_the_parameters():
    params = {"stem": jnp.ones(3), "head": {"kernel": jnp.ones((3, 2))}}
    learning = {"stem": None, "head": params["head"]}
    for last in (optim.ema_of_weights(0.5), optim.swa(0), optim.lookahead(1, 0.5)):
        optimizer = optax.chain(optim.sgd(0.5), last)
        grads = jax.tree.map(jnp.ones_like, learning)
        updates, state = optimizer.update(grads, optimizer.init(learning), learning)
        assert updates["stem"] is None
        found = optim.averaged(state, params)
        np.testing.assert_array_equal(found["stem"], params["stem"])
        assert not np.any(found["head"]["kernel"] == params["head"]["kernel"])


def test_an_average_of_noisy_weights_lies_nearer_the_minimum():
    """Polyak and Juditsky 1992: descent by noisy gradients at a constant rate, on ½‖w‖²."""
    rng = np.random.default_rng(0)
    noise = jnp.asarray(rng.normal(size=(2000, 10)).astype(np.float32))
    for last in (optim.ema_of_weights(0.99), optim.swa(200)):
        optimizer = optax.chain(optim.sgd(0.1), last)

        def step(carry, noise, optimizer=optimizer):
            params, state = carry
            updates, state = optimizer.update(params + noise, state, params)
            return (optax.apply_updates(params, updates), state), params

        start = jnp.ones(10)
        (end, state), path = jax.lax.scan(step, (start, optimizer.init(start)), noise)
        typical = np.sqrt(np.mean(np.sum(np.square(path[-500:]), axis=1)))
        assert np.linalg.norm(optim.averaged(state, end)) < typical / 2


@pytest.mark.parametrize("make", [optim.ema_of_weights, lambda decay: optim.lookahead(2, decay)])
def test_its_number_can_be_swept(make):
    def end(number):
        optimizer = optax.chain(optim.sgd(0.1), make(number))
        params, state = jnp.ones(2), optimizer.init(jnp.ones(2))
        for _ in range(4):
            updates, state = optimizer.update(params, state, params)
            params = optax.apply_updates(params, updates)
        return optim.averaged(state, params)

    swept, alone = jax.jit(lambda numbers: (jax.vmap(end)(numbers), [end(0.3), end(0.9)]))(
        np.float32([0.3, 0.9])
    )
    np.testing.assert_allclose(swept, alone, rtol=1e-5)
