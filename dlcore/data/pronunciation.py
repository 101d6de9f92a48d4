"""The CMU Pronouncing Dictionary: how English words are spelt, and how they are said."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np

from dlcore.data import files, nltk_data
from dlcore.data.dataset import SPLITS, Arrays
from dlcore.data.vocabulary import Vocabulary
from dlcore.fields import documented

ARCHIVE = "cmudict.gz"
SHA256 = "cad209c39eb87677d64e93d97f8eed10b7e6f9bdd42de8e7ca8efc8e17d62e8a"
_BYTES = 3_820_830  # of the unpacked dictionary
PADDING, START, END = "<pad>", "<start>", "<end>"  # numbers 0, 1 and 2 of phonemes
LETTERS = 20  # of a longer word nothing is learned
PHONEMES = 20

Said = tuple[tuple[str, ...], ...]  # the pronunciations of a word, the first the usual one


@documented
class Pronunciations(NamedTuple):
    """Words of 2 to 20 letters, N in a split, spelt and said.

    Each split is a dict of arrays: "source" the letters uint8 [N, 20] and "source_mask" bool, True
    where there is one; "x" the phonemes after the start token and "y" the same one later, with the
    end token, uint8 [N, 21], and their "mask". In train a word has an example for each way that it
    is said, elsewhere one, the usual.

    name: what it is called in errors and tables.
    train: what is learned from.
    validation: what settings are chosen by.
    test: what is measured at the end.
    words: of each split the word of each example.
    said: all pronunciations of every word.
    letters: the vocabulary of letters, 0 is padding.
    phonemes: that of phonemes: padding, start, end, and the phonemes.
    description: what the data are and where they are from, in words.
    """

    name: str
    train: Arrays
    validation: Arrays
    test: Arrays
    words: dict[str, tuple[str, ...]]
    said: dict[str, Said]
    letters: Vocabulary
    phonemes: Vocabulary
    description: str

    def __repr__(self) -> str:
        lines = [f"Pronunciations {self.name}: {len(self.phonemes) - 3} phonemes"]
        for split in SPLITS:
            words = self.words[split]
            lines.append(f"  {split:<10}  {len(set(words)):,} words, {len(words):,} examples")
        return "\n".join([*lines, f"  {self.description}"])


def pronunciation(root: files.Root = None, stress: bool = False) -> Pronunciations:
    """The CMU dictionary 0.7a: a twentieth of the words for validation, another one for the test.

    A word belongs to a split by its own CRC-32, whatever the list around it: all its pronunciations
    together. Left out are entries with other signs than letters ("A.", "AT&T") and what is longer
    than 20 letters or phonemes, or one letter alone.

    stress: whether vowels have their stress, "AH0", "AH1", "AH2", 69 phonemes in place of 39.

    Raises DataError for a missing or damaged file.
    """
    path = files.find(ARCHIVE, files.folders("pronunciation", root))
    if path is None:
        path, content = nltk_data.member("pronunciation", "cmudict", "cmudict")
    else:
        content = files.unpack(path, _BYTES)
    files.check_content(path, content, SHA256, "the CMU dictionary")
    said = _entries(content.decode("latin-1"), stress)
    letters = Vocabulary((PADDING, *map(chr, range(ord("a"), ord("z") + 1))))
    known = sorted({phoneme for ways in said.values() for way in ways for phoneme in way})
    phonemes = Vocabulary((PADDING, START, END, *known))
    parts: dict[str, list[tuple[str, tuple[str, ...]]]] = {split: [] for split in SPLITS}
    for word, ways in said.items():
        split = _split(word)
        parts[split] += [(word, way) for way in (ways if split == "train" else ways[:1])]
    train, validation, test = (_arrays(parts[split], letters, phonemes) for split in SPLITS)
    return Pronunciations(
        "pronunciation",
        train,
        validation,
        test,
        {split: tuple(word for word, _ in parts[split]) for split in SPLITS},
        said,
        letters,
        phonemes,
        "CMU Pronouncing Dictionary 0.7a (Carnegie Mellon University), as NLTK passes it on. Free "
        "to use and pass on with its copyright notice, conditions and disclaimer (BSD, 2 clauses).",
    )


def _entries(text: str, stress: bool) -> dict[str, Said]:
    """`WORD n PHONES…` a line, where n counts the ways to say it."""
    said: dict[str, dict[tuple[str, ...], None]] = {}
    for line in text.splitlines():
        word, _, *phones = line.lower().split()
        way = tuple(phone.upper() if stress else phone.upper().rstrip("012") for phone in phones)
        is_word = word.isascii() and word.isalpha() and 2 <= len(word) <= LETTERS
        if is_word and len(way) <= PHONEMES:
            said.setdefault(word, {})[way] = None
    return {word: tuple(ways) for word, ways in said.items()}


def _split(word: str) -> str:
    return {0: "test", 1: "validation"}.get(zlib.crc32(word.encode()) % 20, "train")


def _arrays(
    examples: list[tuple[str, tuple[str, ...]]], letters: Vocabulary, phonemes: Vocabulary
) -> Arrays:
    source = _rows([letters.encode(word) for word, _ in examples], LETTERS)
    said = [phonemes.encode([START, *way, END]) for _, way in examples]
    x, y = (
        _rows([row[part] for row in said], PHONEMES + 1) for part in (slice(-1), slice(1, None))
    )
    return {"source": source, "source_mask": source > 0, "x": x, "y": y, "mask": y > 0}


def _rows(sequences: list[np.ndarray], width: int) -> np.ndarray:
    """Sequences as rows uint8 [N, width], filled up with 0."""
    rows = np.zeros((len(sequences), width), np.uint8)
    for row, sequence in zip(rows, sequences, strict=True):
        row[: len(sequence)] = sequence
    return rows
