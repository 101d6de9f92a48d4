"""Words used alike lie near each other; vectors are as good as gensim's, at a third of its cost.

Skip-grams with negative sampling from 95 English novels, by dlcore and, where it is installed, by
gensim (pip install gensim): the same words, sizes, rates and subsampling, two threads each, one
after the other from every seed. Tested on words that people have judged to be alike (WordSim-353,
MEN, SimLex-999) and on Google's analogies, none of which the vectors were learned from. A word is
what has the letters a to z, in lower case, five times at least.

CPU-seconds are those of the process over a whole training, for dlcore with subsampling and
compilation, for gensim without the counting of words. They depend on the machine and what else it
does; the ratio hardly.

Lecture B: word embeddings; lecture C: word2vec. Mikolov et al. 2013a, 2013b.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optax

from dlcore import data, models, optim, train
from dlcore.analysis import WordVectors
from experiments.choice import at_least, positive
from experiments.frame import Claim, DataConfig, Figure, Result, Table

SETS = {"wordsim353": "WordSim-353", "men": "MEN", "simlex999": "SimLex-999"}
GRAMMAR = "grammar analogies"
PEER = "gensim"
ISSUE = "dlcore's aim"
CLAIMS = (
    Claim("used alike is near: rank correlation with people on MEN", "> 0", "lecture B"),
    Claim("grammar analogies right, where chance is 0.00003", "> 0.01", "Mikolov et al. 2013a"),
    Claim("words a CPU-second, dlcore / gensim", "≥ 3", ISSUE),
    *(
        Claim(f"{name}: rank correlation, dlcore − gensim", "≥ -0.02", ISSUE)
        for name in SETS.values()
    ),
    Claim("grammar analogies right, dlcore − gensim", "≥ -0.02", ISSUE),
)
LAST_RATE = 1e-4
LENGTH, BATCH = 16, 32  # words of a stretch, stretches of an update
SENTENCE = 1_000  # words, as gensim is given them
ASKED = ("king", "london", "sea", "love", "red", "walked", "seven", "doctor")
MAP = {
    "family": "father mother brother sister husband wife son daughter uncle aunt",
    "numbers": "two three four five six seven eight ten twenty hundred",
    "colours": "red blue green white black yellow grey purple",
    "animals": "horse dog cat bird sheep cow lion pig",
    "feelings": "love hate joy sorrow anger fear pity shame",
    "speech": "said cried answered replied asked whispered exclaimed",
    "times": "morning evening night afternoon monday sunday summer winter",
    "places": "london paris england france rome italy",
}


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    words: int = 14_000_000
    """Words of the novels that are read, at most; there are 13.9 million."""
    features: int = 100
    """Numbers of a vector."""
    window: int = 5
    """Words on either side, at most."""
    negatives: int = 5
    """Words drawn for each pair."""
    passes: int = 1
    """Over the novels."""
    learning_rate: float = 0.025
    """At the beginning; it falls to 0.0001 in a straight line."""
    seeds: int = 3
    """Vectors are learned from so many; scores are means."""

    def __post_init__(self) -> None:
        at_least(1_000, words=self.words)
        at_least(1, features=self.features, window=self.window, negatives=self.negatives)
        at_least(1, passes=self.passes, seeds=self.seeds)
        positive(learning_rate=self.learning_rate)


SMOKE = Config(words=2_000, features=4, seeds=1)


class Text(NamedTuple):
    """The novels as numbers, without words that are rare, and how often each word is there."""

    vocabulary: data.Vocabulary
    novels: list[np.ndarray]
    counts: np.ndarray


class Learned(NamedTuple):
    """What one library learned from one seed: Spearman by set, (right, asked) by section."""

    library: str
    seed: int
    seconds: float  # of the CPU
    spearman: dict[str, float]
    sections: dict[str, tuple[int, int]]

    @property
    def grammar(self) -> float:
        """The share of questions of grammar that are answered right."""
        right, asked = np.sum([v for k, v in self.sections.items() if k.startswith("gram")], axis=0)
        return float(right / asked)


class Measured(NamedTuple):
    """All that was learned, and what the first seed's vectors of dlcore look like."""

    words: int
    vocabulary: int
    learned: list[Learned]
    neighbours: dict[str, list[tuple[str, float]]]
    map: dict[str, dict[str, tuple[float, float]]]

    def of(self, library: str) -> list[Learned]:
        """What a library learned."""
        return [one for one in self.learned if one.library == library]


def run(config: Config) -> Measured:
    """Learns from every seed, by each library in turn."""
    text = read(config)
    pairs = {name: data.word_pairs(name, config.root) for name in SETS}
    questions = data.analogies(config.root)
    ways: dict[str, Callable[[int], np.ndarray]] = {"dlcore": ours(text, config)}
    if importlib.util.find_spec(PEER):
        ways[PEER] = theirs(text, config)
    learned, first = [], None
    for seed in range(config.seeds):
        for library, learn in list(ways.items())[:: -1 if seed % 2 else 1]:
            began = time.process_time()
            table = learn(seed)
            seconds = time.process_time() - began
            vectors = WordVectors(text.vocabulary, table)
            first = first or vectors
            learned.append(
                Learned(
                    library,
                    seed,
                    seconds,
                    {SETS[name]: vectors.spearman(one)[0] for name, one in pairs.items()},
                    {name: vectors.analogies(one) for name, one in questions.items()},
                )
            )
    assert first is not None
    return Measured(
        int(text.counts.sum()),
        len(text.vocabulary),
        learned,
        {word: first.most_similar(word, 6) for word in ASKED if word in first},
        flattened(first),
    )


def figures(result: Result[Measured]) -> list[float | None]:
    """Means over the seeds, and what they are beside gensim's."""
    found = result.measured
    own, peer = found.of("dlcore"), found.of(PEER)
    alone = [mean(own, "MEN"), mean(own, GRAMMAR)]
    if not peer:
        return [*alone, *[None] * (len(CLAIMS) - 2)]
    speed = sum(one.seconds for one in peer) / sum(one.seconds for one in own)
    return [*alone, speed, *(mean(own, n) - mean(peer, n) for n in (*SETS.values(), GRAMMAR))]


def table(result: Result[Measured]) -> dict[str, Table]:
    """Scores, analogies by section, and neighbours."""
    found = result.measured
    libraries = [name for name in ("dlcore", PEER) if found.of(name)]
    read = found.words * result.config.passes
    scores = [
        (
            one.library,
            one.seed,
            f"{read / one.seconds:,.0f}",
            *(f"{value:.3f}" for value in one.spearman.values()),
            f"{one.grammar:.3f}",
        )
        for one in found.learned
    ]
    sections = [
        (name, asked, *(f"{share(found.of(library), name):.3f}" for library in libraries))
        for name, (_, asked) in found.learned[0].sections.items()
        if asked
    ]
    near = [
        (word, ", ".join(f"{one} {cosine:.2f}" for one, cosine in others))
        for word, others in found.neighbours.items()
    ]
    size = f"{found.words:,} words, {found.vocabulary:,} of them different"
    size += "" if found.of(PEER) else f"; {PEER} is not installed"
    return {
        f"Scores ({size})": [
            ("library", "seed", "words a CPU-second", *SETS.values(), GRAMMAR),
            *scores,
        ],
        "Analogies by section": [("section", "asked", *libraries), *sections],
        "Neighbours and their cosines": [("word", "nearest"), *near],
    }


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """The vectors of some words in two dimensions, and the scores."""
    from dlcore import plot

    found = result.measured
    scores = {
        name: {
            library: mean(found.of(library), name)
            for library in ("dlcore", PEER)
            if found.of(library)
        }
        for name in (*SETS.values(), GRAMMAR)
    }
    return {
        "map": plot.labelled(found.map, title="Words of the novels: two principal components"),
        "scores": plot.bars(scores, title="Mean over the seeds", y="correlation, or share right"),
    }


def mean(learned: list[Learned], name: str) -> float:
    """The mean score of that name."""
    scores = [one.grammar if name == GRAMMAR else one.spearman[name] for one in learned]
    return float(np.mean(scores))


def share(learned: list[Learned], section: str) -> float:
    """The share of a section that is right, over all seeds."""
    right, asked = np.sum([one.sections[section] for one in learned], axis=0)
    return float(right / asked)


def read(config: Config) -> Text:
    """The novels' words by number."""
    novels = list(opened(config.root, config.words))
    vocabulary = data.vocabulary(itertools.chain.from_iterable(novels), minimum=5)
    numbers = vocabulary.numbers
    ids = [np.array([numbers[w] for w in one if w in numbers], np.int32) for one in novels]
    return Text(vocabulary, ids, np.bincount(np.concatenate(ids), minlength=len(vocabulary)))


def opened(root: Path | None, count: int) -> Iterator[list[str]]:
    """The words of one novel after another, until there are `count`."""
    for text in data.novels(root).values():
        words = data.lower_words(text)[:count]
        count -= len(words)
        yield words


def ours(text: Text, config: Config) -> Callable[[int], np.ndarray]:
    """The function of a seed that learns by dlcore."""
    output = models.negative_sampling(text.counts, negatives=config.negatives)
    layer = models.word2vec(len(text.vocabulary), config.features)
    objective = models.skip_gram(output, window=config.window)
    expected = config.passes * (data.keep_probability(text.counts) * text.counts).sum()
    updates = max(1, round(expected / (LENGTH * BATCH)))
    step = train.row_step(objective, optim.linear(config.learning_rate, LAST_RATE, updates))

    def learn(seed: int) -> np.ndarray:
        kept = [
            data.subsample(one, text.counts, seed=seed * config.passes + number)
            for number in range(config.passes)
            for one in text.novels
        ]
        rows = data.blocks(kept, LENGTH, config.window)
        state = train.train_state(layer, optax.identity(), seed=seed)
        *_, last = train.fit(step, state, {"x": rows}, epochs=1, batch_size=min(BATCH, len(rows)))
        return np.asarray(last.state.params["input"])

    return learn


def theirs(text: Text, config: Config) -> Callable[[int], np.ndarray]:
    """The function of a seed that learns by gensim."""
    from gensim.models import Word2Vec

    tokens = text.vocabulary.tokens
    sentences = [
        [tokens[k] for k in novel[at : at + SENTENCE].tolist()]
        for novel in text.novels
        for at in range(0, len(novel), SENTENCE)
    ]
    counted = dict(zip(tokens, text.counts.tolist(), strict=True))

    def learn(seed: int) -> np.ndarray:
        settings: dict[str, Any] = {"sg": 1, "sample": 1e-3, "min_count": 1, "workers": 2}
        model = Word2Vec(
            vector_size=config.features,
            window=config.window,
            negative=config.negatives,
            alpha=config.learning_rate,
            min_alpha=LAST_RATE,
            seed=seed,
            **settings,
        )
        model.build_vocab_from_freq(counted)
        words = int(text.counts.sum())
        model.train(
            sentences, total_examples=len(sentences), total_words=words, epochs=config.passes
        )
        return np.stack([model.wv[token] for token in tokens])

    return learn


def flattened(vectors: WordVectors) -> dict[str, dict[str, tuple[float, float]]]:
    """The words of the map, by group, on the two directions in which they differ most."""
    groups = {group: [w for w in words.split() if w in vectors] for group, words in MAP.items()}
    shown = [word for words in groups.values() for word in words]
    x = vectors.directions[vectors.vocabulary.encode(shown)]
    _, _, axes = np.linalg.svd(x - x.mean(0), full_matrices=False)
    places = dict(zip(shown, ((x - x.mean(0)) @ axes[:2].T).tolist(), strict=True))
    return {
        group: {word: (places[word][0], places[word][1]) for word in words}
        for group, words in groups.items()
        if words
    }
