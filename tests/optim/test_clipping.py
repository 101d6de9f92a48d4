"""Clipping against optax's, and what it promises."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import optim


def tree(dtype, scale=1.0):
    rng = np.random.default_rng(0)
    leaf = lambda *shape: np.asarray(scale * rng.normal(size=shape)).astype(dtype)  # noqa: E731
    return {"a": leaf(4, 3), "b": [leaf(), (leaf(0), leaf(7))], "c": ()}


LIMITS = [1e-3, 0.5, 100.0]


def clipped(grads, *transformations):
    """What each makes of the gradients, in one program."""

    @jax.jit
    def every(grads):
        return [one.update(grads, one.init(grads), grads)[0] for one in transformations]

    return every(grads)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["clip", "clip_by_global_norm", "clip_by_block_rms"])
def test_equals_optax(name, dtype):
    grads = tree(dtype)
    ours = clipped(grads, *map(getattr(optim, name), LIMITS))
    with jax.numpy_dtype_promotion("standard"):
        theirs = clipped(grads, *map(getattr(optax, name), LIMITS))
    tolerance = 1e-6 if dtype == "float32" else 4 * float(jnp.finfo(dtype).eps)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype == dtype
        np.testing.assert_allclose(np.float64(a), np.float64(b), rtol=tolerance)


def norm_of(grads):
    return np.linalg.norm(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads)]))


def test_the_norm_is_at_most_the_limit_and_the_direction_kept():
    grads = tree("float32")
    norm = norm_of(grads)
    every = clipped(grads, *map(optim.clip_by_global_norm, LIMITS))
    for limit, updates in zip(LIMITS, every, strict=True):
        np.testing.assert_allclose(norm_of(updates), min(limit, norm), rtol=1e-6)
        kept = np.asarray(updates["a"]) * norm
        np.testing.assert_allclose(kept, grads["a"] * min(limit, norm), rtol=1e-5)


def test_each_block_has_at_most_the_root_mean_square_of_the_limit():
    grads = tree("float32")
    (updates,) = clipped(grads, optim.clip_by_block_rms(0.5))
    for new, old in zip(jax.tree.leaves(updates), jax.tree.leaves(grads), strict=True):
        if old.size:
            rms = np.sqrt(np.mean(np.square(old)))
            np.testing.assert_allclose(new, old * min(1, 0.5 / rms), rtol=1e-5)


def test_a_zero_gradient_stays_zero():
    both = optim.clip_by_global_norm(0.0), optim.clip_by_block_rms(0.0)
    np.testing.assert_array_equal(clipped(np.zeros(3, np.float32), *both), np.zeros((2, 3)))


def test_squares_do_not_overflow_in_a_narrow_dtype():
    grads = np.asarray([300.0, 400.0], np.float16)  # 300² is beyond float16
    of_all, of_block = clipped(grads, optim.clip_by_global_norm(1.0), optim.clip_by_block_rms(1.0))
    np.testing.assert_allclose(np.float32(of_all), [0.6, 0.8], rtol=2e-3)
    np.testing.assert_allclose(np.float32(of_block), [0.6 * 2**0.5, 0.8 * 2**0.5], rtol=2e-3)


@pytest.mark.parametrize("limit", [1.0, 1e-20, 1e20])
def test_the_direction_and_the_norm_are_right_up_to_the_ends_of_the_range(limit):
    """Of gradients whose squares are, but for a few, beyond float32; a leaf is all zeros."""
    unit = tree("float32", 0.1) | {"zero": np.zeros(3, np.float32)}
    scales = np.float32(2.0 ** np.arange(-110, 128, 33))
    grads = [jax.tree.map(lambda g, s=s: g * s, unit) for s in scales]

    @jax.jit
    def every(grads):
        both = optim.clip_by_global_norm(limit), optim.clip_by_block_rms(limit)
        return [[one.update(g, one.init(g))[0] for g in grads] for one in both]

    for block, clipped in zip((False, True), every(grads), strict=True):
        for new, old in zip(clipped, grads, strict=True):
            whole = norm_of(jax.tree.map(np.float64, old))
            for u, g in zip(jax.tree.leaves(new), jax.tree.leaves(old), strict=True):
                size = norm_of([np.float64(g)]) / max(1, g.size) ** 0.5 if block else whole
                expected = g * np.float64(min(1, limit / size) if size else 1)
                np.testing.assert_allclose(np.float64(u), expected, rtol=1e-5, atol=1e-37)


def test_clipping_a_zero_gradient_has_a_derivative():
    """For what is trained through an optimizer: inside the ball nothing changes."""

    @jax.jit
    @jax.jacobian
    def by_gradient(g):
        both = optim.clip_by_global_norm(1.0), optim.clip_by_block_rms(1.0)
        return [one.update(g, one.init(g))[0] for one in both]

    for jacobian in by_gradient(np.zeros(3, np.float32)):
        np.testing.assert_array_equal(jacobian, np.eye(3))


def test_nan_is_passed_on():
    grads = {"a": np.float32([np.nan, 9.0]), "b": np.float32([1.0])}
    by_norm, by_value = clipped(grads, optim.clip_by_global_norm(1.0), optim.clip(1.0))
    assert np.isnan(by_norm["b"]).all()
    assert np.isnan(by_value["a"]).tolist() == [True, False]


def test_limits_can_be_injected_as_float32():
    grads = tree("bfloat16")
    for factory in (optim.clip, optim.clip_by_global_norm, optim.clip_by_block_rms):
        injected = optax.inject_hyperparams(factory, hyperparam_dtype=jnp.float32)(0.5)
        updates, plain = clipped(grads, injected, factory(0.5))
        for a, b in zip(jax.tree.leaves(updates), jax.tree.leaves(plain), strict=True):
            np.testing.assert_allclose(np.float32(a), np.float32(b), rtol=2**-7)
