"""MNIST and Fashion-MNIST: four gzipped IDX files each, of the same names and shapes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlcore.data import files
from dlcore.data.dataset import Arrays, Dataset, hold_out
from dlcore.fields import documented


@documented
class IdxFile(NamedTuple):
    """A gzipped IDX file of unsigned bytes.

    name: its own, as it is published.
    shape: of the array in it.
    archive: the SHA-256 of the file as published.
    content: the SHA-256 of what is in it, unpacked.
    """

    name: str
    shape: tuple[int, ...]
    archive: str
    content: str


@documented
class Source(NamedTuple):
    """Where the four files of a set come from and what is in them.

    mirrors: the addresses that have them, tried in order.
    train, test: the images and the labels of the split.
    """

    mirrors: tuple[str, ...]
    train: tuple[IdxFile, IdxFile]
    test: tuple[IdxFile, IdxFile]


MNIST = Source(
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    train=(
        IdxFile(
            "train-images-idx3-ubyte.gz",
            (60_000, 28, 28),
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        IdxFile(
            "train-labels-idx1-ubyte.gz",
            (60_000,),
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
    ),
    test=(
        IdxFile(
            "t10k-images-idx3-ubyte.gz",
            (10_000, 28, 28),
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        IdxFile(
            "t10k-labels-idx1-ubyte.gz",
            (10_000,),
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
)

FASHION_MNIST = Source(
    mirrors=(
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    train=(
        IdxFile(
            "train-images-idx3-ubyte.gz",
            (60_000, 28, 28),
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        IdxFile(
            "train-labels-idx1-ubyte.gz",
            (60_000,),
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
    ),
    test=(
        IdxFile(
            "t10k-images-idx3-ubyte.gz",
            (10_000, 28, 28),
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        IdxFile(
            "t10k-labels-idx1-ubyte.gz",
            (10_000,),
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
)

_DIGITS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
_CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def mnist(root: files.Root = None, validation: int = 5_000) -> Dataset:
    """Handwritten digits [N, 28, 28, 1] in [0, 1], 60,000 to train and 10,000 to test.

    The last `validation` of the 60,000 are the validation split.
    """
    description = (
        "MNIST (LeCun, Cortes, Burges 1998): handwritten digits, 28×28 grey, 60,000 + 10,000. "
        "No licence text from the authors, commonly given as CC BY-SA 3.0."
    )
    return _dataset("mnist", MNIST, _DIGITS, description, root, validation)


def fashion_mnist(root: files.Root = None, validation: int = 5_000) -> Dataset:
    """Pictures of clothes [N, 28, 28, 1] in [0, 1], 60,000 to train and 10,000 to test.

    The last `validation` of the 60,000 are the validation split.
    """
    description = (
        "Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): Zalando's articles, 28×28 grey, "
        "60,000 + 10,000. MIT licence."
    )
    return _dataset("fashion_mnist", FASHION_MNIST, _CLOTHES, description, root, validation)


def read_idx(path: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, bytes]:
    """The uint8 array of that shape in the gzipped IDX file at `path`, and the unpacked bytes.

    IDX: two zero bytes, the type (8, unsigned byte), the number of axes, each axis as a big-endian
    32-bit integer, then the values in row-major order.
    """
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
    data = files.unpack(path, len(header) + math.prod(shape))
    if data[:4] != header[:4]:
        raise files.damaged(
            path, f"starts with the bytes {data[:4].hex(' ')}, expected {header[:4].hex(' ')}"
        )
    if data[4 : len(header)] != header[4:]:
        found = np.frombuffer(data[4 : len(header)].ljust(len(header) - 4, b"\0"), ">u4").tolist()
        raise files.damaged(path, f"holds an array of shape {found}, expected {list(shape)}")
    if len(data) != len(header) + math.prod(shape):
        raise files.damaged(
            path, f"holds {len(data) - len(header):,} values, expected {math.prod(shape):,}"
        )
    return np.frombuffer(data, np.uint8, offset=len(header)).reshape(shape), data


def _read(name: str, file: IdxFile, source: Source, folders: list[Path]) -> np.ndarray:
    path = files.find(file.name, folders)
    path = path or files.download(name, file.name, file.archive, source.mirrors)
    array, data = read_idx(path, file.shape)
    files.check_content(path, data, file.content, f"{name}'s {file.name}")
    return array


def _dataset(
    name: str,
    source: Source,
    classes: tuple[str, ...],
    description: str,
    root: files.Root,
    validation: int,
) -> Dataset:
    folders = files.folders(name, root)
    train, test = (
        _examples(*(_read(name, file, source, folders) for file in pair))
        for pair in (source.train, source.test)
    )
    return Dataset(name, *hold_out(train, validation), test, classes, description)


def _examples(images: np.ndarray, labels: np.ndarray) -> Arrays:
    return {"x": images[..., None] / np.float32(255), "y": labels.astype(np.int32)}
