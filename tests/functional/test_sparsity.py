"""What is asked of a code, beside scipy, a closed form and finite differences."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy.special import expit, rel_entr

from dlcore import functional as F

RNG = np.random.default_rng(0)


def test_sparsity():
    code = RNG.normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(F.sparsity_l1(code), abs(code).sum(1), rtol=1e-6)
    on = expit(code)
    share = on.mean(0)
    expected = (rel_entr(0.1, share) + rel_entr(0.9, 1 - share)).sum()
    np.testing.assert_allclose(F.sparsity_kl(share, 0.1), expected, rtol=1e-4)
    np.testing.assert_allclose(F.sparsity_kl(np.full(3, 0.25), 0.25), 0, atol=1e-6)
    assert np.isfinite(F.sparsity_kl(np.arange(2.0)))
    with pytest.raises(ValueError, match="rho is 0, but a share between 0 and 1"):
        F.sparsity_kl(share, 0)
    with pytest.raises(ValueError, match=r"activation\[0\] is 2.0, but must lie in \[0, 1\]"):
        F.sparsity_kl(np.full(1, 2.0))
    with pytest.raises(ValueError, match=r"wanted for each unit, \[K\]: code.mean\(0\)"):
        F.sparsity_kl(on)


def test_contraction_is_the_closed_form_of_a_sigmoid_layer():
    """Rifai et al. 2011: Σⱼ (hⱼ(1 − hⱼ))² Σᵢ Wᵢⱼ²."""
    kernel = RNG.normal(size=(6, 3)).astype(np.float32)
    x = RNG.normal(size=(5, 2, 3)).astype(np.float32)

    def encode(x):
        return F.sigmoid(x.reshape(-1, 6) @ kernel)

    @jax.jit
    def both(x):
        keys = jax.random.split(jax.random.key(0), 4_000)
        return F.contraction(encode, x), jax.vmap(lambda key: F.contraction(encode, x, key))(keys)

    found, estimates = both(x)
    h = expit(x.reshape(5, 6) @ kernel)
    np.testing.assert_allclose(found, ((h * (1 - h)) ** 2 @ (kernel**2).sum(0)), rtol=1e-4)
    error = np.asarray(estimates).std(0) / 4_000**0.5
    assert (abs(estimates.mean(0) - found) < 4 * error + 1e-5).all()


def test_contraction_is_that_of_finite_differences():
    first, second = RNG.normal(size=(4, 8)), RNG.normal(size=(8, 2))
    x = RNG.normal(size=(3, 4))

    def encode(x):
        return np.tanh(x @ first) @ second

    step = 1e-6 * np.eye(4)
    slopes = [(encode(x + one) - encode(x - one)) / 2e-6 for one in step]
    weights = [one.astype(np.float32) for one in (first, second)]
    found = F.contraction(lambda x: F.tanh(x @ weights[0]) @ weights[1], x.astype(np.float32))
    np.testing.assert_allclose(found, np.square(slopes).sum((0, 2)), rtol=1e-4)
