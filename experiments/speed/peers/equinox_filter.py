"""Equinox: eqx.filter_jit with donated buffers, models of one example under jax.vmap.

ResNet-20 is left out: its batch norm's state goes through every layer by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from experiments.speed._networks import NETWORKS, TEXTS, VOCABULARY, Places, channels_first
from experiments.speed.peers import _jax


def ready(folder: Path) -> list[tuple[jax.Array, jax.Array]]:
    """The batches on the device, channels first."""
    return [(jnp.moveaxis(x, -1, 1) if x.ndim == 4 else x, y) for x, y in _jax.ready(folder)]


class LeNet5(eqx.Module):
    """LeNet-5."""

    conv1: eqx.nn.Conv2d
    conv2: eqx.nn.Conv2d
    linear1: eqx.nn.Linear
    linear2: eqx.nn.Linear
    linear3: eqx.nn.Linear
    pool: eqx.nn.MaxPool2d

    def __init__(self, key: jax.Array) -> None:
        keys = jax.random.split(key, 5)
        self.conv1 = eqx.nn.Conv2d(1, 6, 5, padding=2, key=keys[0])
        self.conv2 = eqx.nn.Conv2d(6, 16, 5, key=keys[1])
        self.linear1 = eqx.nn.Linear(400, 120, key=keys[2])
        self.linear2 = eqx.nn.Linear(120, 84, key=keys[3])
        self.linear3 = eqx.nn.Linear(84, 10, key=keys[4])
        self.pool = eqx.nn.MaxPool2d(2, 2)

    def __call__(self, x: jax.Array, noise: Any) -> jax.Array:
        """Logits [10]."""
        x = self.pool(jax.nn.relu(self.conv1(x)))
        x = self.pool(jax.nn.relu(self.conv2(x)))
        x = jax.nn.relu(self.linear1(x.ravel()))
        return self.linear3(jax.nn.relu(self.linear2(x)))


class MLP(eqx.Module):
    """Equinox's own."""

    layers: eqx.nn.MLP

    def __call__(self, x: jax.Array, noise: Any) -> jax.Array:
        """The outputs of one example."""
        return self.layers(x)


class VAE(eqx.Module):
    """784-400-20-400-784."""

    encoder: eqx.nn.MLP
    decoder: eqx.nn.MLP

    def __init__(self, key: jax.Array) -> None:
        first, second = jax.random.split(key)
        self.encoder = eqx.nn.MLP(784, 40, 400, 1, key=first)
        self.decoder = eqx.nn.MLP(20, 784, 400, 1, key=second)

    def __call__(self, x: jax.Array, noise: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        """(logits of x, means, log-variances)"""
        mean, log_variance = jnp.split(self.encoder(x), 2)
        return self.decoder(mean + jnp.exp(log_variance / 2) * noise), mean, log_variance


class TransformerBlock(eqx.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    norm: eqx.nn.LayerNorm
    attention: eqx.nn.MultiheadAttention
    second: eqx.nn.LayerNorm
    up: eqx.nn.Linear
    down: eqx.nn.Linear

    def __init__(self, features: int, heads: int, key: jax.Array) -> None:
        keys = jax.random.split(key, 3)
        biases = {f"use_{name}_bias": True for name in ("query", "key", "value", "output")}
        self.norm = eqx.nn.LayerNorm(features, eps=1e-5)
        self.attention = eqx.nn.MultiheadAttention(heads, features, key=keys[0], **biases)
        self.second = eqx.nn.LayerNorm(features, eps=1e-5)
        self.up = eqx.nn.Linear(features, 4 * features, key=keys[1])
        self.down = eqx.nn.Linear(4 * features, features, key=keys[2])

    def __call__(self, x: jax.Array) -> jax.Array:
        """[T, features]"""
        h = jax.vmap(self.norm)(x)
        x = x + self.attention(h, h, h, mask=jnp.tril(jnp.ones((len(x), len(x)), bool)))
        h = jax.nn.gelu(jax.vmap(self.up)(jax.vmap(self.second)(x)))
        return x + jax.vmap(self.down)(h)


class GPT(eqx.Module):
    """GPT, of 4 layers."""

    embedding: eqx.nn.Embedding
    position: eqx.nn.Embedding
    blocks: list[TransformerBlock]
    norm: eqx.nn.LayerNorm

    def __init__(self, key: jax.Array) -> None:
        length, features, layers, heads, _ = TEXTS["gpt"]
        first, second, *keys = jax.random.split(key, 2 + layers)
        self.embedding = eqx.nn.Embedding(VOCABULARY, features, key=first)
        self.position = eqx.nn.Embedding(length, features, key=second)
        self.blocks = [TransformerBlock(features, heads, one) for one in keys]
        self.norm = eqx.nn.LayerNorm(features, eps=1e-5)

    def __call__(self, x: jax.Array, noise: Any) -> jax.Array:
        """Logits [T, 65]."""
        h = jax.vmap(self.embedding)(x) + self.position.weight
        for block in self.blocks:
            h = block(h)
        return jax.vmap(self.norm)(h) @ self.embedding.weight.T


class LSTM(eqx.Module):
    """65-64-256-65"""

    embedding: eqx.nn.Embedding
    cell: eqx.nn.LSTMCell
    head: eqx.nn.Linear

    def __init__(self, key: jax.Array) -> None:
        _, features, _, _, hidden = TEXTS["lstm"]
        keys = jax.random.split(key, 3)
        self.embedding = eqx.nn.Embedding(VOCABULARY, features, key=keys[0])
        self.cell = eqx.nn.LSTMCell(features, hidden, key=keys[1])
        self.head = eqx.nn.Linear(hidden, VOCABULARY, key=keys[2])

    def __call__(self, x: jax.Array, noise: Any) -> jax.Array:
        """Logits [T, 65]."""

        def step(carry: Any, x: jax.Array) -> Any:
            carry = self.cell(x, carry)
            return carry, carry[0]

        zeros = jnp.zeros(self.cell.hidden_size)
        _, hs = jax.lax.scan(step, (zeros, zeros), jax.vmap(self.embedding)(x))
        return jax.vmap(self.head)(hs)


def mlp(key: jax.Array) -> MLP:
    """784-512-512-10"""
    return MLP(eqx.nn.MLP(784, 10, 512, 2, key=key))


def playground(key: jax.Array) -> MLP:
    """2-8-8-1"""
    return MLP(eqx.nn.MLP(2, 1, 8, 2, activation=jnp.tanh, key=key))


MODELS: dict[str, Callable[[jax.Array], Any]] = {
    "mlp": mlp,
    "playground": playground,
    "lenet5": LeNet5,
    "vae": VAE,
    "gpt": GPT,
    "lstm": LSTM,
}


def start(name: str, places: Places, batches: Any) -> tuple[int, Iterator[Any]]:
    """The model, and the step that makes the next one of it."""
    network = NETWORKS[name]
    loss, optimizer = _jax.LOSSES[network.loss], _jax.optimizer(network)
    params, static = eqx.partition(MODELS[name](jax.random.key(0)), eqx.is_inexact_array)
    params = _jax.filled(params, channels_first(places))

    def objective(model: Any, batch: Any, key: Any) -> jax.Array:
        noise = None if key is None else jax.random.normal(key, (network.batch, 20))
        return loss(jax.vmap(model)(batch[0], noise), *batch).mean()

    @eqx.filter_jit(donate="all-except-first")
    def step(batch: Any, state: Any) -> Any:
        model, opt_state, key = state
        key, used = _jax.split(key)
        value, grads = eqx.filter_value_and_grad(objective)(model, batch, used)
        updates, opt_state = optimizer.update(
            grads, opt_state, eqx.filter(model, eqx.is_inexact_array)
        )
        return value, (eqx.apply_updates(model, updates), opt_state, key)

    state = eqx.combine(params, static), optimizer.init(params), _jax.first_key(network)
    return _jax.size(params), _jax.by_steps(name, step, state, batches)
