"""The container of every binary file of an index: named arrays behind a checksummed header.

Layout, little-endian, described field by field in ``docs/format.md``::

    0    8  magic b"RAGTOOLS"
    8    4  format version (uint32)
    12   4  length of the header in bytes (uint32)
    16   4  CRC-32 of the header (uint32)
    20  44  zero
    64      header: JSON {"kind", "size", "meta", "arrays": [{name, dtype, shape, offset, crc32}]}
    …       arrays, each at a multiple of 64 bytes

A file is written once and never changed. Opening maps it and reads the header alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import uuid
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_tools.errors import IndexCorruptError, IndexVersionError

FORMAT_VERSION = 1
MAGIC = b"RAGTOOLS"
_PREFIX = struct.Struct("<8sIII44x")
_ALIGNMENT = 64


def write_atomically(path: Path, chunks: Iterable[bytes]) -> None:
    """Write `chunks` to `path` so that a crash leaves the old file or the new one, whole.

    Temporary file in the same directory, fsync, rename, fsync of the directory.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
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


def write_arrays(
    path: Path, kind: str, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> int:
    """Write `arrays` as one file; return its size in bytes.

    Parameters
    ----------
    path
        Where to; an existing file is replaced atomically.
    kind
        What the file is (``"segment"``, ``"codebook"``), checked on opening.
    meta
        JSON-serialisable facts that go in the header.
    arrays
        Name → array; stored little-endian and C-contiguous.
    """
    stored = {
        name: np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        for name, array in arrays.items()
    }
    entries = [
        {
            "name": name,
            "dtype": array.dtype.str,
            "shape": list(array.shape),
            "offset": 0,
            "crc32": zlib.crc32(array.tobytes()),
        }
        for name, array in stored.items()
    ]
    # Offsets depend on the header's length and the header holds the offsets: lay the arrays out
    # from zero, and let the reader add where the header ends.
    position = 0
    for entry, array in zip(entries, stored.values(), strict=True):
        entry["offset"] = position
        position = _aligned(position + array.nbytes)
    header = json.dumps(
        {"kind": kind, "size": position, "meta": dict(meta), "arrays": entries},
        separators=(",", ":"),
    ).encode()
    base = _aligned(_PREFIX.size + len(header))
    chunks = [
        _PREFIX.pack(MAGIC, FORMAT_VERSION, len(header), zlib.crc32(header)),
        header,
        bytes(base - _PREFIX.size - len(header)),
    ]
    for array in stored.values():
        chunks += [array.tobytes(), bytes(_aligned(array.nbytes) - array.nbytes)]
    write_atomically(path, chunks)
    return base + position


class ArrayFile:
    """A mapped file of arrays.

    Parameters
    ----------
    path
        The file.
    kind
        What it must be.

    Attributes
    ----------
    meta
        The header's facts.
    size
        Bytes on disk.

    Raises
    ------
    IndexCorruptError
        If the file is missing, foreign, truncated, or its header doesn't match its checksum.
    IndexVersionError
        If a newer release wrote it.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        try:
            data = np.memmap(path, dtype=np.uint8, mode="r")
        except FileNotFoundError as error:
            raise IndexCorruptError(f"{path} is missing: index again from the sources") from error
        except ValueError as error:  # an empty file can't be mapped
            raise IndexCorruptError(f"{path} is empty: index again from the sources") from error
        header, base = _read_header(path, data)
        if header["kind"] != kind:
            raise IndexCorruptError(f"{path} is a {header['kind']} file, not a {kind} file")
        self.size = base + int(header["size"])
        if data.size < self.size:
            raise IndexCorruptError(
                f"{path} is truncated: {data.size} of {self.size} bytes; index again"
            )
        self.meta: dict[str, Any] = header["meta"]
        self._entries = {entry["name"]: entry for entry in header["arrays"]}
        self._data = data
        self._base = base

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return the array called `name`, mapped, read-only."""
        entry = self._entries[name]
        dtype = np.dtype(entry["dtype"])
        shape = tuple(entry["shape"])
        start = self._base + entry["offset"]
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
            Naming the first array that differs.
        """
        for name, entry in self._entries.items():
            if zlib.crc32(self[name].tobytes()) != entry["crc32"]:
                raise IndexCorruptError(f"{self.path}: array {name!r} is damaged; index again")


def _read_header(path: Path, data: NDArray[np.uint8]) -> tuple[dict[str, Any], int]:
    prefix = data[: _PREFIX.size].tobytes()
    if len(prefix) < _PREFIX.size or not prefix.startswith(MAGIC):
        raise IndexCorruptError(f"{path} isn't a rag-tools file")
    _, version, length, checksum = _PREFIX.unpack(prefix)
    if version > FORMAT_VERSION:
        raise IndexVersionError(
            f"{path} has format version {version}; this release reads up to {FORMAT_VERSION}: "
            "upgrade rag-tools"
        )
    encoded = data[_PREFIX.size : _PREFIX.size + length].tobytes()
    if zlib.crc32(encoded) != checksum:
        raise IndexCorruptError(f"{path}: the header is damaged; index again from the sources")
    header: dict[str, Any] = json.loads(encoded)
    return header, _aligned(_PREFIX.size + length)


def _aligned(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT
