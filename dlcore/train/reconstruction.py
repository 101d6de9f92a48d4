"""The objective of autoencoders: what goes in comes out again."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore import functional as F
from dlcore import keys
from dlcore.fields import documented
from dlcore.keys import Key
from dlcore.names import arguments
from dlcore.nn.combinators import parts_of
from dlcore.nn.layer import Layer, Params, State
from dlcore.nn.observing import observed
from dlcore.train.metrics import mean, sums
from dlcore.train.objective import Batch, Objective, beside


@documented
class SparsityKL(NamedTuple):
    """strength · Σⱼ KL(ρ ‖ ρ̂ⱼ), formed of the sums that ρ̂ⱼ is the ratio of.

    total: Σ weight·hⱼ of each unit of the code, [K].
    weight: Σ weight.
    strength, rho: as often what they are.
    """

    total: jax.Array
    weight: jax.Array
    strength: jax.Array
    rho: jax.Array

    def value(self) -> jax.Array:
        """Of the mean activations total / weight."""
        on, strength, rho = (one / self.weight for one in (self.total, self.strength, self.rho))
        return strength * F.sparsity_kl(on, rho)


@arguments()
def reconstruction(
    layer: Layer,
    *,
    loss: Callable[..., jax.Array] = F.squared_error,
    corrupt: Callable[[Key, jax.Array], jax.Array] | None = None,
    l1: float = 0.0,
    kl: float = 0.0,
    rho: float = 0.05,
    contraction: float = 0.0,
) -> Objective:
    """The mean of loss(layer(x), x), and what else an autoencoder is asked for.

    The data need no y. "loss" is that of the reconstruction alone; what is added stands beside it.

    loss: of outputs and x, `functional.squared_error` or, of logits, `binary_cross_entropy`.
    corrupt: corrupt(key, x) of a batch is what the layer sees, in evaluation too; it is to give x
        as it was: denoising (Vincent et al. 2008), `data.augment.masking(0.3)`.
    l1: λ of λ Σⱼ|hⱼ|, of the code h that the layer's part `encoder` gives.
    kl, rho: λ and ρ of λ Σⱼ KL(ρ ‖ ρ̂ⱼ), with ρ̂ⱼ the mean of a unit in [0, 1] over the batch, in
        evaluation over all examples: `functional.sparsity_kl`.
    contraction: λ of λ‖∂h/∂x‖²_F (Rifai et al. 2011); in training its estimate by one random
        direction, see `functional.contraction`.

    The three are sums over the code, a squared error is a mean over the pixels of x, and a binary
    cross-entropy a sum over them: a λ that is right for one is not for the other.
    """
    strengths = {"l1": l1, "kl": kl, "contraction": contraction}
    for name, strength in strengths.items():
        if not strength >= 0:
            raise ValueError(f"reconstruction: {name} is {strength}, but λ ≥ 0 is wanted")
    if any(strengths.values()) and "encoder" not in dict(layer.info.children):
        raise ValueError(
            f"reconstruction: {', '.join(filter(strengths.get, strengths))} asks something of the "
            f"code, but the {layer.info.kind} has no part called encoder, as models.autoencoder has"
        )

    def objective(
        params: Params, state: State, batch: Batch, *, key: Key | None = None, train: bool = False
    ) -> tuple[jax.Array, tuple[State, dict[str, Any]]]:
        side, weight = beside(layer, batch), batch.get("weight")
        x = seen = batch["x"]
        if corrupt is not None:
            seen = corrupt(keys.child(_needed(key), "corrupt"), x)
        how: dict[str, Any] = {"key": key, "train": train, **side}
        (outputs, new), calls = observed(layer.apply, params, state, seen, **how)
        if hasattr(outputs, "log_prob"):
            raise TypeError(
                f"the {layer.info.kind} gives a distribution, and no numbers: "
                "train.variational(layer) is its objective"
            )
        measured: dict[str, Any] = {"loss": mean(loss(outputs, x, reduction="none"), weight)}
        if l1:
            measured["l1"] = mean(l1 * F.sparsity_l1(calls["encoder"].y), weight)
        if kl:
            total, count = sums(calls["encoder"].y, weight)
            measured["kl"] = SparsityKL(total, count, kl * count, rho * count)
        if contraction:
            encode = _encoder(layer, params, state, side)
            own = keys.child(_needed(key), "contraction") if train else None
            squares = F.contraction(encode, seen, own)
            measured["contraction"] = mean(contraction * squares, weight)
        total = functools.reduce(jnp.add, (one.value() for one in measured.values()))
        return total, (new, measured)

    return objective


def _encoder(
    layer: Layer, params: Params, state: State, side: dict[str, Any]
) -> Callable[[jax.Array], jax.Array]:
    """The code of x, in evaluation: examples are apart, and nothing is drawn."""
    return lambda x: parts_of(layer, ("encoder",), params, state).encoder(x, **side)


def _needed(key: Key | None) -> Key:
    if key is None:
        raise ValueError("reconstruction draws here, and needs a key: objective(…, key=key)")
    return key
