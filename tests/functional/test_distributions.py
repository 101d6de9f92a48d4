"""Distributions beside scipy: densities, divergences, draws."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dlcore import functional as F
from tests.budget import examples

SHAPE = (3, 2, 4)


def gaussian(seed):
    rng = np.random.default_rng(seed)
    mean, log_variance = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    return F.Gaussian(mean, 2 * log_variance), rng.normal(size=SHAPE).astype(np.float32)


@jax.jit
def of_gaussian(q, x):
    log_likelihood = jnp.arange(3.0)
    return q.log_prob(x), q.divergence(), q.log_weight(x, log_likelihood)


@given(seed=st.integers(0, 10_000))
@examples(20)
def test_a_gaussian_is_scipys(seed):
    q, x = gaussian(seed)
    log_prob, divergence, log_weight = of_gaussian(q, x)
    normal = stats.norm(q.mean, np.exp(q.log_variance / 2))
    expected = normal.logpdf(x).sum((1, 2))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-4, atol=1e-3)
    # KL = −entropy − E_q[log p], and E_q[log p] = −½(mean² + σ² + log 2π)
    cross = (q.mean**2 + np.exp(q.log_variance) + np.log(2 * np.pi)) / 2
    np.testing.assert_allclose(divergence, cross - normal.entropy(), rtol=1e-4, atol=1e-4)
    assert divergence.shape == SHAPE
    weights = np.arange(3) + stats.norm.logpdf(x).sum((1, 2)) - expected
    np.testing.assert_allclose(log_weight, weights, rtol=1e-4, atol=1e-3)


def test_the_divergence_is_its_monte_carlo_estimate():
    q, _ = gaussian(1)

    @jax.jit
    def estimate(key):
        z = jax.vmap(q.sample)(jax.random.split(key, 20_000))
        return -jax.vmap(q.log_weight)(z, jnp.zeros((len(z), 3)))

    draws = np.asarray(estimate(jax.random.key(0)))
    error = draws.std(0) / len(draws) ** 0.5
    exact = np.asarray(q.divergence()).sum((1, 2))
    assert (abs(draws.mean(0) - exact) < 4 * error).all()


def test_draws_have_their_distribution_and_a_gradient():
    q = F.Gaussian(jnp.full((1, 5_000), 2.0), jnp.full((1, 5_000), np.log(9.0)))

    @jax.jit
    def drawn(mean):
        return q._replace(mean=mean).sample(jax.random.key(0))

    assert stats.kstest(np.asarray(drawn(q.mean))[0], stats.norm(2, 3).cdf).pvalue > 0.01
    gradient = jax.jit(jax.grad(lambda mean: drawn(mean).sum()))(q.mean)
    np.testing.assert_array_equal(gradient, 1)


def test_a_bernoulli_is_scipys():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=SHAPE).astype(np.float32)
    p = F.Bernoulli(logits)
    x = (rng.random(SHAPE) < 0.5).astype(np.float32)
    expected = stats.bernoulli(1 / (1 + np.exp(-logits))).logpmf(x).sum((1, 2))
    np.testing.assert_allclose(p.log_prob(x), expected, rtol=1e-5)
    np.testing.assert_allclose(F.GreyBernoulli(logits).log_prob(x), expected, rtol=1e-5)
    draws = jax.jit(jax.vmap(p.sample))(jax.random.split(jax.random.key(0), 4_000))
    assert set(np.unique(draws)) == {0.0, 1.0}
    np.testing.assert_allclose(draws.mean(0), p.mean, atol=0.04)


def test_grey_values_have_no_likelihood():
    p, grey = F.Bernoulli(jnp.zeros((2, 3))), np.full((2, 3), 0.5, np.float32)
    with pytest.raises(ValueError, match=r"x\[0, 0\] is 0.5, but is 0 or 1 here: binarise grey"):
        p.log_prob(grey)
    x = np.stack([np.ones(3), [0, 0.5, 1]]).astype(np.float32)
    nats = jax.jit(p.log_prob)(x)
    np.testing.assert_allclose(nats[0], 3 * np.log(0.5), rtol=1e-6)
    assert np.isnan(nats[1])
    cross = F.GreyBernoulli(jnp.zeros((2, 3)))
    np.testing.assert_allclose(cross.log_prob(grey), 3 * np.log(0.5), rtol=1e-6)
    np.testing.assert_allclose(cross.mean, 0.5)
    assert not hasattr(cross, "sample")


@pytest.mark.parametrize("make", [F.Bernoulli, F.GreyBernoulli, lambda x: F.Gaussian(x, x)])
def test_shapes_and_dtypes_are_checked(make):
    p = make(jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match="differ in shape"):
        p.log_prob(np.zeros((2, 3, 1), np.float32))
    with pytest.raises(TypeError, match="floating point is wanted"):
        p.log_prob(np.zeros((2, 3), np.int32))
    half = make(jnp.zeros((2, 3), jnp.bfloat16))
    assert half.log_prob(jnp.zeros((2, 3), jnp.bfloat16)).dtype == jnp.float32


def test_small_divergences_keep_their_digits_in_bfloat16():
    q = F.Gaussian(jnp.full((1, 1), 0.05, jnp.bfloat16), jnp.full((1, 1), -0.05, jnp.bfloat16))
    mean, log_variance = (float(one[0, 0]) for one in q)
    exact = (mean**2 + np.exp(log_variance) - 1 - log_variance) / 2
    np.testing.assert_allclose(q.divergence()[0, 0], exact, rtol=1e-3)


def test_torch_agrees(torch):
    q, x = gaussian(2)
    mean, log_variance = map(torch.tensor, q)
    normal = torch.distributions.Normal(mean, (log_variance / 2).exp())
    standard = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
    kl = torch.distributions.kl_divergence(normal, standard)
    np.testing.assert_allclose(q.divergence(), kl.numpy(), rtol=1e-4, atol=1e-5)
    expected = normal.log_prob(torch.tensor(x)).sum((1, 2))
    np.testing.assert_allclose(q.log_prob(x), expected.numpy(), rtol=1e-4)
