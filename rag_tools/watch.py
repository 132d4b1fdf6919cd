"""Keeping an index up to date: syncing when files change, and at intervals.

Each sync is that of `rag_tools.indexer`: it compares all files with what is indexed, so that no
event of the file system has to be right, only in time. What is on other machines is asked for at
the beginning and at intervals, not whenever a file is saved.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rag_tools.disk import described, failures_named
from rag_tools.errors import (
    ConfigurationError,
    IndexAccessError,
    IndexLockedError,
    IndexMismatchError,
    RagToolsError,
)
from rag_tools.index.arrayfile import open_atomically
from rag_tools.index.recoding import worth_retraining
from rag_tools.indexer import Indexer
from rag_tools.opened import OpenIndex
from rag_tools.types import SyncReport, WatchState
from rag_tools.watching import STATE, WATCH_LOCK

_LOOK_SECONDS = 1.0  # between looks at what events don't tell: moved folders, single files, time
_GATHER_MILLISECONDS = 1_000  # for which changes that follow each other are gathered at most
# After which a group of changes is complete: a save is noticed after 0.07 s, with 100 after 0.16 s.
_QUIET_MILLISECONDS = 40
_POLL_MILLISECONDS = 1_000  # between two looks at every file, where there are no events
_IDLE_SECONDS = 30.0  # without a change, after which the codebook may be trained anew
_THROTTLE = 1.0  # seconds to pause for each second of that
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 300.0  # seconds after a failure

# File systems whose changes by other machines cause no event here.
_REMOTE = (
    *("nfs", "cifs", "smb", "9p", "afs", "ceph", "gluster", "lustre", "vboxsf", "drvfs"),
    "fuse.",
)

_Signature = dict[str, tuple[int, ...] | None]


class Watcher:
    """Syncs an index whenever something changes.

    Parameters
    ----------
    opened
        The index. What is watched are the files and folders that were synced before.
    every
        Seconds between syncs with everything, whatever changes; None: only files are watched, and
        pages of the web and repositories are looked at once.
    events
        Whether to watch for changes.
    poll
        Whether to look at every file instead of waiting for events of the system; None: where a
        folder is on a network file system.
    report
        Called after each sync, and after each failure.

    Raises
    ------
    ConfigurationError
        If there is nothing to wait for.
    """

    def __init__(
        self,
        opened: OpenIndex,
        *,
        every: float | None = None,
        events: bool = True,
        poll: bool | None = None,
        report: Callable[[WatchState, SyncReport | None], None] = lambda state, report: None,
    ) -> None:
        if every is None and not events:
            raise ConfigurationError("nothing to wait for: watch for changes, or give an interval")
        if every is not None and not every > 0:
            raise ConfigurationError(f"an interval of {every:g} s: give more than 0 seconds")
        self._opened, self._indexer = opened, Indexer(opened)
        self._every, self._events, self._poll, self._report = every, events, poll, report
        self._state = WatchState(process=os.getpid(), events=events, every=every)
        self._settled = False  # whether the codebook was looked at since the last change
        self._due: float | None = 0.0  # when pages and repositories are next looked at

    def run(self, stop: threading.Event) -> None:
        """Sync now, and then at every change, until `stop` is set.

        A failure, such as a full disk or another writer, is reported, and the sync is tried again
        after a second, then after two, up to five minutes.

        Raises
        ------
        IndexLockedError
            If another process watches for this index.
        IndexMismatchError
            If the index was deleted or replaced.
        IndexAccessError
            If the index's directory can't be written.
        """
        with self._alone():
            failures = 0
            while not stop.is_set():
                folders, _ = self._places()
                with self._changes([*folders], stop) as changed:
                    # What changes from here on is noticed, so that nothing is lost in between.
                    moved = False
                    while not (stop.is_set() or moved):
                        _, files = self._places()
                        failures = 0 if self._sync(failures, stop) else failures + 1
                        moved = not failures and self._wait(changed, folders, files, stop)

    def _sync(self, failures: int, stop: threading.Event) -> bool:
        """Sync once; after a failure, wait before the next time."""
        wait = min(_FIRST_WAIT * 2**failures, _LONGEST_WAIT)
        report = None
        now = time.time()
        everything = self._due is not None and time.monotonic() >= self._due
        try:
            report = self._indexer.sync(remote=everything)
            if everything:
                self._due = None if self._every is None else time.monotonic() + self._every
            if report.added or report.updated or report.removed:
                self._settled = False
            update: dict[str, Any] = {
                "synced": _at(time.time()),
                "added": len(report.added),
                "updated": len(report.updated),
                "removed": len(report.removed),
                "skipped": len(report.skipped),
                "failures": 0,
                "error": None,
                "next": None
                if self._due is None
                else _at(now + max(0.0, self._due - time.monotonic())),
            }
        except IndexMismatchError:  # it is another index now: whoever wants to can open it
            raise
        except (RagToolsError, OSError) as error:
            said = described(error) if isinstance(error, OSError) else str(error)
            update = {"failures": failures + 1, "error": said, "next": _at(now + wait)}
        self._state = self._state.model_copy(update=update)
        with suppress(IndexAccessError):  # a full disk: the failure itself is reported
            self._write()
        self._report(self._state, report)
        if report is None:
            stop.wait(wait)
        return report is not None

    def _wait(
        self,
        changed: Iterator[bool],
        folders: _Signature,
        files: _Signature,
        stop: threading.Event,
    ) -> bool:
        """Wait for a reason to sync; return whether other folders must be watched from then on.

        Parameters
        ----------
        folders, files
            The places as they were before they were watched and synced.
        """
        since = time.monotonic()
        for any_changed in changed:
            now = self._places()
            if now[0] != folders:
                return True
            if stop.is_set() or any_changed or now[1] != files:
                return False
            if self._due is not None and time.monotonic() >= self._due:
                return False
            if not self._settled and time.monotonic() >= since + _IDLE_SECONDS:
                self._settled = True
                self._retrain()
        return True

    def _retrain(self) -> None:
        """Train the codebook anew if documents have changed in kind; searches go on meanwhile.

        A failure, such as a full disk or another writer, is reported. The index is as it was.
        """
        try:
            with self._opened.reader.view() as view:
                codebook, segments = view.snapshot.codebook, view.snapshot.segments
            if worth_retraining(codebook, segments):
                with self._indexer.session(None) as writer:
                    writer.recluster(throttle=_THROTTLE)
        except IndexMismatchError:
            raise
        except (RagToolsError, OSError) as error:
            said = described(error) if isinstance(error, OSError) else str(error)
            self._state = self._state.model_copy(update={"error": said})
            with suppress(IndexAccessError):
                self._write()
            self._report(self._state, None)

    def _places(self) -> tuple[_Signature, _Signature]:
        """Return what identifies the folders that are watched, and the state of single files."""
        folders: _Signature = {}
        files: _Signature = {}
        with suppress(RagToolsError):  # the next sync fails as well, and says why
            with self._opened.reader.view() as view:
                roots = list(view.catalog.roots())
            for root in roots:
                try:
                    status = Path(root).stat()
                except OSError:
                    files[root] = None
                    continue
                if Path(root).is_dir():
                    folders[root] = (status.st_dev, status.st_ino)
                else:
                    files[root] = (status.st_ino, status.st_size, status.st_mtime_ns)
        return folders, files

    @contextmanager
    def _changes(self, names: list[str], stop: threading.Event) -> Iterator[Iterator[bool]]:
        """Give an iterator that says about every second whether something changed in a folder."""
        folders = [Path(name) for name in names]
        if not (folders and self._events):
            yield _ticks(stop)
            return
        import watchfiles

        poll = any(map(is_remote, folders)) if self._poll is None else self._poll
        index = str(self._opened.directory.resolve())

        def wanted(_change: watchfiles.Change, path: str) -> bool:
            return not (path == index or path.startswith(index + os.sep))

        def watched(polling: bool) -> Generator[bool, None, None]:
            generator = watchfiles.watch(
                *folders,
                watch_filter=wanted,
                debounce=_GATHER_MILLISECONDS,
                step=_QUIET_MILLISECONDS,
                stop_event=stop,
                rust_timeout=round(1000 * _LOOK_SECONDS),
                yield_on_timeout=True,
                force_polling=polling or None,
                poll_delay_ms=_POLL_MILLISECONDS,
                ignore_permission_denied=True,
                raise_interrupt=True,
            )
            with closing(generator):
                for changes in generator:
                    yield bool(changes)

        changed = watched(poll)
        try:
            # It comes when the folders are watched; the sync that follows sees what it tells.
            next(changed, False)
        except (OSError, RuntimeError):  # such as too many folders for the events of the system
            poll, changed = True, watched(True)
            next(changed, False)
        self._state = self._state.model_copy(update={"polling": poll})
        with closing(changed):
            yield changed

    @contextmanager
    def _alone(self) -> Iterator[None]:
        directory = self._opened.directory
        # Whoever looks whether a process watches holds the lock for a moment.
        lock = FileLock(directory / WATCH_LOCK, timeout=1)
        with failures_named(directory):
            try:
                lock.acquire()
            except Timeout:
                raise IndexLockedError(
                    f"another process watches for {directory}: stop it, or leave it to it"
                ) from None
        try:
            for path in directory.glob(f"{STATE}.*.tmp"):  # of a process that was killed
                with suppress(OSError):
                    path.unlink()
            self._write()
            yield
        finally:
            with suppress(OSError):
                (directory / STATE).unlink(missing_ok=True)
            lock.release()

    def _write(self) -> None:
        path = self._opened.directory / STATE
        with failures_named(path):
            if path.parent.is_dir():
                with open_atomically(path) as file:
                    file.write(self._state.model_dump_json().encode())


def _ticks(stop: threading.Event) -> Iterator[bool]:
    while not stop.wait(_LOOK_SECONDS):
        yield False


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def is_remote(folder: Path) -> bool:
    """Return whether a folder is on a network file system, as far as the system tells."""
    if os.name == "nt":
        return str(folder).startswith("\\\\")
    if sys.platform != "linux":
        return False
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    real, best, kind = str(folder), "", ""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        place = fields.split()[4].encode().decode("unicode_escape")
        inside = real == place or real.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best):
            best, kind = place, rest.split()[0]
    return kind.startswith(_REMOTE)
