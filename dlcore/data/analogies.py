"""Google's analogies: "man is to king as woman is to …", in 14 sections."""

from __future__ import annotations

from pathlib import Path

from dlcore.data import files

COMMIT = "20c129af10659f7c50e86e3be406df663beff438"
MIRRORS = (f"https://raw.githubusercontent.com/tmikolov/word2vec/{COMMIT}/",)
FILE = "questions-words.txt"
SHA256 = "8c29b3332afc46f3fb8be04cb5297bf96f39aa7131272dff57869b4485b22a36"
_BYTES = 1 << 20  # it has 603,955

Questions = list[tuple[str, str, str, str]]


def analogies(root: files.Root = None) -> dict[str, Questions]:
    """19,544 questions (a, b, c, d): a is to b as c is to d, by section.

    Five sections are of meaning (capital-common-countries, …, family), nine of grammar, whose names
    begin with "gram". Words are written as in the set: "Athens". Mikolov et al. 2013a, section 4.1;
    `tmikolov/word2vec`, Apache 2.0, looked for in root, then downloaded.

    Raises DataError for a missing or damaged file.
    """
    path = files.find(FILE, files.folders("text", root))
    return _parsed(path or files.download("text", FILE, SHA256, MIRRORS))


def _parsed(path: Path) -> dict[str, Questions]:
    content = files.read(path, _BYTES)
    files.check_content(path, content, SHA256, "the analogies")
    sections: dict[str, Questions] = {}
    for line in map(str.split, content.decode().splitlines()):
        match line:
            case [":", name]:
                questions = sections.setdefault(name, [])
            case [a, b, c, d] if sections:
                questions.append((a, b, c, d))
            case _:
                raise files.damaged(path, f"{' '.join(line)!r:.80} is no question of four words")
    return sections
