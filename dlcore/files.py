"""Files which are whole or absent after a crash, and JSON which comes back as it was."""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any, BinaryIO

# What file systems say that cannot sync a folder: network ones, FUSE; or one that may not be read.
_UNSYNCED = {
    errno.EACCES,
    errno.EBADF,
    errno.EINVAL,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
}


def located(path: str | os.PathLike[str], error: type[ValueError] = ValueError) -> Path:
    """The path that a person gave, where `~` is the home folder: all that dlcore takes go this way.

    One that no system can have (a NUL in it), or a home that nobody knows, raises `error`.
    """
    text = os.path.expanduser(path)
    try:
        impossible = b"\0" in os.fsencode(text)
    except UnicodeEncodeError:
        impossible = True
    if impossible:
        given = f"{os.fspath(path)!r:.200}"
        raise error(f"{given} is no path: it has a character that no file's name can have")
    if Path(text).parts[:1] == ("~",):
        raise error(f"{path}: nobody knows the home folder, HOME is not set; give the whole path")
    return Path(text)


def plain(path: Path, flags: int = 0) -> BinaryIO:
    """A plain file to be read; a folder, a pipe or a device, which may have no end, is an OSError.

    `flags` are further ones of os.open, such as O_NOFOLLOW.
    """
    # A pipe is opened without waiting for its writer, to be refused.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | flags)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "Not a plain file", str(path))


def read(path: Path, limit: int, flags: int = 0) -> bytes:
    """The content of a plain file; one of more than `limit` bytes is an OSError, and not read."""
    with plain(path, flags) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(size + 1) if size <= limit else b""
        if max(size, len(data)) > limit:
            raise OSError(errno.EFBIG, f"More than {limit:,} bytes", str(path))
        return data


def write(path: Path, data: bytes) -> None:
    """A new file, on the disk when this returns; an existing one is refused (FileExistsError)."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Make the names in a folder, as they are now, survive a loss of power, where that is possible.

    File systems that cannot sync a folder keep names by themselves, or not at all.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _UNSYNCED:
            raise


def replace(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file in one step: a reader, or a crash, sees all of the old one or all of the new."""
    path = located(path)
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        write(temporary, data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON which reads back equal, or a ValueError: no tuples, number keys, NaN or infinity."""
    try:
        text = json.dumps(value, allow_nan=False, indent=indent)
        same = json.loads(text) == value
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"cannot be written as JSON: {error}") from error
    if not same:
        raise ValueError(
            "changes when written as JSON: use lists for tuples and strings as keys, "
            f"got {value!r:.200}"
        )
    return text
