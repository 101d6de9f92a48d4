"""Labels that belong together are best learned as one; one trunk with two heads is nearly as good.

Words of English (UD English EWT) have a part of speech, one of 17, and features of their form, any
number of 63: "Number=Sing", "Tense=Past". The features are learned each for itself, by a logit each
(binary cross-entropy), or as sets, by a softmax over those that the sentences learned have, which
gives no others (the label powerset). Then parts of speech and sets are learned together, by two
heads on one trunk, with a weight for the loss of the sets, in the place of two networks.

Settings and claims are from the validation split, which `run` does not read, and seeds 11 and 12. A
set that the sentences learned do not have counts as new, and as a set it can only be wrong; how
many words of the test have such a one stands in the table.

Lecture C: structured output, multiple outputs from a network. Tsoumakas and Katakis 2007; Caruana
1997.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dlcore import data, models, nn
from dlcore import functional as F
from experiments.choice import at_least, positive
from experiments.frame import Claim, DataConfig, Figure, Result, Table
from experiments.sequences._tagging import BATCH, Arm, learned, outputs, stepping

POS, EACH, SETS = "parts of speech alone", "features, each for itself", "features, as sets"
TSOUMAKAS, CARUANA = "Tsoumakas and Katakis 2007", "Caruana 1997"
CLAIMS = (
    Claim("words with all features right: as sets − each for itself", "> 0.02", TSOUMAKAS),
    Claim("words given a set that was not learned: each for itself", "> 0.01", "lecture C"),
    Claim("parts of speech, accuracy: one trunk − alone", "≥ -0.02", CARUANA),
    Claim("words with all features right: one trunk − alone", "≥ -0.02", CARUANA),
    Claim("parts of speech, accuracy: sets weigh 0.1 − 3", "> 0", CARUANA),
)
WIDTHS = 20, 36, 80, 160


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is learned."""

    sentences: int = 3_000
    """So many of the training split, which has 12,544."""
    epochs: int = 5
    """Passes over them, in batches of 16."""
    features: int = 64
    """Of a word's vector, and of the LSTM to either side."""
    weights: tuple[float, ...] = (0.1, 1.0, 3.0)
    """Of the loss of the sets beside that of the parts of speech, a network each."""
    seeds: int = 3
    """Each network is trained from so many."""
    seed: int = 0
    """The first of them."""

    def __post_init__(self) -> None:
        at_least(BATCH, sentences=self.sentences)
        at_least(1, epochs=self.epochs, seeds=self.seeds, features=self.features)
        at_least(0, seed=self.seed)
        positive(weights=self.weights)


SMOKE = Config(sentences=BATCH, epochs=1, seeds=1, features=4, weights=(1.0,))


class Score(NamedTuple):
    """What a network has right, of words; None of what it does not give."""

    pos: float | None = None
    exact: float | None = None
    micro: float | None = None
    macro: float | None = None
    hamming: float | None = None
    new: float | None = None


class Measured(NamedTuple):
    """Scores by network and seed, and the share of test words whose set was not learned."""

    scores: dict[str, list[Score]]
    unknown: float

    def mean(self, network: str, name: str) -> float:
        """Of the seeds."""
        return float(np.mean([getattr(score, name) for score in self.scores[network]]))


def run(config: Config) -> Measured:
    """Trains every network from every seed, and has it tag the test split."""
    treebank = data.load("ud_english_ewt", config.root, morphology=True)
    examples = {name: leaf[: config.sentences] for name, leaf in treebank.train.items()}
    sets = np.unique(examples["morphology"][examples["mask"]], axis=0)
    examples["set"] = numbered(examples["morphology"], sets)
    scores: dict[str, list[Score]] = {}
    for name, arm in arms(treebank, len(sets), config).items():
        step = stepping(arm, len(examples["x"]) // BATCH * config.epochs)
        scores[name] = []
        for seed in range(config.seed, config.seed + config.seeds):
            state = learned(arm, step, examples, config.epochs, seed, WIDTHS)
            found = outputs(arm, state, treebank.test)
            named = {arm.labels: found} if isinstance(arm.labels, str) else found
            scores[name].append(scored(named, treebank.test, sets))
    test = treebank.test
    unknown = numbered(test["morphology"][test["mask"]], sets) < 0
    return Measured(scores, float(np.mean(unknown)))


def figures(result: Result[Measured]) -> list[float | None]:
    """Differences of the means over seeds; None where a network of the claim was left out."""
    measured = result.measured

    def behind(one: str, other: str, name: str) -> float | None:
        if {one, other} <= measured.scores.keys():
            return measured.mean(one, name) - measured.mean(other, name)
        return None

    return [
        behind(SETS, EACH, "exact"),
        measured.mean(EACH, "new"),
        behind(both(1), POS, "pos"),
        behind(both(1), SETS, "exact"),
        behind(both(0.1), both(3), "pos"),
    ]


def table(result: Result[Measured]) -> dict[str, Table]:
    """A line for each network."""
    head = (
        "",
        "parts of speech",
        "all features right",
        "F1 micro",
        "F1 macro",
        "Hamming loss",
        "sets not learned",
    )
    lines = [
        (name, *(spread([score[k] for score in scores]) for k in range(len(Score._fields))))
        for name, scores in result.measured.scores.items()
    ]
    title = "Words of the test split, mean ± deviation of the seeds"
    return {
        f"{title}; {result.measured.unknown:.2%} have a set that was not learned": [head, *lines]
    }


def plot(result: Result[Measured]) -> Figure:
    """What is wrong, by network."""
    from dlcore import plot

    kinds = {"part of speech": "pos", "any feature": "exact"}
    values = {
        name.replace(", ", ",\n"): {
            kind: 1 - result.measured.mean(name, field)
            for kind, field in kinds.items()
            if getattr(scores[0], field) is not None
        }
        for name, scores in result.measured.scores.items()
    }
    return plot.bars(values, title="Words that are wrong", y="share of words", percent=True)


# ------------------------------------------------------------------------------------- networks


def both(weight: float) -> str:
    """What the network with two heads is called."""
    return f"both, sets weigh {weight:g}"


def arms(treebank: data.TaggedSentences, sets: int, config: Config) -> dict[str, Arm]:
    """The networks by name."""
    pos, features = (len(treebank.tags[kind]) for kind in ("pos", "morphology"))
    network = functools.partial(
        models.tagger,
        len(treebank.words),
        len(treebank.letters),
        features=config.features,
        hidden=config.features,
        crf=False,
    )
    given = "x", "letters", "mask"

    def together(weight: float) -> Arm:
        layer: nn.Layer = network({"pos": pos, "set": sets})
        return Arm(layer, (*given, "pos", "set"), {"pos": 1.0, "set": weight})

    return {
        POS: Arm(network(pos), (*given, "pos"), "pos"),
        EACH: Arm(network(features), (*given, "morphology"), "morphology"),
        SETS: Arm(network(sets), (*given, "set"), "set"),
        **{both(weight): together(weight) for weight in config.weights},
    }


def numbered(features: np.ndarray, sets: np.ndarray) -> np.ndarray:
    """Features bool [..., C] as the number int32 [...] of their set in `sets` [S, C], else −1."""
    places = {row.tobytes(): number for number, row in enumerate(sets)}
    rows = features.reshape(-1, features.shape[-1])
    numbers = [places.get(row.tobytes(), -1) for row in rows]
    return np.array(numbers, np.int32).reshape(features.shape[:-1])


# ------------------------------------------------------------------------------------- measuring


def scored(found: Mapping[str, Any], test: Mapping[str, np.ndarray], sets: np.ndarray) -> Score:
    """Of logits by kind."""
    real = test["mask"]
    right = None
    if "pos" in found:
        right = float(np.mean(np.argmax(found["pos"], -1)[real] == test["pos"][real]))
    if "set" in found:
        features = sets[np.argmax(found["set"], -1)[real]]
    elif "morphology" in found:
        features = np.asarray(found["morphology"])[real] > 0
    else:
        return Score(right)
    true = test["morphology"][real]
    counts = F.label_counts(features, true)
    return Score(
        right,
        float(F.exact_match(features, true).mean()),
        float(F.label_f1(counts)),
        float(F.label_f1(counts, average="macro")),
        float(F.hamming_loss(features, true).mean()),
        float(np.mean(numbered(features, sets) < 0)),
    )


def spread(values: list[float | None]) -> str:
    """Mean ± deviation, where there are any."""
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.4f} ± {np.std(known):.4f}" if known else "–"
