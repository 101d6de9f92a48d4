"""The objective of variational autoencoders: the evidence lower bound, in nats per example."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore import functional as F
from dlcore import keys
from dlcore.checks import is_concrete
from dlcore.fields import documented
from dlcore.keys import Key
from dlcore.names import arguments
from dlcore.nn.combinators import left_by, parts_of
from dlcore.nn.describing import describe
from dlcore.nn.layer import Layer, Params, State
from dlcore.train.metric_learning import CollapseWarning
from dlcore.train.metrics import mean, sums
from dlcore.train.objective import Batch, Objective, beside

ACTIVE = 0.01  # nats: a dimension of less says nothing of x
_COLLAPSED = 0.1  # nats of all dimensions


@documented
class Divergence(NamedTuple):
    """The mean KL(q(z|x) ‖ p(z)), which says so where the posterior has collapsed.

    total: Σ weight·KLⱼ of each dimension, [L].
    weight: Σ weight.
    """

    total: jax.Array
    weight: jax.Array

    def value(self) -> jax.Array:
        """Nats per example; a CollapseWarning where all dimensions have next to none."""
        nats = jnp.sum(self.total) / self.weight
        if is_concrete(nats) and nats < _COLLAPSED:
            most = float(jnp.max(self.total) / self.weight)
            # The same words each time: Python then says them once, not at every epoch.
            warnings.warn(
                f"the posterior has collapsed: of {len(self.total)} dimensions of the code the "
                f"largest divergence is {most:.1g} nats, so z says nothing of x and the decoder "
                "goes without it: free_bits=0.1, a smaller beta, or a weaker decoder",
                CollapseWarning,
                stacklevel=2,
            )
        return nats


@documented
class Active(NamedTuple):
    """How many dimensions of the code say anything of x: those whose mean KL exceeds 0.01 nats.

    total: Σ weight·KLⱼ of each dimension, [L].
    weight: Σ weight.
    """

    total: jax.Array
    weight: jax.Array

    def value(self) -> jax.Array:
        """A count."""
        return jnp.sum(self.total > ACTIVE * self.weight)


@arguments()
def variational(
    layer: Layer, *, beta: float = 1.0, free_bits: float = 0.0, samples: int = 1
) -> Objective:
    """−(log p(x|z) − KL(q(z|x) ‖ p(z))) with z ~ q, the mean over examples, in nats per example.

    layer: with a part `encoder`, which gives q(z|x) as a `functional.Gaussian` [B, L], and a part
        `decoder`, which gives p(x|z) with a `log_prob`: `models.vae`, or a `wire` of one's own. A
        side input `label` is the data's y, where they have no column of that name.
    beta: β of log p(x|z) − β·KL in training (Higgins et al. 2017).
    free_bits: nats of each dimension that cost nothing in training (`functional.free_bits`).
    samples: k; above 1 the importance-weighted bound of k codes (Burda et al. 2016), all of which
        are decoded at once: thousands are for `generate.vae.log_prob`.

    In evaluation "loss" is the negative bound as it is, whatever β and free bits it was trained
    with. Beside it stand "reconstruction", −log p(x|z), "divergence", KL(q(z|x) ‖ p(z)), with a
    CollapseWarning where that vanishes, and "active", the dimensions with more than 0.01 nats.

    Terms are sums over pixels and dimensions. Departure: PyTorch's examples that take the mean of
    one and the sum of the other minimise another β than they say.
    """
    if not beta >= 0 or not free_bits >= 0 or samples < 1:
        raise ValueError(
            f"variational: beta={beta}, free_bits={free_bits}, samples={samples}, but "
            "beta ≥ 0, free_bits ≥ 0 and samples ≥ 1 are wanted"
        )
    if samples > 1 and (beta != 1 or free_bits):
        raise ValueError(
            "variational: beta and free_bits belong to the bound of one sample; the importance-"
            f"weighted one has no divergence of its own: leave them out, or samples={samples}"
        )

    def objective(
        params: Params, state: State, batch: Batch, *, key: Key | None = None, train: bool = False
    ) -> tuple[jax.Array, tuple[State, dict[str, Any]]]:
        side, weight, x = beside(layer, batch), batch.get("weight"), batch["x"]
        if key is None:
            raise ValueError("variational draws codes: objective(params, state, batch, key=key)")
        parts = parts_of(layer, ("encoder", "decoder"), params, state, key=key, train=train)
        q = parts.encoder(x, **side)
        if not isinstance(q, F.Gaussian):
            raise TypeError(
                f"the encoder of this {layer.info.kind} gives {describe(q)}, but a "
                "functional.Gaussian is wanted, as models.vae has it; of an autoencoder the "
                "objective is train.reconstruction(layer)"
            )
        divergence = q.divergence()
        if samples == 1:
            z = q.sample(keys.child(key, "code"))
            log_p = parts.decoder(z, **side).log_prob(x)
            bound = F.evidence_bound(log_p, divergence)
        else:
            folded = keys.child(key, "code"), jnp.arange(samples, dtype=jnp.uint32)
            z = jax.vmap(q.sample)(jax.vmap(jax.random.fold_in, (None, 0))(*folded))
            log_p = _decoded(parts, z, side, x)
            bound = F.importance_bound(jax.vmap(q.log_weight)(z, log_p))
            log_p = jnp.mean(log_p, axis=0)
        by_dimension = sums(divergence, weight)
        measured: dict[str, Any] = {
            "loss": mean(-bound, weight),
            "reconstruction": mean(-log_p, weight),
            "divergence": Divergence(*by_dimension),
            "active": Active(*by_dimension),
        }
        loss = measured["loss"].value()
        if train and (free_bits or beta != 1):
            each = by_dimension[0] / by_dimension[1]
            loss = measured["reconstruction"].value() + beta * F.free_bits(each, free_bits)
        return loss, (left_by(parts), measured)

    return objective


def _decoded(parts: Any, z: jax.Array, side: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """log p(x|z) of k codes of each example, z [k, B, L] → [k, B]: decoded as one batch."""
    k, count = z.shape[:2]
    repeated = {name: jnp.concatenate([one] * k) for name, one in side.items()}
    p = parts.decoder(z.reshape(k * count, *z.shape[2:]), **repeated)
    if not hasattr(p, "sample"):
        raise ValueError(
            f"the importance-weighted bound is one of a likelihood, and the decoder's "
            f"{type(p).__name__} is none: samples=1"
        )
    p = jax.tree.map(lambda leaf: leaf.reshape(k, count, *leaf.shape[1:]), p)
    return jax.vmap(lambda one: one.log_prob(x))(p)
