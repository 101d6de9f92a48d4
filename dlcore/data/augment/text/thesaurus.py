"""What to put for a word: thesauri read from files, or the nearest of the word vectors."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from dlcore.data import files
from dlcore.data.dataset import DataError, check_count

Thesaurus = Mapping[str, Sequence[str]]

_NO_SYNONYM = ("(generic term)", "(related term)", "(antonym)")
_CHUNK = 1_024  # words at a time
_BYTES = 1 << 28  # of a thesaurus; LibreOffice's have 20 million
# Of those that Python has, some are no alphabets, and take a day.
_ENCODING = re.compile(
    r"(us-?)?ascii|utf-?(8|16|32)|(iso-?8859|latin)-?[0-9]+|koi8-?[a-z]|(cp|windows-?)[0-9]+", re.I
)
_COUNT = re.compile(r"\s*[0-9]{1,6}\s*")  # of a word's meanings


def read_thesaurus(path: str | Path) -> dict[str, tuple[str, ...]]:
    """A thesaurus of lines `word: synonym, synonym, …` in UTF-8, which may be phrases.

    Empty lines and those that begin with # are passed over; of a word that has several lines all
    synonyms count. A damaged line raises DataError with its number.
    """
    found: dict[str, list[str]] = {}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        word, colon, synonyms = line.partition(":")
        entries = [word.strip(), *(synonym.strip() for synonym in synonyms.split(","))]
        if not colon or not all(entries):
            raise _damaged(path, number, f"{line!r:.80} is not `word: synonym, synonym`")
        found.setdefault(entries[0], []).extend(entries[1:])
    return _without_repetition(found)


def read_mythes(path: str | Path) -> dict[str, tuple[str, ...]]:
    """A thesaurus in the format of MyThes, which LibreOffice uses: the file `th_….dat`.

    Its first line names the encoding. An entry is a line `word|n` and n lines of meanings,
    `(part of speech)|synonym|synonym (kind)|…`. All meanings of a word count; what is marked as
    "(generic term)", "(related term)" or "(antonym)" does not. A damaged file raises DataError with
    the number of the line.
    """
    lines = enumerate(_lines(path, encoded=True), 2)
    found: dict[str, list[str]] = {}
    for number, line in lines:
        word, _, count = line.rpartition("|")
        if not word or not _COUNT.fullmatch(count):
            raise _damaged(path, number, f"{line!r:.80} is not `word|number of meanings`")
        synonyms = found.setdefault(word, [])
        for _ in range(int(count)):
            number, meaning = next(lines, (number + 1, ""))
            _, *entries = meaning.split("|")
            if not entries or not all(entries):
                raise _damaged(
                    path, number, f"{meaning!r:.80} is no meaning, of {count} of {word!r:.80}"
                )
            synonyms += [one.partition(" (")[0] for one in entries if not one.endswith(_NO_SYNONYM)]
    return _without_repetition(found)


def nearest_words(
    vocabulary: Sequence[str], vectors: np.ndarray, count: int = 10
) -> dict[str, tuple[str, ...]]:
    """For every word the `count` others whose vectors [V, D] make the smallest angle with its own.

    They are words used alike, which need not mean the same: among the nearest of "good" is "bad".
    """
    count = check_count("count", count, 1, len(vocabulary) - 1)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if len(vectors) != len(vocabulary) or not (lengths > 0).all():
        raise ValueError(
            f"nearest_words: vectors are {list(np.shape(vectors))}, but one for each of the "
            f"{len(vocabulary)} words is wanted, and none of them 0"
        )
    directions = vectors / lengths
    nearest = {}
    for start in range(0, len(vocabulary), _CHUNK):
        cosines = directions[start : start + _CHUNK] @ directions.T
        itself = np.arange(len(cosines))
        cosines[itself, start + itself] = -np.inf
        ranks = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
        for word, others in zip(vocabulary[start:], ranks, strict=False):
            nearest[word] = tuple(vocabulary[i] for i in others)
    return nearest


def _lines(path: str | Path, encoded: bool = False) -> Iterator[str]:
    """The lines of a text in UTF-8, or, with `encoded`, those after the one that says in what."""
    data = files.read(files.located(path), _BYTES)
    encoding = "utf-8-sig"
    if encoded:
        first, _, data = data.partition(b"\n")
        encoding = first.strip().decode("ascii", "replace")
    if not _ENCODING.fullmatch(encoding.removesuffix("-sig")):
        raise _damaged(path, 1, f"{encoding!r:.80} is no encoding of text")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not in {encoding} ({error.reason})") from None
    except LookupError:
        raise _damaged(path, 1, f"{encoding!r} is an encoding that Python has not") from None
    for line in io.StringIO(text, newline=None):
        yield line.rstrip("\n")


def _damaged(path: str | Path, number: int, what: str) -> DataError:
    return DataError(f"{path}, line {number}: {what}")


def _without_repetition(found: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    """Each synonym once, in order, the word itself not among them; words without are left out."""
    unique = {word: dict.fromkeys(one for one in found[word] if one != word) for word in found}
    return {word: tuple(synonyms) for word, synonyms in unique.items() if synonyms}
