"""The container of every binary file of an index: named arrays and a checksummed header.

Layout, little-endian, described field by field in ``docs/format.md``::

    0    8  magic b"RAGTOOLS"
    8    4  format version (uint32)
    12   4  length of the header in bytes (uint32)
    16   4  CRC-32 of the header (uint32)
    20   4  zero
    24   8  where the header starts (uint64)
    32  32  zero
    64      arrays, each at a multiple of 64 bytes
    …       header: JSON {"kind", "meta", "arrays": [{name, dtype, shape, offset, crc32}]}

The header is at the end, so that arrays can be written piece by piece. A file is written once and
never changed. Opening a file maps it and reads only the header.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rag_tools.disk import failures_named
from rag_tools.errors import IndexCorruptError, IndexVersionError

FORMAT_VERSION = 6
OLDEST_VERSION = 3
"""The oldest format that is read. Binary files are the same in all of them."""
MAGIC = b"RAGTOOLS"
_PREFIX = struct.Struct("<8sIII4xQ32x")
_ALIGNMENT = 64
_WAY_OUT = "run 'rag-tools repair', or index again from the sources"


@contextlib.contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` when the block ends, completely or not at all.

    The steps are: a temporary file in the same directory, fsync, rename, fsync of the directory.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if os.name == "posix":  # a rename is durable once its directory is
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


class ArrayWriter:
    """Writes one file of arrays; made by `writing`.

    Attributes
    ----------
    meta
        Values for the header, which can be stored as JSON.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.meta: dict[str, Any] = {}
        self._file = file
        self._entries: list[dict[str, Any]] = []
        file.write(bytes(_PREFIX.size))

    def add(self, name: str, pieces: Iterable[NDArray[Any]]) -> None:
        """Write the pieces of an array, joined along their first axis.

        Parameters
        ----------
        name
            Name of the array in the file.
        pieces
            One or more arrays of the same type and shape, except for the first axis; they are
            stored little-endian. Only one is in memory at a time.
        """
        self._file.write(bytes(-self._file.tell() % _ALIGNMENT))
        entry: dict[str, Any] = {"name": name, "offset": self._file.tell(), "crc32": 0}
        length = 0
        for piece in pieces:
            stored = np.ascontiguousarray(piece, dtype=piece.dtype.newbyteorder("<"))
            entry |= {"dtype": stored.dtype.str, "shape": [0, *stored.shape[1:]]}
            raw = stored.reshape(-1).view(np.uint8).data
            entry["crc32"] = zlib.crc32(raw, entry["crc32"])
            self._file.write(raw)
            length += len(stored)
        entry["shape"][0] = length
        self._entries.append(entry)

    def finish(self, kind: str) -> None:
        """Write the header."""
        facts = {"kind": kind, "meta": self.meta, "arrays": self._entries}
        header = json.dumps(facts, separators=(",", ":")).encode()
        start = self._file.tell()
        self._file.write(header)
        self._file.seek(0)
        self._file.write(
            _PREFIX.pack(MAGIC, FORMAT_VERSION, len(header), zlib.crc32(header), start)
        )


@contextlib.contextmanager
def writing(path: Path, kind: str) -> Iterator[ArrayWriter]:
    """Write a file array by array; it replaces `path` when the block ends.

    Parameters
    ----------
    path
        Path of the file; an existing file is replaced atomically.
    kind
        Kind of the file (``"segment"``, ``"codebook"``), which is checked when it is opened.

    Raises
    ------
    IndexAccessError
        If the file can't be written.
    """
    with failures_named(path), open_atomically(path) as file:
        writer = ArrayWriter(file)
        yield writer
        writer.finish(kind)


def write_arrays(
    path: Path, kind: str, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write whole `arrays` as one file, see `writing`."""
    with writing(path, kind) as writer:
        writer.meta.update(meta)
        for name, array in arrays.items():
            writer.add(name, [array])


class ArrayFile:
    """A mapped file of arrays.

    Parameters
    ----------
    path
        Path of the file.
    kind
        Kind that the file must have.

    Attributes
    ----------
    meta
        Values in the header.
    size
        Bytes on disk.

    Raises
    ------
    IndexCorruptError
        If the file is missing, foreign, truncated, or its header doesn't match its checksum.
    IndexAccessError
        If the file can't be read.
    IndexVersionError
        If the file has another format version than this release reads.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        try:
            with failures_named(path):
                data = _mapped(path)
        except ValueError as error:  # an empty file can't be mapped
            raise IndexCorruptError(f"{path} is empty: {_WAY_OUT}") from error
        header = _read_header(path, data)
        if header["kind"] != kind:
            raise IndexCorruptError(
                f"{path} is a {header['kind']} file, not a {kind} file: {_WAY_OUT}"
            )
        self.size = data.size
        self.meta: dict[str, Any] = header["meta"]
        self._entries = {entry["name"]: entry for entry in header["arrays"]}
        self._data = data

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return the array called `name`, mapped and read-only."""
        entry = self._entries[name]
        dtype = np.dtype(entry["dtype"])
        shape = tuple(entry["shape"])
        start = entry["offset"]
        end = start + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        # A plain ndarray view: np.memmap's own indexing costs microseconds per access.
        array: NDArray[Any] = np.asarray(self._data[start:end]).view(dtype).reshape(shape)
        return array

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def check(self) -> None:
        """Read every array and compare its checksum: O(size).

        Raises
        ------
        IndexCorruptError
            If an array differs; the message names the first one.
        """
        for name, entry in self._entries.items():
            if zlib.crc32(self[name].tobytes()) != entry["crc32"]:
                raise IndexCorruptError(f"{self.path}: array {name!r} is damaged: {_WAY_OUT}")


def _mapped(path: Path) -> NDArray[np.uint8]:
    try:
        return np.memmap(path, dtype=np.uint8, mode="r")
    except FileNotFoundError as error:
        raise IndexCorruptError(f"{path} is missing: {_WAY_OUT}") from error
    except IsADirectoryError as error:
        raise IndexCorruptError(f"{path} is a folder and no file: {_WAY_OUT}") from error


def _read_header(path: Path, data: NDArray[np.uint8]) -> dict[str, Any]:
    prefix = data[: _PREFIX.size].tobytes()
    if len(prefix) < _PREFIX.size or not prefix.startswith(MAGIC):
        raise IndexCorruptError(f"{path} isn't a rag-tools file: {_WAY_OUT}")
    _, version, length, checksum, start = _PREFIX.unpack(prefix)
    check_version(path, version)
    if data.size < start + length:
        raise IndexCorruptError(
            f"{path} is truncated: {data.size} of {start + length} bytes: {_WAY_OUT}"
        )
    encoded = data[start : start + length].tobytes()
    if zlib.crc32(encoded) != checksum:
        raise IndexCorruptError(f"{path}: the header is damaged: {_WAY_OUT}")
    header: dict[str, Any] = json.loads(encoded)
    return header


def check_version(path: Path, version: int) -> None:
    """Raise `IndexVersionError` if this release doesn't read format `version`."""
    if version > FORMAT_VERSION:
        raise IndexVersionError(
            f"{path} has format version {version}; this release reads version {FORMAT_VERSION}: "
            "upgrade rag-tools"
        )
    if version < OLDEST_VERSION:  # no release wrote such a file
        raise IndexVersionError(
            f"{path} has format version {version}; this release reads {OLDEST_VERSION} and later: "
            f"delete {path.parent} and index again"
        )
