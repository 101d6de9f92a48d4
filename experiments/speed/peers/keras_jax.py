"""Keras on JAX: compile and fit, a round of batches a call; KERAS_BACKEND=jax is set outside."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from experiments.speed._networks import (
    NETWORKS,
    STAGES,
    TEXTS,
    VOCABULARY,
    Network,
    Places,
    batches,
    turns,
)


def ready(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The batches in one array, which it cuts itself."""
    xs, ys = zip(*batches(folder), strict=True)
    return np.concatenate(xs), np.concatenate(ys)


def mlp() -> keras.Model:
    """784-512-512-10"""
    hidden = [layers.Dense(512, activation="relu") for _ in range(2)]
    return keras.Sequential([keras.Input((784,)), *hidden, layers.Dense(10)])


def playground() -> keras.Model:
    """2-8-8-1"""
    hidden = [layers.Dense(8, activation="tanh") for _ in range(2)]
    return keras.Sequential([keras.Input((2,)), *hidden, layers.Dense(1)])


def lenet5() -> keras.Model:
    """LeNet-5"""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(6, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(120, activation="relu"),
            layers.Dense(84, activation="relu"),
            layers.Dense(10),
        ]
    )


def resnet20() -> keras.Model:
    """ResNet-20, its L2 as penalties of the layers."""
    penalty = keras.regularizers.L2(NETWORKS["resnet20"].l2 / 2)

    def conv_norm(x: Any, width: int, stride: int = 1) -> Any:
        x = layers.ZeroPadding2D()(x)
        conv = layers.Conv2D(width, 3, strides=stride, use_bias=False, kernel_regularizer=penalty)
        norm = layers.BatchNormalization(
            momentum=0.9, epsilon=1e-5, beta_regularizer=penalty, gamma_regularizer=penalty
        )
        return norm(conv(x))

    inputs = keras.Input((32, 32, 3))
    x = layers.ReLU()(conv_norm(inputs, 16))
    for channels, width, stride in (block for stage in STAGES for block in stage):
        body = conv_norm(layers.ReLU()(conv_norm(x, width, stride)), width)
        if width > channels:
            ends = [[0, 0]] * 3 + [[(width - channels) // 2] * 2]
            x = ops.pad(x[:, ::stride, ::stride], ends)
        x = layers.ReLU()(layers.Add()([body, x]))
    x = layers.GlobalAveragePooling2D()(x)
    head = layers.Dense(10, kernel_regularizer=penalty, bias_regularizer=penalty)
    return keras.Model(inputs, head(x))


class Sampling(layers.Layer):
    """A code drawn from its means and log-variances, whose divergence is added to the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.seeds = keras.random.SeedGenerator(0)

    def call(self, code: Any) -> Any:
        """z = mean + σ · noise"""
        mean, log_variance = ops.split(code, 2, axis=-1)
        divergence = 0.5 * (ops.square(mean) + ops.exp(log_variance) - log_variance - 1)
        self.add_loss(ops.mean(ops.sum(divergence, axis=-1)))
        noise = keras.random.normal(ops.shape(mean), seed=self.seeds)
        return mean + ops.exp(log_variance / 2) * noise


def vae() -> keras.Model:
    """784-400-20-400-784"""
    return keras.Sequential(
        [
            keras.Input((784,)),
            layers.Dense(400, activation="relu"),
            layers.Dense(40),
            Sampling(),
            layers.Dense(400, activation="relu"),
            layers.Dense(784),
        ]
    )


class Position(layers.Layer):
    """A vector for each place, added."""

    def build(self, shape: Any) -> None:
        """[T, features]"""
        self.embedding = self.add_weight(shape=shape[1:], name="embedding")

    def call(self, x: Any) -> Any:
        """[B, T, features]"""
        return x + self.embedding


def gpt() -> keras.Model:
    """GPT, of 4 layers."""
    length, features, blocks, heads, _ = TEXTS["gpt"]
    gelu = functools.partial(ops.gelu, approximate=True)
    embedding = layers.ReversibleEmbedding(VOCABULARY, features)
    inputs = keras.Input((length,), dtype="int32")
    x = Position()(embedding(inputs))
    for _ in range(blocks):
        h = layers.LayerNormalization(epsilon=1e-5)(x)
        attention = layers.MultiHeadAttention(heads, features // heads)
        x = layers.Add()([x, attention(h, h, use_causal_mask=True)])
        h = layers.LayerNormalization(epsilon=1e-5)(x)
        h = layers.Dense(features)(layers.Dense(4 * features, activation=gelu)(h))
        x = layers.Add()([x, h])
    x = layers.LayerNormalization(epsilon=1e-5)(x)
    return keras.Model(inputs, embedding(x, reverse=True))


def lstm() -> keras.Model:
    """65-64-256-65"""
    length, features, _, _, hidden = TEXTS["lstm"]
    return keras.Sequential(
        [
            keras.Input((length,), dtype="int32"),
            layers.Embedding(VOCABULARY, features),
            layers.LSTM(hidden, return_sequences=True),
            layers.Dense(VOCABULARY),
        ]
    )


MODELS: dict[str, Callable[[], keras.Model]] = {
    "mlp": mlp,
    "playground": playground,
    "lenet5": lenet5,
    "resnet20": resnet20,
    "vae": vae,
    "gpt": gpt,
    "lstm": lstm,
}


def reconstruction(x: Any, logits: Any) -> Any:
    """−log p(x|z) [B]"""
    return ops.sum(ops.binary_crossentropy(x, logits, from_logits=True), axis=-1)


LOSSES: dict[str, Any] = {
    "softmax": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "sigmoid": keras.losses.BinaryCrossentropy(from_logits=True),
    "elbo": reconstruction,
}

# Keras's advice for models so small that Python counts: 18,000 steps a second against 6,100.
STEPS_PER_EXECUTION = {"playground": 100}


def make_optimizer(network: Network) -> keras.optimizers.Optimizer:
    """Adam or AdamW, with the others' epsilon, or gradient descent with momentum."""
    if network.decay:
        return keras.optimizers.AdamW(network.rate, network.decay, epsilon=1e-8)
    if network.momentum is None:
        return keras.optimizers.Adam(network.rate, epsilon=1e-8)
    return keras.optimizers.SGD(network.rate, network.momentum)


def start(name: str, places: Places, data: Any) -> tuple[int, Iterator[Any]]:
    """The model, compiled in Keras's sense."""
    network, model = NETWORKS[name], MODELS[name]()
    arrays = (array for place in places for array in place)
    for variable, array in zip(model.trainable_variables, arrays, strict=True):
        variable.assign(array.reshape(variable.shape))
    x, y = data
    y = x if network.loss == "elbo" else y
    # Keras's own loss has the penalties in it; the one that is compared is that of the data alone.
    of_data = [keras.metrics.SparseCategoricalCrossentropy(from_logits=True)] if network.l2 else []
    model.compile(
        make_optimizer(network),
        LOSSES[network.loss],
        metrics=of_data,
        steps_per_execution=STEPS_PER_EXECUTION.get(name, 1),
    )

    def train(first: int, last: int, rounds: int) -> list[float]:
        rows = slice(first * network.batch, last * network.batch)
        history = model.fit(
            x[rows], y[rows], network.batch, epochs=rounds, shuffle=False, verbose=0
        ).history
        return list(history.values())[-1]

    parameters = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    return parameters, turns(train, network)
