"""Texts with a class each: opinions of films, opinions beside plots, and questions."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dlcore.data import files, nltk_data
from dlcore.data.dataset import SPLITS, Arrays
from dlcore.data.vocabulary import Vocabulary, vocabulary
from dlcore.fields import documented

PADDING, UNKNOWN = "<pad>", "<unk>"  # numbers 0 and 1

Text = tuple[str, int]  # its words, with blanks between, in small letters, and its class


@documented
class LabelledTexts(NamedTuple):
    """Texts of at most T words and signs, N in a split, of one class each.

    Each split is a dict of arrays: "x" the words int32 [N, T], "mask" bool [N, T], True where there
    is one, "y" the class int32 [N]. Numbers are those of the vocabulary, which knows the words that
    the training split has twice and more.

    name: what it is called in errors and tables.
    train: what is learned from.
    validation: what settings are chosen by.
    test: what is measured at the end.
    texts: of each split the texts.
    words: the vocabulary.
    classes: the names of the classes.
    description: what the data are and where they are from, in words.
    """

    name: str
    train: Arrays
    validation: Arrays
    test: Arrays
    texts: dict[str, tuple[str, ...]]
    words: Vocabulary
    classes: tuple[str, ...]
    description: str

    def pooled(self) -> tuple[list[str], np.ndarray]:
        """All texts and their classes int32, for splits of one's own."""
        texts = [text for split in SPLITS for text in self.texts[split]]
        return texts, np.concatenate([getattr(self, split)["y"] for split in SPLITS])

    def __repr__(self) -> str:
        head = f"LabelledTexts {self.name}: {len(self.words):,} words; {', '.join(self.classes)}"
        lines = [f"  {split:<10}  {len(self.texts[split]):,} texts" for split in SPLITS]
        return "\n".join([head, *lines, f"  {self.description}"])


@documented
class Part(NamedTuple):
    """A file of an archive.

    name: its own.
    content: the SHA-256 of its content.
    """

    name: str
    content: str


POLARITY = (
    Part("rt-polarity.neg", "614274f81185a850e5a88d533d4679f916d6f62e9af6f0b4ec71fb94bf466ea5"),
    Part("rt-polarity.pos", "c2dc6b2f55bcf725725372916287cc3f8f9b19402edaa9167de5287cb3ade421"),
)
SUBJECTIVITY = (
    Part("plot.tok.gt9.5000", "5ddc9b44dc60d64d651347fcd7bdd489b0c70661e3f768215c16eea36f51204a"),
    Part("quote.tok.gt9.5000", "cc5d85345896d3fa44ca6b826b108418030977f958a004eb97860043b3b37624"),
)
QUESTIONS = (
    Part("train.txt", "9e4c8bdcaffb96ed61041bd64b564183d52793a8e91d84fc3a8646885f466ec3"),
    Part("test.txt", "033f22c028c2bbba9ca682f68ffe204dc1aa6e1cf35dd6207f2d4ca67f0d0e8e"),
)
KINDS = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")  # of questions


def sentence_polarity(root: files.Root = None) -> LabelledTexts:
    """10,662 sentences of film reviews, half of them praise.

    There is no official split: a tenth is for the test and another for validation, chosen by each
    sentence's own CRC-32, so that one that is there twice is in one part alone.
    """
    return _by_file(
        "sentence_polarity",
        root,
        POLARITY,
        ("blame", "praise"),
        "Sentence polarity 1.0 (Pang and Lee 2005): sentences of film reviews. CC BY 4.0.",
    )


def subjectivity(root: files.Root = None) -> LabelledTexts:
    """10,000 sentences, half of them of plots of films and half of opinions of them.

    The splits are made as those of `sentence_polarity`.
    """
    return _by_file(
        "subjectivity",
        root,
        SUBJECTIVITY,
        ("plot", "opinion"),
        "Subjectivity 1.0 (Pang and Lee 2004): sentences of plots and of reviews. CC BY 4.0.",
    )


def questions(root: files.Root = None) -> LabelledTexts:
    """What is asked for: 5,452 questions to learn from and TREC 10's 500 to test, in six classes.

    Of those to learn from, a tenth is the validation split, chosen by each question's CRC-32; one
    that the test has too, of which there are eleven, is left out.
    """
    train, test = (
        [_question(line) for line in lines]
        for lines in _lines("questions", root, "question_classification.tar.gz", QUESTIONS)
    )
    asked = {text for text, _ in test}
    known = [one for one in train if one[0] not in asked]
    parts = {split: [one for one in known if _split(one[0]) == split] for split in SPLITS}
    return _loaded(
        "questions",
        {**parts, "train": parts["train"] + parts["test"], "test": test},
        KINDS,
        "TREC questions (Li and Roth 2002). No licence stated: for research.",
    )


def _question(line: str) -> Text:
    """`COARSE:fine question …`"""
    kind, _, text = line.partition(" ")
    return text.lower(), KINDS.index(kind.partition(":")[0])


def _by_file(
    name: str,
    root: files.Root,
    parts: Sequence[Part],
    classes: tuple[str, ...],
    description: str,
) -> LabelledTexts:
    """Each file is of one class."""
    lines = _lines(name, root, f"{name}.tar.gz", parts)
    texts = [(line.lower(), label) for label, each in enumerate(lines) for line in each]
    splits = {split: [one for one in texts if _split(one[0]) == split] for split in SPLITS}
    return _loaded(name, splits, classes, description)


def _lines(name: str, root: files.Root, archive: str, parts: Sequence[Part]) -> list[list[str]]:
    """The lines of each file of an archive."""
    path = files.find(archive, files.folders("sentiment", root))
    if path is None:
        packed = "qc" if name == "questions" else name
        read = {part.name: nltk_data.member(name, packed, part.name) for part in parts}
        path, found = read[parts[0].name][0], {one: content for one, (_, content) in read.items()}
    else:
        pattern = re.compile(rf"(?:.*/)?({'|'.join(re.escape(part.name) for part in parts)})")
        found = files.members(path, pattern, 1 << 21, 1 << 23)
    for part in parts:
        files.check_content(path, found.get(part.name, b""), part.content, f"{name}'s {part.name}")
    return [_stripped(found[part.name].decode("latin-1")) for part in parts]


def _stripped(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.split("\n") if line.strip()]


def _split(text: str) -> str:
    return {0: "test", 1: "validation"}.get(zlib.crc32(text.encode()) % 10, "train")


def _loaded(
    name: str, splits: dict[str, list[Text]], classes: tuple[str, ...], description: str
) -> LabelledTexts:
    seen = (word for text, _ in splits["train"] for word in text.split())
    words = vocabulary(seen, minimum=2, first=(PADDING,), unknown=UNKNOWN)
    longest = max(len(text.split()) for part in splits.values() for text, _ in part)
    train, validation, test = (_arrays(splits[split], words, longest) for split in SPLITS)
    texts = {split: tuple(text for text, _ in splits[split]) for split in SPLITS}
    return LabelledTexts(name, train, validation, test, texts, words, classes, description)


def _arrays(texts: list[Text], words: Vocabulary, longest: int) -> Arrays:
    x = np.zeros((len(texts), longest), np.int32)
    for row, (text, _) in zip(x, texts, strict=True):
        numbers = words.encode(text.split())
        row[: len(numbers)] = numbers
    return {"x": x, "mask": x > 0, "y": np.array([label for _, label in texts], np.int32)}
