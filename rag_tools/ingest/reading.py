"""Reading a file once, whole, and from where it was asked for.

Between the listing of a folder and the reading of its files, others may change what is there:
replace a file by a link, or write to it. What is opened is therefore compared with what is meant.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from rag_tools.errors import FileTooLargeError, UnreadableFileError

_ATTEMPTS = 3  # at reading a file that is being written

# Opening a FIFO that replaced a file would otherwise block until somebody writes to it.
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)


class Content(NamedTuple):
    """A file as it was read: its bytes, and its modification time."""

    data: bytes
    mtime_ns: int


def read_file(path: Path, limit: int, *, within: Sequence[Path] = ()) -> Content:
    """Return the content of a regular file, read in one state.

    Parameters
    ----------
    limit
        Maximum size in bytes.
    within
        Resolved folders. If there are any, the file that is read lies in them, wherever links led
        when they were followed.

    Raises
    ------
    UnreadableFileError
        If it isn't a regular file, lies elsewhere, or changes while it is read.
    FileTooLargeError
        If it is larger than `limit`.
    OSError, RuntimeError
        If it can't be opened or read.
    """
    for _ in range(_ATTEMPTS):
        if content := _read(path, limit, within):
            return content
    raise UnreadableFileError(
        f"{printable(str(path))}: it changes while it is read: index again when it has been written"
    )


def _read(path: Path, limit: int, within: Sequence[Path]) -> Content | None:
    """Return the content, or None if the file changed while it was read."""
    _require_regular(path, path.stat())
    with open(path, "rb", opener=_open) as file:
        before = os.fstat(file.fileno())
        _require_regular(path, before)
        if within:
            _require_inside(path, file, within)
        if before.st_size > limit:
            raise _too_large(path, before.st_size, limit)
        data = file.read(limit + 1)
        after = os.fstat(file.fileno())
    if len(data) > limit:
        raise _too_large(path, len(data), limit)
    changed = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
    return None if changed else Content(data, before.st_mtime_ns)


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | _AT_ONCE)


def _require_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableFileError(f"{printable(str(path))}: not a regular file")


def _require_inside(path: Path, file: BufferedReader, within: Sequence[Path]) -> None:
    """Refuse a file that isn't the one that the path names now, or one outside some folders.

    The path is resolved after the file was opened: to pass, a link would have to lead to the same
    file at both times, and that is in one of the folders.
    """
    opened = os.fstat(file.fileno())
    real = Path(os.path.realpath(path))
    named = real.lstat()
    same = (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)
    if not same or not any(real.is_relative_to(folder) for folder in within):
        raise UnreadableFileError(
            f"{printable(str(path))}: it was replaced by a link to a file outside the folders that "
            "may be indexed, which isn't read"
        )


def _too_large(path: Path, size: int, limit: int) -> FileTooLargeError:
    return FileTooLargeError(
        f"{printable(str(path))}: {size:,} bytes or more, the limit is {limit:,}; split the file "
        "or raise the limit (--max-file-size, max_bytes)"
    )


def printable(name: str) -> str:
    """Return a file name as valid Unicode; invalid bytes become U+FFFD."""
    return name.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
