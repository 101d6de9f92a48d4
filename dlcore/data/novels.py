"""95 English novels of the years 1839 to 1930: running text for word vectors."""

from __future__ import annotations

import lzma
import re
from pathlib import Path

from dlcore.data import files
from dlcore.data.dataset import DataError

SOURCE = "https://github.com/computationalstylistics/100_english_novels"
COMMIT = "143e601"
ARCHIVE = "novels.txt.xz"
# Of the unpacked text.
SHA256 = "698f05d9cf690dc2e6e8b128015ada5c34093d9dfeacea2983a13b34b87a4569"

_BYTES = 1 << 27  # the text has 74,922,421
_HEADING = re.compile(r"^=== (\S+) ===\n", re.MULTILINE)


def novels(root: files.Root = None) -> dict[str, str]:
    """The text of each novel by author, title and year: "Cbronte_Jane_1847".

    13.9 million words. In the public domain; two of the hundred in the source are left out since
    they are later, three since their author died in 1970. The file is `novels.txt.xz`: each novel
    follows a line `=== Author_Title_Year ===`.

    Raises DataError for a missing or damaged file.
    """
    path = files.find(ARCHIVE, files.folders("text", root))
    if path is None:
        raise DataError(
            f"novels: {ARCHIVE} is neither in root nor in {files.cache()}; it joins the texts of "
            f"{SOURCE} (commit {COMMIT}): give the folder that has it as root="
        )
    content = _unpacked(path)
    files.check_content(path, content, SHA256, "the novels")
    _, *parts = _HEADING.split(content.decode())
    return dict(zip(parts[::2], parts[1::2], strict=True))


def lower_words(text: str) -> list[str]:
    """The words of a text: what is [a-z]+ in lower case. "Don't" is two, a number is none.

    >>> lower_words("Call me Ishmael. Some years ago--never mind")
    ['call', 'me', 'ishmael', 'some', 'years', 'ago', 'never', 'mind']
    """
    return re.findall("[a-z]+", text.lower())


def _unpacked(path: Path) -> bytes:
    """The content of an xz file of about the size expected."""
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=1 << 28)
    try:
        content = decompressor.decompress(files.read(path, _BYTES), _BYTES)
    except lzma.LZMAError as error:
        raise files.damaged(path, f"not a sound xz file ({error})") from None
    if not decompressor.eof:
        raise files.damaged(path, f"is cut short, or unpacks to more than {_BYTES:,} bytes")
    return content
