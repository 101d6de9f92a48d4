"""Augmentation inside the objective: in training alone, keyed by the step."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn, optim, train
from dlcore.data import augment

GENERATOR = np.random.default_rng(0)
BATCH = {
    "x": jnp.asarray(GENERATOR.random((8, 5, 5, 1), np.float32)),
    "y": jnp.asarray(GENERATOR.integers(0, 3, 8), jnp.int32),
}
NOISE = augment.inputs(partial(augment.images.random_noise, std=0.2))
MIXUP = partial(augment.mixup, alpha=1.0, classes=3)
NETWORK = nn.serial(nn.flatten, nn.dropout(0.3), nn.linear(25, 3))


def value(objective, params, state, **settings):
    loss, (_, measured) = jax.jit(partial(objective, **settings))(params, state, BATCH)
    return float(loss), float(measured["accuracy"].value())


def test_only_training_is_augmented():
    plain = train.classification(NETWORK)
    objective = train.augmented(plain, NOISE)
    params, state = NETWORK.init(jax.random.key(0))
    assert value(objective, params, state) == value(plain, params, state)
    keyed = partial(value, params=params, state=state, train=True)
    one = keyed(objective, key=jax.random.key(1))
    assert one == keyed(objective, key=jax.random.key(1))
    assert one != keyed(objective, key=jax.random.key(2))
    assert one != keyed(plain, key=jax.random.key(1))
    with pytest.raises(ValueError, match=r"augmented: training needs a key: objective\(…, key=key"):
        objective(params, state, BATCH, train=True)


def test_the_layers_own_randomness_does_not_change():
    params, state = NETWORK.init(jax.random.key(0))
    plain = train.classification(NETWORK)
    nothing = train.augmented(plain, lambda key, batch: batch)
    keyed = partial(value, params=params, state=state, train=True)
    assert keyed(nothing, key=jax.random.key(1)) == keyed(plain, key=jax.random.key(1))


def test_mixed_targets_are_learned_and_measured():
    """Of soft targets t the accuracy is the mean share t of the class that is predicted."""
    layer = nn.serial(nn.flatten, nn.linear(25, 3))
    params, state = layer.init(jax.random.key(0))
    seen = {}

    def remember(key, batch):
        seen.update(jax.jit(MIXUP)(key, batch))
        return dict(seen)

    objective = train.augmented(train.classification(layer), remember)
    loss, (_, measured) = objective(params, state, BATCH, key=jax.random.key(1), train=True)
    logits = np.asarray(layer.apply(params, state, seen["x"])[0], np.float64)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    targets = np.asarray(seen["y"], np.float64)
    assert float(loss) == pytest.approx(-(targets * log_p).sum(1).mean(), rel=1e-5)
    expected = targets[np.arange(8), logits.argmax(1)].mean()
    assert float(measured["accuracy"].value()) == pytest.approx(expected, rel=1e-5)


def test_each_step_sees_something_else():
    layer = nn.serial(nn.flatten, nn.linear(25, 3))
    step = train.make_step(train.augmented(train.classification(layer), NOISE), optim.sgd(0.0))
    state = train.train_state(layer, step.optimizer)
    losses = []
    for _ in range(3):
        state, measured = jax.jit(step)(state, BATCH)
        losses.append(float(measured["loss"].value()))
    assert len(set(losses)) == 3
