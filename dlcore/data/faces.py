"""AT&T Database of Faces: 40 persons, ten pictures of each; persons are held out, not pictures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from dlcore.data import files
from dlcore.data.batching import order
from dlcore.data.dataset import Arrays, DataError, Dataset, check_count

SOURCE = "https://www.cl.cam.ac.uk/research/dtg/attarchive/facedatabase.html"
REPOSITORY = "surabhiiyer/CreepyTeddy-"  # whose pictures are those of the source
COMMIT = "a47615eb705810001620ed616a7706c2438fb99d"
ARCHIVE = "att_faces.tar.gz"
PERSONS, PICTURES = 40, 10  # of each person
HEIGHT, WIDTH = 112, 92
HELD_OUT = 10  # persons to test on, and to choose settings by
SPLITS = 5
# Of all pixels, joined in the order of `_names`.
SHA256 = "2959c01f36490130ebcf32514e31b6a705f33234451968764b142abe54d67936"

_BYTES = 1 << 14  # a file has 10,318
_ARCHIVE_BYTES = 1 << 26  # the repository has 20 million
_NAME = re.compile(r"(?:\./)?(?:\w[\w.-]*/){0,2}(s[1-9][0-9]?/[1-9][0-9]?\.pgm)")
_HEADER = re.compile(rb"P5\s+(\d+)\s+(\d+)\s+(\d+)\s")


def att_faces(root: files.Root = None, split: int = 0) -> Dataset:
    """Grey pictures [N, 112, 92, 1] in [0, 1] of faces; y is the person, 0 … 39.

    `split` 0 … 4 says which ten persons are the test split. Ten that no test split has are the
    validation split of all five, so that settings chosen by them have seen nobody who is held out;
    the other twenty are to train on. The five test splits overlap. The files are `att_faces.tar.gz`
    or folders `s1` … `s40`, as published; where there are none, a repository
    that has them is downloaded (19 MB).
    """
    split = check_count("split", split, 0, SPLITS - 1)
    x = _read(root)
    y = np.repeat(np.arange(PERSONS, dtype=np.int32), PICTURES)
    persons = order(PERSONS, seed=0, epoch=0)
    validation, others = persons[:HELD_OUT], persons[HELD_OUT:]
    others = others[order(len(others), seed=0, epoch=split + 1)]

    def part(chosen: np.ndarray) -> Arrays:
        rows = np.isin(y, chosen)
        return {"x": x[rows], "y": y[rows]}

    return Dataset(
        "att_faces",
        part(others[HELD_OUT:]),
        part(validation),
        part(others[:HELD_OUT]),
        tuple(f"s{person + 1}" for person in range(PERSONS)),
        f"AT&T Database of Faces ({SOURCE}): {PERSONS} persons, {PICTURES} pictures of each, taken "
        "1992 to 1994 at the Olivetti Research Laboratory, Cambridge. Free with credit to it "
        "(Samaria and Harter 1994).",
    )


def read_pgm(data: bytes) -> np.ndarray:
    """The picture float32 [H, W] in [0, 1] of a binary PGM file of 8 bits.

    Its header may be parted by newlines or blanks; comments in it are not read.
    """
    header = _HEADER.match(data)
    if header is None:
        raise DataError('not a binary PGM file, which begins with "P5", width, height and 255')
    width, height, highest = map(int, header.groups())
    pixels = data[header.end() :]
    if highest != 255 or len(pixels) != height * width:
        raise DataError(
            f"holds {len(pixels)} bytes of pixels for {height} × {width}, the highest {highest}, "
            "but one byte each up to 255 is wanted"
        )
    return np.frombuffer(pixels, np.uint8).reshape(height, width) / np.float32(255)


def _names() -> list[str]:
    return [f"s{person + 1}/{k + 1}.pgm" for person in range(PERSONS) for k in range(PICTURES)]


def _read(root: files.Root) -> np.ndarray:
    """The pictures in the order of `_names`, from the first folder that has them."""
    for folder in files.folders("att_faces", root):
        if files.is_file(folder / ARCHIVE):
            return _unpacked(folder / ARCHIVE)
        if files.is_folder(folder / "s1"):
            paths = {name: folder / name for name in _names()}
            found = {
                n: files.read(path, _BYTES) for n, path in paths.items() if files.is_file(path)
            }
            return _checked(folder, found)
    return _unpacked(files.snapshot("att_faces", ARCHIVE, REPOSITORY, COMMIT))


def _unpacked(path: Path) -> np.ndarray:
    return _checked(path, files.members(path, _NAME, _BYTES, _ARCHIVE_BYTES))


def _checked(path: Path, found: dict[str, bytes]) -> np.ndarray:
    pictures = []
    for name in _names():
        if name not in found:
            raise files.damaged(path, f"the picture {name} is missing")
        try:
            picture = read_pgm(found[name])
        except DataError as error:
            raise files.damaged(path, f"{name}: {error}") from None
        if picture.shape != (HEIGHT, WIDTH):
            raise files.damaged(path, f"{name} has {picture.shape} pixels, not {(HEIGHT, WIDTH)}")
        pictures.append(picture)
    x = np.stack(pictures)[..., None]
    content = np.rint(255 * x).astype(np.uint8).tobytes()
    files.check_content(path, content, SHA256, "the AT&T faces")
    return x
