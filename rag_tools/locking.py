"""The lock that one process holds while it writes to an index.

The system releases it when the process ends.
"""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from rag_tools.disk import failures_named
from rag_tools.errors import IndexLockedError, IndexNotFoundError

LOCK = "writer.lock"


def acquire(directory: Path, *, name: str = LOCK) -> FileLock:
    """Return the lock for writing; raise `IndexLockedError` if another process holds it.

    It isn't made where there is no directory.
    """
    with failures_named(directory):
        if not directory.is_dir():  # the lock would be made with every folder around it
            raise IndexNotFoundError(f"no index at {directory}: it was deleted, moved or renamed")
    guard = FileLock(directory / name, timeout=0)
    with failures_named(directory):
        try:
            guard.acquire()
        except Timeout:
            raise IndexLockedError(
                f"another process is writing to {directory}: wait for it, or stop it"
            ) from None
    return guard
