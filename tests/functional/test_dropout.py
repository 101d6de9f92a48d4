from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from dlcore import functional as F


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@functools.partial(jax.jit, static_argnames=("rate", "shared"))
def compiled(key, x, rate, shared=()):
    return F.dropout(key, x, rate, shared=shared)


def dropout(*arguments, **options):
    return np.asarray(compiled(*arguments, **options))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_drops_at_the_rate_and_scales_the_rest(rate):
    x = np.full((200, 200), 3, np.float32)
    y = dropout(jax.random.key(0), x, rate)
    dropped = np.mean(y == 0)
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

    @jax.jit
    def mean(key):
        keys = jax.random.split(key, draws)
        return jax.vmap(lambda key: F.dropout(key, x, rate) @ w)(keys).mean(0)

    ours = mean(jax.random.key(1))
    masks = rng.random((draws, 8)) >= rate
    lecture_train = ((x * masks) @ w).mean(0)
    lecture_test = (1 - rate) * x @ w
    error = 5 * np.std((x * masks) @ w, axis=0) / np.sqrt(draws)
    np.testing.assert_array_less(np.abs(lecture_train - lecture_test), error)
    np.testing.assert_array_less(np.abs(ours * (1 - rate) - lecture_test), error)


def test_statistics_are_flaxs(standard_promotion):
    x = np.full((300, 300), 2, np.float32)
    layer = linen.Dropout(rate=0.25, deterministic=False)
    theirs = jax.jit(lambda key: layer.apply({}, x, rngs={"dropout": key}))(jax.random.key(2))
    theirs, ours = np.asarray(theirs), dropout(jax.random.key(3), x, 0.25)
    assert set(np.unique(ours)) == set(np.unique(theirs))
    np.testing.assert_allclose(ours.mean(), theirs.mean(), rtol=0.01)
    np.testing.assert_allclose(ours.std(), theirs.std(), rtol=0.01)


def test_rate_zero_is_the_identity_and_needs_no_key():
    x = np.arange(4, dtype=np.float32)
    assert F.dropout(None, x, 0.0) is x


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, float("nan")])
def test_refuses_what_is_no_rate(rate):
    with pytest.raises(ValueError, match=r"the probability of dropping lies in \[0, 1\)"):
        F.dropout(jax.random.key(0), np.ones(3, np.float32), rate)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_traced_rate_sweeps(dtype):
    x = np.ones((100, 100), dtype)

    @jax.jit
    def swept(key, rates):
        return jax.vmap(lambda rate: F.dropout(key, x, rate))(rates)

    y = swept(jax.random.key(4), np.array([0, 0.5], np.float32))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y[0], x)
    np.testing.assert_array_equal(y[1], dropout(jax.random.key(4), x, 0.5))


def test_gradient_is_the_mask():
    @jax.jit
    def value_and_gradient(key, x):
        y, back = jax.vjp(lambda x: F.dropout(key, x, 0.5), x)
        return y, back(jnp.ones_like(y))[0]

    x = np.linspace(1, 2, 50, dtype=np.float32)
    y, gradient = value_and_gradient(jax.random.key(5), x)
    np.testing.assert_allclose(gradient, y / x, rtol=1e-6)


@pytest.mark.parametrize("shared", [(), (0,), (1, 2)])
def test_shared_axes_have_one_mask(shared):
    y = dropout(jax.random.key(6), np.ones((20, 21, 22), np.float32), 0.5, shared=shared)
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

    rows = np.eye(4, dtype=np.float32)
    basis = np.stack([ours(np.tile(row, (30, 1)), kernel) for row in rows], axis=1)
    masks = (basis != 0).astype(np.float32)
    assert masks.shape == (30, 4, 5)
    assert abs(masks.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / masks.size)
    assert len(np.unique(masks, axis=0)) == 30

    def paper(x, kernel):
        return jnp.einsum("ni,nio->no", x, masks * kernel) / (1 - rate)

    @jax.jit
    def values_and_gradients(x, kernel):
        y, back = jax.vjp(ours, x, kernel)
        expected, their_back = jax.vjp(paper, x, kernel)
        return (y, *back(y)), (expected, *their_back(y))

    chex.assert_trees_all_close(*values_and_gradients(x, kernel), rtol=1e-4, atol=1e-5)


def test_one_mask_has_the_same_expected_gradient_as_one_a_row():
    """Of any mean over examples: here of cosines, whose mean over masks is known by listing."""
    rate, (x, kernel), draws = 0.5, arrays((8, 2), (2, 1)), 4000
    masks = np.array([[[a], [b]] for a in (0, 1) for b in (0, 1)], np.float32)

    def a_row(key, kernel):
        return F.dropconnect(key, x, kernel, rate)

    def one(key, kernel):
        return F.linear(x, F.dropout(key, kernel, rate))

    @jax.jit
    def exact_and_drawn(kernel, key):
        def loss(kernel, mask):
            return jnp.mean(jnp.cos(x @ (kernel * mask / (1 - rate))))

        def draw(form):
            gradient = jax.grad(lambda kernel, key: jnp.mean(jnp.cos(form(key, kernel))))
            return jax.vmap(gradient, (None, 0))(kernel, keys)

        exact = jnp.mean(jax.vmap(jax.grad(loss), (None, 0))(kernel, masks), axis=0)
        keys = jax.random.split(key, draws)
        return exact, [draw(form) for form in (a_row, one)]

    exact, drawn = exact_and_drawn(kernel, jax.random.key(8))
    for gradients in map(np.asarray, drawn):
        error = 5 * np.std(gradients, axis=0) / np.sqrt(draws)
        assert (np.abs(np.mean(gradients, axis=0) - exact) < error).all()


def test_dropconnect_keeps_one_mask_in_memory():
    x, kernel = arrays((64, 100), (100, 100))

    def loss(x, kernel):
        return jnp.sum(F.dropconnect(jax.random.key(9), x, kernel, 0.5) ** 2)

    compiled = jax.jit(jax.grad(loss, (0, 1))).lower(x, kernel).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 64 * kernel.size


def test_dropconnect_takes_any_leading_axes():
    x, kernel = arrays((2, 3, 4), (4, 5))

    @jax.jit
    def leading_and_flat(key):
        flat = F.dropconnect(key, x.reshape(6, 4), kernel, 0.5)
        return F.dropconnect(key, x, kernel, 0.5), flat.reshape(2, 3, 5)

    key = jax.random.key(10)
    np.testing.assert_array_equal(*leading_and_flat(key))
    one = jax.eval_shape(lambda key: F.dropconnect(key, x[0, 0], kernel, 0.5), key)
    assert one.shape == (5,)


def test_dropconnect_refuses():
    x, kernel = arrays((3, 4), (5, 2))
    with pytest.raises(ValueError, match=r"x \(3, 4\) and kernel \(5, 2\) do not fit"):
        F.dropconnect(jax.random.key(0), x, kernel, 0.5)


def test_refuses_integers():
    with pytest.raises(TypeError, match="x is int32"):
        F.dropout(jax.random.key(0), np.ones(3, np.int32), 0.5)
