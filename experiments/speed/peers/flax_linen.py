"""Flax Linen: a TrainState, jitted with donated buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.training import train_state

from experiments.speed._networks import NETWORKS, STAGES, TEXTS, VOCABULARY, Places
from experiments.speed.peers import _jax
from experiments.speed.peers._jax import ready as ready


class TrainState(train_state.TrainState):
    """With batch norm's averages, and a key where noise is drawn."""

    batch_stats: Any
    key: Any


def max_pool(x: jax.Array) -> jax.Array:
    """The largest of each 2×2."""
    return nn.max_pool(x, (2, 2), strides=(2, 2))


def norm() -> nn.Module:
    """Batch norm, with PyTorch's constants."""
    return nn.BatchNorm(use_running_average=False, momentum=0.9, epsilon=1e-5)


def conv(width: int, stride: int = 1) -> nn.Module:
    """3×3, the norm behind it has the bias."""
    return nn.Conv(width, (3, 3), strides=stride, padding=1, use_bias=False)


class Block(nn.Module):
    """relu(body(x) + skip(x)), option A."""

    body: nn.Module
    stride: int
    added: int

    def __call__(self, x: jax.Array) -> jax.Array:
        """The same shape, or half the pixels and twice the channels."""
        ends = ((0, 0), (0, 0), (0, 0), (self.added, self.added))
        skip = jnp.pad(x[:, :: self.stride, :: self.stride], ends)
        return nn.relu(self.body(x) + skip)


def block(channels: int, width: int, stride: int) -> nn.Module:
    """Its body is made outside of it, so that the names of its layers are in their order."""
    body = nn.Sequential([conv(width, stride), norm(), nn.relu, conv(width), norm()])
    return Block(body, stride, (width - channels) // 2)


class LeNet5(nn.Module):
    """LeNet-5."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits [B, 10]."""
        x = max_pool(nn.relu(nn.Conv(6, (5, 5))(x)))
        x = max_pool(nn.relu(nn.Conv(16, (5, 5), padding="VALID")(x)))
        x = nn.relu(nn.Dense(120)(x.reshape(len(x), -1)))
        x = nn.relu(nn.Dense(84)(x))
        return nn.Dense(10)(x)


class VAE(nn.Module):
    """784-400-20-400-784."""

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """(logits of x, means, log-variances)"""
        x = nn.relu(nn.Dense(400)(x))
        mean, log_variance = jnp.split(nn.Dense(40)(x), 2, axis=-1)
        noise = jax.random.normal(self.make_rng("noise"), mean.shape)
        z = nn.relu(nn.Dense(400)(mean + jnp.exp(log_variance / 2) * noise))
        return nn.Dense(784)(z), mean, log_variance


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); names that are in their order."""

    features: int
    heads: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, features]"""
        h = nn.LayerNorm(epsilon=1e-5, name="a_norm")(x)
        attention = nn.MultiHeadDotProductAttention(self.heads, name="b_attention")
        x = x + attention(h, mask=nn.make_causal_mask(x[..., 0]))
        h = nn.LayerNorm(epsilon=1e-5, name="c_norm")(x)
        h = nn.gelu(nn.Dense(4 * self.features, name="d_up")(h))
        return x + nn.Dense(self.features, name="e_down")(h)


class GPT(nn.Module):
    """GPT, of 4 layers."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits [B, T, 65]."""
        length, features, layers, heads, _ = TEXTS["gpt"]
        embedding = nn.Embed(VOCABULARY, features, name="a_embedding")
        h = embedding(x) + nn.Embed(length, features, name="b_position")(jnp.arange(length))
        for layer in range(layers):
            h = TransformerBlock(features, heads, name=f"c_block{layer}")(h)
        return embedding.attend(nn.LayerNorm(epsilon=1e-5, name="d_norm")(h))


class LSTM(nn.Module):
    """65-64-256-65"""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits [B, T, 65]."""
        sizes = TEXTS["lstm"]
        h = nn.Embed(VOCABULARY, sizes.features, name="a_embedding")(x)
        h = nn.RNN(nn.OptimizedLSTMCell(sizes.hidden, name="b_cell"))(h)
        return nn.Dense(VOCABULARY, name="c_head")(h)


def by_gates(places: Places) -> Places:
    """An LSTM's weights with the gates f, g, i, o apart: the recurrent ones, then the input's."""
    embedding, arrays, head = places
    kernels, recurrent, biases = ([np.split(one, 4, -1)[k] for k in (1, 2, 0, 3)] for one in arrays)
    of_h = map(list, zip(recurrent, biases, strict=True))
    return [embedding, *of_h, *([kernel] for kernel in kernels), head]


def mlp() -> nn.Module:
    """784-512-512-10"""
    return nn.Sequential([nn.Dense(512), nn.relu, nn.Dense(512), nn.relu, nn.Dense(10)])


def playground() -> nn.Module:
    """2-8-8-1"""
    return nn.Sequential([nn.Dense(8), nn.tanh, nn.Dense(8), nn.tanh, nn.Dense(1)])


def resnet20() -> nn.Module:
    """ResNet-20"""
    stages = [nn.Sequential([block(*sizes) for sizes in stage]) for stage in STAGES]
    return nn.Sequential(
        [conv(16), norm(), nn.relu, *stages, lambda x: x.mean((1, 2)), nn.Dense(10)]
    )


MODELS: dict[str, Callable[[], nn.Module]] = {
    "mlp": mlp,
    "playground": playground,
    "lenet5": LeNet5,
    "resnet20": resnet20,
    "vae": VAE,
    "gpt": GPT,
    "lstm": LSTM,
}


def start(name: str, places: Places, batches: Any) -> tuple[int, Iterator[Any]]:
    """The TrainState and its step."""
    network = NETWORKS[name]
    model, loss = MODELS[name](), _jax.LOSSES[network.loss]
    rngs = {"params": jax.random.key(0), "noise": jax.random.key(1)}
    variables = model.init(rngs, batches[0][0])
    places = by_gates(places) if name == "lstm" else places
    params = _jax.filled(variables["params"], _jax.in_flax_order(name, places))
    state = TrainState.create(
        apply_fn=model.apply,
        params=params,
        tx=_jax.optimizer(network),
        batch_stats=variables.get("batch_stats", {}),
        key=_jax.first_key(network),
    )

    def step(batch: Any, state: TrainState) -> tuple[jax.Array, TrainState]:
        key, noise = _jax.split(state.key)

        def objective(params: Any) -> Any:
            outputs, new = state.apply_fn(
                {"params": params, "batch_stats": state.batch_stats},
                batch[0],
                mutable=["batch_stats"],
                rngs={} if noise is None else {"noise": noise},
            )
            return loss(outputs, *batch).mean(), new

        (value, new), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
        batch_stats = new.get("batch_stats", {})
        return value, state.apply_gradients(grads=grads, batch_stats=batch_stats, key=key)

    jitted = jax.jit(step, donate_argnums=1)
    return _jax.size(params), _jax.by_steps(name, jitted, state, batches)
