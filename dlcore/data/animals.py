"""Animals with Attributes: 50 kinds of animals, known by what they are like."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dlcore.data import files
from dlcore.fields import documented

COMMIT = "f3321cd0094490a9591e64d9ced70b0825565663"
MIRRORS = (f"https://raw.githubusercontent.com/Stephen-Mayer/20Questions/{COMMIT}/",)
CLASSES, ATTRIBUTES, TABLE = FILES = (
    ("classes.txt", "cab260a8b9837dd77df0a41b45c5ef8591636644aab91cea9e9a7e3f2b968048"),
    ("predicates.txt", "5a88e84aeeaacd4ff4570d4dd0a944b6f1037b7f380f4da9111d1b16cb22cceb"),
    (
        "predicate-matrix-binary.txt",
        "c3d057132cea6e69caaf2f8a2e9fe5c30de5024dac6bd4bdc96fa3c2dc229a85",
    ),
)
UNSEEN = (
    "chimpanzee",
    "giant+panda",
    "hippopotamus",
    "humpback+whale",
    "leopard",
    "persian+cat",
    "pig",
    "raccoon",
    "rat",
    "seal",
)
_BYTES = 1 << 14  # the largest has 8,499


@documented
class Animals(NamedTuple):
    """C = 50 classes and their A = 85 attributes; no pictures.

    classes: their names as in the set: "giant+panda".
    attributes: their names: "black", "hooves", "ocean".
    signatures: which class has which attribute, float32 [C, A] of 0 and 1.
    unseen: bool [C], True for the ten classes that Lampert et al. hold out.
    """

    classes: tuple[str, ...]
    attributes: tuple[str, ...]
    signatures: np.ndarray
    unseen: np.ndarray


def animals_with_attributes(root: files.Root = None) -> Animals:
    """What 50 kinds of animals are like, for zero-shot learning by attributes.

    The table is that of Osherson et al. 1991 and Kemp et al. 2006, the classes held out those of
    Lampert et al. 2009, section 4.1. Looked for in `root/zero_shot` as other sets are, then
    downloaded from a repository that states no licence; free for research. Attributes of 0 and 1
    were made by the authors from how strongly people associate the two.

    Raises DataError for a missing or damaged file.
    """
    classes, attributes = (_names(_text(root, *file)) for file in (CLASSES, ATTRIBUTES))
    rows = [line.split() for line in _text(root, *TABLE).splitlines()]
    signatures = np.array(rows, np.float32)
    return Animals(classes, attributes, signatures, np.isin(classes, UNSEEN))


def _text(root: files.Root, name: str, sha256: str) -> str:
    path = files.find(name, files.folders("zero_shot", root))
    path = path or files.download("zero_shot", name, sha256, MIRRORS)
    content = files.read(path, _BYTES)
    files.check_content(path, content, sha256, f"the animals' {name}")
    return content.decode()


def _names(text: str) -> tuple[str, ...]:
    """What follows the number in each line."""
    return tuple(line.split()[1] for line in text.splitlines())
