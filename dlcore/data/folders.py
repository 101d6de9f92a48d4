"""Class folders, ImageNet's layout: pictures that are decoded when a batch asks for them."""

from __future__ import annotations

import io
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data import files
from dlcore.data.batching import HostData
from dlcore.data.dataset import SPLITS, Arrays, DataError, Dataset, check_count, same_form
from dlcore.data.forms import DataWarning

FOLDERS = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")  # Pillow's names
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp")
# And those of formats that are passed over.
PICTURES = {*SUFFIXES, ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jp2", ".jxl", ".svg"}
PICTURES |= {".ico", ".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".psd", ".dng", ".exr", ".dcm"}
BYTES = 1 << 29  # that the file of a picture may have
PIXELS = 1 << 26  # that a picture may have, as it is and resized

_CHUNK = 1_024  # pictures


@dataclass(frozen=True, eq=False)
class Pictures:
    """The pictures of a split, a HostSource: `gather` decodes those asked for, in threads.

    paths: the files.
    labels: the class of each, int32 [N].
    resize: pixels of the shorter side, before the middle is cut out.
    crop: pixels of both sides of what is cut out.
    """

    paths: tuple[str, ...]
    labels: np.ndarray
    resize: int
    crop: int

    def __len__(self) -> int:
        return len(self.paths)

    def gather(self, indices: np.ndarray) -> Arrays:
        """The pictures at `indices` [B]: x float32 [B, crop, crop, 3] in [0, 1], y int32 [B]."""
        images = np.empty((len(indices), self.crop, self.crop, 3), np.uint8)
        with ThreadPoolExecutor() as threads:
            for image, pixels in zip(images, threads.map(self._pixels, indices), strict=True):
                image[:] = pixels
        return {"x": images / np.float32(255), "y": self.labels[indices]}

    def damaged(self) -> list[str]:
        """What `gather` would say of each picture that it cannot read; reads all of them."""
        lines: list[str] = []
        with ThreadPoolExecutor() as threads:
            for first in range(0, len(self), _CHUNK):  # map plans all it is given at once
                chunk = range(len(self))[first : first + _CHUNK]
                lines += filter(None, threads.map(self._problem, chunk))
        return lines

    def _pixels(self, index: int) -> np.ndarray:
        return read_picture(Path(self.paths[index]), self.resize, self.crop)

    def _problem(self, index: int) -> str:
        try:
            self._pixels(index)
        except DataError as error:
            return str(error)
        return ""


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """Pictures in splits, each as HostData for `fit`, `run` and `evaluate`; see `image_folder`.

    name: what it is called in errors.
    classes: the names of the classes, by label.
    splits: the pictures by split, "train", "validation" and "test", of those that there are.
    passed_over: of each split, which pictures it has that are not among them, and how many.
    """

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, Pictures]
    passed_over: Mapping[str, Mapping[str, int]]

    @property
    def train(self) -> HostData:
        """The pictures in the folder train."""
        return self._split("train")

    @property
    def validation(self) -> HostData:
        """The pictures in the folder val, or validation."""
        return self._split("validation")

    @property
    def test(self) -> HostData:
        """The pictures in the folder test."""
        return self._split("test")

    def damaged(self) -> list[str]:
        """A line for each picture that cannot be read, from all splits: an empty list is good."""
        return [line for pictures in self.splits.values() for line in pictures.damaged()]

    def dataset(self) -> Dataset:
        """All three splits decoded into memory, 600 kB a picture of 224×224."""
        splits = {split: getattr(self, split) for split in SPLITS}
        return Dataset(
            self.name,
            **{split: host.gather(np.arange(len(host))) for split, host in splits.items()},
            classes=self.classes,
            description=f"Pictures in the class folders of {self.name}.",
        )

    def __repr__(self) -> str:
        lines = [f"ImageFolder {self.name}: {len(self.classes):,} classes"]
        for split, pictures in self.splits.items():
            present = len(np.unique(pictures.labels))
            lines.append(f"  {split:<10}  {len(pictures):,} pictures of {present:,} classes")
            if others := self.passed_over[split]:
                lines[-1] += f"; passed over: {_listed(others)}"
        return "\n".join(lines)

    def _split(self, split: str) -> HostData:
        if split not in self.splits:
            wanted = " or ".join(FOLDERS[split])
            raise DataError(f"{self.name}: there is no folder {wanted}, only {[*self.splits]}")
        return HostData(self.splits[split])


def image_folder(root: str | os.PathLike[str], resize: int = 256, crop: int = 224) -> ImageFolder:
    """Pictures root/SPLIT/CLASS/*.jpg, .png, .webp, .bmp; SPLIT is train, val or validation, test.

    Labels are the sorted names of train's class folders (without train, of all), so that they mean
    the same in every split; a class that another split lacks is no error, one that train lacks is.
    Names are compared in Unicode's form NFC. Those that begin with a dot and other files are passed
    over; pictures among them, of another format or a level deeper, are counted in a DataWarning and
    in `passed_over`. Links are followed, since a picture is only ever decoded. Each becomes RGB
    [crop, crop, 3], see `read_picture`.

    A picture that cannot be read ends a run with one line that names it; `damaged()` finds all of
    them before. DataError too for a class of train, or a split, without pictures.

    ImageNet is scored by the top-5 error, 1 − "top-5":

        top_5 = train.metrics.mean_of(functools.partial(F.top_k_correct, k=5))
        objective = train.classification(network, metrics={"top-5": top_5})
        train.evaluate(objective, params, state, pictures.validation)["top-5"]

    Published are 6.67 % (GoogLeNet; Szegedy et al. 2014, table 2) and 3.57 % (ResNet; He et al.
    2016, table 5), both of an ensemble of networks on the test images.
    """
    resize = check_count("resize", resize, 1)
    crop = check_count("crop", crop, 1, resize)
    base = files.located(root)
    files.pillow(base)
    folders = {split: folder for split in FOLDERS if (folder := _folder(base, split))}
    if not folders:
        raise DataError(f"{base}: there is no folder train, val, validation or test in it")
    found, passed_over = {}, {}
    for split, folder in folders.items():
        with files.reading(folder):
            found[split], passed_over[split] = _scan(folder)
    names = found.get("train") or {name for classes in found.values() for name in classes}
    labels = {name: label for label, name in enumerate(sorted(names))}
    splits = {}
    for split, folder in folders.items():
        _check_classes(folder, found[split], labels)
        of_each = [labels[name] for name, paths in found[split].items() for _ in paths]
        paths = tuple(path for paths in found[split].values() for path in paths)
        splits[split] = Pictures(paths, np.array(of_each, np.int32), resize, crop)
    others = [f"{split}: {_listed(counts)}" for split, counts in passed_over.items() if counts]
    if others:
        message = f"{base}: pictures are passed over: {'; '.join(others)}"
        wanted = f"CLASS/*{', *'.join(SUFFIXES)} are read"
        warnings.warn(f"{message}; {wanted}", DataWarning, stacklevel=2)
    return ImageFolder(base.resolve().name, tuple(labels), splits, passed_over)


def read_picture(path: Path, resize: int, crop: int) -> np.ndarray:
    """A JPEG, PNG, WebP or BMP file as uint8 [crop, crop, 3]: its short side resized, its middle.

    torchvision's Resize(resize) and CenterCrop(crop), to the bit: Pillow's bilinear filter, widened
    where it shrinks; the long side rounded down; of an odd margin, half a pixel to the even number.
    Grey, palette and CMYK become RGB, alpha is dropped, of 16 bits the upper 8 are kept. Departure:
    the picture is first turned as its EXIF orientation says.

    Any damage to the pixels of a PNG is found, by its checksums; of other formats, which have none,
    what cannot be decoded. A file that cannot be read is not called damaged.
    """
    pillow = files.pillow(path)
    content = files.read(path, BYTES)
    try:
        _verify(pillow, content)
        # All decoders whatever the suffix: in ImageNet one .JPEG is a PNG.
        with pillow.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_pixels(path, image.size, resize)
            picture = _rgb(pillow, _upright(image))
            size = _resized(picture.size, resize)
            pixels = np.asarray(picture.resize(size, pillow.Resampling.BILINEAR))
    except DataError:
        raise
    except MemoryError:
        raise DataError(f"{path}: cannot be decoded, it does not fit into memory") from None
    except pillow.UnidentifiedImageError:
        raise files.damaged(path, f"not a sound picture of {', '.join(FORMATS)}") from None
    except Exception as error:  # a damaged picture makes Pillow raise almost anything
        raise files.damaged(path, f"not a sound picture ({error!s:.200})") from None
    left, top = (round((length - crop) / 2) for length in size)
    return pixels[top : top + crop, left : left + crop]


def _verify(pillow: Any, content: bytes) -> None:
    """Refuses what the checksums of the format show: decoding looks at few of them."""
    with pillow.open(io.BytesIO(content), formats=FORMATS) as image:
        image.verify()


def _resized(size: tuple[int, int], short: int) -> tuple[int, int]:
    width, height = size
    return short * width // min(size), short * height // min(size)


def _check_pixels(path: Path, size: tuple[int, int], resize: int) -> None:
    for width, height in (size, _resized(size, resize)):
        if width * height > PIXELS:
            raise files.damaged(path, f"{width}×{height} pixels are more than {PIXELS:,}")


def _upright(image: Any) -> Any:
    """The image turned as its EXIF orientation says; damaged EXIF says nothing."""
    from PIL import ImageOps

    with suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _rgb(pillow: Any, image: Any) -> Any:
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip at 255
        image = pillow.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _folder(base: Path, split: str) -> Path | None:
    folders = [base / name for name in FOLDERS[split] if files.is_folder(base / name)]
    if len(folders) > 1:
        raise DataError(f"{base}: both {' and '.join(FOLDERS[split])} are there, remove one")
    return folders[0] if folders else None


def _scan(folder: Path) -> tuple[dict[str, list[str]], Counter[str]]:
    """The paths of each class, sorted by name, and what other pictures there are."""
    found: dict[str, list[str]] = {}
    others: Counter[str] = Counter()
    for entry in _entries(folder):
        if entry.is_dir():
            name, inside = same_form(entry.name), _entries(entry.path)
            if name in found:
                raise DataError(f"{entry.path}: a second folder of the name {name}, join the two")
            found[name] = [one.path for one in inside if _is_picture(one)]
            others.update(_others(inside))
        elif _suffix(entry.name) in PICTURES:
            others["in no class folder"] += 1
    if not any(found.values()):
        beside = f", only {_listed(others)}" if others else ""
        raise DataError(f"{folder}: holds no pictures CLASS/*{', *'.join(SUFFIXES)}{beside}")
    return found, others


def _others(entries: list[os.DirEntry[str]]) -> Iterator[str]:
    """What each picture is that is in a class folder and not of the class."""
    for entry in entries:
        suffix = _suffix(entry.name)
        if suffix in PICTURES - set(SUFFIXES):
            yield f"of format {suffix}"
        elif entry.is_dir(follow_symlinks=False):
            for _, folders, names in os.walk(entry.path):  # no links, which may lead in circles
                folders[:] = [name for name in folders if not name.startswith(".")]
                visible = (name for name in names if not name.startswith("."))
                yield from ("a level deeper" for name in visible if _suffix(name) in PICTURES)


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items()))


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    with files.reading(Path(folder)), os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    return sorted(visible, key=lambda entry: same_form(entry.name))


def _is_picture(entry: os.DirEntry[str]) -> bool:
    if _suffix(entry.name) not in SUFFIXES:
        return False
    if not entry.is_file():  # which asks nothing of the system, but of a link
        raise DataError(f"{entry.path}: is named like a picture, but is no file; remove it")
    return True


def _check_classes(folder: Path, found: dict[str, list[str]], classes: dict[str, int]) -> None:
    for name, paths in found.items():
        if name not in classes:
            raise DataError(f"{folder / name}: train has no such class; add it there or remove it")
        if not paths and folder.name == "train":
            raise DataError(f"{folder / name}: holds no pictures; add some or remove the folder")
