"""CIFAR-10: the canonical binary files, or the pictures as JPEG files in two archives."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np

from dlcore.data import files
from dlcore.data.dataset import Arrays, DataError, Dataset, hold_out

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)
ARCHIVE = "cifar-10-binary.tar.gz"
ARCHIVE_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
TRAIN_BATCHES = {  # SHA-256 of the files in the archive
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
}
TEST_BATCHES = {
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
RECORD = 1 + 3 * 32 * 32  # bytes: the label, then the red, the green and the blue plane
RECORDS = 10_000  # in each batch
TRAIN_JPEGS = ("train.tar.gz", 5_000)  # and how many pictures of each class it holds
TEST_JPEGS = ("test.tar.gz", 1_000)

_JPEG_BYTES = 4_096  # a picture is about 1,000 bytes, and 3,072 unpacked
_JPEG_NAME = re.compile(rf"(?:\./)?((?:{'|'.join(CLASSES)})/[0-9]{{4}}\.jpg)")
_BATCH_NAME = re.compile(r"(?:\./)?cifar-10-batches-bin/((?:data_batch_[1-5]|test_batch)\.bin)")


def cifar10(root: files.Root = None, validation: int = 5_000) -> Dataset:
    """Photographs [N, 32, 32, 3] in [0, 1] of ten classes, 50,000 to train and 10,000 to test.

    The last `validation` of the 50,000 are the validation split. In each folder the canonical
    `cifar-10-binary.tar.gz` or its unpacked `*.bin` files are preferred; `train.tar.gz` and
    `test.tar.gz` with members CLASS/NNNN.jpg are taken too (needs Pillow), and the description then
    says that the pictures are JPEG-coded.
    """
    train, test, coding = _read(root)
    description = (
        "CIFAR-10 (Krizhevsky 2009): photographs of ten classes, 32×32 RGB, 50,000 + 10,000, "
        f"{coding}. No licence text from the author, cite the report."
    )
    return Dataset("cifar10", *hold_out(train, validation), test, CLASSES, description)


def _read(root: files.Root) -> tuple[Arrays, Arrays, str]:
    """The two parts from the first folder that has them in any form, and how they are coded."""
    for folder in files.folders("cifar10", root):
        if files.is_file(folder / ARCHIVE):
            return *read_archive(folder / ARCHIVE), "lossless"
        for batches in (folder, folder / "cifar-10-batches-bin"):
            if files.is_file(batches / "data_batch_1.bin"):
                return *read_batches(batches), "lossless"
        if files.is_file(folder / TRAIN_JPEGS[0]):
            train, test = (read_jpegs(folder / name, n) for name, n in (TRAIN_JPEGS, TEST_JPEGS))
            return train, test, "JPEG-coded (lossy: figures are not those of the lossless set)"
    path = files.download("cifar10", ARCHIVE, ARCHIVE_SHA256, MIRRORS)
    return *read_archive(path), "lossless"


def read_archive(path: Path) -> tuple[Arrays, Arrays]:
    """The two parts in the canonical archive."""
    size = RECORDS * RECORD
    limit = (len(TRAIN_BATCHES) + len(TEST_BATCHES)) * size + (1 << 20)  # a readme, headers
    found = files.members(path, _BATCH_NAME, size, limit)

    def part(batches: dict[str, str]) -> Arrays:
        for name, sha256 in batches.items():
            if name not in found:
                raise files.damaged(path, f"the member {name} is missing")
            files.check_content(path, found[name], sha256, f"cifar10's {name}")
        return _decode_records(b"".join(found[name] for name in batches))

    return part(TRAIN_BATCHES), part(TEST_BATCHES)


def read_batches(folder: Path) -> tuple[Arrays, Arrays]:
    """The two parts from the unpacked batches in `folder`."""

    def part(batches: dict[str, str]) -> Arrays:
        paths = {folder / name: sha256 for name, sha256 in batches.items()}
        return _decode_records(b"".join(_read_batch(*item) for item in paths.items()))

    return part(TRAIN_BATCHES), part(TEST_BATCHES)


def read_jpegs(path: Path, count: int) -> Arrays:
    """The part in an archive of JPEG files, `count` of each class, in the archive's order."""
    if not files.is_file(path):
        raise DataError(f"{path}: missing, though the other archive of JPEG files is there; add it")
    total = len(CLASSES) * count
    found = files.members(path, _JPEG_NAME, _JPEG_BYTES, total * (_JPEG_BYTES + 1_024) + (1 << 16))
    labels = np.array([CLASSES.index(name.split("/")[0]) for name in found], np.int32)
    counts = np.bincount(labels, minlength=len(CLASSES)).tolist()
    if counts != [count] * len(CLASSES):
        raise files.damaged(path, f"holds {counts} pictures of the classes, expected {count} each")
    images = np.empty((total, 32, 32, 3), np.uint8)
    for image, (name, data) in zip(images, found.items(), strict=True):
        image[:] = _decode_jpeg(path, name, data)
    return {"x": images / np.float32(255), "y": labels}


def _read_batch(path: Path, sha256: str) -> bytes:
    if not files.is_file(path):
        raise DataError(f"{path}: missing, though data_batch_1.bin is there; add it")
    data = files.read(path, RECORDS * RECORD)
    if len(data) != RECORDS * RECORD:
        raise files.damaged(path, f"has {len(data):,} bytes, expected {RECORDS * RECORD:,}")
    files.check_content(path, data, sha256, f"cifar10's {path.name}")
    return data


def _decode_records(data: bytes) -> Arrays:
    records = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return {
        "x": np.divide(images, np.float32(255), order="C"),
        "y": records[:, 0].astype(np.int32),
    }


def _decode_jpeg(path: Path, name: str, data: bytes) -> np.ndarray:
    open_image = files.pillow(path).open
    try:
        with open_image(io.BytesIO(data), formats=("JPEG",)) as image:
            fits = (image.mode, image.size) == ("RGB", (32, 32))
            pixels = np.asarray(image) if fits else None
    except Exception:  # a damaged picture makes Pillow raise almost anything
        raise files.damaged(path, f"the member {name} is not a sound JPEG picture") from None
    if pixels is None:
        raise files.damaged(path, f"the member {name} is not a picture of 32×32 pixels in RGB")
    return pixels
