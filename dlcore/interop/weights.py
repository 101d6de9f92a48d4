"""Weights as one safetensors file: a leaf is stored under its path, nothing in it is code.

A file of ours carries one metadata entry, the first thing in its header,

    "dlcore": {"sha256": "…", "format": 1, "keys": {path: key implementation}, "metadata": {…}}

where sha256 is that of the whole file, header and payload, with its own 64 digits read as zeros:
one flipped bit anywhere is refused, which the safetensors format by itself does not do.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from dlcore import files
from dlcore.misfits import listed, misfits
from dlcore.tree import leaves_with_paths

FORMAT = 1
HEADER_LIMIT = 100_000_000  # bytes, the format's own
DEPTH_LIMIT = 100  # levels of a tree

_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "U16": np.dtype(np.uint16),
    "U32": np.dtype(np.uint32),
    "U64": np.dtype(np.uint64),
    "I8": np.dtype(np.int8),
    "I16": np.dtype(np.int16),
    "I32": np.dtype(np.int32),
    "I64": np.dtype(np.int64),
    "F8_E4M3": np.dtype(jnp.float8_e4m3fn),
    "F8_E5M2": np.dtype(jnp.float8_e5m2),
    "BF16": np.dtype(jnp.bfloat16),
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
    "C64": np.dtype(np.complex64),
}
_DIMENSIONS = 64  # as many as numpy has
_ENTRY = "dlcore"
_NO_DIGEST = "0" * 64
# What the file of ours begins with, after the eight bytes of the header's length; then the digest.
_OPENING = b'{"__metadata__":{"dlcore":"{\\"sha256\\": \\"'
_DIGEST = slice(8 + len(_OPENING), 8 + len(_OPENING) + len(_NO_DIGEST))


class WeightsError(ValueError):
    """Weights that cannot be written, are damaged, or do not fit the tree asked for."""


class WeightsWarning(UserWarning):
    """Weights that came in, and are not sound, or may be another network's."""


def save(path: str | Path, tree: Any, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a pytree of arrays and JSON metadata; an existing file is replaced in one step.

    Any shape, also () and empty; bool, integers up to 64 bits, floats from float8 to float64,
    complex64, and typed keys. Weak types come back strong. A leaf of another type is a TypeError;
    two leaves with one path, metadata which JSON would change and a full disk are WeightsErrors.
    """
    with about(path, "cannot be written") as place:
        files.replace(place, dumps(tree, metadata))


def load(path: str | Path, like: Any = ...) -> tuple[Any, dict[str, Any]]:
    """Read (tree, metadata), after every check of the header and of the digest.

    With `like`, a pytree of arrays or `jax.ShapeDtypeStruct`, the tree has exactly its structure,
    and its kinds of leaves: numpy for numpy, otherwise jax arrays, on the devices `like` was
    committed to. A missing, extra, misshapen or wrongly typed leaf is refused by name; nothing is
    cast. Without it: nested dictionaries by path, with numpy leaves (typed keys are jax arrays).

    Files of other libraries load too: they have no digest to check, and their metadata is as it is.
    Raises WeightsError.
    """
    with about(path, "cannot be read") as place:
        return loads(_content(place), like)


def load_leaves(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read (leaves by path, metadata), after the checks of `load`; `fitted` makes them a tree."""
    with about(path, "cannot be read") as place:
        return _opened(_content(place))


def _content(place: Path) -> bytes:
    with files.plain(place) as file:
        size = os.fstat(file.fileno()).st_size
        _header(file, size)
        file.seek(0)
        return file.read(size + 1)  # one more, where it has grown


@contextmanager
def about(path: str | Path, failure: str) -> Iterator[Path]:
    """The path given, and what goes wrong with its file as one line that begins with it."""
    path = files.located(path, WeightsError)
    try:
        yield path
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except (OSError, MemoryError) as error:
        problem = getattr(error, "strerror", None) or "it does not fit into memory"
        raise WeightsError(f"{path}: {failure} ({problem}); check the path and the disk") from error


def dumps(tree: Any, metadata: Mapping[str, Any] | None = None) -> bytes:
    """The content of the file which `save` writes."""
    leaves = _named_leaves(tree)
    keys = {path: str(jax.random.key_impl(leaf)) for path, leaf in leaves.items() if _is_key(leaf)}
    arrays = {path: _storable(path, leaf) for path, leaf in leaves.items()}
    entry = {"sha256": _NO_DIGEST, "format": FORMAT, "keys": keys, "metadata": dict(metadata or {})}
    try:
        text = files.to_json(entry)
    except ValueError as error:
        raise WeightsError(f"the metadata {error}") from error
    try:
        data = safetensors.numpy.save(arrays, metadata={_ENTRY: text})
    except (safetensors.SafetensorError, UnicodeError) as error:
        raise WeightsError(f"cannot be stored: {error}") from error
    return data[: _DIGEST.start] + _digest(data) + data[_DIGEST.stop :]


def loads(data: bytes, like: Any = ...) -> tuple[Any, dict[str, Any]]:
    """What `load` gives, from the content of a file."""
    leaves, metadata = _opened(data)
    return (_nested(leaves) if like is ... else fitted(leaves, like)), metadata


def _opened(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    keys, metadata = _unseal(data, _header(io.BytesIO(data), len(data)))
    return _leaves(data, keys), metadata


# Writing


def _named_leaves(tree: Any) -> dict[str, Any]:
    _check_depth(tree)
    leaves = leaves_with_paths(tree)
    for path, leaf in leaves:
        if not isinstance(leaf, (np.ndarray, np.generic, jax.Array, jax.ShapeDtypeStruct)):
            raise TypeError(
                f"{path}: expected an array, got {type(leaf).__name__}; "
                "make it one with np.asarray, or put it into the metadata"
            )
    named = dict(leaves)
    if len(named) < len(leaves):
        paths = [path for path, _ in leaves]
        twice = sorted({path for path in paths if paths.count(path) > 1})
        raise WeightsError(f"several leaves share a path, rename their keys: {listed(twice)}")
    return named


def _check_depth(tree: Any, above: tuple[int, ...] = ()) -> None:
    """Refuses what jax cannot flatten: it does not survive a tree without end."""
    children = tree.values() if isinstance(tree, dict) else tree
    if not isinstance(tree, dict | list | tuple) or not children:
        return
    if id(tree) in above:
        raise WeightsError("the tree contains itself; make one of arrays alone")
    if len(above) == DEPTH_LIMIT:
        raise WeightsError(f"the tree is more than {DEPTH_LIMIT} levels deep; make it flatter")
    for child in children:
        _check_depth(child, (*above, id(tree)))


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _storable(path: str, leaf: Any) -> np.ndarray:
    if isinstance(leaf, jax.ShapeDtypeStruct | jax.core.Tracer):
        raise WeightsError(f"{path}: {_kind(leaf)} without numbers; give arrays, outside of jit")
    array = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf, order="C")
    if array.dtype not in _DTYPES.values():
        kinds = ", ".join(str(dtype) for dtype in _DTYPES.values())
        raise WeightsError(f"{path}: {array.dtype!r} cannot be stored; cast it to one of {kinds}")
    if path == "__metadata__":
        raise WeightsError(f"{path}: safetensors keeps this name for itself; rename the leaf")
    return array


def _digest(data: bytes) -> bytes:
    view = memoryview(data)
    digest = hashlib.sha256(view[: _DIGEST.start])
    digest.update(_NO_DIGEST.encode())
    digest.update(view[_DIGEST.stop :])
    return digest.hexdigest().encode()


# Reading


def _damaged(problem: str) -> WeightsError:
    return WeightsError(
        f"{problem}: damaged, cut short or not a safetensors file; fetch or save it again"
    )


def _header(file: BinaryIO, size: int) -> dict[str, str]:
    """The metadata, after checking the header against the size of the file; reads no payload."""
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, HEADER_LIMIT):
        raise _damaged(f"a header of {length} bytes in a file of {size}")
    try:
        header = json.loads(file.read(length).decode(), object_pairs_hook=_no_duplicates)
        metadata = header.pop("__metadata__", {})
        spans = sorted(_span(name, entry) for name, entry in header.items())
        if not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("the metadata must be strings")
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise _damaged(f"no valid header ({error!s:.200})") from error
    edges = [0, *itertools.chain.from_iterable(spans), size - 8 - length]
    if edges[::2] != edges[1::2]:
        raise _damaged("the arrays overlap, leave gaps or do not end with the file")
    return metadata


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise ValueError("a name stands there twice")
    return unique


def _span(name: str, entry: dict[str, Any]) -> tuple[int, int]:
    """Where the bytes of an array begin and end; as many as its dtype and shape need."""
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in _DTYPES:
        raise ValueError(f"{name} has the unknown dtype {dtype}")
    if any(type(number) is not int or number < 0 for number in (begin, end, *shape)):
        raise ValueError(f"{name} has the shape {shape} at {begin}:{end}")
    if len(shape) > _DIMENSIONS or math.prod(shape) * _DTYPES[dtype].itemsize != end - begin:
        raise ValueError(f"{name} has {end - begin} bytes for {dtype}{shape}")
    return begin, end


def _unseal(data: bytes, raw: dict[str, str]) -> tuple[dict[str, str], dict[str, Any]]:
    """The key implementations and the metadata of a file of ours, whose digest is right."""
    if _ENTRY not in raw and not any(value.startswith('{"sha256": "') for value in raw.values()):
        return {}, dict(raw)
    if not data.startswith(_OPENING, 8) or data[_DIGEST] != _digest(data):
        raise _damaged("the content differs from its SHA-256")
    try:
        entry = json.loads(raw[_ENTRY])
        version, keys, metadata = entry["format"], entry["keys"], entry["metadata"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(f"no valid metadata ({error!s:.200})") from error
    if version != FORMAT:
        raise WeightsError(f"written in format {version}, this dlcore reads {FORMAT}; upgrade it")
    return keys, metadata


def _leaves(data: bytes, keys: dict[str, str]) -> dict[str, Any]:
    try:
        arrays = {
            name: np.ndarray(spec["shape"], _DTYPES[spec["dtype"]], spec["data"])
            for name, spec in safetensors.deserialize(data)
        }
        typed = {
            name: jax.random.wrap_key_data(jnp.array(arrays[name]), impl=impl)
            for name, impl in keys.items()
        }
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(f"no valid content ({error!s:.200})") from error
    return dict(sorted((arrays | typed).items()))


def _nested(leaves: dict[str, Any]) -> Any:
    if leaves.keys() == {""}:
        return leaves[""]
    folders = {path[:at] for path in leaves for at, letter in enumerate(path) if letter == "/"}
    if clash := sorted(folders & leaves.keys()):
        raise WeightsError(f"both a leaf and a folder: {listed(clash)}; load with like=")
    nested: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, name = path.split("/")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return nested


def fitted(leaves: dict[str, Any], like: Any, what: str = "the tree asked for") -> Any:
    """The leaves as the tree `like`, which `load` describes; WeightsError where they do not fit."""
    wanted = _named_leaves(like)
    if problems := list(_problems(wanted, leaves)):
        raise WeightsError(
            f"{len(problems)} leaves do not fit {what}: {listed(problems)}; "
            "build it as it was when it was saved"
        )
    placed = [_placed(path, leaves[path], leaf) for path, leaf in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(like), placed)


def _problems(wanted: dict[str, Any], leaves: dict[str, Any]) -> Iterator[str]:
    for path, leaf in wanted.items():
        if path not in leaves:
            yield f"{path}: wanted {_kind(leaf)}, the file has no such leaf"
        elif _kind(leaf) != _kind(leaves[path]):
            yield f"{path}: wanted {_kind(leaf)}, the file has {_kind(leaves[path])}"
    for path, leaf in leaves.items():
        if path not in wanted:
            yield f"{path}: not wanted, the file has {_kind(leaf)}"


def _kind(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"


def _placed(path: str, leaf: Any, like: Any) -> Any:
    if isinstance(like, (np.ndarray, np.generic)):
        return leaf
    committed = isinstance(like, jax.ShapeDtypeStruct) or like.committed
    # A copy, so that the buffer is jax's own and may be donated.
    placed = jax.device_put(jnp.array(leaf), like.sharding if committed else None)
    if placed.dtype != leaf.dtype:
        raise WeightsError(f'{path}: {leaf.dtype} needs jax.config.update("jax_enable_x64", True)')
    return placed


def check_fit(what: str, wanted: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuses whatever is missing, too much or of another form, by name and with both forms."""
    count, found = misfits(wanted, given)
    if count:
        raise WeightsError(f"{count} {what}: {listed(found)}")
