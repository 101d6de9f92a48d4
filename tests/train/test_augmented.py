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
    "y": jnp.asarray(GENERATOR.integers(0, 3, 8).astype(np.int32)),
}
NOISE = augment.inputs(partial(augment.images.random_noise, std=0.2))
MIXUP = partial(augment.mixup, alpha=1.0, classes=3)
NETWORK = nn.serial(nn.flatten, nn.dropout(0.3), nn.linear(25, 3))


@partial(jax.jit, static_argnames=("objective", "train"))
def measured_by(objective, params, state, key, train):
    loss, (_, measured) = objective(params, state, BATCH, key=key, train=train)
    return loss, measured["accuracy"].value()


def value(objective, params, state, key=None, train=False):
    return jax.tree.map(float, measured_by(objective, params, state, key, train))


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
        seen.update(MIXUP(key, batch))
        return dict(seen)

    objective = train.augmented(train.classification(layer), remember)

    @jax.jit
    def trained_on(key):
        loss, (_, measured) = objective(params, state, BATCH, key=key, train=True)
        return loss, measured["accuracy"].value(), seen

    loss, accuracy, seen = trained_on(jax.random.key(1))
    kernel, bias = (np.asarray(params["linear1"][name], np.float64) for name in ("kernel", "bias"))
    logits = np.asarray(seen["x"], np.float64).reshape(8, 25) @ kernel + bias
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    targets = np.asarray(seen["y"], np.float64)
    assert float(loss) == pytest.approx(-(targets * log_p).sum(1).mean(), rel=1e-5)
    expected = targets[np.arange(8), logits.argmax(1)].mean()
    assert float(accuracy) == pytest.approx(expected, rel=1e-5)


def test_each_step_sees_something_else():
    layer = nn.serial(nn.flatten, nn.linear(25, 3))
    step = train.make_step(train.augmented(train.classification(layer), NOISE), optim.sgd(0.0))
    state = train.train_state(layer, step.optimizer)
    losses = []
    for _ in range(3):
        state, measured = jax.jit(step)(state, BATCH)
        losses.append(float(measured["loss"].value()))
    assert len(set(losses)) == 3
