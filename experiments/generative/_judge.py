"""The classifier that judges drawn digits: LeNet-5, trained on real ones, kept with its hash."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import dlcore
from dlcore import analysis, data, models, nn, optim, train
from dlcore import functional as F
from dlcore.interop import weights

EPOCHS, BATCH, RATE = 5, 128, 2e-3
HEAD = "linear3"  # what lies before it are the features


class Judge(NamedTuple):
    """A classifier: what it gives of images, how right it is on real test digits, and the first
    letters of its weights' SHA-256."""

    layer: nn.Layer
    params: Any
    accuracy: float
    digest: str

    def look(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(features [N, 84], probabilities [N, 10]) of images [N, 28, 28, 1]."""
        body, head = nn.split(self.layer, HEAD)
        features = train.predict(body, nn.part(body, self.params), (), images)
        logits = train.predict(head, nn.part(head, self.params), (), features)
        return features, np.asarray(F.softmax(logits))

    def quality(
        self, real: np.ndarray, drawn: np.ndarray, wanted: np.ndarray | None = None
    ) -> analysis.Quality:
        """How drawn images compare with as many real ones."""
        features, probabilities = self.look(drawn)
        return analysis.quality(self.look(real)[0], features, probabilities, wanted)


def judge(digits: data.Dataset, images: int, epochs: int = EPOCHS) -> Judge:
    """The judge that has learned the first so many training digits; kept in the user's cache."""
    layer = models.lenet5()
    learned = {name: leaf[:images] for name, leaf in digits.train.items()}
    path = folder() / f"judge-{recipe(layer, learned, epochs)}.safetensors"
    try:
        _, params, _ = models.load(path)
    except (OSError, weights.WeightsError):  # there is none, or it is damaged
        params = trained(layer, learned, epochs)
        with contextlib.suppress(OSError):  # it can be trained again
            path.parent.mkdir(parents=True, exist_ok=True)
            models.save(path, layer, params, ())
    logits = train.predict(layer, params, (), digits.test)
    sha = hashlib.sha256()
    for leaf in params.values():
        for name in sorted(leaf):
            sha.update(np.ascontiguousarray(leaf[name]).tobytes())
    accuracy = float((logits.argmax(-1) == digits.test["y"]).mean())
    return Judge(layer, params, accuracy, sha.hexdigest()[:12])


def folder() -> Path:
    """Where judges are kept."""
    import pooch

    return Path(pooch.os_cache("dlcore")) / "judges"


def recipe(layer: nn.Layer, learned: dict[str, np.ndarray], epochs: int) -> str:
    """The first letters of the SHA-256 of what its weights follow from: this file among it."""
    sha = hashlib.sha256(Path(__file__).read_bytes())
    sha.update(f"{layer} {epochs} {dlcore.__version__} {jax.__version__}".encode())
    for name in sorted(learned):
        sha.update(np.ascontiguousarray(learned[name]).tobytes())
    return sha.hexdigest()[:12]


def trained(layer: nn.Layer, learned: dict[str, np.ndarray], epochs: int) -> Any:
    """Its parameters."""
    print("The judge of drawn digits learns real ones:")
    batch = min(BATCH, len(learned["y"]))
    updates = epochs * data.batches_per_epoch(len(learned["y"]), batch)
    optimizer = optim.adam(optim.warmup_cosine(RATE, updates, warmup_steps=updates // 20))
    step = train.make_step(train.classification(layer), optimizer)
    start = train.train_state(layer, optimizer, seed=0)
    return train.run(step, start, learned, epochs=epochs, batch_size=batch).state.params
