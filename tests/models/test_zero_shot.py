from __future__ import annotations

import jax
import numpy as np
import pytest

from dlcore import functional as F
from dlcore import models, optim, train, tree


@pytest.mark.slow
def test_it_finds_classes_without_examples_among_words():
    """Features are a bent map of the class's vector, under noise: two of eight classes are unseen.

    The unseen ones lie between the seen, as a horse does between a deer and a dog.
    """
    rng = np.random.default_rng(0)
    angles = np.arange(8) * np.pi / 4
    words = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    labels = np.repeat(np.arange(8), 40)
    kernel = rng.normal(size=(2, 10))
    x = np.tanh(words[labels] @ kernel) + 0.1 * rng.normal(size=(320, 10))
    x, unseen = x.astype(np.float32), np.isin(np.arange(8), [2, 5])
    known = ~unseen[labels]
    layer, optimizer = models.zero_shot(10, 2, hidden=20), optim.adam(1e-2)
    *_, record = train.fit(
        train.make_step(train.regression(layer), optimizer),
        train.train_state(layer, optimizer),
        {"x": x[known], "y": words[labels[known]]},
        epochs=30,
        batch_size=60,
    )
    state = record.state
    logits = F.nearness(train.predict(layer, state.params, state.state, x), words)
    found = jax.device_get(F.generalized_accuracy(logits, labels, unseen))
    assert found.seen > 0.9
    assert found.unseen > 0.6  # by chance 1/8


def test_parameters_are_those_of_the_table():
    params, _ = jax.eval_shape(models.zero_shot().init, jax.random.key(0))
    assert tree.count(params) == 51_300 + 10_100 == 61_400
