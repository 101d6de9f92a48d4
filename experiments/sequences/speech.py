"""A recurrent network understands digits of a speaker it never heard, better than their mean sound.

Each of the six speakers of the Free Spoken Digit Dataset is held out in turn: the networks learn
the other five alone. A bidirectional GRU reads mel bands step by step, and the mean of its outputs
over the real steps is classified; without and with augmentation, in which the voice is higher or
lower (bands move), and bands and times are taken out. Beside it logistic regressions on the mean
and deviation of each band over time, which is to say on the mean sound without its order, and on
the sound in ten stretches of equal length.

Settings and claims are from theo held out, on other seeds; measured are means over all six. One
speaker was too few to choose by: theo is the easiest to understand, and what helped there,
augmentation, does not on the mean. Without each band's mean over the recording (centring, against
other microphones) the speakers change places, and the means stay as they are.

Lectures A and B: recurrent networks. Park et al. 2019 (SpecAugment); Jaitly and Hinton 2013.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore import data, nn, optim, train
from dlcore.data import fsdd
from dlcore.data.augment import audio
from experiments._learning import accuracy, learn
from experiments.choice import at_least, one_of
from experiments.frame import Claim, DataConfig, Figure, Result, Table

LECTURES = "lectures A, B"
CLAIMS = (
    Claim("accuracy, mean of speakers: GRU, augmented − mean sound", "> 0.1", LECTURES),
    Claim("accuracy, mean of speakers: GRU, augmented − ten stretches", "> 0", LECTURES),
    Claim("accuracy, mean of speakers: GRU, augmented − as they are", "> 0", "Park et al. 2019"),
    Claim("accuracy, mean of speakers: GRU, augmented", "≥ 0.8", "tried"),
)
METHODS = ("mean sound", "ten stretches", "GRU", "GRU, augmented")
STRETCHES = 10
HIGHER, BANDS_OUT, STEPS_OUT = 3, 6, 6  # at most: bands up or down, and what is taken out


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """Who is held out, and how much is learned."""

    speakers: tuple[str, ...] = fsdd.SPEAKERS
    """Who is held out, one after another."""
    steps: int = 48
    """Steps of 16 ms that are heard of each recording."""
    hidden: int = 48
    """Units of the GRU in each direction."""
    updates: int = 400
    """Updates of each network, with batches of 64."""
    seed: int = 0
    """Of the networks, their batches and augmentation."""

    def __post_init__(self) -> None:
        at_least(STRETCHES, steps=self.steps)
        at_least(1, hidden=self.hidden, updates=self.updates, speakers=len(self.speakers))
        at_least(0, seed=self.seed)
        for name in self.speakers:
            one_of("speaker", name, fsdd.SPEAKERS)


SMOKE = Config(speakers=("theo",), steps=10, hidden=4, updates=1)


class Speaker(NamedTuple):
    """Someone held out: the accuracy of each method on all that they say."""

    name: str
    accuracy: dict[str, float]


def run(config: Config) -> list[Speaker]:
    """Holds out one speaker after another."""
    sequences = data.fsdd_sequences(config.root, config.steps)
    layer = network(sequences["x"].shape[-1], config.hidden)
    plain = train.classification(layer)
    objectives = {"GRU": plain, "GRU, augmented": train.augmented(plain, altered)}
    optimizer = optax.chain(
        optim.clip_by_global_norm(1.0),
        optim.adam(optim.warmup_cosine(5e-3, config.updates, warmup_steps=config.updates // 10)),
    )

    def measure(name: str) -> Speaker:
        learned, heldout = parted(sequences, fsdd.SPEAKERS.index(name))
        measured = {
            "mean sound": linear(learned, heldout, mean_sound),
            "ten stretches": linear(learned, heldout, stretches),
        }
        for method, objective in objectives.items():
            how: dict[str, Any] = {"batch_size": 64, "seed": config.seed, "objective": objective}
            result = learn(layer, learned, optimizer, config.updates, **how)
            measured[method] = accuracy(layer, result, heldout)
        return Speaker(name, measured)

    return [measure(name) for name in config.speakers]


def figures(result: Result[list[Speaker]]) -> list[float]:
    """The augmented GRU beside the others."""
    mean = means(result.measured)
    best = mean["GRU, augmented"]
    return [*(best - mean[other] for other in METHODS[:3]), best]


def means(speakers: list[Speaker]) -> dict[str, float]:
    """The mean accuracy of each method."""
    return {
        method: float(np.mean([speaker.accuracy[method] for speaker in speakers]))
        for method in METHODS
    }


def table(result: Result[list[Speaker]]) -> dict[str, Table]:
    """A line for each speaker."""
    every = [*result.measured, Speaker("mean", means(result.measured))]
    lines = [(one.name, *(f"{one.accuracy[method]:.3f}" for method in METHODS)) for one in every]
    return {"Accuracy on a speaker never heard": [("held out", *METHODS), *lines]}


def plot(result: Result[list[Speaker]]) -> Figure:
    """Accuracy by speaker."""
    from dlcore import plot

    groups = {speaker.name: speaker.accuracy for speaker in result.measured}
    title = "Digits of a speaker never heard"
    return plot.bars(groups, title=title, y="accuracy", percent=True)


def parted(sequences: data.Arrays, who: int) -> tuple[data.Arrays, data.Arrays]:
    """What the others say, and what this speaker says; x standardised as the others' real steps."""
    is_other = sequences["speaker"] != who
    heard = sequences["x"][is_other][sequences["mask"][is_other]]
    scaling = data.mean_and_std(heard)

    def part(rows: np.ndarray) -> data.Arrays:
        x = data.normalize(scaling, sequences["x"][rows])
        mask = sequences["mask"][rows]
        x = np.where(mask[..., None], x, 0).astype(np.float32)
        return {"x": x, "mask": mask, "y": sequences["y"][rows]}

    return part(is_other), part(~is_other)


def network(bands: int, hidden: int) -> nn.Layer:
    """A bidirectional GRU, the mean of its outputs over the real steps, and a linear layer."""

    def forward(parts: Any, x: jax.Array, *, key: Any, train: bool, mask: jax.Array) -> jax.Array:
        hs = parts.gru(x, mask=mask)
        total = jnp.sum(jnp.where(mask[..., None], hs, 0), axis=1)
        mean = total / jnp.sum(mask, axis=1, keepdims=True, dtype=hs.dtype)
        return parts.linear(parts.dropout(mean))

    return nn.wire(
        forward,
        gru=nn.gru(bands, hidden, bidirectional=True),
        dropout=nn.dropout(0.3),
        linear=nn.linear(2 * hidden, 10),
    )


def altered(key: jax.Array, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The batch with every voice a little higher or lower, and bands and times taken out."""

    def one(key: jax.Array, x: jax.Array) -> jax.Array:
        keys = [jax.random.fold_in(key, number) for number in range(3)]
        x = higher(x, jax.random.randint(keys[0], (), -HIGHER, HIGHER + 1))
        x = audio.random_mask(keys[1], x, axis=1, limit=BANDS_OUT)
        return audio.random_mask(keys[2], x, axis=0, limit=STEPS_OUT)

    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(batch["x"])))
    return {**batch, "x": jax.vmap(one)(keys, batch["x"])}


def higher(x: jax.Array, bands: jax.Array) -> jax.Array:
    """x [T, F] with each band's loudness `bands` higher, the last ones repeated."""
    places = jnp.clip(jnp.arange(x.shape[1]) - bands, 0, x.shape[1] - 1)
    return x[:, places]


def linear(learned: data.Arrays, heldout: data.Arrays, features: Any) -> float:
    """The accuracy of logistic regression on features of each recording."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    model.fit(features(learned), learned["y"])
    return float(model.score(features(heldout), heldout["y"]))


def mean_sound(part: data.Arrays) -> np.ndarray:
    """The mean and the deviation of each band over the real steps, [N, 2 · F]."""
    sounds = [x[mask] for x, mask in zip(part["x"], part["mask"], strict=True)]
    return np.stack([np.concatenate([x.mean(axis=0), x.std(axis=0)]) for x in sounds])


def stretches(part: data.Arrays) -> np.ndarray:
    """The bands at ten times from the first to the last real step, [N, 10 · F]."""
    lengths = part["mask"].sum(axis=1)
    places = np.round(np.linspace(0, lengths - 1, STRETCHES, axis=1)).astype(int)
    return part["x"][np.arange(len(lengths))[:, None], places].reshape(len(lengths), -1)
