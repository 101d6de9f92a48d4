"""Spelling becomes pronunciation, and attention shows which letter each sound is read from.

Words of the CMU dictionary, as letters, are turned into phonemes by an LSTM that writes what
another has read: with additive attention, with multiplicative, with none, where it sees what was
read at either end alone, and by a transformer. Scored are words that none has seen: the phoneme
error rate (the edits to the nearest right pronunciation, by its length) and the share of words that
are not right as a whole, taking the most probable phoneme each time; of additive attention also by
beam search.

Settings and claims are from the validation words, on other seeds. The picture shows words of the
test set, the first ones of its list that have as many letters as the settings say.

Lectures A to C: sequences and attention. Bahdanau et al. 2015; Luong et al. 2015; Yao and Zweig
2015, who reach 5.5 % and 23.5 % on all lengths of words with far larger networks.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from dlcore import analysis, data, generate, models, nn, optim
from dlcore import functional as F
from experiments._learning import Learned, learn
from experiments.choice import BadInput, at_least, at_most, one_of
from experiments.frame import Claim, DataConfig, Figure, Result, Table

BAHDANAU = "Bahdanau et al. 2015"
CLAIMS = (
    Claim("phoneme error rate: additive attention", "≤ 0.11", "tried: 0.0955"),
    Claim("phoneme error rate: no attention − additive", "> 0", BAHDANAU),
    Claim("phoneme error rate: multiplicative − additive", "0 ± 0.02", "Luong et al. 2015"),
    Claim("rank correlation of step and place looked at, mean of words", "> 0.9", BAHDANAU),
    Claim("word error rate: greedy − the best of beams", "> 0", "Sutskever et al. 2014"),
)
METHODS = ("additive", "multiplicative", "no attention", "transformer")
START, END = 1, 2
RATE = {"transformer": 3e-3}  # of Adam, at most; else 6e-3


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned, and of which words."""

    networks: tuple[str, ...] = METHODS
    """That are compared."""
    updates: int = 1_500
    """Of each network, with batches of 128 words."""
    letters: int = 12
    """That a word has at most; longer ones, and more phonemes, are left out."""
    hidden: int = 96
    """Units of the LSTMs, and features of the transformer."""
    words: int = 5_545
    """Of the test set, of which the error rates are, at most; all of 12 letters by default."""
    beams: int = 4
    """That are followed."""
    seed: int = 0
    """Of the networks and their batches."""

    def __post_init__(self) -> None:
        at_least(1, updates=self.updates, words=self.words, beams=self.beams)
        at_least(3, letters=self.letters)
        at_most(20, letters=self.letters)
        at_least(4, hidden=self.hidden)
        for name in self.networks:
            one_of("network", name, METHODS)
        if "additive" not in self.networks:
            raise BadInput("networks needs additive, which the others are compared with")
        at_least(0, seed=self.seed)


SMOKE = Config(networks=("additive",), updates=1, letters=4, hidden=4, words=8, beams=2)


class Score(NamedTuple):
    """What is wrong: of phonemes, and of words."""

    phonemes: float
    words: float


class Looked(NamedTuple):
    """A word, what was written for it, and where each step looked, [T, S]."""

    word: str
    said: list[str]
    weights: np.ndarray


class Measured(NamedTuple):
    """The error rates by method, and what additive attention looked at."""

    scores: dict[str, Score]
    correlation: float
    looked: list[Looked]


def run(config: Config) -> Measured:
    """Trains each network, and has each write the words of the test set."""
    spoken = data.load("pronunciation", config.root)
    learned, _ = short(spoken, "train", config)
    test, words = short(spoken, "test", config)
    test = {name: leaf[: config.words] for name, leaf in test.items()}
    right = [spoken.said[word] for word in words[: config.words]]
    scores, correlation, looked = {}, float("nan"), []
    for method, layer in networks(spoken, config).items():
        result = trained(layer, learned, config, RATE.get(method, 6e-3))
        written = {method: greedy(layer, result, test)}
        if method == "additive":
            written["additive, beams"] = searched(layer, result, test, config.beams)
            sights = sights_of(layer, result, spoken, test, words, written[method])
            several = [sight.weights for sight in sights if len(sight.said) > 1]
            correlation = float(np.mean([monotony(weights) for weights in several]))
            looked = [sight for sight in sights if len(sight.word) == config.letters - 2][:6]
        for name, tokens in written.items():
            said = [spoken.phonemes.decode(one) for one in tokens]
            scores[name] = scored(said, right)
    return Measured(scores, correlation, looked or sights[:6])


def figures(result: Result[Measured]) -> list[float | None]:
    """The differences claimed."""
    scores = result.measured.scores
    best = scores["additive"]

    def behind(name: str) -> float | None:
        return scores[name].phonemes - best.phonemes if name in scores else None

    return [
        best.phonemes,
        behind("no attention"),
        behind("multiplicative"),
        result.measured.correlation,
        best.words - scores["additive, beams"].words,
    ]


def table(result: Result[Measured]) -> dict[str, Table]:
    """A line for each method, and what was written for the words of the picture."""
    rates = [
        (name, f"{one.phonemes:.4f}", f"{one.words:.4f}")
        for name, one in result.measured.scores.items()
    ]
    said = [(one.word, " ".join(one.said)) for one in result.measured.looked]
    return {
        "Words never seen": [("", "phoneme error rate", "word error rate"), *rates],
        "As written by additive attention": [("word", "phonemes"), *said],
    }


def plot(result: Result[Measured]) -> Figure:
    """Where each phoneme looked, for some words."""
    from dlcore import plot

    pictures = [
        plot.Alignment(one.weights, [*one.word], [*one.said, "end"][: len(one.weights)])
        for one in result.measured.looked
    ]
    title = "Which letters each phoneme is read from"
    return plot.alignments(*pictures, title=title, x="read", y="written")


def short(spoken: data.Pronunciations, split: str, config: Config) -> tuple[data.Arrays, list[str]]:
    """The examples of a split that are short enough, cut to that length, and their words."""
    arrays = getattr(spoken, split)
    fits = (arrays["source_mask"].sum(1) <= config.letters) & (
        arrays["mask"].sum(1) <= config.letters + 1
    )
    cut = {
        name: leaf[fits][:, : config.letters + (not name.startswith("source"))]
        for name, leaf in arrays.items()
    }
    words = [word for word, one in zip(spoken.words[split], fits, strict=True) if one]
    return cut, words


def networks(spoken: data.Pronunciations, config: Config) -> dict[str, nn.Layer]:
    """The network of each method."""
    sizes = len(spoken.letters), len(spoken.phonemes)
    recurrent = {"additive": "additive", "multiplicative": "multiplicative", "no attention": None}
    layers = {
        name: models.seq2seq(*sizes, 64, config.hidden, attention=attention)
        for name, attention in recurrent.items()
    }
    context = config.letters + 2
    layers["transformer"] = models.transformer(*sizes, context, features=config.hidden, heads=4)
    return {name: layers[name] for name in config.networks}


def trained(layer: nn.Layer, learned: data.Arrays, config: Config, highest: float) -> Learned:
    """A network after all updates; the rate falls by a cosine."""
    warmup = config.updates // 20
    rate = optim.warmup_cosine(highest, config.updates, warmup_steps=warmup)
    optimizer = optax.chain(optim.clip_by_global_norm(1.0), optim.adam(rate))
    how: dict[str, Any] = {"batch_size": 128, "seed": config.seed, "every": config.updates}
    return learn(layer, learned, optimizer, config.updates, **how)


def greedy(layer: nn.Layer, result: Learned, test: data.Arrays) -> list[np.ndarray]:
    """The most probable phoneme each time, until the end."""
    decoder, params, state, side = encoded(layer, result, test)
    start, steps = begin(test)
    found = generate.sample(decoder, params, state, start, steps, temperature=0, stop=END, **side)
    return [ended(row[:n]) for row, n in zip(found.tokens, found.lengths, strict=True)]


def searched(layer: nn.Layer, result: Learned, test: data.Arrays, beams: int) -> list[np.ndarray]:
    """The best sequence that beam search finds."""
    decoder, params, state, side = encoded(layer, result, test)
    start, steps = begin(test)
    found = generate.beam_search(
        decoder, params, state, start, steps, beams=beams, stop=END, **side
    )
    return [ended(row[0][: n[0]]) for row, n in zip(found.tokens, found.lengths, strict=True)]


def encoded(layer: nn.Layer, result: Learned, test: data.Arrays) -> models.Encoded:
    """The words, read."""
    return models.encode(layer, result.params, result.state, test["source"], test["source_mask"])


def begin(test: data.Arrays) -> tuple[np.ndarray, int]:
    """The start token of each word, and how many may follow it."""
    count, steps = test["x"].shape
    return np.full((count, 1), START, np.int32), steps


def ended(tokens: np.ndarray) -> np.ndarray:
    """What stands before the end."""
    return tokens[tokens != END]


def scored(said: list[list[str]], right: list[Any]) -> Score:
    """The error rates."""
    wrong = [tuple(one) not in ways for one, ways in zip(said, right, strict=True)]
    return Score(F.error_rate(said, right), float(np.mean(wrong)))


def sights_of(
    layer: nn.Layer,
    result: Learned,
    spoken: data.Pronunciations,
    test: data.Arrays,
    words: list[str],
    written: list[np.ndarray],
    count: int = 500,
) -> list[Looked]:
    """Where the steps of the first words looked while they wrote what they did, the end too."""
    written = written[:count]
    x = np.zeros((len(written), test["x"].shape[1] + 1), np.int32)
    x[:, 0] = START
    for row, tokens in zip(x, written, strict=True):
        row[1 : 1 + len(tokens)] = tokens
    side = {name: test[name][: len(written)] for name in ("source", "source_mask")}

    @jax.jit
    def looked_at(params: Any, state: Any) -> jax.Array:
        _, calls = nn.observed(layer.apply, params, state, x, **side)
        return analysis.attention_weights(calls["decoder/attention"])[:, 0]

    weights = np.asarray(looked_at(result.params, result.state))
    return [
        Looked(word, spoken.phonemes.decode(tokens), own[: len(tokens) + 1, : len(word)])
        for word, tokens, own in zip(words, written, weights, strict=False)
    ]


def monotony(weights: np.ndarray) -> float:
    """The rank correlation of the steps and the places that they look at on the mean."""
    from scipy.stats import spearmanr

    places = weights @ np.arange(weights.shape[1])
    return float(spearmanr(np.arange(len(places)), places).statistic)
