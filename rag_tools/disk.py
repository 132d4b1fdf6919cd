"""Messages for failures of an index on a disk; they distinguish trouble from damage.

Damage is in the files, which then have to be made again. Trouble, such as a full disk, a missing
permission or a failing device, leaves what was committed intact, and a message about it must not
tell anybody to delete the index.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
from collections.abc import Container, Iterator
from pathlib import Path

from rag_tools.errors import IndexAccessError, IndexCorruptError, IndexLockedError, RagToolsError

_FULL = "the disk is full, or a quota is used up: free some space and run the command again"
_DENIED = "a permission is missing: give this user access, or name another directory"
_READ_ONLY = "it can't be written to here: make it writable, or name another directory"
_FAILING = "reading or writing failed: look at the disk, its connection and quotas, and try again"
_TOO_MANY = "too many files are open: close some programs, or raise the limit (ulimit -n)"
_MEMORY = "there isn't enough memory: close some programs and try again"
_NO_FOLDER = "there is a file where a folder is needed, or the reverse: name another directory"
_TOO_LARGE = "a file would grow larger than is allowed here: raise the limit (ulimit -f)"

_WAYS_OUT = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _TOO_LARGE,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: _READ_ONLY,
    errno.EIO: _FAILING,
    errno.EMFILE: _TOO_MANY,
    errno.ENFILE: _TOO_MANY,
    errno.ENOMEM: _MEMORY,
    errno.ENOTDIR: _NO_FOLDER,
    errno.EISDIR: _NO_FOLDER,
    errno.EEXIST: _NO_FOLDER,
}

# SQLite's primary result codes: https://sqlite.org/rescode.html
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_SQLITE_WAYS_OUT = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: _FAILING,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: _DENIED,
    sqlite3.SQLITE_PERM: _DENIED,
    sqlite3.SQLITE_AUTH: _DENIED,
    sqlite3.SQLITE_NOMEM: _MEMORY,
}


_ROOM = 1024 * 1024  # bytes; SQLite needs tens of kB for the smallest change


@contextlib.contextmanager
def failures_named(place: Path, *, files: bool = True) -> Iterator[None]:
    """Run a block that reads or writes an index; turn failures into exceptions of ours.

    Parameters
    ----------
    place
        The directory of the index, or the file in it that the block reads or writes.
    files
        Whether errors of the operating system are about the index. Pass False if the block also
        runs foreign code, which has files of its own; then only errors of the catalog are turned.

    Raises
    ------
    IndexCorruptError
        If the catalog is damaged.
    IndexLockedError
        If another process locks the catalog for too long.
    IndexAccessError
        If the index can't be read or written.
    """
    try:
        yield
    except sqlite3.Error as error:
        named = _of_sqlite(place, error)
        if named is None:
            raise
        raise named from error
    except OSError as error:
        if not files:
            raise
        raise IndexAccessError(f"{place} can't be used: {described(error)}") from error


def described(error: OSError) -> str:
    """Return the message of the operating system, its file, and a way out if one is known.

    Examples
    --------
    >>> described(FileNotFoundError(2, "No such file or directory", "notes.txt"))
    'No such file or directory: notes.txt'
    """
    said = error.strerror or str(error) or type(error).__name__
    if isinstance(error.filename, str | bytes):  # else the number of an open file
        said += f": {os.fsdecode(error.filename)}"
    way_out = _WAYS_OUT.get(error.errno or 0)
    return f"{said}; {way_out}" if way_out else said


def _of_sqlite(place: Path, error: sqlite3.Error) -> RagToolsError | None:
    """Return the exception for an error of SQLite; None if the error is a bug of ours."""
    # The lower byte is the kind of error. Errors of Python's own module have no code.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _DAMAGED:
        return IndexCorruptError(
            f"the catalog of {place} is damaged, or can't be opened as one ({error}): run "
            f"'rag-tools repair', or delete {place} and index again, or name another directory"
        )
    if code in _BUSY:
        return IndexLockedError(
            f"another process locks the catalog of {place} ({error}): wait for it, or stop it"
        )
    way_out = _SQLITE_WAYS_OUT.get(code)
    if way_out is None:
        return None
    if code == sqlite3.SQLITE_IOERR and _full(place):  # SQLite often reports this for a full disk
        way_out = _FULL
    return IndexAccessError(f"the catalog of {place} can't be used: {error}; {way_out}")


def _full(place: Path) -> bool:
    try:
        return shutil.disk_usage(place).free < _ROOM
    except OSError:
        return False


def bytes_on_disk(directory: Path) -> int:
    """Return the size of all files of an index: O(their number)."""
    total = 0
    for path in directory.rglob("*"):
        # A writer may delete a file meanwhile, and some files may not be accessible.
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def sweep(folder: Path, kept: Container[str]) -> None:
    """Delete the files of a folder whose names aren't `kept`.

    Windows can't delete a file that a reader has mapped, and a disk may fail. What can't be deleted
    does no harm, and a later sweep deletes it.

    Raises
    ------
    IndexAccessError
        If the folder can't be read.
    """
    with failures_named(folder):
        paths = list(folder.iterdir())
    for path in paths:
        if path.name not in kept:
            with contextlib.suppress(OSError):
                path.unlink()
