"""The layers that are random in training. The rate and mean of a mask are binomial, so a bound of
five standard deviations fails once in two million."""

from __future__ import annotations

import functools
import re

import jax
import numpy as np
import pytest
from scipy import stats

from dlcore import nn

NOISES = {
    "dropout(0.3)": nn.dropout(0.3),
    "spatial_dropout(0.3)": nn.spatial_dropout(0.3),
    "stochastic_depth(0.3)": nn.stochastic_depth(0.3),
    "gaussian_noise(0.3)": nn.gaussian_noise(0.3),
    "dropconnect(4, 2, 0.3)": nn.dropconnect(4, 2, 0.3),
}
RATE = 0.3


def train(layer, x, seed=0, params=()):
    """The output in training, in NumPy."""
    apply = jax.jit(functools.partial(layer.apply, train=True))
    y, state = apply(params, (), x, key=jax.random.key(seed))
    assert state == ()
    return np.asarray(y)


def factors(layer, shape):
    """What an input of ones is multiplied by in training."""
    return train(layer, np.ones(shape, np.float32))


def assert_drops_at_the_rate(factors):
    """Each of the independent `factors` is 0 with probability RATE, else 1 / (1 − RATE)."""
    dropped = factors == 0
    error = 5 * np.sqrt(RATE * (1 - RATE) / factors.size)
    assert abs(dropped.mean() - RATE) < error
    np.testing.assert_allclose(factors[~dropped], 1 / (1 - RATE), rtol=1e-6)
    assert abs(factors.mean() - 1) < error / (1 - RATE)


@pytest.mark.parametrize("name", NOISES)
def test_asks_for_a_typed_key_in_training_alone(name):
    layer, x = NOISES[name], np.ones((3, 2, 4), np.float32)
    params, state = layer.init(jax.random.key(0))
    jax.eval_shape(layer.apply, params, state, x)
    message = f"{name} needs a key in training: apply(params, state, x, key=jax.random.key(0)"
    with pytest.raises(ValueError, match=re.escape(message)):
        layer.apply(params, state, x, train=True)
    with pytest.raises(TypeError, match="expected a typed key"):
        layer.apply(params, state, x, key=np.zeros(2, np.uint32), train=True)


@pytest.mark.parametrize(
    "make", [nn.dropout, nn.spatial_dropout, nn.stochastic_depth, nn.gaussian_noise]
)
def test_is_the_identity_in_evaluation_and_where_nothing_is_dropped(make):
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert make(0.5).apply((), (), x, key=jax.random.key(0))[0] is x
    assert make(0).apply((), (), x, train=True)[0] is x


@pytest.mark.parametrize(
    "make",
    [nn.dropout, nn.spatial_dropout, nn.stochastic_depth, lambda rate: nn.dropconnect(2, 2, rate)],
)
@pytest.mark.parametrize("rate", [-0.1, 1, float("nan")])
def test_refuses_what_is_no_rate(make, rate):
    with pytest.raises(ValueError, match=r"rate is .* lies in \[0, 1\)"):
        make(rate)


@pytest.mark.parametrize("std", [-1.0, float("nan"), float("inf")])
def test_refuses_what_is_no_deviation(std):
    with pytest.raises(ValueError, match=r"gaussian_noise: std is .* 0 ≤ std < ∞ is wanted"):
        nn.gaussian_noise(std)


def test_spatial_dropout_drops_whole_channels():
    y = factors(nn.spatial_dropout(RATE), (100, 3, 2, 50))
    assert (y == y[:, :1, :1]).all()
    assert_drops_at_the_rate(y[:, 0, 0])


def test_spatial_dropout_has_the_distribution_of_torchs(torch):
    """Which is binomial too: both meet the same bounds."""
    torch.manual_seed(0)
    y = torch.nn.Dropout2d(RATE)(torch.ones(100, 50, 3, 2)).permute(0, 2, 3, 1).numpy()
    assert (y == y[:, :1, :1]).all()
    assert_drops_at_the_rate(y[:, 0, 0])


@pytest.mark.parametrize("shape", [(3000, 4), (3000, 5, 4)])
def test_spatial_dropout_of_vectors_and_sequences(shape):
    y = factors(nn.spatial_dropout(RATE), shape)
    assert (y == y.reshape(3000, -1, 4)[:, 0].reshape(3000, *[1] * (len(shape) - 2), 4)).all()
    assert_drops_at_the_rate(y.reshape(3000, -1, 4)[:, 0])


def test_stochastic_depth_drops_whole_examples():
    y = factors(nn.stochastic_depth(RATE), (3000, 2, 3, 4))
    assert (y == y[:, :1, :1, :1]).all()
    assert_drops_at_the_rate(y[:, 0, 0, 0])


def test_stochastic_depth_leaves_a_dropped_example_the_shortcut():
    x = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    layer = nn.residual(nn.serial(lambda x: 7 * x, nn.stochastic_depth(RATE)))
    y, kept, dropped = train(layer, x), x + 7 * x / (1 - RATE), x
    is_dropped = np.isclose(y, dropped).all(1)
    np.testing.assert_allclose(y, np.where(is_dropped[:, None], dropped, kept), rtol=1e-5)
    assert abs(is_dropped.mean() - RATE) < 5 * np.sqrt(RATE * (1 - RATE) / 400)
    np.testing.assert_allclose(jax.jit(layer.apply)((), (), x)[0], 8 * x, rtol=1e-6)


def test_gaussian_noise_is_normal():
    x = np.full((100, 200), 3, np.float32)
    noise, other = ((train(nn.gaussian_noise(0.2), x, seed) - x).ravel() for seed in (0, 1))
    assert stats.kstest(noise, stats.norm(0, 0.2).cdf).pvalue > 1e-3
    assert abs(noise.mean()) < 5 * 0.2 / np.sqrt(noise.size)
    assert abs(noise.std() / 0.2 - 1) < 5 / np.sqrt(2 * noise.size)
    assert abs(np.corrcoef(noise, other)[0, 1]) < 5 / np.sqrt(noise.size)


def test_gaussian_noise_refuses_integers():
    with pytest.raises(TypeError, match="gaussian_noise: x is int32"):
        train(nn.gaussian_noise(0.2), np.ones(3, np.int32))


def test_dropconnect_is_linear_in_evaluation_and_its_mean_in_training():
    """Each draw has mean x·kernel + bias and variance Σᵢ xᵢ²·kernelᵢⱼ²·rate / (1 − rate)."""
    draws, x = 4000, np.random.default_rng(0).normal(size=6).astype(np.float32)
    layer = nn.dropconnect(6, 3, RATE, bias_init=nn.init.normal(1.0))
    params, _ = layer.init(jax.random.key(0))
    kernel, bias = (np.asarray(params[name], np.float64) for name in ("kernel", "bias"))
    mean, var = x @ kernel + bias, x**2 @ kernel**2 * RATE / (1 - RATE)
    evaluated, _ = jax.jit(layer.apply)(params, (), x)
    np.testing.assert_allclose(evaluated, mean, rtol=1e-5, atol=1e-6)
    y = train(layer, np.tile(x, (draws, 1)), params=params).astype(np.float64)
    assert (np.abs(y.mean(0) - mean) < 5 * np.sqrt(var / draws)).all()
    fourth = ((y - mean) ** 4).mean(0)
    assert (np.abs(((y - mean) ** 2).mean(0) - var) < 5 * np.sqrt(fourth / draws)).all()


def test_dropconnect_is_linear_at_rate_0_and_has_its_parameters():
    layer, dense = nn.dropconnect(4, 2, 0), nn.linear(4, 2)
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    params, state = layer.init(jax.random.key(5))
    reference, _ = dense.init(jax.random.key(5))
    np.testing.assert_array_equal(params["kernel"], reference["kernel"])
    np.testing.assert_array_equal(
        layer.apply(params, state, x, train=True)[0], dense.apply(reference, (), x)[0]
    )


@pytest.mark.parametrize("training", [False, True])
def test_dropconnect_refuses_another_input(training):
    layer = nn.dropconnect(4, 2, 0.5)
    params, state = layer.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"\[\.\.\., "):
        layer.apply(
            params, state, np.ones((3, 5), np.float32), key=jax.random.key(1), train=training
        )
