"""The smoke form of an experiment on data drawn here, and its claims on given measurements."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from dlcore import data
from dlcore.data import Dataset
from experiments import catalogue, frame
from experiments.generative import _judge
from experiments.sequences import word2vec, zero_shot
from experiments.vision import transfer

# One a chapter for `make test`; the rest is slow. `predict` and `write` answer about files that
# one has, and claim nothing.
QUICK = {"averages", "augmentation_text", "classify", "lenet", "profile"}
TOOLS = {"predict", "write"}

SHAPES = {
    "mnist": (28, 28, 1),
    "cifar10": (32, 32, 3),
    "fsdd": (32, 32, 1),
    "att_faces": (56, 46, 1),
}
CLASSES = {"cifar10": tuple(sorted((*transfer.SOURCE, *transfer.TARGET)))}
load = data.load


def names():
    """The experiments, as parameters of a test."""
    return [
        pytest.param(entry.name, marks=() if entry.name in QUICK else pytest.mark.slow)
        for entry in catalogue.entries()
        if entry.name not in TOOLS
    ]


def run(name, out):
    """The result of the smoke form, which may write into the folder `out`."""
    experiment = catalogue.find(name).load()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", drawn)
        patch.setattr(data, "tiny_shakespeare", drawn_text)
        patch.setattr(data, "novels", novels)
        patch.setattr(data, "word_pairs", word_pairs)
        patch.setattr(data, "analogies", analogies)
        patch.setattr(data, "animals_with_attributes", animals)
        patch.setattr(data, "series", waves)
        patch.setattr(data, "fsdd_sequences", sounds)
        patch.setattr(_judge, "folder", lambda: out / "judges")
        return frame.run(experiment, dataclasses.replace(experiment.SMOKE, out=out))


def holds(experiment, measured, config=None):
    """Which claims hold of what is said to have been measured, in their order."""
    result = frame.Result(experiment, config or experiment.Config(), measured)
    return [one.holds for one in result.claims]


def drawn(name, root=None, **options):
    """Ten patterns under noise in the place of a data set; what comes along as it is."""
    if name == "conll2000":
        return tagged()
    if name == "ud_english_ewt":
        return with_morphology()
    if name == "pronunciation":
        return spoken()
    if name == "subjectivity":
        return opinions()
    if name in ("sentence_polarity", "questions"):
        return told_apart(name)
    if name not in SHAPES:
        return load(name, root, **options)
    shape = SHAPES[name]
    patterns = np.random.default_rng(0).random((10, *shape), np.float32)

    def part(count, seed):
        y = (np.arange(count) % 10).astype(np.int32)
        noise = np.random.default_rng(seed).random((count, *shape), np.float32)
        return {"x": 0.7 * patterns[y] + 0.3 * noise, "y": y}

    classes = CLASSES.get(name, tuple("0123456789"))
    return Dataset(name, part(600, 1), part(100, 2), part(120, 3), classes, "drawn")


def tagged():
    """Sentences whose chunks follow from their parts of speech, and those from the words."""
    names = (
        "O",
        *(
            f"{letter}-{kind}"
            for kind in ("NP", "VP", "ADJP", "PP", "SBAR", "ADVP")
            for letter in "BI"
        ),
    )

    def part(count, seed):
        x = np.random.default_rng(seed).integers(1, 10, (count, 6)).astype(np.int32)
        return {
            "x": x,
            "letters": np.repeat(x[..., None], 3, axis=2).astype(np.uint8),
            "mask": np.arange(6) < 4 + np.arange(count)[:, None] % 3,
            "pos": x % 4,
            "chunk": np.array([0, 1, 3, 5], np.int32)[x % 4],
        }

    words, pos = (data.Vocabulary(tuple(map(str, range(count)))) for count in (10, 4))
    tags = {"pos": pos, "chunk": data.Vocabulary(names)}
    parts = part(32, 0), part(4, 1), part(20, 2)
    return data.TaggedSentences("conll2000", *parts, words, words, tags, "drawn")


def with_morphology():
    """Those sentences; what a word is like follows from its part of speech."""
    sentences = tagged()
    like = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1]], bool)
    parts = [
        {**part, "morphology": like[part["pos"]] & part["mask"][..., None]}
        for part in (sentences.train, sentences.validation, sentences.test)
    ]
    tags = {"pos": sentences.tags["pos"], "morphology": data.Vocabulary(("A=1", "A=2", "B=1"))}
    return sentences._replace(
        train=parts[0], validation=parts[1], test=parts[2], tags=tags, name="ud_english_ewt"
    )


def spoken():
    """Words of a few letters, each of which is always said alike."""
    letters = data.Vocabulary(("<pad>", *"abcd"))
    phonemes = data.Vocabulary(("<pad>", "<start>", "<end>", *"ABCD"))
    words = ["".join(word) for word in itertools.product("abcd", repeat=3)]
    source = np.stack([letters.encode(word) for word in words]).astype(np.uint8)
    said = np.stack([phonemes.encode(["<start>", *word.upper(), "<end>"]) for word in words])
    arrays = {
        "source": source,
        "source_mask": source > 0,
        "x": said[:, :-1].astype(np.uint8),
        "y": said[:, 1:].astype(np.uint8),
        "mask": said[:, 1:] > 0,
    }
    of_splits = dict.fromkeys(("train", "validation", "test"), tuple(words))
    ways = {word: (tuple(word.upper()),) for word in words}
    parts = arrays, arrays, arrays, of_splits, ways, letters, phonemes
    return data.Pronunciations("pronunciation", *parts, "drawn")


def told_apart(name):
    """Texts of four words, of which the first says the class."""
    words = data.Vocabulary(("<pad>", "<unk>", *"abcdefgh"))

    def part(count, seed):
        x = np.random.default_rng(seed).integers(2, 10, (count, 4)).astype(np.int32)
        y = np.arange(count, dtype=np.int32) % 2
        return {"x": np.where(np.arange(4) == 0, 2 + y[:, None], x), "mask": x > 0, "y": y}

    parts = {"train": part(80, 0), "validation": part(10, 1), "test": part(20, 2)}
    texts = {
        split: tuple(" ".join(words.decode(row)) for row in one["x"])
        for split, one in parts.items()
    }
    return data.LabelledTexts(name, *parts.values(), texts, words, ("one", "other"), "drawn")


def waves(name, root=None):
    """A wave of twelve steps under noise in the place of a time series."""
    steps = np.arange(100)
    noise = np.random.default_rng(0).random(100)
    values = (20 + 10 * np.sin(2 * np.pi * steps / 12) + noise)[:, None].astype(np.float32)
    return data.Series(name, ("waves",), values, 12, "drawn")


def sounds(root=None, steps=64):
    """Noise in the place of spoken digits, each by each of six speakers three times."""
    rng = np.random.default_rng(0)
    rows = np.arange(180)
    return {
        "x": rng.random((180, steps, 8), np.float32),
        "mask": np.arange(steps) < rng.integers(1, steps + 1, (180, 1)),
        "y": (rows % 10).astype(np.int32),
        "speaker": (rows // 10 % 6).astype(np.int32),
    }


def opinions():
    """Sentences of an opinion or of a plot, with words that nobody else has."""
    rng = np.random.default_rng(0)
    labels = (np.arange(200) % 2).astype(np.int32)
    kinds = (["he", "dies"], ["i", "laughed"])
    rare = [chr(97 + k // 26) + chr(97 + k % 26) * 3 for k in range(300)]
    texts = [" ".join([*kinds[y], *rng.choice(rare[y::2], 3)]) for y in labels]
    nothing = {"y": labels[:0]}
    return data.LabelledTexts(
        "subjectivity",
        {"y": labels},
        nothing,
        nothing,
        {"train": tuple(texts), "validation": (), "test": ()},
        data.Vocabulary(("<pad>",)),
        ("plot", "opinion"),
        "drawn",
    )


def drawn_text(root=None):
    """Lines of a play, drawn: what `data.tiny_shakespeare` gives."""
    rng = np.random.default_rng(0)
    words = ("thou", "art", "not", "ROMEO:", "the", "night\n", "and", "love,", "is", "a")
    text = " ".join(rng.choice(words, 2_000))
    cut = int(0.9 * len(text))
    return data.Corpus("tiny_shakespeare", text[:cut], text[cut:], "drawn")


def novels(root=None):
    """The words of the map and of the pictures, in any order."""
    words = [*" ".join(word2vec.MAP.values()).split(), *zero_shot.CLASSES]
    return {"A_B_1900": " ".join(np.random.default_rng(0).choice(words, 3_000))}


def word_pairs(name, root=None):
    """The words of the map, each and its neighbour."""
    words = word2vec.MAP["family"].split()
    return data.WordPairs(list(itertools.pairwise(words)), np.arange(9.0))


def animals(root=None):
    """Those of the map, and one that the novels do not have; what they are like is drawn."""
    names = (*word2vec.MAP["animals"].split(), "giant+panda")
    signatures = np.random.default_rng(0).integers(0, 2, (len(names), 5)).astype(np.float32)
    return data.Animals(names, tuple("abcde"), signatures, np.arange(len(names)) < 3)


def analogies(root=None):
    """Two sections of one question."""
    question = ("Father", "mother", "brother", "sister")
    return {"family": [question], "gram1-plural": [question], "capitals": []}
