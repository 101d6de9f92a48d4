"""Lower bounds of log p(x), in nats per example: what variational autoencoders maximise.

With a code z ~ p(z), a decoder p(x|z) and an encoder q(z|x),

    log p(x) ≥ E_q[log p(x|z)] − KL(q(z|x) ‖ p(z))
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from dlcore.checks import same_shape


def evidence_bound(log_likelihood: jax.Array, divergence: jax.Array) -> jax.Array:
    """log p(x|z) − Σⱼ KLⱼ of each example: the evidence lower bound (ELBO), [B].

    log_likelihood: log p(x|z) with one z ~ q(z|x), [B], a sum over pixels and no mean.
    divergence: KLⱼ of the code's numbers, [B, L], `Gaussian.divergence()`.

    Kingma and Welling 2014, equation 10 with one sample.
    """
    total = jnp.sum(divergence, axis=tuple(range(1, divergence.ndim)))
    same_shape("evidence_bound", log_likelihood=log_likelihood, divergence=total)
    return log_likelihood - total


def free_bits(divergence: jax.Array, nats: float) -> jax.Array:
    """Σⱼ max(nats, KLⱼ): below `nats` a dimension costs nothing, so that none is given up early.

    divergence: the mean over the batch of each dimension's, [L]. Kingma et al. 2016, equation 15.
    """
    if divergence.ndim != 1:
        raise ValueError(
            f"free_bits: divergence has shape {divergence.shape}, but the mean over the batch is "
            "wanted for each dimension, [L]: divergence.mean(0)"
        )
    return jnp.sum(jnp.maximum(nats, divergence))


def importance_bound(log_weights: jax.Array) -> jax.Array:
    """log (1/k) Σᵢ wᵢ over the first axis, [k, B] → [B], with wᵢ = p(x, zᵢ) / q(zᵢ|x).

    zᵢ ~ q(z|x), log wᵢ by `Gaussian.log_weight`. Its mean does not fall as k grows, and goes to
    log p(x); with k = 1 it is the evidence lower bound with a sampled divergence. Burda et al.
    2016, equation 8.
    """
    return jax.scipy.special.logsumexp(log_weights, axis=0) - math.log(len(log_weights))
