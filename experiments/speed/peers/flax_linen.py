"""Flax Linen: a TrainState, jitted with donated buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.training import train_state

from experiments.speed._networks import NETWORKS, STAGES, Places
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
}


def start(name: str, places: Places, batches: Any) -> tuple[int, Iterator[Any]]:
    """The TrainState and its step."""
    network = NETWORKS[name]
    model, loss = MODELS[name](), _jax.LOSSES[network.loss]
    rngs = {"params": jax.random.key(0), "noise": jax.random.key(1)}
    variables = model.init(rngs, batches[0][0])
    in_order = (array for place in places for array in reversed(place))  # bias before kernel
    params = _jax.filled(variables["params"], in_order)
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
