"""One rate for all weights leaves rare words unlearned; Adagrad and RMSProp give each its own.

Logistic regression on bags of words: is a sentence of a film review an opinion or part of the plot?
Each optimizer has the learning rate of least validation loss. A word is rare if at most 5 training
sentences have it. Then sentences are judged by their rare words alone, all others set to 0.

Lecture A: one rate for all weights, where rarely active neurons might want a larger one; Duchi et
al. 2011. Lecture A has "updated frequently", but what counts is the size of the recent gradients.
Sentences: subjectivity v1.0 (Pang and Lee 2004).
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcore import data, nn, optim, search, train
from experiments.choice import at_least
from experiments.descent._rates import at_best_rate
from experiments.frame import Claim, DataConfig, Figure, Result, Table

OWN = ("Adagrad", "RMSProp")
CLAIMS = (
    *(
        Claim(f"mean |w| of rare words / frequent: {name} / gradient descent", "> 1", "lecture A")
        for name in OWN
    ),
    *(
        Claim(f"accuracy by rare words alone: {name} − gradient descent", "> 0", "lecture A")
        for name in OWN
    ),
)
# From a sum of 0, as Duchi et al.: gradients of single words are near 0.01, and the default of 0.1
# would drown their squares.
ADAGRAD = functools.partial(optim.adagrad, initial_accumulator_value=0.0)
OPTIMIZERS: dict[str, tuple[Any, tuple[float, ...]]] = {
    "gradient descent": (optim.sgd, (0.1, 0.3, 1.0, 3.0, 10.0)),
    "Adagrad": (ADAGRAD, (0.03, 0.1, 0.3, 1.0, 3.0)),
    "RMSProp": (optim.rmsprop, (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)),
}
RARE = 5  # training sentences that have a rare word, at most
EDGES = (RARE + 1, 21, 101)  # of the kinds of words, by how many training sentences have them
KINDS = (f"2 … {RARE}", f"{RARE + 1} … 20", "21 … 100", "more")
PARTS = {"train": 0.5, "validation": 0.1, "test": 0.4}


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    sentences: int = 8_000
    """Half to learn, a tenth to choose rates by, the others for the test."""
    epochs: int = 10
    """Passes over them, in batches of 50."""
    seeds: int = 3
    """Runs at each rate; figures are means."""

    def __post_init__(self) -> None:
        at_least(200, sentences=self.sentences)
        at_least(1, epochs=self.epochs, seeds=self.seeds)


SMOKE = Config(sentences=200, epochs=1, seeds=1)


class Score(NamedTuple):
    """An optimizer at the rate chosen, as means over the seeds."""

    rate: float
    accuracy: float
    by_rare_words: float
    weights: dict[str, float]  # mean |w|, by how many training sentences have the word


class Bags(NamedTuple):
    """Sentences as 0 and 1 for each word [N, words], in three parts; the words' counts."""

    parts: dict[str, dict[str, np.ndarray]]
    counts: np.ndarray


class Measured(NamedTuple):
    """The score of each optimizer, and how many words there are."""

    scores: dict[str, Score]
    words: int


def run(config: Config) -> Measured:
    """Learns the sentences with each optimizer."""
    bags = bags_of_words(*sentences(config.root), config.sentences)
    layer = nn.linear(len(bags.counts), 1)
    objective = train.binary_classification(layer)

    def build(arm: dict[str, Any]) -> Any:
        return layer, objective, OPTIMIZERS[arm["optimizer"]][0](arm["learning_rate"])

    arms = [
        {"optimizer": name, "learning_rate": rate, "seed": seed}
        for name, (_, rates) in OPTIMIZERS.items()
        for rate in rates
        for seed in range(config.seeds)
    ]
    found = search.sweep(
        build,
        arms,
        bags.parts["train"],
        epochs=config.epochs,
        batch_size=min(50, len(bags.parts["train"]["y"])),
        validation=bags.parts["validation"],
    )
    test = bags.parts["test"]
    rare = bags.counts <= RARE
    has_one = test["x"][:, rare].any(axis=1)
    judged = {"x": np.where(rare, test["x"], 0)[has_one], "y": test["y"][has_one]}
    kinds = np.digitize(bags.counts, [0, *EDGES]) - 1

    def score(name: str) -> Score:
        trials = at_best_rate(found, optimizer=name)
        states = [one.state for one in trials if one.state is not None]
        kernels = np.abs([state.params["kernel"][:, 0] for state in states]).mean(axis=0)

        def accuracy(part: dict[str, np.ndarray]) -> float:
            return float(
                np.mean([train.evaluate(objective, s.params, (), part)["accuracy"] for s in states])
            )

        return Score(
            rate=trials[0].configuration["learning_rate"],
            accuracy=accuracy(test),
            by_rare_words=accuracy(judged),
            weights={KINDS[k]: float(kernels[kinds == k].mean()) for k in np.unique(kinds)},
        )

    return Measured({name: score(name) for name in OPTIMIZERS}, len(bags.counts))


def figures(result: Result[Measured]) -> list[float]:
    """What a rate for each weight brings."""
    scores = result.measured.scores
    plain = scores["gradient descent"]
    return [
        *(evenness(scores[name]) / evenness(plain) for name in OWN),
        *(scores[name].by_rare_words - plain.by_rare_words for name in OWN),
    ]


def table(result: Result[Measured]) -> Table:
    """A line for each optimizer."""
    yield "optimizer", "rate", "test accuracy", "by rare words", "|w| rare / frequent"
    for name, one in result.measured.scores.items():
        shares = (f"{one.accuracy:.3f}", f"{one.by_rare_words:.3f}")
        yield name, f"{one.rate:g}", *shares, f"{evenness(one):.3f}"


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """The weights by how frequent a word is, and the accuracies."""
    from dlcore import plot

    scores = result.measured.scores
    weights = {
        kind: {name: one.weights[kind] / frequent(one.weights) for name, one in scores.items()}
        for kind in next(iter(scores.values())).weights
    }
    accuracies = {
        "all words": {name: one.accuracy for name, one in scores.items()},
        "rare words alone": {name: one.by_rare_words for name, one in scores.items()},
    }
    return {
        "weights": plot.bars(
            weights,
            title="Weights, by training sentences that have the word",
            y="|w| / frequent |w|",
        ),
        "accuracy": plot.bars(accuracies, title="Test accuracy", y="accuracy", percent=True),
    }


def sentences(root: Path | None) -> tuple[list[str], np.ndarray]:
    """The sentences and their labels, 1 for an opinion, in an order drawn once."""
    texts, labels = data.load("subjectivity", root).pooled()
    order = np.random.default_rng(0).permutation(len(texts))
    return [texts[k] for k in order], labels[order]


def bags_of_words(texts: list[str], labels: np.ndarray, count: int) -> Bags:
    """Every word that at least two training sentences have; of the first `count` sentences."""
    bags = [set(re.findall(r"[a-z']+", text.lower())) for text in texts[:count]]
    bounds = np.round(np.cumsum([0.0, *PARTS.values()]) * len(bags)).astype(int)
    counts = collections.Counter(word for bag in bags[: bounds[1]] for word in bag)
    words = sorted(word for word, number in counts.items() if number >= 2)
    places = {word: k for k, word in enumerate(words)}
    x = np.zeros((len(bags), len(words)), np.float32)
    for row, bag in zip(x, bags, strict=True):
        row[[places[word] for word in bag if word in places]] = 1
    parts = {
        name: {"x": x[low:high], "y": labels[low:high]}
        for name, low, high in zip(PARTS, bounds, bounds[1:], strict=False)
    }
    return Bags(parts, np.array([counts[word] for word in words]))


def evenness(score: Score) -> float:
    """The mean |w| of rare words over that of the most frequent."""
    return next(iter(score.weights.values())) / frequent(score.weights)


def frequent(weights: dict[str, float]) -> float:
    """The mean |w| of the most frequent words."""
    return list(weights.values())[-1]
