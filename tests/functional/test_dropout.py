from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from dlcore import functional as F


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


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


@pytest.mark.parametrize("shared", [(), (0,), (1, 2)])
def test_shared_axes_have_one_mask(shared):
    y = np.asarray(F.dropout(jax.random.key(6), jnp.ones((20, 21, 22)), 0.5, shared=shared))
    length = [1 if axis in shared else None for axis in range(3)]
    one = y[tuple(map(slice, length))]
    np.testing.assert_array_equal(y, np.broadcast_to(one, y.shape))
    assert abs((one == 0).mean() - 0.5) < 5 * 0.5 / np.sqrt(one.size)


def test_dropconnect_is_the_product_with_a_mask_for_each_row():
    """The masks, found by rows of the identity, give the values and the gradients elsewhere."""
    rate, (x, kernel) = 0.4, arrays((30, 4), (4, 5))

    @jax.jit
    def ours(x, kernel):
        return F.dropconnect(jax.random.key(7), x, kernel, rate)

    basis = jnp.stack([ours(jnp.tile(row, (30, 1)), kernel) for row in jnp.eye(4)], axis=1)
    masks = (basis != 0).astype(jnp.float32)
    assert masks.shape == (30, 4, 5)
    assert abs(float(masks.mean()) - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / masks.size)
    assert len(np.unique(masks, axis=0)) == 30

    def paper(x, kernel):
        return jnp.einsum("ni,nio->no", x, masks * kernel) / (1 - rate)

    y, back = jax.vjp(ours, x, kernel)
    expected, their_back = jax.vjp(paper, x, kernel)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(back(y), their_back(y), rtol=1e-4, atol=1e-5)


def test_one_mask_has_the_same_expected_gradient_as_one_a_row():
    """Of any mean over examples: here of cosines, whose mean over masks is known by listing."""
    rate, (x, kernel), draws = 0.5, arrays((8, 2), (2, 1)), 4000
    masks = jnp.array([[a, b] for a in (0.0, 1.0) for b in (0.0, 1.0)])[:, :, None]

    def loss(kernel):
        return jnp.mean(jnp.cos(x @ kernel))

    masked = jax.grad(lambda kernel, mask: loss(kernel * mask / (1 - rate)))
    exact = jnp.mean(jax.vmap(masked, (None, 0))(kernel, masks), axis=0)
    forms = {
        "a row": lambda key, kernel: F.dropconnect(key, x, kernel, rate),
        "one": lambda key, kernel: F.linear(x, F.dropout(key, kernel, rate)),
    }
    keys = jax.random.split(jax.random.key(8), draws)
    for form in forms.values():
        draw = jax.grad(lambda kernel, key, form=form: jnp.mean(jnp.cos(form(key, kernel))))
        drawn = jax.jit(jax.vmap(draw, (None, 0)))(kernel, keys)
        error = 5 * jnp.std(drawn, axis=0) / np.sqrt(draws)
        assert (jnp.abs(jnp.mean(drawn, axis=0) - exact) < error).all()


def test_dropconnect_keeps_one_mask_in_memory():
    x, kernel = arrays((64, 100), (100, 100))

    def loss(x, kernel):
        return jnp.sum(F.dropconnect(jax.random.key(9), x, kernel, 0.5) ** 2)

    compiled = jax.jit(jax.grad(loss, (0, 1))).lower(x, kernel).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 64 * kernel.size


def test_dropconnect_takes_any_leading_axes():
    x, kernel = arrays((2, 3, 4), (4, 5))
    y = F.dropconnect(jax.random.key(10), x, kernel, 0.5)
    flat = F.dropconnect(jax.random.key(10), x.reshape(6, 4), kernel, 0.5)
    np.testing.assert_array_equal(y, flat.reshape(2, 3, 5))
    assert F.dropconnect(jax.random.key(10), x[0, 0], kernel, 0.5).shape == (5,)


def test_dropconnect_refuses():
    x, kernel = arrays((3, 4), (5, 2))
    with pytest.raises(ValueError, match=r"x \(3, 4\) and kernel \(5, 2\) do not fit"):
        F.dropconnect(jax.random.key(0), x, kernel, 0.5)


def test_refuses_integers():
    with pytest.raises(TypeError, match="x is int32"):
        F.dropout(jax.random.key(0), jnp.ones(3, jnp.int32), 0.5)
