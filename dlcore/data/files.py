"""Files of data sets: where they are looked for, how they are downloaded, unpacked and checked.

Every folder given (`root`, then the user's cache) is tried as `folder/NAME`, `folder/data/NAME` and
`folder` itself. The cache is the environment variable DLCORE_DATA or the system's own cache folder.
What is read is judged by its unpacked bytes, so a file that was compressed again is as good as
the published one.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import re
import sys
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from dlcore import files
from dlcore.data.dataset import DataError

Root = str | os.PathLike[str] | None  # a folder that a person gives, or the cache alone

ARCHIVES = "https://codeload.github.com/"
_TIMEOUT = 30.0  # seconds without a byte from the server


def cache() -> Path:
    """The folder where downloads are kept."""
    import pooch

    return located(os.environ.get("DLCORE_DATA") or pooch.os_cache("dlcore"))


def located(path: str | os.PathLike[str]) -> Path:
    """The path that a person gave, see `dlcore.files`; an impossible one is a DataError."""
    return files.located(path, DataError)


def folders(name: str, root: Root) -> list[Path]:
    """The folders in which the files of the data set `name` are looked for, in order."""
    bases = [cache()] if root is None else [located(root), cache()]
    return [folder for base in bases for folder in (base / name, base / "data" / name, base)]


def find(filename: str, folders: Iterable[Path]) -> Path | None:
    """The first file of that name in `folders`."""
    paths = (folder / filename for folder in folders)
    return next((path for path in paths if is_file(path)), None)


def is_file(path: Path) -> bool:
    """Whether a file is there, which nobody can say of a folder that must not be looked into."""
    with reading(path):
        return path.is_file()


def is_folder(path: Path) -> bool:
    """Whether a folder is there."""
    with reading(path):
        return path.is_dir()


def read(path: Path, limit: int) -> bytes:
    """The content of a file, which is not read where it has more than `limit` bytes."""
    with reading(path):
        try:
            return files.read(path, limit)
        except OSError as error:
            if error.errno == errno.EFBIG:
                raise damaged(path, f"has more than the {limit:,} bytes expected") from None
            raise


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What the system refuses here is a DataError that blames no file, which may be sound."""
    try:
        yield
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "it does not fit into memory"
        place = getattr(error, "filename", None) or path
        raise DataError(
            f"{place}: cannot be read ({reason}); check the path, the disk and who may read it"
        ) from None


def download(name: str, filename: str, sha256: str, mirrors: Sequence[str]) -> Path:
    """`filename` in the user's cache, fetched from the first of the `mirrors` that has it.

    It appears there under its name only when it is whole and its SHA-256 is right.
    """
    import pooch

    failures = []
    for mirror in mirrors:
        try:
            path = pooch.retrieve(
                mirror + filename,
                known_hash=f"sha256:{sha256}",
                fname=filename,
                path=cache() / name,
                downloader=_downloader(),
            )
            return Path(path)
        except (OSError, ValueError) as error:  # requests' errors are OSErrors
            failures.append(f"{mirror} ({_reason(error)})")
    raise _not_downloaded(name, filename, failures)


def snapshot(name: str, filename: str, repository: str, commit: str) -> Path:
    """A repository of GitHub, "owner/name", at a commit, as `filename`, a .tar.gz in the cache.

    GitHub packs it anew and promises no bytes, so what is read from it has to be checked.
    """
    url = f"{ARCHIVES}{repository}/tar.gz/{commit}"
    return keep(name, filename, fetch(name, filename, url))


def fetch(name: str, filename: str, url: str) -> bytes:
    """What is at `url`, unchecked; errors speak of `filename`, wanted for the set `name`."""
    content = io.BytesIO()
    try:
        _downloader()(url, content, None)
    except OSError as error:
        raise _not_downloaded(name, filename, [f"{url} ({_reason(error)})"]) from None
    return content.getvalue()


def keep(name: str, filename: str, content: bytes) -> Path:
    """A file of the set `name` in the user's cache, there as a whole or not at all."""
    path = cache() / name / filename
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, content)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}); set DLCORE_DATA to another "
            "folder"
        ) from None
    return path


def unpack(path: Path, limit: int) -> bytes:
    """The content of the gzip file at `path`, refused beyond `limit` bytes."""
    with reading(path), files.plain(path) as packed:
        try:
            with gzip.open(packed) as file:
                data = file.read(limit + 1)
        except gzip.BadGzipFile as error:
            raise damaged(path, f"not a sound gzip file ({error})") from None
        except EOFError:
            raise damaged(path, "the gzip file is truncated") from None
        except zlib.error as error:
            raise damaged(path, f"the gzip file is damaged ({error})") from None
    if len(data) > limit:
        raise damaged(path, f"unpacks to more than the {limit:,} bytes expected")
    return data


def members(path: Path, pattern: re.Pattern[str], size: int, limit: int) -> dict[str, bytes]:
    """The members of a .tar.gz whose whole name fits `pattern`, by its group, in their order.

    Nothing is written to disk. Other members are passed over unread; one that fits but is a link,
    a second of its name, or longer than `size` is refused, as is an archive beyond `limit` bytes.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(unpack(path, limit)), mode="r:") as archive:
            for member in archive:
                match = pattern.fullmatch(member.name)
                if match is None:
                    continue
                file = archive.extractfile(member) if member.isreg() else None
                if file is None or match[1] in found or member.size > size:
                    raise damaged(path, f"the member {match[1]} is there twice, a link or too long")
                found[match[1]] = file.read()
    except DataError:
        raise
    except Exception as error:  # a damaged header makes tarfile raise almost anything
        raise damaged(path, f"not a sound tar archive ({error})") from None
    return found


def check_content(path: Path, data: bytes, sha256: str, name: str) -> None:
    """Refuse `data`, unpacked from `path`, unless it has the SHA-256 that `name` is known by."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise damaged(
            path, f"the content is not {name} (SHA-256 {found[:8]}…, expected {sha256[:8]}…)"
        )


def damaged(path: Path, what: str) -> DataError:
    """The error for a file that is there but no good."""
    told = " ".join(what.split())  # others' errors may have several lines
    return DataError(f"{path}: {told}; replace the file, or delete it and load again")


def pillow(path: Path) -> ModuleType:
    """Pillow's module of images, which reads the pictures at `path`."""
    try:
        from PIL import Image
    except ImportError:
        raise DataError(f"{path}: pictures need Pillow: pip install 'dlcore[images]'") from None
    return Image


def _downloader() -> Any:
    import pooch

    return pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(), chunk_size=1 << 16, timeout=_TIMEOUT
    )


def _not_downloaded(name: str, filename: str, failures: Sequence[str]) -> DataError:
    return DataError(
        f"{name}: {filename} is neither in root nor in {cache()}, and could not be downloaded from "
        f"{' nor '.join(failures)}; put it into a folder and give that as root="
    )


def _reason(error: Exception) -> str:
    """Why a download failed, in a few words."""
    import requests

    if isinstance(error, requests.Timeout):
        return f"no answer for {_TIMEOUT:.0f} s"
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, requests.RequestException):
        return f"the transfer broke: {type(error).__name__}"
    if isinstance(error, OSError):
        return f"the cache cannot be written: {error.strerror or error}"
    return "the file there has another SHA-256"
