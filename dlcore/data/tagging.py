"""Sentences whose words are tagged: CoNLL-2000's chunks and the parts of speech of UD's EWT."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlcore.data import files, nltk_data
from dlcore.data.dataset import SPLITS, Arrays, check_count
from dlcore.data.vocabulary import Vocabulary, vocabulary
from dlcore.fields import documented

PADDING, UNKNOWN = "<pad>", "<unk>"  # numbers 0 and 1 of words and of letters
MORPHOLOGY = "morphology"
LETTERS = 16  # of a longer word the first and the last 8

Sentence = list[tuple[str, ...]]  # for each word, it and its tags


@documented
class TaggedSentences(NamedTuple):
    """Sentences of at most T words, N in a split, with one tag or several for each word.

    Each split is a dict of arrays: "x" the words int32 [N, T], "letters" those of each word uint8
    [N, T, 16], "mask" bool [N, T], True where there is a word, and a column int32 [N, T] for each
    kind of tags, "pos" or "chunk". Of "morphology" a word may have any number: bool [N, T, C]. T is
    that of the split's longest sentence; where none is, all is 0. Numbers are those of the
    vocabularies, which know the training split alone.

    name: what it is called in errors and tables.
    train: what is learned from.
    validation: what settings are chosen by.
    test: what is measured at the end.
    words: the vocabulary of words seen twice and more, without capitals.
    letters: the vocabulary of letters.
    tags: the names of the tags of each kind.
    description: what the data are and where they are from, in words.
    """

    name: str
    train: Arrays
    validation: Arrays
    test: Arrays
    words: Vocabulary
    letters: Vocabulary
    tags: dict[str, Vocabulary]
    description: str

    def __repr__(self) -> str:
        kinds = ", ".join(f"{len(names)} of {kind}" for kind, names in self.tags.items())
        lines = [f"TaggedSentences {self.name}: {len(self.words):,} words; tags: {kinds}"]
        for split in SPLITS:
            mask = getattr(self, split)["mask"]
            lines.append(f"  {split:<10}  {len(mask):,} sentences, {mask.sum():,} words")
        return "\n".join([*lines, f"  {self.description}"])


def conll2000(root: files.Root = None, validation: int = 1_000) -> TaggedSentences:
    """Chunks ("chunk", IOB2) and parts of speech ("pos") of the Wall Street Journal.

    8,936 sentences to train, of which the last `validation` (0: none) are the validation split, and
    2,012 to test, as in the shared task. The parts of speech are those of Brill's tagger, given
    with the task. Each type of chunk has its B and its I, also one that is in the test split alone.
    Where no folder has the files, NLTK's copy is downloaded.
    """
    sentences = [
        _read("conll2000", ("conll2000", "tagging/conll2000"), one, root, _conll_file, _columns)
        for one in CONLL_2000
    ]
    train, test = sentences
    cut = len(train) - check_count("validation", validation, 0, len(train) - 1)
    return _tagged(
        "conll2000",
        (train[:cut], train[cut:], test),
        ("pos", "chunk"),
        "CoNLL-2000 shared task (Tjong Kim Sang and Buchholz 2000): chunks of the Wall Street "
        "Journal, sections 15-18 and 20. No licence stated: for research, not to be handed on.",
    )


def ud_english_ewt(root: files.Root = None, morphology: bool = False) -> TaggedSentences:
    """Universal parts of speech ("pos", 17) of English weblogs, mails, reviews and answers.

    12,544 sentences to train, 2,001 for validation and 2,077 to test, the official splits. Words
    are the syntactic ones: "don't" is "do" and "n't". Files that are in no folder are downloaded.

    morphology: whether each word also has its features, "Number=Sing", "Tense=Past" …, as tags of
        which any number may be true; those that the training split does not have are left out.
    """
    places = ("ud_english_ewt", "tagging/ud_english_ewt")
    splits = [
        _read("ud_english_ewt", places, one, root, _ewt_file, _conllu) for one in UD_ENGLISH_EWT
    ]
    return _tagged(
        "ud_english_ewt",
        splits,
        ("pos", MORPHOLOGY) if morphology else ("pos",),
        "Universal Dependencies English Web Treebank (Silveira et al. 2014). CC BY-SA 4.0.",
    )


@documented
class Text(NamedTuple):
    """A file, as it is or as NAME.gz.

    name: its own.
    size: bytes of its content.
    content: the SHA-256 of its content.
    """

    name: str
    size: int
    content: str


CONLL_2000 = (
    Text(
        "train.txt", 2_842_164, "82033cd7a72b209923a98007793e8f9de3abc1c8b79d646c50648eb949b87cea"
    ),
    Text("test.txt", 639_396, "73b7b1e565fa75a1e22fe52ecdf41b6624d6f59dacb591d44252bf4d692b1628"),
)
UD_ENGLISH_EWT = (
    Text(
        "en_ewt-ud-train.conllu",
        14_203_025,
        "3fb78e2b55482c8ee00caa653af436c88c9e5bc9a73ce26e4ae3ddc79d2b7e7b",
    ),
    Text(
        "en_ewt-ud-dev.conllu",
        1_805_545,
        "531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6",
    ),
    Text(
        "en_ewt-ud-test.conllu",
        1_804_515,
        "e266e515a0a7547657ed3d90d9ba46487d6bd251f27ad4269d4e8a427c8555cd",
    ),
)

EWT_COMMIT = "15d613d8447b3478787d4c278730a1e48a945efb"
EWT_MIRRORS = (
    f"https://raw.githubusercontent.com/UniversalDependencies/UD_English-EWT/{EWT_COMMIT}/",
)


def _read(
    name: str,
    places: Sequence[str],
    file: Text,
    root: files.Root,
    download: Callable[[Text], tuple[Path, bytes]],
    parse: Callable[[Path, str], list[Sentence]],
) -> list[Sentence]:
    """The sentences of a file in the first of the folders that has it, or else of the mirrors."""
    folders = [folder for place in places for folder in files.folders(place, root)]
    packed, plain = files.find(f"{file.name}.gz", folders), files.find(file.name, folders)
    path = packed or plain
    if path is None:
        path, content = download(file)
    else:
        content = files.unpack(path, file.size) if packed else files.read(path, file.size)
    files.check_content(path, content, file.content, f"{name}'s {file.name}")
    return parse(path, content.decode())


def _ewt_file(file: Text) -> tuple[Path, bytes]:
    path = files.download("ud_english_ewt", file.name, file.content, EWT_MIRRORS)
    return path, files.read(path, file.size)


def _conll_file(file: Text) -> tuple[Path, bytes]:
    return nltk_data.member("conll2000", "conll2000", file.name)


def _columns(path: Path, text: str) -> list[Sentence]:
    """`word POS chunk` a line, an empty line after each sentence."""
    return _sentences(path, ([line.split(" ") for line in text.split("\n")]), 3)


def _conllu(path: Path, text: str) -> list[Sentence]:
    """CoNLL-U: of the lines that begin with a whole number, form, universal tag and features."""
    lines = (line.split("\t") for line in text.split("\n") if not line.startswith("#"))
    words = (
        [*cells[1:2], *cells[3:4], *cells[5:6]] for cells in lines if re.fullmatch(r"\d*", cells[0])
    )
    return _sentences(path, words, 3)


def _sentences(path: Path, lines: Iterable[list[str]], cells: int) -> list[Sentence]:
    sentences: list[Sentence] = [[]]
    for line in lines:
        if not any(line):
            sentences.append([])
        elif len(line) == cells:
            sentences[-1].append(tuple(line))
        else:
            raise files.damaged(path, f"has the line {' '.join(line)!r}, not of {cells} cells")
    return [sentence for sentence in sentences if sentence]


def _tagged(
    name: str, splits: Sequence[list[Sentence]], kinds: Sequence[str], description: str
) -> TaggedSentences:
    train = [word for sentence in splits[0] for word in sentence]
    known = partial(vocabulary, first=(PADDING,), unknown=UNKNOWN)
    words = known((word[0].lower() for word in train), minimum=2)
    letters = known(letter for word in train for letter in word[0])
    tags = {
        kind: Vocabulary(tuple(_names(kind, {word[number] for word in train})))
        for number, kind in enumerate(kinds, 1)
    }
    one, two, three = (_arrays(split, words, letters, tags) for split in splits)
    return TaggedSentences(name, one, two, three, words, letters, tags, description)


def _names(kind: str, seen: set[str]) -> list[str]:
    """The tags seen; of chunks, for each type its B and its I."""
    if kind == MORPHOLOGY:
        return sorted({name for names in seen for name in _features(names)})
    if kind != "chunk":
        return sorted(seen)
    types = sorted({name[2:] for name in seen} - {""})
    return ["O", *(f"{letter}-{one}" for one in types for letter in "BI")]


def _arrays(
    sentences: list[Sentence], words: Vocabulary, letters: Vocabulary, tags: dict[str, Vocabulary]
) -> Arrays:
    shape = len(sentences), max(map(len, sentences), default=0)
    arrays = {name: np.zeros(shape, np.int32) for name in ("x", *tags)}
    if MORPHOLOGY in tags:
        arrays[MORPHOLOGY] = np.zeros((*shape, len(tags[MORPHOLOGY])), bool)
        holds = cache(partial(_holds, tags[MORPHOLOGY]))
    arrays["letters"], arrays["mask"] = np.zeros((*shape, LETTERS), np.uint8), np.zeros(shape, bool)
    for row, sentence in enumerate(sentences):
        forms, *labels = zip(*sentence, strict=True)
        real = row, slice(len(forms))
        arrays["mask"][real] = True
        arrays["x"][real] = words.encode([form.lower() for form in forms])
        for (kind, names), one in zip(tags.items(), labels[: len(tags)], strict=True):
            if kind == MORPHOLOGY:
                arrays[kind][real] = [holds(word) for word in one]
            else:
                arrays[kind][real] = names.encode(one)
        for place, form in enumerate(forms):
            half = LETTERS // 2
            kept = form if len(form) <= LETTERS else form[:half] + form[-half:]
            arrays["letters"][row, place, : len(kept)] = letters.encode(kept)
    return arrays


def _features(names: str) -> list[str]:
    """ "Case=Nom|Number=Sing" as a list, "_" as an empty one."""
    return [] if names == "_" else names.split("|")


def _holds(known: Vocabulary, names: str) -> list[bool]:
    """Of each known feature whether it is named."""
    return np.isin(known.tokens, _features(names)).tolist()
