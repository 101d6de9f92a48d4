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
    leaf = lambda *shape: jnp.asarray(scale * rng.normal(size=shape), dtype)  # noqa: E731
    return {"a": leaf(4, 3), "b": [leaf(), (leaf(0), leaf(7))], "c": ()}


def clipped(transformation, grads):
    updates, _ = jax.jit(transformation.update)(grads, transformation.init(grads))
    return updates


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("limit", [1e-3, 0.5, 100.0])
@pytest.mark.parametrize("name", ["clip", "clip_by_global_norm", "clip_by_block_rms"])
def test_equals_optax(name, limit, dtype):
    grads = tree(dtype)
    ours = clipped(getattr(optim, name)(limit), grads)
    with jax.numpy_dtype_promotion("standard"):
        theirs = clipped(getattr(optax, name)(limit), grads)
    tolerance = 1e-6 if dtype == "float32" else 4 * float(jnp.finfo(dtype).eps)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype == dtype
        np.testing.assert_allclose(np.float64(a), np.float64(b), rtol=tolerance)


@pytest.mark.parametrize("limit", [1e-3, 0.5, 100.0])
def test_the_norm_is_at_most_the_limit_and_the_direction_kept(limit):
    grads = tree("float32")
    norm = optax.tree.norm(grads)
    updates = clipped(optim.clip_by_global_norm(limit), grads)
    np.testing.assert_allclose(optax.tree.norm(updates), min(limit, norm), rtol=1e-6)
    np.testing.assert_allclose(updates["a"] * norm, grads["a"] * min(limit, norm), rtol=1e-5)


def test_each_block_has_at_most_the_root_mean_square_of_the_limit():
    grads = tree("float32")
    updates = clipped(optim.clip_by_block_rms(0.5), grads)
    for new, old in zip(jax.tree.leaves(updates), jax.tree.leaves(grads), strict=True):
        if old.size:
            rms = np.sqrt(np.mean(np.square(old)))
            np.testing.assert_allclose(new, old * min(1, 0.5 / rms), rtol=1e-5)


@pytest.mark.parametrize("factory", [optim.clip_by_global_norm, optim.clip_by_block_rms])
def test_a_zero_gradient_stays_zero(factory):
    assert clipped(factory(0.0), jnp.zeros(3)).tolist() == [0, 0, 0]


def test_squares_do_not_overflow_in_a_narrow_dtype():
    grads = jnp.asarray([300.0, 400.0], jnp.float16)  # 300² is beyond float16
    for factory, expected in ((optim.clip_by_global_norm, 1.0), (optim.clip_by_block_rms, 2**0.5)):
        updates = np.float32(clipped(factory(1.0), grads))
        np.testing.assert_allclose(updates, [0.6 * expected, 0.8 * expected], rtol=2e-3)


def test_nan_is_passed_on():
    grads = {"a": jnp.asarray([jnp.nan, 9.0]), "b": jnp.asarray([1.0])}
    assert jnp.isnan(clipped(optim.clip_by_global_norm(1.0), grads)["b"]).all()
    assert jnp.isnan(clipped(optim.clip(1.0), grads)["a"]).tolist() == [True, False]


def test_limits_can_be_injected_as_float32():
    grads = tree("bfloat16")
    for factory in (optim.clip, optim.clip_by_global_norm, optim.clip_by_block_rms):
        injected = optax.inject_hyperparams(factory, hyperparam_dtype=jnp.float32)(0.5)
        updates, _ = injected.update(grads, injected.init(grads), grads)
        plain = clipped(factory(0.5), grads)
        for a, b in zip(jax.tree.leaves(updates), jax.tree.leaves(plain), strict=True):
            np.testing.assert_allclose(np.float32(a), np.float32(b), rtol=2**-7)
