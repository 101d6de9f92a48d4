"""Distributions of examples [B, …], of which every number is drawn by itself.

Each has `sample(key)`, `mean`, and `log_prob(x)`, [B]: nats per example, summed over its numbers.
More than one axis of examples is for `jax.vmap`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dlcore.checks import floating, same_shape, valid, wide_dtype
from dlcore.fields import documented
from dlcore.functional.activations import sigmoid
from dlcore.functional.losses import binary_cross_entropy


@documented
class Gaussian(NamedTuple):
    """The normal distribution N(mean, σ²) with σ² = exp(log_variance).

    mean: [B, …].
    log_variance: the same shape.
    """

    mean: jax.Array
    log_variance: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """mean + σ·ε with ε ~ N(0, 1): a gradient flows to both (Kingma and Welling 2014, 2.4)."""
        noise = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return self.mean + jnp.exp(self.log_variance / 2) * noise

    def log_prob(self, x: ArrayLike) -> jax.Array:
        """−½ Σ [(x − mean)²/σ² + log σ² + log 2π], of x in the shape of the mean."""
        x = _wide(_checked("Gaussian.log_prob", x, self.mean))
        mean, log_variance = map(_wide, self)
        squares = jnp.square(x - mean) * jnp.exp(-log_variance)
        nats = squares + log_variance + math.log(2 * math.pi)
        return -jnp.sum(nats, axis=tuple(range(1, nats.ndim))) / 2

    def divergence(self) -> jax.Array:
        """KL(N(mean, σ²) ‖ N(0, 1)) = ½(mean² + σ² − 1 − log σ²) of every number, [B, …].

        Their sum over an example's numbers is the divergence of the whole.
        """
        mean, log_variance = map(_wide, self)
        return (jnp.square(mean) + jnp.expm1(log_variance) - log_variance) / 2

    def log_weight(self, z: jax.Array, log_likelihood: jax.Array) -> jax.Array:
        """log p(x|z) + log p(z) − log q(z|x) of a code z drawn from this q(z|x), [B].

        p(z) = N(0, 1), `log_likelihood` is log p(x|z). See `functional.importance_bound`.
        """
        prior = Gaussian(jnp.zeros_like(z), jnp.zeros_like(z))
        return log_likelihood + prior.log_prob(z) - self.log_prob(z)


@documented
class Bernoulli(NamedTuple):
    """1 with the probability σ(logits), else 0.

    logits: [B, …].
    """

    logits: jax.Array

    @property
    def mean(self) -> jax.Array:
        """σ(logits)"""
        return sigmoid(self.logits)

    def sample(self, key: jax.Array) -> jax.Array:
        """0 or 1, without a gradient."""
        return jax.random.bernoulli(key, self.mean).astype(self.logits.dtype)

    def log_prob(self, x: ArrayLike) -> jax.Array:
        """Σ [x log h + (1 − x) log(1 − h)] with h = σ(logits), of x in {0, 1}.

        Between 0 and 1 that is a cross-entropy and no likelihood: refused where x is concrete,
        NaN where it is traced. Grey values that are meant: `functional.GreyBernoulli`.
        """
        x = _checked("Bernoulli.log_prob", x, self.logits)
        wanted = (
            "is 0 or 1 here: binarise grey values (data.binarised, data.augment.binarise), or "
            "name what is no likelihood: functional.GreyBernoulli, likelihood='grey'"
        )
        is_bit = valid("Bernoulli.log_prob", "x", x, lambda x: (x == 0) | (x == 1), wanted)
        nats = -binary_cross_entropy(self.logits, x, reduction="none")
        return jnp.where(jnp.all(is_bit, axis=tuple(range(1, x.ndim))), nats, jnp.nan)


@documented
class GreyBernoulli(NamedTuple):
    """What a Bernoulli of grey values in [0, 1] is: no distribution, and so without `sample`.

    Its "log_prob" is the negative binary cross-entropy, which is what many libraries minimise. It
    is no log-likelihood, and compares with none.

    logits: [B, …].
    """

    logits: jax.Array

    @property
    def mean(self) -> jax.Array:
        """σ(logits)"""
        return sigmoid(self.logits)

    def log_prob(self, x: ArrayLike) -> jax.Array:
        """Σ [x log h + (1 − x) log(1 − h)] with h = σ(logits), of x in [0, 1]."""
        x = _checked("GreyBernoulli.log_prob", x, self.logits)
        return -binary_cross_entropy(self.logits, x, reduction="none")


def _checked(function: str, x: ArrayLike, like: jax.Array) -> jax.Array:
    x = floating(function, "x", x)
    same_shape(function, x=x, parameters=like)
    return x


def _wide(values: jax.Array) -> jax.Array:
    """In float32 at least: small divergences are differences of numbers near 1."""
    return jnp.asarray(values).astype(wide_dtype(values.dtype))
