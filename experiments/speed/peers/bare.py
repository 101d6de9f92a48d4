"""A step as a person who knows JAX writes it: jax.numpy, lax and optax, jitted, buffers donated."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from experiments.speed._networks import NETWORKS, STAGES, TEXTS, Places, fused
from experiments.speed.peers import _jax
from experiments.speed.peers._jax import ready as ready


def dense(layer: Any, x: jax.Array) -> jax.Array:
    """x · kernel + bias"""
    kernel, bias = layer
    return x @ kernel + bias


def conv(kernel: jax.Array, x: jax.Array, padding: Any, stride: int = 1) -> jax.Array:
    """A convolution, channels last."""
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (stride,) * 2, padding, dimension_numbers=numbers)


def max_pool(x: jax.Array) -> jax.Array:
    """The largest of each 2×2."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def mlp(params: Any, x: jax.Array, key: Any) -> jax.Array:
    """784-512-512-10"""
    first, second, third = params
    return dense(third, jax.nn.relu(dense(second, jax.nn.relu(dense(first, x)))))


def playground(params: Any, x: jax.Array, key: jax.Array) -> jax.Array:
    """2-8-8-1"""
    first, second, third = params
    return dense(third, jnp.tanh(dense(second, jnp.tanh(dense(first, x)))))


def lenet5(params: Any, x: jax.Array, key: jax.Array) -> jax.Array:
    """LeNet-5"""
    (kernel1, bias1), (kernel2, bias2), linear1, linear2, linear3 = params
    x = max_pool(jax.nn.relu(conv(kernel1, x, "SAME") + bias1))
    x = max_pool(jax.nn.relu(conv(kernel2, x, "VALID") + bias2))
    x = jax.nn.relu(dense(linear1, x.reshape(len(x), -1)))
    return dense(linear3, jax.nn.relu(dense(linear2, x)))


def resnet20(params: Any, x: jax.Array, key: jax.Array) -> Any:
    """ResNet-20: the logits, and the statistics of the batch in each of its norms."""
    rest, statistics = iter(params), []

    def conv_norm(x: jax.Array, stride: int = 1) -> jax.Array:
        (kernel,), (scale, offset) = next(rest), next(rest)
        x = conv(kernel, x, ((1, 1), (1, 1)), stride)
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        statistics.append((mean, variance))
        return (x - mean) * lax.rsqrt(variance + 1e-5) * scale + offset

    x = jax.nn.relu(conv_norm(x))
    for channels, width, stride in sum(STAGES, ()):
        added = (width - channels) // 2
        skip = jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (added, added)))
        x = jax.nn.relu(conv_norm(jax.nn.relu(conv_norm(x, stride))) + skip)
    return dense(next(rest), x.mean((1, 2))), statistics


def vae(params: Any, x: jax.Array, key: jax.Array) -> Any:
    """784-400-20-400-784: the logits, and the means and log-variances of the code."""
    encoder1, encoder2, decoder1, decoder2 = params
    code = dense(encoder2, jax.nn.relu(dense(encoder1, x)))
    mean, log_variance = jnp.split(code, 2, axis=-1)
    z = mean + jnp.exp(log_variance / 2) * jax.random.normal(key, mean.shape)
    return dense(decoder2, jax.nn.relu(dense(decoder1, z))), mean, log_variance


def layer_norm(layer: Any, x: jax.Array) -> jax.Array:
    """Over the features."""
    scale, offset = layer
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + 1e-5) * scale + offset


def gpt(params: Any, x: jax.Array, key: Any) -> jax.Array:
    """GPT, of 4 layers."""
    (table,), (position,), *blocks, last = params
    heads = (*x.shape, TEXTS["gpt"].heads, -1)
    h = table[x] + position
    for at in range(0, len(blocks), 6):
        norm, qkv, output, second, up, down = blocks[at : at + 6]
        parts = jnp.split(dense(qkv, layer_norm(norm, h)), 3, axis=-1)
        y = jax.nn.dot_product_attention(*(one.reshape(heads) for one in parts), is_causal=True)
        h = h + dense(output, y.reshape(h.shape))
        h = h + dense(down, jax.nn.gelu(dense(up, layer_norm(second, h))))
    return layer_norm(last, h) @ table.T


def lstm(params: Any, x: jax.Array, key: Any) -> jax.Array:
    """65-64-256-65, the input's product of all steps before the loop."""
    (table,), (kernel, recurrent, bias), head = params

    def step(carry: Any, z: jax.Array) -> Any:
        h, c = carry
        i, f, g, o = jnp.split(z + h @ recurrent, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros((len(x), len(recurrent)))
    _, hs = lax.scan(step, (zeros, zeros), dense((kernel, bias), table[x.T]))
    return dense(head, hs.swapaxes(0, 1))


MODELS: dict[str, Callable[..., Any]] = {
    "mlp": mlp,
    "playground": playground,
    "lenet5": lenet5,
    "resnet20": resnet20,
    "vae": vae,
    "gpt": gpt,
    "lstm": lstm,
}


def start(name: str, places: Places, batches: Any) -> tuple[int, Iterator[Any]]:
    """The step, compiled at its first call."""
    network, forward = NETWORKS[name], MODELS[name]
    has_norms = name == "resnet20"
    loss, optimizer = _jax.LOSSES[network.loss], _jax.optimizer(network)

    def objective(params: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, Any]:
        outputs = forward(params, batch[0], key)
        outputs, statistics = outputs if has_norms else (outputs, ())
        return loss(outputs, *batch).mean(), statistics

    @functools.partial(jax.jit, donate_argnums=1)
    def step(batch: Any, state: Any) -> Any:
        params, opt_state, averages, key = state
        key, noise = _jax.split(key)
        (value, statistics), grads = jax.value_and_grad(objective, has_aux=True)(
            params, batch, noise
        )
        averages = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, averages, statistics)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return value, (optax.apply_updates(params, updates), opt_state, averages, key)

    params = jax.tree.map(jnp.array, fused(name, places))
    norms = [place[0] for place in places if np.ndim(place[0]) == 1]
    averages = [(jnp.zeros_like(scale), jnp.ones_like(scale)) for scale in norms]
    state = params, optimizer.init(params), averages if has_norms else (), _jax.first_key(network)
    return _jax.size(params), _jax.by_steps(name, step, state, batches)
