"""Praise or blame, and what is asked for: where the order of words counts, and where it does not.

Sentences of film reviews are told apart, praise from blame, and questions by what they ask for (a
person, a place, a number, …): by a bag of words, whose vectors are learned; by a bidirectional
LSTM; by a block of a transformer. Beside them a linear baseline, logistic regression on which words
are there, whose penalty is chosen on the validation split.

Settings and claims are from the validation splits and other seeds; measured are means over seeds on
the test splits.

Lectures A to C: recurrent networks and attention. Pang and Lee 2005; Li and Roth 2002; Wang and
Manning 2012, where linear baselines on bags are hard to beat for opinions.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import optax

from dlcore import data, models, optim
from experiments._learning import accuracy, learn
from experiments.choice import at_least, one_of
from experiments.frame import Claim, DataConfig, Figure, Result, Table

WANG = "Wang and Manning 2012"
LECTURES = "lectures A to C"
CLAIMS = (
    Claim("opinions, accuracy: LSTM", "≥ 0.75", "tried: 0.779"),
    Claim("opinions: LSTM − bag of words", "0 ± 0.03", WANG),
    Claim("questions: LSTM − bag of words", "> 0", LECTURES),
    Claim("questions: attention − bag of words", "> 0", LECTURES),
    Claim("questions: LSTM − logistic regression", "> 0", LECTURES),
)
TITLES = {"sentence_polarity": "praise or blame", "questions": "what is asked for"}
SETS = tuple(TITLES)
KINDS = ("bag", "lstm", "attention")
LINEAR = "logistic regression"
RATE = {"bag": 1e-2, "lstm": 4e-3, "attention": 3e-3}  # of Adam, at most
PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    kinds: tuple[str, ...] = KINDS
    """The networks that are compared."""
    updates: int = 500
    """Of each network, with batches of 64."""
    words: int = 40
    """That are read of a sentence; later ones are left out."""
    features: int = 64
    """Of a word, and of the networks."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the networks and their batches."""

    def __post_init__(self) -> None:
        at_least(1, updates=self.updates, words=self.words, features=self.features)
        for kind in self.kinds:
            one_of("network", kind, KINDS)


SMOKE = Config(kinds=("lstm",), updates=1, words=4, features=4, seeds=(0,))


Scores = dict[str, dict[str, list[float]]]  # test accuracies by set and method, one for each seed


def run(config: Config) -> Scores:
    """Learns each set by each method."""
    measured: Scores = {}
    for name in SETS:
        texts: Any = data.load(name, config.root)
        measured[name] = {LINEAR: [linear(texts)]}
        for kind in config.kinds:
            measured[name][kind] = [one(texts, kind, config, seed) for seed in config.seeds]
    return measured


def figures(result: Result[Scores]) -> list[float | None]:
    """The means, and their differences."""
    mean = means(result.measured)

    def ahead(name: str, one: str, other: str) -> float | None:
        of = mean[name]
        return of[one] - of[other] if {one, other} <= of.keys() else None

    return [
        mean["sentence_polarity"].get("lstm"),
        ahead("sentence_polarity", "lstm", "bag"),
        ahead("questions", "lstm", "bag"),
        ahead("questions", "attention", "bag"),
        ahead("questions", "lstm", LINEAR),
    ]


def means(measured: Scores) -> dict[str, dict[str, float]]:
    """The mean accuracies over seeds."""
    return {
        name: {method: float(np.mean(each)) for method, each in methods.items()}
        for name, methods in measured.items()
    }


def table(result: Result[Scores]) -> dict[str, Table]:
    """A line for each method of each set, with every seed."""
    seeds = tuple(f"seed {seed}" for seed in result.config.seeds)
    tables: dict[str, Table] = {}
    for name, methods in result.measured.items():
        lines = [
            (method, f"{np.mean(each):.4f}", *(f"{number:.4f}" for number in each))
            for method, each in methods.items()
        ]
        empty = ("",) * (len(seeds) - 1)
        lines[0] = (*lines[0], *empty)  # what has no seed
        tables[f"Test accuracy: {TITLES[name]}"] = [("", "mean", *seeds), *lines]
    return tables


def plot(result: Result[Scores]) -> Figure:
    """Accuracy by set and method."""
    from dlcore import plot

    groups = {TITLES[name]: scores for name, scores in means(result.measured).items()}
    return plot.bars(groups, title="Texts told apart", y="test accuracy", percent=True)


def one(texts: data.LabelledTexts, kind: str, config: Config, seed: int) -> float:
    """The accuracy of a network after all updates; the rate falls by a cosine."""
    layer = models.text_classifier(
        len(texts.words), len(texts.classes), kind=kind, features=config.features
    )
    rate = optim.warmup_cosine(RATE[kind], config.updates, warmup_steps=config.updates // 10)
    optimizer = optax.chain(optim.clip_by_global_norm(1.0), optim.adam(rate))
    learned, test = (cut(part, config.words) for part in (texts.train, texts.test))
    how: dict[str, Any] = {"batch_size": 64, "seed": seed, "every": config.updates}
    return accuracy(layer, learn(layer, learned, optimizer, config.updates, **how), test)


def cut(part: data.Arrays, words: int) -> data.Arrays:
    """The first words of each text."""
    return {name: leaf if name == "y" else leaf[:, :words] for name, leaf in part.items()}


def linear(texts: data.LabelledTexts) -> float:
    """Logistic regression on which words are there."""
    from sklearn.linear_model import LogisticRegression

    def bags(part: data.Arrays) -> Any:
        from scipy.sparse import csr_matrix

        rows, _ = np.nonzero(part["mask"])
        there = csr_matrix(
            (np.ones(len(rows), np.float32), (rows, part["x"][part["mask"]])),
            shape=(len(part["x"]), len(texts.words)),
        )
        return there.minimum(1)

    x = {split: bags(getattr(texts, split)) for split in ("train", "validation", "test")}
    fits = [
        LogisticRegression(C=penalty, max_iter=500).fit(x["train"], texts.train["y"])
        for penalty in PENALTIES
    ]
    best = max(fits, key=lambda fit: fit.score(x["validation"], texts.validation["y"]))
    return float(best.score(x["test"], texts.test["y"]))
