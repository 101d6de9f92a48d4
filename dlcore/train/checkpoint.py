"""Checkpoints that survive a kill at any moment, and tell when a disk has changed them.

    root/.lock
    root/step-00001234/params.safetensors …   one file a tree, see `dlcore.interop.weights`
                       meta.json              the loop's facts
                       manifest.json          size and SHA-256 of each file, and of itself

A checkpoint is written to a temporary folder, synced, and committed by renaming that folder. So a
folder named step-… is whole, unless it was damaged later: the manifest tells. A step saved again
is committed beside the first as step-00001234.1, which is then removed: at no moment is there none.
Only folders that dlcore wrote, and that hold nothing else, are ever removed. POSIX systems only.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import operator
import os
import re
import secrets
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from dlcore import files
from dlcore.fields import documented
from dlcore.interop import weights

FORMAT = 1

_STEP = re.compile(r"step-\d{8,}(\.\d+)?", re.ASCII)
_TEMPORARY = re.compile(r"\.tmp-step-\d{8,}(\.\d+)?-[0-9a-f]{8}", re.ASCII)
_TREE = re.compile(r"[\w-]+", re.ASCII)
_FILE = re.compile(r"[\w-]+\.(safetensors|json)", re.ASCII)
_MANIFEST = "manifest.json"
_META = "meta.json"
_MANIFEST_LIMIT = 1 << 20  # bytes
# What is there is no file of a checkpoint: none, a link, a folder, a pipe, or one that has grown.
_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.EINVAL, errno.EFBIG}


Check = Callable[[Path, dict[str, Any]], None]


class CheckpointError(ValueError):
    """A checkpoint that cannot be written, read, or put into the trees asked for."""


class CheckpointWarning(UserWarning):
    """A damaged checkpoint was passed over for an earlier one."""


@documented
class Checkpoint(NamedTuple):
    """What `restore` found.

    step: weight updates made when it was saved.
    trees: the trees that were saved, by name.
    meta: the facts that were saved with them, by name.
    path: the folder that holds it.
    """

    step: int
    trees: dict[str, Any]
    meta: dict[str, Any]
    path: Path


class Writer:
    """The one writer of a folder: `with Writer(root) as writer: writer.save(step, trees, meta)`.

    On entry it takes the folder's lock, which ends with the process however that ends, and removes
    what a killed writer left half-written.
    Raises CheckpointError: another writer holds the folder, or it cannot be written.
    """

    def __init__(self, root: str | Path, keep: int = 3):
        if keep < 1:
            raise ValueError(f"keep must be at least 1 checkpoint, got {keep}")
        self._root, self._keep = files.located(root, CheckpointError), keep
        self._descriptor: int | None = None

    def __enter__(self) -> Writer:
        self._descriptor = _locked(self._root)
        for leftover in _folders(self._root, _TEMPORARY):
            _discard(leftover)
        return self

    def __exit__(self, *error: object) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def save(self, step: int, trees: Mapping[str, Any], meta: Mapping[str, Any]) -> Path:
        """Write pytrees by name and JSON facts; returns the new checkpoint's folder.

        Then older intact ones are removed, so that `keep` steps up to this one are left. Those of
        later steps stay, and `restore` would choose them: a new run belongs in a new folder.
        Raises CheckpointError: the disk is full or read-only (earlier checkpoints are untouched),
        or trees or meta cannot be stored.
        """
        if self._descriptor is None:
            raise CheckpointError("open the writer before saving: with Writer(root) as writer: …")
        step = operator.index(step)
        if step < 0:
            raise ValueError(f"step must be at least 0, got {step}")
        contents = _encoded(step, trees, meta)
        try:
            folder = _commit(self._root, step, contents)
        except OSError as error:
            raise CheckpointError(
                f"{self._root}: step {step} cannot be saved ({error.strerror}); make room or use "
                "another folder; earlier checkpoints are untouched"
            ) from error
        _prune(self._root, self._keep, newest=_number(folder))
        return folder


def save(
    root: str | Path,
    step: int,
    trees: Mapping[str, Any],
    meta: Mapping[str, Any],
    keep: int = 3,
) -> Path:
    """Write one checkpoint, as the only writer (see `Writer.save`)."""
    with Writer(root, keep) as writer:
        return writer.save(step, trees, meta)


def restore(
    root: str | Path,
    likes: Mapping[str, Any],
    step: int | None = None,
    check: Check | None = None,
) -> Checkpoint | None:
    """The checkpoint of the highest step (or of the one given), in the structure of `likes`.

    One that is damaged or cannot be read is named in a CheckpointWarning, and the one before it is
    used; another step than the one given never is. None where there is no checkpoint at all.
    `check(folder, meta)` raises before trees are compared that belong to something else.

    Raises CheckpointError: all are damaged; no such step; the trees do not fit `likes` (see
    `dlcore.interop.weights.load`), which no other checkpoint would mend.
    """
    root = files.located(root, CheckpointError)
    folders = [folder for number, _, folder in reversed(_committed(root)) if step in (None, number)]
    if step is not None and not folders:
        raise CheckpointError(f"{root}: no checkpoint of step {step}; there are {steps(root)}")
    damage: list[str] = []
    for folder in folders:
        try:
            contents = _contents(folder)
        except _Damage as problem:
            damage.append(f"{folder.name} {problem.verdict}: {problem}")
            continue
        if damage:
            message = f"{root}: {'; '.join(damage)}; {folder.name} is used instead"
            warnings.warn(message, CheckpointWarning, stacklevel=2)
        return _decoded(folder, contents, likes, check)
    if damage:
        raise CheckpointError(f"{root}: no checkpoint is whole; {'; '.join(damage)}")
    return None


def steps(root: str | Path) -> list[int]:
    """The steps that have a checkpoint, whole or not, in order."""
    return sorted({step for step, _, _ in _committed(files.located(root, CheckpointError))})


# Folders


def _folders(root: Path, pattern: re.Pattern[str]) -> list[Path]:
    try:
        with os.scandir(root) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(f"{root}: cannot be read ({error.strerror})") from error
    return [root / name for name in names if pattern.fullmatch(name)]


def _committed(root: Path) -> list[tuple[int, int, Path]]:
    """(step, revision, folder), oldest first."""
    return sorted((*_number(folder), folder) for folder in _folders(root, _STEP))


def _number(folder: Path) -> tuple[int, int]:
    step, _, revision = folder.name.removeprefix("step-").partition(".")
    return int(step), int(revision or 0)


def _temporary(folder: Path) -> Path:
    return folder.with_name(f".tmp-{folder.name}-{secrets.token_hex(4)}")


def _locked(root: Path) -> int:
    """A file descriptor which holds the folder's lock until it is closed."""
    lock = root / ".lock"
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Through a link a file could be made anywhere.
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP and lock.is_symlink():
            raise CheckpointError(f"{lock}: a link, which no lock may be; remove it") from error
        raise CheckpointError(f"{root}: cannot be written ({error.strerror})") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        busy = isinstance(error, BlockingIOError)
        problem = "another run saves here" if busy else f"cannot be locked ({error.strerror})"
        raise CheckpointError(f"{root}: {problem}; wait, or choose another folder") from error
    return descriptor


# Writing


def _encoded(step: int, trees: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, bytes]:
    contents = {}
    for name, tree in trees.items():
        if not _TREE.fullmatch(name):
            raise CheckpointError(f"a tree's name is letters, digits, - and _, got {name!r}")
        contents[f"{name}.safetensors"] = _explained(name, weights.dumps, tree)
    contents[_META] = _explained("meta", _text, dict(meta))
    sums = {name: {"size": len(data), "sha256": _sha256(data)} for name, data in contents.items()}
    return contents | {_MANIFEST: _sealed({"format": FORMAT, "step": step, "files": sums})}


def _explained(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's value; what it refuses is refused under the name."""
    try:
        return function(*arguments)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{name}: {error}") from error


def _sealed(manifest: dict[str, Any]) -> bytes:
    digest = _sha256(files.to_json(manifest).encode())
    return _text(manifest | {"sha256": digest})


def _text(value: Any) -> bytes:
    return (files.to_json(value, indent=2) + "\n").encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _commit(root: Path, step: int, contents: dict[str, bytes]) -> Path:
    """Everything reaches the disk before the rename makes it a checkpoint, and the rename after."""
    revisions = [revision for number, revision, _ in _committed(root) if number == step]
    suffix = f".{max(revisions) + 1}" if revisions else ""
    folder = root / f"step-{step:08d}{suffix}"
    temporary = _temporary(folder)
    try:
        temporary.mkdir()
        for name, data in contents.items():
            files.write(temporary / name, data)
        files.sync(temporary)
        os.rename(temporary, folder)
    except BaseException:
        _discard(temporary)
        raise
    files.sync(root)
    return folder


def _prune(root: Path, keep: int, newest: tuple[int, int]) -> None:
    """Leave the last revision of each of the last `keep` steps, among those up to the newest."""
    older = [
        (step, folder)
        for step, revision, folder in _committed(root)
        if (step, revision) <= newest and _untouched(folder)
    ]
    kept = list(dict(older).values())[-keep:]
    for _, folder in older:
        if folder not in kept:
            temporary = _temporary(folder)
            with suppress(OSError):
                os.rename(folder, temporary)
                _discard(temporary)


def _untouched(folder: Path) -> bool:
    """Whether a folder is a checkpoint with all its files and no others."""
    try:
        return set(os.listdir(folder)) == {_MANIFEST, *_sums(folder)}
    except (_Damage, CheckpointError, OSError):
        return False


def _discard(folder: Path) -> None:
    """Remove a folder of ours, as far as possible; one with anything else in it stays."""
    with suppress(OSError):
        found = list(folder.iterdir())
        if all(_FILE.fullmatch(file.name) for file in found):
            for file in found:
                file.unlink()
            folder.rmdir()


# Reading


class _Damage(Exception):
    """What is wrong with a checkpoint's files."""

    verdict = "is damaged"


class _Unreadable(_Damage):
    """Files that may be sound, but cannot be read now."""

    verdict = "cannot be read"


def _contents(folder: Path) -> dict[str, bytes]:
    """Every file of a checkpoint but the manifest, equal to what was written."""
    contents = {}
    for name, expected in _sums(folder).items():
        data = _read(folder / name, expected["size"])
        if len(data) != expected["size"]:
            raise _Damage(f"{name} has {len(data)} bytes of {expected['size']}")
        if _sha256(data) != expected["sha256"]:
            raise _Damage(f"{name} differs from its SHA-256")
        contents[name] = data
    return contents


def _sums(folder: Path) -> dict[str, Any]:
    """Size and SHA-256 per file, from a manifest of which every byte is as it was written."""
    data = _read(folder / _MANIFEST, _MANIFEST_LIMIT)
    try:
        manifest = json.loads(data)
        del manifest["sha256"]
        if _sealed(manifest) != data:
            raise ValueError("it differs from its SHA-256")
        version, step, sums = manifest["format"], manifest["step"], manifest["files"]
        well_formed = _META in sums and all(
            _FILE.fullmatch(name)
            and entry.keys() == {"size", "sha256"}
            and type(entry["size"]) is int
            for name, entry in sums.items()
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _Damage(f"{_MANIFEST} is not valid ({error!s:.200})") from error
    if version != FORMAT:
        raise CheckpointError(
            f"{folder}: written in format {version}, this dlcore reads {FORMAT}; upgrade it"
        )
    if not well_formed:
        raise _Damage(f"{_MANIFEST} does not list plain files of a checkpoint")
    if step != _number(folder)[0]:
        raise _Damage(f"{_MANIFEST} is that of step {step}")
    return sums


def _read(path: Path, limit: int) -> bytes:
    """The content of a file that is no link; one of more bytes than that is not read."""
    try:
        return files.read(path, limit, os.O_NOFOLLOW)
    except OSError as error:
        kind = _Damage if error.errno in _NO_FILE else _Unreadable
        raise kind(f"{path.name} ({error.strerror})") from error
    except MemoryError as error:
        raise _Unreadable(f"{path.name} (it does not fit into memory)") from error


def _decoded(
    folder: Path, contents: dict[str, bytes], likes: Mapping[str, Any], check: Check | None
) -> Checkpoint:
    suffix = ".safetensors"
    stored = {name.removesuffix(suffix) for name in contents if name.endswith(suffix)}
    if stored != likes.keys():
        raise CheckpointError(f"{folder}: holds the trees {sorted(stored)}, not {sorted(likes)}")
    meta = _explained(f"{folder / _META}", json.loads, contents[_META])
    if check is not None:
        check(folder, meta)
    trees = {}
    for name, like in likes.items():
        file = name + suffix
        trees[name], _ = _explained(f"{folder / file}", weights.loads, contents[file], like)
    return Checkpoint(_number(folder)[0], trees, meta, folder)
