"""Pairs of words, and how alike people find them: what word vectors are tested on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlcore.data import files
from dlcore.data.dataset import unknown
from dlcore.fields import documented

COMMIT = "94b3dd9fdbac7ed08dbee7179cd5ee464acf0594"
MIRRORS = (f"https://raw.githubusercontent.com/mfaruqui/eval-word-vectors/{COMMIT}/data/word-sim/",)
_BYTES = 1 << 17  # the largest has 53,593


@documented
class File(NamedTuple):
    """A file of pairs.

    name: its own.
    pairs: how many it has.
    sha256: of its content.
    """

    name: str
    pairs: int
    sha256: str


SETS = {
    "wordsim353": File(
        "EN-WS-353-ALL.txt",
        353,
        "ce12919b240af45bdf46d243601eaca2b6212b159b5e7e9b435ee7ee40c5619c",
    ),
    "simlex999": File(
        "EN-SIMLEX-999.txt",
        999,
        "405394ffb7d25f6d0e3c041f87c9f27d29dc6b047506769953e85c4523b11685",
    ),
    "men": File(
        "EN-MEN-TR-3k.txt",
        3_000,
        "888b13580faa362c7b11da0a670258cf1b1eb4bf0ecbcd418918729a3bd3f43a",
    ),
}


@documented
class WordPairs(NamedTuple):
    """N pairs of words.

    words: the two of each, as they are written in the set.
    scores: how alike people find them on the mean, float64 [N]; the scale is the set's own.
    """

    words: list[tuple[str, str]]
    scores: np.ndarray


def word_pairs(name: str, root: files.Root = None) -> WordPairs:
    """Pairs of words judged by people.

    - wordsim353: 353 pairs, related or similar, 0 to 10 (Finkelstein et al. 2002). CC BY 4.0.
    - simlex999: 999 pairs, similar and not merely related, 0 to 10 (Hill et al. 2015).
    - men: 3,000 pairs, related, 0 to 50 (Bruni et al. 2014). CC BY.

    From the collection of Faruqui and Dyer 2014 (`mfaruqui/eval-word-vectors`, MIT licence), which
    is looked for in root, then downloaded.

    Raises ValueError for another name, DataError for a missing or damaged file.
    """
    if name not in SETS:
        raise ValueError(unknown("set of word pairs", name, SETS))
    file = SETS[name]
    bases = files.folders("text", root)
    path = files.find(file.name, [folder / "similarity" for folder in bases] + bases)
    path = path or files.download("text", file.name, file.sha256, MIRRORS)
    return _parsed(path, file)


def _parsed(path: Path, file: File) -> WordPairs:
    content = files.read(path, _BYTES)
    files.check_content(path, content, file.sha256, file.name)
    lines = [line.split() for line in content.decode().splitlines()]
    if len(lines) != file.pairs or any(len(line) != 3 for line in lines):
        raise files.damaged(path, f"should have {file.pairs} lines of two words and a score")
    return WordPairs(
        [(one, other) for one, other, _ in lines], np.array([float(score) for *_, score in lines])
    )
