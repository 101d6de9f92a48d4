from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from dlcore.nn import init

KERNEL = (3, 3, 40, 60)  # N_in = 360, N_out = 540
N_IN, N_OUT = 360, 540
# name -> (initializer, σ of the formula)
NORMALS = {
    "normal": (init.normal(0.3), 0.3),
    "lecun": (init.lecun_normal(), 1 / math.sqrt(N_IN)),
    "xavier": (init.xavier_normal(), math.sqrt(2 / (N_IN + N_OUT))),
    "xavier, lecture E": (init.xavier_normal("fan_in"), 1 / math.sqrt(N_IN)),
    "he": (init.he_normal(), math.sqrt(2 / N_IN)),
    "he, backwards": (init.he_normal("fan_out"), math.sqrt(2 / N_OUT)),
}
UNIFORMS = {
    "uniform": (init.uniform(0.3), 0.3),
    "lecun": (init.lecun_uniform(), math.sqrt(3 / N_IN)),
    "xavier": (init.xavier_uniform(), math.sqrt(6 / (N_IN + N_OUT))),
    "xavier, lecture E": (init.xavier_uniform("fan_in"), math.sqrt(3 / N_IN)),
    "he": (init.he_uniform(), math.sqrt(6 / N_IN)),
}


@pytest.mark.parametrize("name", NORMALS)
def test_normals_have_their_deviation_and_are_not_truncated(name):
    initializer, std = NORMALS[name]
    draw = np.asarray(initializer(jax.random.key(0), KERNEL), np.float64) / std
    n = draw.size
    assert abs(draw.mean()) < 5 / math.sqrt(n)
    assert abs(draw.std() - 1) < 5 / math.sqrt(2 * n)
    beyond = math.erfc(3 / math.sqrt(2))  # of a normal; JAX's truncated ones end at 2.27 σ
    assert abs((np.abs(draw) > 3).mean() - beyond) < 5 * math.sqrt(beyond / n)


@pytest.mark.parametrize("name", UNIFORMS)
def test_uniforms_fill_their_interval(name):
    initializer, bound = UNIFORMS[name]
    draw = np.asarray(initializer(jax.random.key(1), KERNEL), np.float64) / bound
    assert 0.999 < draw.max() <= 1
    assert -1 <= draw.min() < -0.999
    assert abs(draw.std() - 1 / math.sqrt(3)) < 5 / math.sqrt(2 * draw.size)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (init.lecun_normal(), jax.nn.initializers.lecun_normal()),
        (init.xavier_normal(), jax.nn.initializers.glorot_normal()),
        (init.he_normal(), jax.nn.initializers.he_normal()),
        (init.he_uniform(), jax.nn.initializers.he_uniform()),
        (init.xavier_uniform(), jax.nn.initializers.glorot_uniform()),
    ],
)
def test_deviations_are_those_of_jax(ours, theirs):
    found, expected = (np.std(f(jax.random.key(2), KERNEL)) for f in (ours, theirs))
    np.testing.assert_allclose(found, expected, rtol=0.05)


def test_relu_keeps_its_variance_through_twenty_layers_of_he():
    """Lecture E's slip, σ = 2 / √N_in, grows by 1.43 a layer instead."""

    def growth(initializer):
        draw = jax.jit(jax.vmap(lambda seed: initializer(jax.random.key(seed), (512, 512))))
        y = np.random.default_rng(3).normal(size=(64, 512)).astype(np.float32)
        for kernel in np.asarray(draw(np.arange(20))):
            x, y = y, np.maximum(y @ kernel, 0)
        return np.sqrt(np.mean(y**2) / np.mean(x**2))

    assert abs(growth(init.he_normal()) - 1) < 0.1
    assert abs(growth(init.normal(2 / math.sqrt(512))) - math.sqrt(2)) < 0.1


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (3, 3, 2, 5)])
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_orthogonal(shape, scale):
    draw = jax.jit(init.orthogonal(scale), static_argnums=1)
    q = np.asarray(draw(jax.random.key(5), shape)).reshape(-1, shape[-1])
    gram = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    np.testing.assert_allclose(gram, scale**2 * np.eye(len(gram)), atol=1e-5)


def test_orthogonal_is_drawn_evenly():
    """Without the signs of R, the first entry would always have one sign."""
    draw = jax.jit(jax.vmap(lambda seed: init.orthogonal()(jax.random.key(seed), (2, 2))))
    draws = np.asarray(draw(np.arange(400)))
    assert abs(np.mean(draws[:, 0, 0] > 0) - 0.5) < 0.15


def test_constants():
    key = jax.random.key(6)
    np.testing.assert_array_equal(init.zeros(key, (2, 3)), np.zeros((2, 3)))
    np.testing.assert_array_equal(init.ones(key, (2,)), np.ones(2))
    np.testing.assert_array_equal(init.constant(0.5)(key, (3,)), np.full(3, 0.5))


@pytest.mark.parametrize(
    "initializer",
    [init.zeros, init.ones, init.constant(1.0), init.orthogonal()]
    + [initializer for initializer, _ in (*NORMALS.values(), *UNIFORMS.values())],
)
def test_dtype_is_float32_or_as_asked(initializer):
    key = jax.random.key(7)
    plain = jax.eval_shape(lambda key: initializer(key, (4, 4)), key)
    half = jax.eval_shape(lambda key: initializer(key, (4, 4), jnp.bfloat16), key)
    assert (plain.dtype, half.dtype) == (jnp.float32, jnp.bfloat16)


def test_fans():
    assert init.fans(KERNEL) == (N_IN, N_OUT)
    assert init.fans((7, 5)) == (7, 5)
    with pytest.raises(ValueError, match=r"needs a kernel \[..., in, out\], got the shape \(7,\)"):
        init.he_normal()(jax.random.key(8), (7,))
    with pytest.raises(ValueError, match="fan is 'fan_out'"):
        init.xavier_normal("fan_out")
    with pytest.raises(ValueError, match="fan is 'fan_avg', but must be one of"):
        init.he_normal("fan_avg")


def test_layers_use_them():
    for layer in (
        nn.linear(4, 3, kernel_init=init.ones, bias_init=init.constant(2.0)),
        nn.conv(4, 3, 2, kernel_init=init.ones, bias_init=init.constant(2.0)),
    ):
        params, _ = layer.init(jax.random.key(9))
        assert set(np.unique(params["kernel"])) == {1.0}
        assert np.asarray(params["bias"]).tolist() == [2.0] * 3
    params, _ = nn.rbf(4, 3, center_init=init.constant(3.0)).init(jax.random.key(10))
    assert set(np.unique(params["centers"])) == {3.0}


@pytest.mark.parametrize("shape", [(3,), (0, 4), (7, 5), (3, 3, 40, 70)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_what_is_drawn_is_what_jax_draws(shape, dtype):
    key = jax.random.key(3)
    drawn = init.normal(1.0)(key, shape, dtype)
    np.testing.assert_array_equal(drawn, jax.random.normal(jax.random.clone(key), shape, dtype))
