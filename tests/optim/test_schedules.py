"""Schedules against optax's values."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import optim

COUNTS = jnp.arange(60)


@pytest.mark.parametrize("warmup_steps", [0, 1, 10])
@pytest.mark.parametrize(("init", "end"), [(0.0, 0.0), (0.01, 0.05), (0.6, 0.3)])
def test_warmup_cosine_equals_optax(warmup_steps, init, end):
    ours = optim.warmup_cosine(0.3, 40, warmup_steps=warmup_steps, init_value=init, end_value=end)
    theirs = optax.warmup_cosine_decay_schedule(init, 0.3, warmup_steps, 40, end)
    with jax.numpy_dtype_promotion("standard"):
        expected = jax.vmap(theirs)(COUNTS)
    np.testing.assert_allclose(jax.jit(jax.vmap(ours))(COUNTS), expected, atol=1e-7)


def test_warmup_cosine_goes_through_its_three_values():
    schedule = optim.warmup_cosine(
        0.3, 40, warmup_steps=10, init_value=0.1, end_value=jnp.float32(0.2)
    )
    values = [schedule(count) for count in (0, 10, 25, 40, 10_000)]
    np.testing.assert_allclose(values, [0.1, 0.3, 0.25, 0.2, 0.2], rtol=1e-6)


def test_constant_equals_optax():
    assert optim.constant(0.1)(7) == optax.constant_schedule(0.1)(7) == 0.1


def test_the_first_update_sees_count_zero():
    """As in optax: a warm-up from 0 does not move the first time."""
    optimizer = optim.sgd(optim.warmup_cosine(0.4, 6, warmup_steps=2))
    state, seen = optimizer.init(jnp.ones(())), []
    for _ in range(4):
        update, state = optimizer.update(jnp.ones(()), state)
        seen.append(-float(update))
    np.testing.assert_allclose(seen, [0.0, 0.2, 0.4, 0.341421], rtol=1e-5)
