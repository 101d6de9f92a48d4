"""scikit-learn: MLPClassifier.partial_fit, a round of batches a call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from experiments.speed._networks import NETWORKS, Places, batches, turns

# Hidden layers, activation, classes.
MODELS: dict[str, tuple[tuple[int, ...], str, int]] = {
    "mlp": ((512, 512), "relu", 10),
    "playground": ((8, 8), "tanh", 2),
}


def ready(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The batches in one array, which it cuts itself."""
    xs, ys = zip(*batches(folder), strict=True)
    return np.concatenate(xs), np.concatenate(ys)


def start(name: str, places: Places, data: Any) -> tuple[int, Iterator[Any]]:
    """The classifier; it draws weights at its first call, which are then replaced."""
    network = NETWORKS[name]
    hidden, activation, classes = MODELS[name]
    model = MLPClassifier(
        hidden,
        activation,
        solver="adam" if network.momentum is None else "sgd",
        alpha=0.0,
        batch_size=network.batch,
        learning_rate_init=network.rate,
        momentum=network.momentum or 0.0,
        nesterovs_momentum=False,
        shuffle=False,
        random_state=0,
    )

    def train(first: int, last: int, rounds: int) -> list[float]:
        rows = slice(first * network.batch, last * network.batch)
        for _ in range(rounds):
            model.partial_fit(data[0][rows], data[1][rows], classes=range(classes))
        return [model.loss_]

    train(0, 1, 1)
    del model._optimizer  # it has seen the weights that are not ours; the next call makes another
    model.coefs_, model.intercepts_ = map(list, zip(*places, strict=True))
    parameters = sum(array.size for place in places for array in place)
    return parameters, turns(train, network)
