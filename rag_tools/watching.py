"""What a process that watches for an index leaves in its directory, for others to read."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from rag_tools.types import WatchState

WATCH_LOCK = "watch.lock"
STATE = "watch.json"

_MOST_BYTES = 100_000


def watch_state(directory: Path) -> WatchState | None:
    """Return what the process reports that keeps an index up to date; None if there is none."""
    try:
        with (directory / STATE).open("rb") as file:
            state = WatchState.model_validate_json(file.read(_MOST_BYTES))
        lock = FileLock(directory / WATCH_LOCK, timeout=0)
        with lock:  # its process was killed
            return None
    except Timeout:
        return state
    except (OSError, ValidationError):
        return None
