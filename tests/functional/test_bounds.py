"""Bounds of log p(x): their terms, and the theorem that more samples make none lower."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore import functional as F
from tests.budget import examples


def test_terms_are_sums_over_an_examples_numbers():
    log_p, kl = np.arange(3, dtype=np.float32), np.ones((3, 2, 2), np.float32)
    np.testing.assert_array_equal(F.evidence_bound(log_p, kl), log_p - 4)
    with pytest.raises(ValueError, match=r"log_likelihood .3, 1. and divergence .3,. differ"):
        F.evidence_bound(log_p[:, None], kl)


def test_free_bits_cost_nothing_below_their_number():
    kl = jnp.array([0.0, 0.05, 0.5, 2.0])
    np.testing.assert_allclose(F.free_bits(kl, 0.1), 0.1 + 0.1 + 0.5 + 2.0)
    np.testing.assert_array_equal(jax.grad(F.free_bits)(kl, 0.1), [0, 0, 1, 1])


def test_free_bits_are_of_the_mean_over_the_batch():
    with pytest.raises(ValueError, match=r"wanted for each dimension, \[L\]: divergence.mean\(0\)"):
        F.free_bits(jnp.ones((3, 2)), 0.1)


@jax.jit
def over_subsets(log_weights, rows):
    return jnp.mean(F.importance_bound(log_weights[rows].T))


SUBSETS = {k: np.array([*itertools.combinations(range(6), k)]) for k in (1, 2, 3, 4, 5, 6)}


@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.0, 1.0, 30.0]))
@examples(20)
def test_more_samples_make_no_lower_bound(seed, scale):
    """Burda et al. 2016, theorem 1: the mean over all subsets of k weights does not fall in k."""
    drawn = np.random.default_rng(seed).normal(size=6) * scale - 90
    log_weights = drawn.astype(np.float32)
    bounds = [float(over_subsets(log_weights, rows)) for rows in SUBSETS.values()]
    assert all(b >= a - 1e-4 for a, b in itertools.pairwise(bounds))
    np.testing.assert_allclose(bounds[0], log_weights.mean(), rtol=1e-5)
    exact = np.log(np.mean(np.exp(drawn - drawn.max()))) + drawn.max()
    np.testing.assert_allclose(bounds[-1], exact, rtol=1e-5)
