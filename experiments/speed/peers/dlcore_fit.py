"""dlcore: `train.fit`, as everybody calls it, which shuffles and gathers by itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dlcore import functional as F
from dlcore import models, nn, optim, train
from dlcore.train import metrics
from experiments.speed._networks import (
    NETWORKS,
    TEXTS,
    VOCABULARY,
    Network,
    Places,
    examples,
)

SEED = 0


def vae() -> nn.Layer:
    """784-400-20-400-784: (logits of x, means, log-variances)."""

    def forward(parts: Any, x: jax.Array, *, key: Any, train: bool) -> Any:
        mean, log_variance = jnp.split(parts.encoder(x), 2, axis=-1)
        z = mean + jnp.exp(log_variance / 2) * jax.random.normal(key, mean.shape)
        return parts.decoder(z), mean, log_variance

    return nn.wire(
        forward,
        encoder=nn.serial(nn.linear(784, 400), F.relu, nn.linear(400, 40)),
        decoder=nn.serial(nn.linear(20, 400), F.relu, nn.linear(400, 784)),
    )


def elbo(layer: nn.Layer) -> train.Objective:
    """−log p(x|z) + KL(q(z|x) ‖ N(0, 1)), the mean over the examples."""

    def objective(params: Any, state: Any, batch: Any, **how: Any) -> Any:
        (logits, mean, log_variance), state = layer.apply(params, state, batch["x"], **how)
        reconstruction = F.binary_cross_entropy(logits, batch["x"], reduction="none")
        divergence = 0.5 * (mean**2 + jnp.exp(log_variance) - log_variance - 1).sum(-1)
        loss = metrics.mean(reconstruction + divergence)
        return loss.value(), (state, {"loss": loss})

    return objective


def gpt() -> nn.Layer:
    """GPT, of 4 layers."""
    length, features, layers, heads, _ = TEXTS["gpt"]
    return models.gpt(VOCABULARY, length, features=features, heads=heads, layers=layers)


def lstm() -> nn.Layer:
    """65-64-256-65"""
    return models.lstm_lm(VOCABULARY, TEXTS["lstm"].features, TEXTS["lstm"].hidden)


MODELS: dict[str, Callable[[], nn.Layer]] = {
    "mlp": lambda: models.mlp(784, (512, 512), dropout=0),
    "playground": lambda: models.mlp(2, (8, 8), 1, activation=F.tanh, dropout=0),
    "lenet5": models.lenet5,
    "resnet20": models.resnet_cifar,
    "vae": vae,
    "gpt": gpt,
    "lstm": lstm,
}

OBJECTIVES: dict[str, Callable[[nn.Layer], train.Objective]] = {
    "softmax": train.classification,
    "sigmoid": train.binary_classification,
    "elbo": elbo,
}


def make_optimizer(network: Network) -> optax.GradientTransformation:
    """Adam, AdamW, or gradient descent with momentum and L2."""
    if network.decay:
        return optim.adamw(network.rate, weight_decay=network.decay)
    if network.momentum is None:
        return optim.adam(network.rate)
    descent = (
        optim.momentum(network.rate, network.momentum)
        if network.momentum
        else optim.sgd(network.rate)
    )
    if not network.l2:
        return descent
    return optax.chain(optim.add_penalty(optim.l2(network.l2 / 2)), descent)


def begin(name: str) -> tuple[nn.Layer, train.Step, train.TrainState]:
    """The layer, the step, and the state that a run starts from."""
    network, layer = NETWORKS[name], MODELS[name]()
    optimizer = make_optimizer(network)
    step = train.make_step(OBJECTIVES[network.loss](layer), optimizer)
    return layer, step, train.train_state(layer, optimizer, seed=SEED)


def ready(folder: Path) -> dict[str, jax.Array]:
    """The examples on the device."""
    return {name: jnp.asarray(array) for name, array in examples(folder).items()}


def start(name: str, places: Places, data: Any) -> tuple[int, Iterator[Any]]:
    """A run of which a turn is a record; its weights are its own, drawn from the seed."""
    _, step, state = begin(name)
    network = NETWORKS[name]
    fit = functools.partial(train.fit, step, data=data, epochs=10**9, batch_size=network.batch)

    def losses(state: Any) -> Iterator[list[Any]]:
        for every in (1, network.steps):
            record = next(fit(state=state, every=every))
            yield [record.metrics["loss"]]
            state = record.state
            del record  # and the weights it holds
        for record in fit(state=state, every=network.turn_steps):
            yield [record.metrics["loss"]]

    return sum(leaf.size for leaf in jax.tree.leaves(state.params)), losses(state)
