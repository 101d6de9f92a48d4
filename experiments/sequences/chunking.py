"""A CRF on a bidirectional LSTM finds chunks better than a softmax, and than a linear CRF.

CoNLL-2000: noun phrases, verb phrases and nine other kinds of chunks in the Wall Street Journal, as
a tag of IOB2 for each word, given the words and their parts of speech. The same network, `tagger`
without pretrained vectors, gives the tags of each word for itself (softmax) or scores a sentence's
path of tags as a whole (CRF). Beside it stands the linear CRF of python-crfsuite, where that is
installed, on words and parts of speech up to two places away. Then the network is given no parts of
speech: chunks alone are learned, or both from one trunk with two heads.

F1 is that of conlleval, on the official test split; what is settled was on the last 1,000 sentences
of the training split. Lecture C: structured output, multiple outputs from a network. The whole took
5 minutes on two cores, of which it keeps one busy, and 6 with the linear CRF.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore import data, models, train
from dlcore import functional as F
from dlcore.train.tagging import tags_of
from experiments.choice import at_least
from experiments.frame import Claim, DataConfig, Figure, Result, Table
from experiments.sequences._tagging import BATCH, Arm, learned, outputs, stepping

CRF, SOFTMAX, LINEAR = "LSTM, CRF", "LSTM, softmax", "linear CRF"
ALONE, SHARED = "chunks alone", "beside parts of speech"
CLAIMS = (
    Claim("F1 of chunks, LSTM and CRF: mean of the seeds", "≥ 0.935", "dlcore's aim"),
    Claim("F1, LSTM: with CRF − with softmax", "> 0", "Huang et al. 2015"),
    Claim("F1: LSTM and CRF − linear CRF (python-crfsuite)", "> 0", "Huang et al. 2015"),
    Claim("F1, no parts of speech given: learned beside chunks − alone", "> 0", "lecture C"),
)
WIDTHS = 20, 36, 80
POS_WEIGHT = 0.5  # of the loss of parts of speech, where they are learned beside chunks
# What a linear CRF sees: so many in a row, and from which places on, counted from the word's own.
WINDOWS = {
    "x": ((1, range(-2, 3)), (2, range(-1, 1))),
    "pos": ((1, range(-2, 3)), (2, range(-2, 2)), (3, range(-2, 1))),
}
SHOWN = ("O", "B-NP", "I-NP", "B-VP", "I-VP", "B-PP", "B-SBAR", "B-ADJP", "I-ADJP", "B-ADVP")


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    sentences: int | None = None
    """So many of the training split; by default all 8,936."""
    epochs: int = 4
    """Passes over them, in batches of 16."""
    seeds: int = 3
    """Each of the first two networks is trained from so many seeds."""
    sharing: int = 1
    """Seeds of the two networks that are given no parts of speech; 0 leaves them out."""
    features: int = 100
    """Of a word's vector, and of the LSTM to either side."""

    def __post_init__(self) -> None:
        at_least(1, epochs=self.epochs, seeds=self.seeds, features=self.features)
        at_least(0, sharing=self.sharing)
        at_least(BATCH, sentences=self.sentences)


SMOKE = Config(sentences=BATCH, epochs=1, seeds=1, sharing=0, features=4)


class Difference(NamedTuple):
    """An F1 less another: of each seed, and between which of 95 in 100 resampled test sets."""

    by_seed: list[float]
    low: float
    high: float


class Measured(NamedTuple):
    """F1 by arm and seed, and in strict IOB2 their mean; differences; what a CRF has learned."""

    f1: dict[str, list[float]]
    strict: dict[str, float]
    differences: dict[str, Difference]
    transitions: list[list[float]]  # between the tags SHOWN, from row to column


def run(config: Config) -> Measured:
    """Trains all arms and measures them on the test split."""
    sentences = data.load("conll2000", config.root, validation=0)
    examples = {name: leaf[: config.sentences] for name, leaf in sentences.train.items()}
    names = sentences.tags["chunk"].tokens
    found: dict[str, list[np.ndarray]] = {}  # tags of the test split, by arm and seed
    transitions: Any = None
    for name, (arm, seeds) in arms(sentences, config).items():
        step = stepping(arm, len(examples["x"]) // BATCH * config.epochs)
        found[name] = []
        for seed in range(seeds):
            state = learned(arm, step, examples, config.epochs, seed, WIDTHS)
            found[name].append(tags(arm, state, sentences.test))
            if name == CRF and seed == 0:
                transitions = jax.device_get(state.params["tags"]["crf1"]["transitions"])
    if (linear := linear_crf(examples, sentences.test)) is not None:
        found[LINEAR] = [linear]
    counts = {
        name: np.stack([counted(one, sentences.test, names) for one in each])
        for name, each in found.items()
    }
    pairs = [(CRF, SOFTMAX), (CRF, LINEAR), (SHARED, ALONE)]
    shown = [names.index(tag) for tag in SHOWN]
    return Measured(
        {name: [f1(one.sum(0)) for one in each] for name, each in counts.items()},
        {
            name: float(
                np.mean([f1(counted(one, sentences.test, names, True).sum(0)) for one in each])
            )
            for name, each in found.items()
        },
        {
            f"{one} − {other}": difference(counts[one], counts[other])
            for one, other in pairs
            if one in counts and other in counts
        },
        transitions[np.ix_(shown, shown)].tolist(),
    )


def figures(result: Result[Measured]) -> list[float | None]:
    """The mean F1 and its differences."""
    mean = {name: float(np.mean(each)) for name, each in result.measured.f1.items()}
    return [
        mean[CRF],
        mean[CRF] - mean[SOFTMAX],
        mean[CRF] - mean[LINEAR] if LINEAR in mean else None,
        mean[SHARED] - mean[ALONE] if SHARED in mean else None,
    ]


def table(result: Result[Measured]) -> dict[str, Table]:
    """A line for each arm, and one for each difference."""
    measured = result.measured
    lines = [
        (name, f"{np.mean(each):.4f}", " ".join(f"{one:.4f}" for one in each), f"{strict:.4f}")
        for (name, each), strict in zip(measured.f1.items(), measured.strict.values(), strict=True)
    ]
    if LINEAR not in measured.f1:
        lines.append((LINEAR, "–", "pip install python-crfsuite", "–"))
    differences = [
        (name, f"{np.mean(one.by_seed):+.4f}", spread(one.by_seed), interval(one))
        for name, one in measured.differences.items()
    ]
    return {
        "F1 of chunks, test split": [("", "mean", "by seed", "strict IOB2"), *lines],
        "Differences": [("", "mean", "deviation of seeds", "95 % of test sets"), *differences],
    }


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """F1 by arm, and what may follow what."""
    from dlcore import plot

    errors = {
        name.replace(" ", "\n", 1): {"": 1 - float(np.mean(result.measured.f1[name]))}
        for name in (CRF, SOFTMAX, LINEAR, ALONE, SHARED)
        if name in result.measured.f1
    }
    without = "; the last two know no parts of speech" if ALONE in result.measured.f1 else ""
    allowed, _ = F.iob2_allowed(SHOWN)
    return {
        "errors": plot.bars(
            errors,
            title="Chunks missed or wrong" + without,
            y="1 − F1",
            percent=True,
        ),
        "transitions": plot.heat_map(
            np.where(allowed, np.round(result.measured.transitions, 2) + 0.0, np.nan),
            SHOWN,
            SHOWN,
            title="What a CRF has learned on top of an LSTM",
            x="to",
            y="from",
            label="score of the transition",
        ),
    }


# ------------------------------------------------------------------------------------- networks


def arms(sentences: data.TaggedSentences, config: Config) -> dict[str, tuple[Arm, int]]:
    """The networks by name, each with how many seeds it is trained from."""
    chunks, pos = (sentences.tags[kind].tokens for kind in ("chunk", "pos"))
    network = functools.partial(
        models.tagger,
        len(sentences.words),
        len(sentences.letters),
        features=config.features,
        hidden=config.features,
    )
    given, words = ("x", "letters", "mask", "chunk", "pos"), ("x", "letters", "mask", "chunk")
    shared = {"chunk": 1.0, "pos": POS_WEIGHT}
    found = {
        CRF: (Arm(network(chunks, pos=len(pos)), given, "chunk"), config.seeds),
        SOFTMAX: (Arm(network(chunks, pos=len(pos), crf=False), given, "chunk"), config.seeds),
        ALONE: (Arm(network(chunks), words, "chunk"), config.sharing),
        SHARED: (Arm(network({"chunk": chunks, "pos": pos}), given, shared), config.sharing),
    }
    return {name: one for name, one in found.items() if one[1]}


def tags(arm: Arm, state: train.TrainState, test: Mapping[str, np.ndarray]) -> np.ndarray:
    """The tags of chunks of the test split, [N, T]."""
    found = outputs(arm, state, test)
    return np.asarray(jax.jit(tags_of)(found if isinstance(arm.labels, str) else found["chunk"]))


# ------------------------------------------------------------------------------------ linear CRF


def linear_crf(
    examples: Mapping[str, np.ndarray], test: Mapping[str, np.ndarray]
) -> np.ndarray | None:
    """The tags of a linear CRF, [N, T]; None where python-crfsuite is not installed."""
    try:
        crfsuite: Any = importlib.import_module("pycrfsuite")
    except ImportError:
        return None
    trainer = crfsuite.Trainer(verbose=False)
    trainer.select("lbfgs")
    trainer.set_params({"c2": 1.0, "max_iterations": 100, "feature.minfreq": 2})
    for row, length in enumerate(examples["mask"].sum(1)):
        trainer.append(seen(examples, row, length), list(map(str, examples["chunk"][row, :length])))
    tagger = crfsuite.Tagger()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "linear")
        trainer.train(path)
        with tagger.open(path):
            found = np.zeros_like(test["chunk"])
            for row, length in enumerate(test["mask"].sum(1)):
                found[row, :length] = list(map(int, tagger.tag(seen(test, row, length))))
    return found


def seen(examples: Mapping[str, np.ndarray], row: int, length: int) -> list[list[str]]:
    """What a linear CRF sees of each word, by its place: words and parts of speech about it."""
    columns = {
        name: ["<", "<", *map(str, examples[name][row, :length]), ">", ">"] for name in WINDOWS
    }
    return [
        [
            "always",
            *(
                f"{name}{start}={'|'.join(columns[name][place + start : place + start + count])}"
                for name, windows in WINDOWS.items()
                for count, starts in windows
                for start in starts
            ),
        ]
        for place in range(2, length + 2)
    ]


# ------------------------------------------------------------------------------------- measuring


def counted(
    found: np.ndarray, test: Mapping[str, np.ndarray], names: tuple[str, ...], strict: bool = False
) -> np.ndarray:
    """`functional.chunk_counts` of each sentence, [N, 3]."""

    def one(*sentence: jax.Array) -> jax.Array:
        found, labels, mask = (row[None] for row in sentence)
        return F.chunk_counts(found, labels, names, mask, strict=strict)

    return np.asarray(jax.jit(jax.vmap(one))(found, test["chunk"], test["mask"]), np.float64)


def f1(counts: np.ndarray) -> float:
    """Of counts [3]."""
    right, found, there = counts
    return float(2 * right / max(found + there, 1))


def difference(one: np.ndarray, other: np.ndarray, draws: int = 1000) -> Difference:
    """Of counts by seed and sentence [S, N, 3]; of one seed, that one stands beside each."""
    pairs = [*zip(one, np.broadcast_to(other, (len(one), *other.shape[1:])), strict=True)]
    weights = np.random.default_rng(0).multinomial(
        one.shape[1], np.full(one.shape[1], 1 / one.shape[1]), draws
    )
    by_draw = np.mean(
        [[f1(a) - f1(b) for a, b in zip(weights @ x, weights @ y, strict=True)] for x, y in pairs],
        0,
    )
    low, high = np.quantile(by_draw, [0.025, 0.975])
    by_seed = [f1(x.sum(0)) - f1(y.sum(0)) for x, y in pairs]
    return Difference(by_seed, float(low), float(high))


def spread(by_seed: list[float]) -> str:
    """The standard deviation between seeds, where there are several."""
    return f"{np.std(by_seed, ddof=1):.4f}" if len(by_seed) > 1 else "–"


def interval(one: Difference) -> str:
    """From, to."""
    return f"{one.low:+.4f} … {one.high:+.4f}"
