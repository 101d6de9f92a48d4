from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore import functional as F
from tests.budget import examples
from tests.functional.conftest import assert_derivatives

moments = jax.jit(F.moments, static_argnames=("axis", "keepdims"))
batch_moments = jax.jit(F.batch_moments)
normalize = jax.jit(F.normalize, static_argnames="eps")


@pytest.mark.parametrize("axis", [0, -1, (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_moments_are_numpys(axis, keepdims):
    x = np.random.default_rng(0).normal(2.0, 3.0, (5, 4, 3)).astype(np.float32)
    mean, var = moments(x, axis, keepdims=keepdims)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(mean, wide.mean(axis, keepdims=keepdims), rtol=1e-5)
    np.testing.assert_allclose(var, wide.var(axis, keepdims=keepdims), rtol=1e-5)


@given(mean=st.floats(-1e4, 1e4), std=st.floats(0.1, 10), seed=st.integers(0, 99))
@examples(30)
def test_variance_survives_a_large_mean(mean, std, seed):
    x = np.random.default_rng(seed).normal(mean, std, (512, 3)).astype(np.float32)
    _, var = moments(x, 0)
    np.testing.assert_allclose(var, x.astype(np.float64).var(0), rtol=1e-3)


@jax.jit
def moments_and_derivatives(x):
    """By `batch_moments` and by `moments`: both, the gradient through them, and its derivative."""

    def derivatives(moments):
        def loss(x):
            return jnp.sum(jnp.sin(F.normalize(x, *moments(x))))

        gradient = jax.grad(loss)
        return moments(x), gradient(x), jax.jvp(gradient, (x,), (jnp.cos(x),))[1]

    axes = tuple(range(x.ndim - 1))
    return derivatives(F.batch_moments), derivatives(functools.partial(F.moments, axis=axes))


@given(
    mean=st.floats(-1e4, 1e4),
    std=st.floats(0.1, 10),
    shape=st.sampled_from([(512, 3), (8, 5, 9, 1)]),
    seed=st.integers(0, 99),
)
@examples(30)
def test_batch_moments_and_their_derivatives_are_those_of_moments(mean, std, shape, seed):
    x = np.random.default_rng(seed).normal(mean, std, shape)
    with jax.enable_x64(True):
        chex.assert_trees_all_close(*moments_and_derivatives(x), rtol=1e-6, atol=1e-7)
    narrow = x.astype(np.float32)
    wanted = narrow.astype(float).var(tuple(range(x.ndim - 1)))
    np.testing.assert_allclose(batch_moments(narrow)[1], wanted, rtol=2e-3)


def test_batch_moments_of_one_outlier_stay_finite_and_of_a_constant_vanish():
    x = np.random.default_rng(0).normal(0, 1e-3, (64, 2)).astype(np.float32)
    x[0] = 1e4  # the rest lies 1e7 deviations away
    assert np.isfinite(normalize(x, *batch_moments(x))).all()
    constant = np.full((64, 2), 0.1, np.float32)
    np.testing.assert_allclose(batch_moments(constant)[1], 0, atol=1e-12)


@pytest.mark.parametrize("shape", [(3,), (5, 1, 1), (5, 4, 3)])  # of mean and variance
def test_the_derivatives_of_normalize_are_those_of_its_equation(shape, x64):
    """Both ways and twice, with respect to every argument; of the plain form they are JAX's own."""
    rng = np.random.default_rng(0)

    def plain(x, mean, var, scale, offset):
        return (x - mean) / jnp.sqrt(var + 1e-5) * scale + offset

    x, mean, var = rng.normal(size=(5, 4, 3)), rng.normal(size=shape), rng.random(shape)
    arguments = x, mean, var, rng.normal(size=3), rng.normal(size=3)
    along = tuple(map(np.cos, arguments))

    def derivatives(f):
        def loss(*arguments):
            return jnp.sum(jnp.sin(f(*arguments)))

        return lambda *a: jax.jvp(jax.grad(loss, range(5)), a, along)

    both = jax.jit(lambda *a: [derivatives(f)(*a) for f in (F.normalize, plain)])
    chex.assert_trees_all_close(*both(*arguments), rtol=1e-10, atol=1e-12)


def test_normalisation_survives_a_large_mean():
    x = np.random.default_rng(1).normal(1e4, 0.1, (256, 8, 3)).astype(np.float32)
    y = np.asarray(normalize(x, *moments(x, (0, 1)), eps=1e-5), np.float64)
    np.testing.assert_allclose(y.mean((0, 1)), 0, atol=0.01)
    np.testing.assert_allclose(y.std((0, 1)), 1, rtol=1e-3)


def test_zero_variance_gives_the_offset_and_finite_gradients():
    x = np.full((4, 2), 3, np.float32)
    scale, offset = np.array([[5, 5], [1, -2]], np.float32)

    def loss(x):
        y = F.normalize(x, *F.moments(x, 0), scale=scale, offset=offset)
        return jnp.sum(y**2), y

    gradient, y = jax.jit(jax.grad(loss, has_aux=True))(x)
    np.testing.assert_array_equal(y, np.tile(offset, (4, 1)))
    assert np.isfinite(gradient).all()


def test_statistics_of_bfloat16_are_float32():
    x = np.random.default_rng(2).normal(10, 1, (4096, 2)).astype(jnp.bfloat16)
    mean, var = moments(x, 0)
    assert mean.dtype == var.dtype == jnp.float32
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-5)
    np.testing.assert_allclose(var, exact.var(0), rtol=1e-4)
    y = jax.eval_shape(F.normalize, x, mean, var, *np.ones((2, 2), jnp.bfloat16))
    assert y.dtype == jnp.bfloat16


def test_normalize_is_the_equation():
    rng = np.random.default_rng(3)
    x, mean, scale, offset = (rng.normal(size=s).astype(np.float32) for s in [(5, 3), 3, 3, 3])
    var = rng.uniform(0.1, 2, 3).astype(np.float32)
    expected = (x - mean) / np.sqrt(var + 0.5)
    np.testing.assert_allclose(normalize(x, mean, var, eps=0.5), expected, rtol=1e-5)
    np.testing.assert_allclose(
        normalize(x, mean, var, scale, offset, eps=0.5),
        expected * scale + offset,
        rtol=1e-5,
        atol=1e-6,
    )


def test_rms_norm_is_the_equation_with_its_derivatives(x64):
    rng = np.random.default_rng(4)
    x, scale = rng.normal(2.0, 3.0, (5, 3)), rng.normal(size=3)
    root = np.sqrt((x**2).mean(-1, keepdims=True) + 0.1)

    def squared(flat):
        return F.rms_norm(flat[:-3].reshape(5, 3), flat[-3:], eps=0.1).ravel() ** 2

    y, plain = jax.jit(lambda: (F.rms_norm(x, scale, eps=0.1), F.rms_norm(x, eps=0.1)))()
    np.testing.assert_allclose(plain, x / root, rtol=1e-12)
    np.testing.assert_allclose(y, x / root * scale, rtol=1e-12)
    assert_derivatives(squared, np.concatenate([x.ravel(), scale]))


def test_rms_norm_of_bfloat16_is_rounded_once():
    x = np.random.default_rng(5).normal(100, 1, (4, 4096)).astype(jnp.bfloat16)
    wide = np.asarray(x, np.float64)
    y = jax.jit(F.rms_norm)(x, np.ones(4096, jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    expected = wide / np.sqrt((wide**2).mean(-1, keepdims=True))
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=2**-8)


def test_refuses_integers():
    with pytest.raises(TypeError, match="x is int32"):
        F.moments(np.ones((3, 2), np.int32), 0)
    with pytest.raises(TypeError, match="normalize: x is uint8"):
        F.normalize(np.ones((3, 2), np.uint8), np.zeros(2), np.ones(2))
    with pytest.raises(TypeError, match="rms_norm: x is int32"):
        F.rms_norm(np.ones((3, 2), np.int32))


def test_unit_length_is_on_the_sphere_and_differentiable_at_0(x64):
    x = 1e3 * np.random.default_rng(0).normal(size=(4, 5))
    length, slope = jax.jit(lambda x: (F.unit_length(x), jax.jacrev(F.unit_length)(0 * x[0])))(x)
    np.testing.assert_allclose(length, x / np.linalg.norm(x, axis=1, keepdims=True), rtol=1e-12)
    assert np.isfinite(slope).all()
    assert_derivatives(lambda x: F.unit_length(x) ** 3, np.array([0.3, -0.2, 0.5]))
    narrow = jax.eval_shape(F.unit_length, jax.ShapeDtypeStruct((4,), jnp.bfloat16))
    assert narrow.dtype == jnp.bfloat16


def test_layer_norm_is_normalize_with_the_moments_of_each_vector(x64):
    """In value and derivatives, second ones too."""
    rng = np.random.default_rng(0)
    scale, offset = rng.normal(size=(2, 4))

    def plain(x):
        mean, var = F.moments(x, -1, keepdims=True)
        return F.normalize(x, mean, var, scale, offset)

    def ours(x):
        return F.layer_norm(x, scale, offset)

    @jax.jit
    def values(x):
        return [
            (f(x), jax.jacfwd(f)(x), jax.jacrev(f)(x), jax.hessian(f)(x)) for f in (ours, plain)
        ]

    x = 5 + rng.normal(size=(2, 4))
    chex.assert_trees_all_close(*values(x), rtol=1e-9, atol=1e-9)
    assert F.layer_norm(jnp.ones((2, 4), jnp.bfloat16)).dtype == jnp.bfloat16
    np.testing.assert_array_equal(F.layer_norm(jnp.full((1, 3), 7.0)), np.zeros((1, 3)))
