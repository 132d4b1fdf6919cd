"""Bringing an index in step with files: read what changed, drop what vanished.

A file whose size and time are those recorded costs a stat; one that was touched costs a hash;
only new bytes are parsed and encoded.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rag_tools.catalog import catalog
from rag_tools.catalog.catalog import SourceState
from rag_tools.errors import (
    IngestError,
    InvalidQueryError,
    UnreadableFileError,
    UnsupportedFormatError,
)
from rag_tools.ingest.discover import Discovered, discover, inside
from rag_tools.ingest.load import load_bytes, printable, read
from rag_tools.types import Progress, Skipped, SyncReport, document_id
from rag_tools.writer import Writer

# A file written again within this time of being read may keep its size and time stamp (file
# systems tick coarsely), so a stamp this fresh isn't trusted the next time.
_RACY_NS = 2_000_000_000


@dataclass(frozen=True)
class SyncOptions:
    """Which files of a root belong to the index; stored with the root.

    Attributes
    ----------
    include, exclude
        Patterns as in a .gitignore, relative to the root.
    hidden
        Take files and folders whose name starts with a dot.
    gitignore
        Leave out what .gitignore files name.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hidden: bool = False
    gitignore: bool = True

    def as_json(self) -> dict[str, Any]:
        """Return the form stored in the catalog."""
        return {
            "include": list(self.include),
            "exclude": list(self.exclude),
            "hidden": self.hidden,
            "gitignore": self.gitignore,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> SyncOptions:
        """Undo `as_json`."""
        return cls(
            tuple(stored["include"]),
            tuple(stored["exclude"]),
            stored["hidden"],
            stored["gitignore"],
        )


@dataclass
class _Tally:
    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    unchanged: int = 0
    unsupported: int = 0


def sync(
    writer: Writer,
    roots: Sequence[tuple[Path, SyncOptions]],
    *,
    max_bytes: int,
    within: Sequence[Path] = (),
    progress: Progress | None = None,
) -> SyncReport:
    """Bring the index in step with the files under `roots`.

    A file that can't be read or parsed is reported and skipped; if an earlier version of it is
    indexed, that one stays.

    Parameters
    ----------
    roots
        Absolute paths of folders or files, with their options; none: those synced before, with
        the options used then. A root synced before that lies inside one of them keeps its own
        options and is synced too.
    max_bytes
        Files larger than this are reported and skipped.
    within
        Resolved folders. If there are any, `roots` lie in them, links that lead out of them are
        reported and skipped, and what was synced before is synced as it was then: its options
        count, and so does a root around one of `roots`.
    """
    started = time.monotonic()
    tally = _Tally()
    stored = {
        path: (Path(path), SyncOptions.from_json(options))
        for path, options in catalog.roots(writer.connection).items()
    }
    given = {printable(str(root)): (root, options) for root, options in roots}
    if within:
        # A root may have become a link since.
        stored = {
            path: known
            for path, known in stored.items()
            if inside(Path(os.path.realpath(known[0])), within)
        }
        given = dict(_as_before(path, new, stored) for path, new in given.items())
        if not (given or stored):
            folders = ", ".join(map(str, within))
            raise InvalidQueryError(f"nothing in {folders} was indexed before: name what to index")
    given = given or stored
    every = stored | given
    below = tuple(map(_prefix, given))
    for path, (root, options) in every.items():
        inner = [other for name, (other, _) in every.items() if name.startswith(_prefix(path))]
        # One that nobody named isn't missed once its files have been removed.
        if path in given or (
            path.startswith(below) and (os.path.lexists(root) or _known(writer, root, inner))
        ):
            _sync_root(
                writer,
                root,
                options,
                tally,
                inner,
                max_bytes=max_bytes,
                within=within,
                progress=progress,
            )
    writer.commit()
    return SyncReport(
        added=tuple(tally.added),
        updated=tuple(tally.updated),
        removed=tuple(tally.removed),
        unchanged=tally.unchanged,
        unsupported=tally.unsupported,
        skipped=tuple(sorted(tally.skipped, key=lambda item: item.path)),
        encoded_passages=writer.encoded_passages,
        seconds=time.monotonic() - started,
    )


def _as_before(
    path: str,
    new: tuple[Path, SyncOptions],
    stored: Mapping[str, tuple[Path, SyncOptions]],
) -> tuple[str, tuple[Path, SyncOptions]]:
    """Return the innermost of the `stored` roots around `path`, itself included; else `new`."""
    around = [item for item in stored.items() if _prefix(path).startswith(_prefix(item[0]))]
    return max(around, key=lambda root: len(root[0]), default=(path, new))


def _sync_root(
    writer: Writer,
    root: Path,
    options: SyncOptions,
    tally: _Tally,
    inner: Sequence[Path],
    *,
    max_bytes: int,
    within: Sequence[Path],
    progress: Progress | None,
) -> None:
    name = printable(str(root))
    known = _known(writer, root, inner)
    try:
        exists = root.exists()
    except OSError as error:  # in a folder that can't be looked into
        reason = error.strerror or str(error)
        tally.skipped.append(Skipped(path=name, reason=reason))
        return
    if not exists:
        # Where the folder around it is gone as well, a drive was unplugged rather than a file
        # deleted, and what was indexed stays.
        if name in catalog.roots(writer.connection) and root.parent.exists():
            _remove(writer, known, tally)
            writer.forget_root(name)
        else:
            tally.skipped.append(Skipped(path=name, reason="no such file or folder"))
        return
    files, skipped, unsupported = discover(
        root,
        include=options.include,
        exclude=options.exclude,
        hidden=options.hidden,
        gitignore=options.gitignore,
        apart=inner,
        within=within,
    )
    # In the order of a hash: what the codebook is trained on, the first files, is then a fair
    # sample of all of them, and the order is the same every time.
    files = sorted(files, key=lambda file: document_id(file.path.as_uri()))
    tally.skipped += skipped
    tally.unsupported += unsupported
    writer.set_root(name, options.as_json())
    for done, file in enumerate(files):
        if progress:
            progress("files", done, len(files))
        _sync_file(writer, root, file, known, tally, max_bytes=max_bytes)
    if progress:
        progress("files", len(files), len(files))
    present = {printable(str(file.path)) for file in files}
    # What is a link that isn't followed, or lies under an unreadable folder, hasn't vanished: we
    # just can't see it.
    blind = tuple(_prefix(item.path) for item in skipped)
    _remove(
        writer,
        {
            path: entry
            for path, entry in known.items()
            if path not in present and not _prefix(path).startswith(blind)
        },
        tally,
    )


def _sync_file(
    writer: Writer,
    root: Path,
    file: Discovered,
    indexed: dict[str, tuple[str, SourceState]],
    tally: _Tally,
    *,
    max_bytes: int,
) -> None:
    name = printable(str(file.path))
    known = indexed.get(name)
    try:
        data, state = _read_if_changed(file.path, known and known[1], max_bytes=max_bytes)
        if data is None:
            tally.unchanged += 1
            if known and state != known[1]:
                writer.touch(known[0], state)
            return
        document = load_bytes(data, name=file.path.name, uri=file.path.as_uri())
    except IngestError as error:
        if isinstance(error, UnsupportedFormatError) and file.path != root:
            tally.unsupported += 1
        else:
            tally.skipped.append(Skipped(path=name, reason=str(error)))
        return
    document = document.model_copy(
        update={"metadata": {**document.metadata, "path": file.relative}}
    )
    writer.put(document, (name, state))
    (tally.updated if known else tally.added).append(document.id)


def _read_if_changed(
    path: Path, known: SourceState | None, *, max_bytes: int
) -> tuple[bytes | None, SourceState]:
    """Return the file's bytes and state; None for the bytes if they are those known."""
    try:
        before = path.stat()
    except (OSError, RuntimeError) as error:
        raise UnreadableFileError(f"{printable(str(path))}: {error}") from error
    if known and before.st_mtime_ns == known.mtime_ns and before.st_size == known.size:
        return None, known
    now = time.time_ns()
    data = read(path, max_bytes=max_bytes)
    racy = before.st_mtime_ns > now - _RACY_NS
    state = SourceState(
        len(data), 0 if racy else before.st_mtime_ns, hashlib.sha256(data).hexdigest()
    )
    return (None if known and known.sha256 == state.sha256 else data), state


def _known(writer: Writer, root: Path, inner: Sequence[Path]) -> dict[str, tuple[str, SourceState]]:
    """Return the files known under `root`, less those of the roots inside it."""
    path = printable(str(root))
    apart = tuple(_prefix(printable(str(other))) for other in inner)
    known = catalog.sources(writer.connection, path, _prefix(path))
    return {path: entry for path, entry in known.items() if not _prefix(path).startswith(apart)}


def _prefix(path: str) -> str:
    """Return what the paths below `path` start with. The root of a drive ends with it already."""
    return path if path.endswith(os.sep) else path + os.sep


def _remove(writer: Writer, gone: dict[str, tuple[str, SourceState]], tally: _Tally) -> None:
    for id, _ in gone.values():
        writer.delete(id)
        tally.removed.append(id)


def source_root(path: str | os.PathLike[str]) -> Path:
    """Return a path as roots are stored: absolute, symbolic links resolved.

    Raises
    ------
    InvalidQueryError
        No file can have this path.
    """
    try:
        return Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidQueryError(f"{str(path)!r} can't be the path of a file: {error}") from None
