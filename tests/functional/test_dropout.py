from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from dlcore import functional as F


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_drops_at_the_rate_and_scales_the_rest(rate):
    x = jnp.full((200, 200), 3.0)
    y = F.dropout(jax.random.key(0), x, rate)
    dropped = float(jnp.mean(y == 0))
    assert abs(dropped - rate) < 5 * np.sqrt(rate * (1 - rate) / x.size)
    np.testing.assert_allclose(y[y != 0], 3.0 / (1 - rate), rtol=1e-6)


def test_equals_the_lectures_form_in_expectation():
    """Through a linear layer: the mean of w·dropout(x) over masks, and w·x·(1 − p) / (1 − p).

    The lectures train with the mask alone and multiply by 1 − p at test time, so that the ratio of
    their training to their test activation is the same.
    """
    rate, draws = 0.3, 20_000
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=8).astype(np.float32), rng.normal(size=(8, 3)).astype(np.float32)
    ours = jax.vmap(lambda key: F.dropout(key, x, rate) @ w)(
        jax.random.split(jax.random.key(1), draws)
    )
    masks = rng.random((draws, 8)) >= rate
    lecture_train = ((x * masks) @ w).mean(0)
    lecture_test = (1 - rate) * x @ w
    error = 5 * np.std((x * masks) @ w, axis=0) / np.sqrt(draws)
    np.testing.assert_array_less(np.abs(lecture_train - lecture_test), error)
    np.testing.assert_array_less(np.abs(ours.mean(0) * (1 - rate) - lecture_test), error)


def test_statistics_are_flaxs(standard_promotion):
    x = jnp.full((300, 300), 2.0)
    layer = linen.Dropout(rate=0.25, deterministic=False)
    theirs = layer.apply({}, x, rngs={"dropout": jax.random.key(2)})
    ours = F.dropout(jax.random.key(3), x, 0.25)
    assert set(np.unique(ours)) == set(np.unique(theirs))
    np.testing.assert_allclose(ours.mean(), theirs.mean(), rtol=0.01)
    np.testing.assert_allclose(ours.std(), theirs.std(), rtol=0.01)


def test_rate_zero_is_the_identity_and_needs_no_key():
    x = jnp.arange(4.0)
    assert F.dropout(None, x, 0.0) is x


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, float("nan")])
def test_refuses_what_is_no_rate(rate):
    with pytest.raises(ValueError, match=r"the probability of dropping lies in \[0, 1\)"):
        F.dropout(jax.random.key(0), jnp.ones(3), rate)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_traced_rate_sweeps(dtype):
    x = jnp.ones((100, 100), dtype)
    rates = jnp.array([0.0, 0.5])
    y = jax.vmap(lambda rate: F.dropout(jax.random.key(4), x, rate))(rates)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y[0], x)
    np.testing.assert_array_equal(y[1], F.dropout(jax.random.key(4), x, 0.5))


def test_gradient_is_the_mask():
    x = jnp.linspace(1.0, 2.0, 50)
    y, back = jax.vjp(lambda x: F.dropout(jax.random.key(5), x, 0.5), x)
    np.testing.assert_allclose(back(jnp.ones_like(y))[0], y / x, rtol=1e-6)


def test_refuses_integers():
    with pytest.raises(TypeError, match="x is int32"):
        F.dropout(jax.random.key(0), jnp.ones(3, jnp.int32), 0.5)
