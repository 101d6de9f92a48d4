"""What the peers built on JAX share: batches on the device, optax's optimizers and losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.speed._networks import NETWORKS, Network, Places, batches, turns


def ready(folder: Path) -> list[tuple[jax.Array, jax.Array]]:
    """The batches on the device."""
    return [(jnp.array(x), jnp.array(y)) for x, y in batches(folder)]


def filled(tree: Any, arrays: Iterable[np.ndarray]) -> Any:
    """`tree` with these arrays as its leaves, in order."""
    leaves, structure = jax.tree.flatten(tree)
    new = [jnp.array(array).reshape(leaf.shape) for array, leaf in zip(arrays, leaves, strict=True)]
    return jax.tree.unflatten(structure, new)


def in_flax_order(name: str, places: Places) -> Iterator[np.ndarray]:
    """The weights by Flax's names: bias before kernel, of attention key, out, query and value."""
    if name == "gpt":
        *rest, last = places
        for at in range(2, len(rest), 8):
            query, key, value, output = rest[at + 1 : at + 5]
            rest[at + 1 : at + 5] = key, output, query, value
        places = [*rest, last]
    return (array for place in places for array in reversed(place))


def size(params: Any) -> int:
    """How many numbers there are."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def optimizer(network: Network) -> optax.GradientTransformation:
    """Adam, AdamW, or gradient descent with momentum and L2."""
    if network.decay:
        return optax.adamw(network.rate, weight_decay=network.decay)
    if network.momentum is None:
        return optax.adam(network.rate)
    descent = optax.sgd(network.rate, network.momentum or None)
    return optax.chain(optax.add_decayed_weights(network.l2), descent) if network.l2 else descent


def softmax(logits: jax.Array, x: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy [B], or [B, T]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def sigmoid(logits: jax.Array, x: jax.Array, labels: jax.Array) -> jax.Array:
    """Binary cross-entropy [B] of logits [B, 1]."""
    return optax.sigmoid_binary_cross_entropy(logits[:, 0], labels)


def elbo(outputs: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
    """−log p(x|z) + KL(q(z|x) ‖ N(0, 1)) [B] of (logits of x, means, log-variances)."""
    logits, mean, log_variance = outputs
    reconstruction = optax.sigmoid_binary_cross_entropy(logits, x).sum(-1)
    divergence = 0.5 * (mean**2 + jnp.exp(log_variance) - log_variance - 1).sum(-1)
    return reconstruction + divergence


LOSSES: dict[str, Callable[[Any, jax.Array, jax.Array], jax.Array]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "elbo": elbo,
}


def first_key(network: Network) -> jax.Array | None:
    """What noise is drawn from, where there is any."""
    return jax.random.key(0) if network.loss == "elbo" else None


def split(key: jax.Array | None) -> Any:
    """(the key to keep, the key to use)"""
    return (None, None) if key is None else jax.random.split(key)


def by_steps(name: str, step: Callable[[Any, Any], Any], state: Any, batches: Any) -> Iterator[Any]:
    """The turns of `step(batch, state) -> (loss, state)`."""

    def train(first: int, last: int, rounds: int) -> list[Any]:
        nonlocal state
        losses = []
        for batch in batches[first:last] * rounds:
            loss, state = step(batch, state)
            losses.append(loss)
        return losses

    return turns(train, NETWORKS[name])
