"""Ten times as many sentences, by synonyms and deletions, help to tell praise from blame.

A small network on bags of words learns whether a sentence of a film review is positive, from a few
hundred labels; or from these sentences and nine altered forms of each: words replaced by synonyms,
synonyms inserted, words deleted, or each of the three in turn. (Words exchanged make the same bag.)
Synonyms are the nearest words by vectors that are made from the training sentences without their
labels, out of which words occur together; or come from a thesaurus in the format of MyThes, such as
Debian's mythes-en-us, where one is given. Every seed has other labelled sentences.

Lecture E: augmentation of text by synonyms, from a real thesaurus. Wei and Zou 2019, with recurrent
and convolutional networks; Deerwester et al. 1990 for the vectors; data: Pang and Lee 2005.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore import data, models, optim
from dlcore.data.augment import text
from experiments._learning import accuracy, learn
from experiments.choice import at_least, at_most
from experiments.frame import Claim, DataConfig, Figure, Result, Table

PAPER = "Wei and Zou 2019"
SOURCES = {
    "synonyms": "lecture E",
    "insertion": PAPER,
    "deletion": PAPER,
    "all three": f"{PAPER}: about 0.03 with 500 labels",
    "synonyms, thesaurus": "lecture E",
}
CLAIMS = tuple(
    Claim(f"{way}: test accuracy, ten times as many − as they are", "> 0", source)
    for way, source in SOURCES.items()
)
TIMES = 10
RATE = 0.1  # the share of the words that is changed
FREQUENT = 100  # the most frequent words and signs, which are not replaced

Sentences = list[list[str]]


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    labels: int = 200
    """Sentences with labels to learn from."""
    test_sentences: int = 2_000
    """Sentences to test on; all others are there without labels."""
    words: int = 5_000
    """The most frequent words are those that the bag knows."""
    updates: int = 400
    """Updates of every network, with batches of 50."""
    seeds: int = 5
    """Each arm learns from so many sets of labelled sentences; accuracies are means."""
    thesaurus: Path | None = None
    """A file of synonyms, th_en_US_v2.dat or the like, for one more arm."""

    def __post_init__(self) -> None:
        at_least(2, labels=self.labels, test_sentences=self.test_sentences, words=self.words)
        at_least(1, updates=self.updates, seeds=self.seeds)


SMOKE = Config(labels=8, test_sentences=20, words=50, updates=2, seeds=1)


class Score(NamedTuple):
    """The test accuracies of one arm, and one sentence as it became."""

    arm: str
    accuracies: list[float]
    example: str

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return float(np.mean(self.accuracies))


def run(config: Config) -> list[Score]:
    """Trains every arm from every seed, that without augmentation first."""
    texts, labels = data.load("sentence_polarity", config.root).pooled()
    sentences = [one.split() for one in texts]
    order = np.random.default_rng(0).permutation(len(labels))
    test, rest = np.split(order, [min(config.test_sentences, len(labels) // 2)])
    at_most(len(rest), labels=config.labels)
    counted = Counter(word for i in rest for word in sentences[i])
    vocabulary = [word for word, _ in counted.most_common(config.words)]
    arms = ways([sentences[i] for i in rest], vocabulary, config.thesaurus)
    held_out = examples([sentences[i] for i in test], labels[test], vocabulary)
    layer = models.mlp(len(vocabulary), [32], dropout=0)
    optimizer = optim.adam(1e-3)
    scores = []
    for arm, augmentations in arms.items():
        accuracies = []
        for seed in range(config.seeds):
            rows = np.random.default_rng(seed).permutation(rest)[: config.labels]
            seen = enlarged([sentences[i] for i in rows], augmentations, seed)
            bags = examples(seen, np.tile(labels[rows], TIMES), vocabulary)
            trained = learn(layer, bags, optimizer, config.updates, batch_size=50, seed=seed)
            accuracies.append(accuracy(layer, trained, held_out))
        scores.append(Score(arm, accuracies, " ".join(seen[config.labels])))
    return scores


def figures(result: Result[list[Score]]) -> list[float | None]:
    """What each way brings."""
    means = {score.arm: score.mean for score in result.measured}
    return [means[way] - means["none"] if way in means else None for way in SOURCES]


def table(result: Result[list[Score]]) -> dict[str, Table]:
    """A line for each arm."""
    lines = [
        (score.arm, f"{score.mean:.2%}", f"{np.std(score.accuracies):.2%}", score.example)
        for score in result.measured
    ]
    title = f"{result.config.labels:,} labelled sentences"
    return {title: [("arm", "test accuracy", "±", "a sentence"), *lines]}


def plot(result: Result[list[Score]]) -> Figure:
    """The accuracies."""
    from dlcore import plot

    return plot.bars(
        {f"{result.config.labels:,} labels": {score.arm: score.mean for score in result.measured}},
        title="Praise or blame, by augmentation",
        y="test accuracy",
        percent=True,
    )


Augmentation = Callable[[Any, Any], list[str]]


def ways(
    sentences: Sentences, vocabulary: list[str], path: Path | None
) -> dict[str, list[Augmentation]]:
    """What is done in each arm, in turn."""
    near = synonyms_by_use(sentences, vocabulary)
    stop_words = frozenset(vocabulary[:FREQUENT])
    replaced = functools.partial(text.random_synonyms, rate=RATE, stop_words=stop_words)
    inserted = functools.partial(text.random_insertion, rate=RATE, stop_words=stop_words)
    replaced_near = functools.partial(replaced, thesaurus=near)
    inserted_near = functools.partial(inserted, thesaurus=near)
    deleted = functools.partial(text.random_deletion, rate=RATE)
    arms: dict[str, list[Augmentation]] = {
        "none": [lambda key, words: list(words)],
        "synonyms": [replaced_near],
        "insertion": [inserted_near],
        "deletion": [deleted],
        "all three": [replaced_near, inserted_near, deleted],
    }
    if path is not None:
        written = functools.partial(replaced, thesaurus=text.read_mythes(path))
        arms["synonyms, thesaurus"] = [written]
    return arms


def synonyms_by_use(sentences: Sentences, vocabulary: list[str]) -> dict[str, tuple[str, ...]]:
    """For every word the five that occur with the same words, by 50 singular vectors or fewer.

    Of max(0, log p(v, w) / p(v)p(w)), the positive mutual information (Levy and Goldberg 2014).
    """
    from sklearn.decomposition import TruncatedSVD

    bags = sparse_bags(sentences, vocabulary)
    together = (bags.T @ bags).tocoo()
    frequency = np.maximum(bags.sum(0), 1)
    by_chance = frequency[together.row] * frequency[together.col] / len(sentences)
    others = together.row != together.col  # what a word occurs with, itself not counted
    together.data = others * np.maximum(np.log(together.data / by_chance), 0)
    components = min(50, len(vocabulary) - 1)
    vectors = TruncatedSVD(components, random_state=0).fit_transform(together)
    return text.nearest_words(vocabulary, vectors + 1e-9, min(5, len(vocabulary) - 1))


def sparse_bags(sentences: Sentences, vocabulary: list[str]) -> Any:
    """Which words are in which sentence: a sparse matrix [N, V] of 0 and 1."""
    from scipy.sparse import csr_array

    place = {word: i for i, word in enumerate(vocabulary)}
    found = [sorted({place[word] for word in words if word in place}) for words in sentences]
    columns = np.array([i for one in found for i in one], np.int32)
    starts = np.cumsum([0, *map(len, found)], dtype=np.int32)
    ones = np.ones(len(columns), np.float32)
    return csr_array((ones, columns, starts), shape=(len(sentences), len(vocabulary)))


def examples(
    sentences: Sentences, labels: np.ndarray, vocabulary: list[str]
) -> dict[str, np.ndarray]:
    """x float32 [N, V], 1 where the word is in the sentence, and y."""
    return {"x": sparse_bags(sentences, vocabulary).toarray(), "y": labels}


def enlarged(sentences: Sentences, augmentations: Sequence[Augmentation], seed: int) -> Sentences:
    """The sentences, and nine more forms of each, by the augmentations in turn."""
    seen = list(sentences)
    for copy in range(TIMES - 1):
        augmentation = text.each(augmentations[copy % len(augmentations)])
        seen += augmentation(jax.random.fold_in(jax.random.key(seed), copy), sentences)
    return seen
