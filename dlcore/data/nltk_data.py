"""The archives of NLTK's data that sets are downloaded from, at one commit."""

from __future__ import annotations

import zipfile
from pathlib import Path

from dlcore.data import files

COMMIT = "5db857e6f7df11eabb5e5665836db9ec8df07e28"
MIRRORS = (f"https://raw.githubusercontent.com/nltk/nltk_data/{COMMIT}/packages/corpora/",)
ARCHIVES = {
    "cmudict": "d07cca47fd72ad32ea9d8ad1219f85301eeaf4568f8b6b73747506a71fb5afd6",
    "conll2000": "01e65164f268366e7caa0db92332a1955d081908c87016e2c7640c3c5279b7cd",
    "qc": "091fb01e50883014d150acb7d5013d787136968b3f955ae01725a65e7e80f304",
    "sentence_polarity": "6e1ed4405b65c7eabf1d199a7f7c437091ac21da0ea7467b410a74062574566b",
    "subjectivity": "741f3371e1a4375051b874fd82fd55857b90975473c91c19a3101cbe17fc4d8c",
}


def member(name: str, archive: str, file: str) -> tuple[Path, bytes]:
    """The archive in the user's cache, downloaded for the set `name`, and `file`'s content in it.

    Of another archive than this one, by its SHA-256, nothing is read.
    """
    path = files.download(name, f"{archive}.zip", ARCHIVES[archive], MIRRORS)
    with zipfile.ZipFile(path) as packed:
        return path, packed.read(f"{archive}/{file}")
