"""Bad input: each one clear error. Good but unusual input: none."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import optim

FACTORIES = [optim.sgd, optim.momentum, optim.nesterov, optim.rmsprop, optim.adam, optim.adamw]
every_factory = pytest.mark.parametrize("factory", FACTORIES, ids=lambda f: f.__name__)


@every_factory
@pytest.mark.parametrize("rate", [-0.1, float("nan"), float("inf"), jnp.float32(-1.0), -1])
def test_a_rate_out_of_range_is_refused(factory, rate):
    with pytest.raises(ValueError, match="learning_rate must be finite and at least 0, got"):
        factory(rate)


@every_factory
@pytest.mark.parametrize("rate", ["0.1", None, True, 1j, np.ones(2), jnp.ones(2), [0.1]])
def test_a_rate_that_is_no_number_is_refused(factory, rate):
    with pytest.raises(TypeError, match="learning_rate must be a number or a schedule, got"):
        factory(rate)


@pytest.mark.parametrize(
    ("factory", "name"),
    [
        (optim.momentum, "decay"),
        (optim.nesterov, "decay"),
        (optim.rmsprop, "decay"),
        (optim.rmsprop, "momentum"),
        (optim.adam, "b1"),
        (optim.adam, "b2"),
        (optim.adamw, "b1"),
        (optim.adamw, "b2"),
    ],
)
@pytest.mark.parametrize("value", [1.0, 1, -0.1, float("nan"), jnp.asarray(0.999, jnp.bfloat16)])
def test_a_decay_outside_zero_to_one_is_refused(factory, name, value):
    with pytest.raises(ValueError, match=rf"{name} must be in \[0, 1\), got"):
        factory(0.1, **{name: value})


@pytest.mark.parametrize(
    ("factory", "name"),
    [
        (optim.rmsprop, "eps"),
        (optim.rmsprop, "initial_scale"),
        (optim.adam, "eps"),
        (optim.adam, "eps_root"),
        (optim.adamw, "eps"),
        (optim.adamw, "weight_decay"),
    ],
)
def test_a_negative_hyperparameter_is_refused(factory, name):
    with pytest.raises(ValueError, match=f"{name} must be finite and at least 0, got -1e-09"):
        factory(0.1, **{name: -1e-9})
    with pytest.raises(TypeError, match=f"{name} must be a number, got 'small'"):
        factory(0.1, **{name: "small"})


@pytest.mark.parametrize(
    ("factory", "name"),
    [(optim.clip, "max_delta"), (optim.clip_by_global_norm, "max_norm"), (optim.constant, "value")],
)
def test_a_negative_limit_or_value_is_refused(factory, name):
    with pytest.raises(ValueError, match=f"{name} must be finite and at least 0, got -1"):
        factory(-1)


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ValueError, match=r"write momentum=0\.9, nesterov=True"):
        optim.rmsprop(0.1, nesterov=True)


@pytest.mark.parametrize(
    ("warmup_steps", "decay_steps"), [(0, 0), (10, 10), (11, 10), (-1, 10), (0, -5)]
)
def test_steps_out_of_order_are_refused(warmup_steps, decay_steps):
    with pytest.raises(ValueError, match="wanted 0 <= warmup_steps < decay_steps"):
        optim.warmup_cosine(0.1, decay_steps, warmup_steps=warmup_steps)


def test_steps_and_values_of_a_schedule_are_checked():
    with pytest.raises(
        TypeError, match=r"decay_steps must be a whole number of updates, got 10\.0"
    ):
        optim.warmup_cosine(0.1, 10.0)
    with pytest.raises(ValueError, match=r"peak_value must be finite and at least 0, got -0\.1"):
        optim.warmup_cosine(-0.1, 10)


@every_factory
@pytest.mark.parametrize(
    "leaf",
    [jnp.ones(3, jnp.int32), jnp.ones(3, jnp.complex64), np.ones(3, bool), jax.random.key(0)],
)
def test_a_leaf_that_is_not_real_is_named(factory, leaf):
    params = {"conv1": [jnp.ones(2), {"kernel": leaf}]}
    with pytest.raises(TypeError, match=r"conv1/1/kernel is .*only real floating-point leaves"):
        factory(0.1).init(params)


def test_an_integer_leaf_can_be_masked_away():
    params = {"kernel": jnp.ones(2), "steps": jnp.ones((), jnp.int32)}
    optimizer = optax.masked(optim.adam(0.1), {"kernel": True, "steps": False})
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], [-0.1, -0.1], rtol=1e-5)


def test_weight_decay_asks_for_the_parameters():
    optimizer = optim.adamw(0.1)
    with pytest.raises(ValueError, match=r"update\(grads, opt_state, params\)"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))


@every_factory
@pytest.mark.parametrize("rate", [0, 1, np.float64(0.1), np.asarray(0.1), jnp.bfloat16(0.1)])
def test_any_kind_of_number_is_a_rate(factory, rate):
    optimizer, params = factory(rate), jnp.ones(2)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert updates.dtype == jnp.float32


@every_factory
def test_everything_masked_away_is_no_error(factory):
    params = {"kernel": jnp.ones(2)}
    optimizer = optax.masked(factory(0.1), {"kernel": False})
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    np.testing.assert_array_equal(updates["kernel"], params["kernel"])


def test_float64_stays_float64(x64):
    with jax.numpy_dtype_promotion("strict"):
        for factory in FACTORIES:
            optimizer = factory(jnp.float32(0.1))
            params = jnp.ones(2)
            updates, state = optimizer.update(params, optimizer.init(params), params)
            assert updates.dtype == jnp.float64
            assert jnp.float32 not in {leaf.dtype for leaf in jax.tree.leaves(state)}
