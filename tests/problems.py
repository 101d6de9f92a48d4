"""Small problems that the tests of training share."""

from __future__ import annotations

import functools

import numpy as np

from dlcore import functional as F
from dlcore import nn, optim, train


def make_blobs(n=96, features=4, classes=3, seed=0):
    """Classes around random centres, apart from one another but not quite."""
    generator = np.random.default_rng(seed)
    centres = 3 * np.random.default_rng(7).normal(size=(classes, features))
    y = generator.integers(0, classes, n)
    x = centres[y] + generator.normal(size=(n, features))
    return {"x": x.astype(np.float32), "y": y.astype(np.int32)}


def make_network(features=4, classes=3):
    """A network with all that carries state or randomness."""
    return nn.serial(
        nn.linear(features, 16, bias=False),  # batch norm would undo it
        nn.batch_norm(16),
        F.relu,
        nn.dropout(0.3),
        nn.linear(16, classes),
    )


def make_problem(layer=None, optimizer=None, seed=0):
    """(step, state) for a classification of blobs; always one step, so that it compiles once."""
    layer, optimizer = layer or NETWORK(), optimizer or ADAM()
    return STEP(layer, optimizer), train.train_state(layer, optimizer, seed=seed)


NETWORK = functools.cache(make_network)
ADAM = functools.cache(lambda: optim.adam(1e-2))
STEP = functools.cache(
    lambda layer, optimizer: train.make_step(train.classification(layer), optimizer)
)
