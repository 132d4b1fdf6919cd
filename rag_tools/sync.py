"""Bringing an index up to date with files: reading changed ones and dropping vanished ones.

If the size and time of a file are those recorded, the file isn't read; if only its time is new, it
is read and hashed; only new content is parsed and encoded. All files are listed before the first
one is read, so that progress has a total.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from rag_tools.catalog.rows import SourceState
from rag_tools.errors import (
    IngestError,
    InvalidDocumentError,
    InvalidQueryError,
    UnreadableFileError,
    UnsupportedFormatError,
    fault,
)
from rag_tools.ingest.discover import (
    Discovered,
    LeftOut,
    discover,
    file_type,
    inside,
)
from rag_tools.ingest.formats import format_suffix
from rag_tools.ingest.labelling import Labelling, labelled
from rag_tools.ingest.load import harmless, lacks_grammar, printable, read
from rag_tools.ingest.worker import Worker
from rag_tools.meter import Meter
from rag_tools.types import AccessRules, Skipped, SyncReport, document_id
from rag_tools.writer import HELD, Writer

# A file that is written again within this time after it was read may keep its size and time stamp,
# because the clocks of file systems are coarse. A stamp that is this fresh isn't trusted later.
_RACY_NS = 2_000_000_000

# Expected characters of text per byte of a file, where that isn't about one. Only the estimate of
# the time left depends on it.
_TEXT_SHARE = {
    **{".doc": 0.1, ".docx": 0.3, ".eml": 0.3, ".epub": 1.5, ".htm": 0.4, ".html": 0.4},
    **{".mbox": 0.3, ".msg": 0.1, ".odp": 0.05, ".pdf": 0.05, ".ppt": 0.02, ".pptx": 0.02},
    **{".rtf": 0.3, ".srt": 0.6, ".vtt": 0.6, ".xhtml": 0.4},
}
_TYPES_NAMED = 12  # maximum number of file types in a report of what was left out


@dataclass(frozen=True)
class SyncOptions:
    """Options that select the files of a root; they are stored with the root.

    Attributes
    ----------
    include, exclude
        Patterns as in a .gitignore, relative to the root.
    hidden
        Whether to index files and folders whose names start with a dot.
    gitignore
        Whether to leave out what git's ignore files name.
    access
        Which labels the files get; None: those of the root around it, if there is one.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hidden: bool = False
    gitignore: bool = True
    access: AccessRules | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the options as the catalog stores them."""
        access = self.access and self.access.model_dump(mode="json", include={"labels", "posix"})
        return {
            "include": list(self.include),
            "exclude": list(self.exclude),
            "hidden": self.hidden,
            "gitignore": self.gitignore,
            **({} if access is None else {"access": access}),
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> SyncOptions:
        """Undo `as_json`."""
        return cls(
            tuple(stored["include"]),
            tuple(stored["exclude"]),
            stored["hidden"],
            stored["gitignore"],
            AccessRules.model_validate(stored["access"]) if "access" in stored else None,
        )


@dataclass
class _Tally:
    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    unchanged: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)
    undivided: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    left_out_characters: int = 0
    retired: int = 0


class _Planned(NamedTuple):
    """A file to read; its content may turn out to be unchanged."""

    file: Discovered
    name: str
    known: tuple[str, SourceState] | None
    size: int
    is_root: bool
    terms: str | None

    @property
    def characters(self) -> int:
        """Expected characters of text, at least 1; they measure the file's share of the work."""
        share = _TEXT_SHARE.get(self.file.path.suffix.lower(), 1.0)
        return max(1, int(self.size * share))


def sync(
    writer: Writer,
    roots: Sequence[tuple[Path, SyncOptions]],
    *,
    worker: Worker,
    max_bytes: int,
    meter: Meter,
    within: Sequence[Path] = (),
) -> SyncReport:
    """Bring the index in step with the files under `roots`.

    A file that can't be read, parsed or made ready, whatever is raised, is reported and skipped;
    if an earlier version of it is indexed, that one stays.

    Parameters
    ----------
    roots
        Absolute paths of folders or files, with their options; none: those synced before, with
        the options used then. A root synced before that lies inside one of them keeps its own
        options and is synced too.
    worker
        Parses the files.
    max_bytes
        Files larger than this are reported and skipped.
    meter
        Told of what is done; the writer's progress too.
    within
        Resolved folders. If there are any, `roots` lie in them, links that lead out of them are
        reported and skipped, and what was synced before is synced as it was then: its options
        count, and so does a root around one of `roots`.
    """
    started = time.monotonic()
    tally = _Tally()
    stored = {
        path: (Path(path), SyncOptions.from_json(options))
        for path, options in writer.catalog.roots().items()
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
    for path, (root, options) in given.items():
        # Who forgets the rules of access when a root is named again doesn't thereby lift them.
        if options.access is None and path in stored:
            given[path] = root, replace(options, access=stored[path][1].access)
    given = given or stored
    every = stored | given
    below = tuple(map(_prefix, given))
    planned: list[_Planned] = []
    for path, (root, options) in every.items():
        inner = [other for name, (other, _) in every.items() if name.startswith(_prefix(path))]
        # One that nobody named isn't missed once its files have been removed.
        if path in given or (
            path.startswith(below) and (os.path.lexists(root) or _known(writer, root, inner))
        ):
            labelling = _labelling(path, every)
            planned += _plan_root(
                writer, root, options, labelling, tally, inner, within=within, meter=meter
            )
    # In the order of a hash: what the codebook is trained on, the first files, is then a fair
    # sample of all of them, and so is what the time left is estimated by; and the order is the
    # same every time.
    planned.sort(key=lambda item: document_id(item.file.path.as_uri()))
    meter.plan(sum(item.characters for item in planned))
    if not all(harmless(item.file.path.name, item.size) for item in planned):
        worker.start()
    for item in planned:
        _sync_file(writer, worker, item, tally, max_bytes=max_bytes, meter=meter)
    writer.commit()
    meter.finish()
    return SyncReport(
        added=tuple(tally.added),
        updated=tuple(tally.updated),
        removed=tuple(tally.removed),
        unchanged=tally.unchanged,
        unsupported=tally.left_out.unsupported.total(),
        unsupported_types=_most_common(tally.left_out.unsupported),
        sensitive=tally.left_out.sensitive,
        ignored=tally.left_out.ignored,
        skipped=tuple(sorted(tally.skipped, key=lambda item: item.path)),
        retired=tally.retired,
        hidden=tally.hidden,
        left_out_characters=tally.left_out_characters,
        undivided=_most_common(tally.undivided),
        encoded_passages=writer.encoded_passages,
        seconds=time.monotonic() - started,
    )


def _most_common(types: Counter[str]) -> dict[str, int]:
    """Return the most common types, ties by name, and the total of all others as ``other``."""
    ranked = sorted(types.items(), key=lambda item: (-item[1], item[0]))
    kept = dict(ranked[:_TYPES_NAMED])
    if others := sum(count for _, count in ranked[_TYPES_NAMED:]):
        kept["other"] = others
    return kept


def _as_before(
    path: str,
    new: tuple[Path, SyncOptions],
    stored: Mapping[str, tuple[Path, SyncOptions]],
) -> tuple[str, tuple[Path, SyncOptions]]:
    """Return the innermost `stored` root that contains or is `path`, or else `new`."""
    around = [item for item in stored.items() if _prefix(path).startswith(_prefix(item[0]))]
    return max(around, key=lambda root: len(root[0]), default=(path, new))


def _labelling(path: str, roots: Mapping[str, tuple[Path, SyncOptions]]) -> Labelling:
    """Return what decides about labels in a root: the innermost rules in it or around it."""
    around = [name for name in roots if _prefix(path).startswith(_prefix(name))]
    ruled = [name for name in around if roots[name][1].access is not None]
    base, options = roots[max(ruled, key=len, default=path)]
    return Labelling(base, options.access)


def _plan_root(
    writer: Writer,
    root: Path,
    options: SyncOptions,
    labelling: Labelling,
    tally: _Tally,
    inner: Sequence[Path],
    *,
    within: Sequence[Path],
    meter: Meter,
) -> list[_Planned]:
    """Return the files under a root that must be read; remove the vanished ones."""
    name = printable(str(root))
    known = _known(writer, root, inner)
    try:
        exists = root.exists()
    except OSError as error:  # in a folder that can't be looked into
        reason = error.strerror or str(error)
        tally.skipped.append(Skipped(path=name, reason=reason))
        return []
    if not exists:
        # If the folder around it is gone as well, a drive was probably unplugged rather than a file
        # deleted, so its documents stay in the index.
        if name in writer.catalog.roots() and root.parent.exists():
            _remove(writer, known, tally)
            writer.forget_root(name)
        else:
            tally.skipped.append(Skipped(path=name, reason="no such file or folder"))
        return []
    files, skipped, left_out = discover(
        root,
        include=options.include,
        exclude=options.exclude,
        hidden=options.hidden,
        gitignore=options.gitignore,
        apart=inner,
        within=within,
    )
    tally.skipped += skipped
    tally.left_out.unsupported += left_out.unsupported
    tally.left_out.sensitive += left_out.sensitive
    tally.left_out.ignored += left_out.ignored
    writer.set_root(name, options.as_json())
    present = {printable(str(file.path)): file for file in files}
    # Links that aren't followed, and files in unreadable folders, haven't vanished: they just can't
    # be seen.
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
    planned: list[_Planned] = []
    retired = writer.catalog.retired
    for seen, (path, file) in enumerate(present.items()):
        meter.scanned(seen)
        before = known.get(path)
        if retired and document_id(file.path.as_uri()) in retired:
            if file.path != root:
                tally.retired += 1
                continue
            retired -= {document_id(file.path.as_uri())}  # it was named by itself
            writer.set_retired(retired)
        try:
            terms = labelling.terms(file.path, sidecar=file.sidecar)
        except IngestError as error:  # a document whose readers aren't known isn't indexed
            tally.skipped.append(Skipped(path=path, reason=str(error)))
            continue
        same = before if before is not None and before[1].terms == terms else None
        size = _size_if_changed(file.path, same)
        if size is None:
            tally.unchanged += 1
        else:
            planned.append(_Planned(file, path, before, size, file.path == root, terms))
    return planned


def _size_if_changed(path: Path, known: tuple[str, SourceState] | None) -> int | None:
    """Return the size of a file that must be read; None if its size and time are known."""
    try:
        status = path.stat()
    except (OSError, RuntimeError):
        return 0  # reading the file will report the error
    if known and (status.st_mtime_ns, status.st_size) == (known[1].mtime_ns, known[1].size):
        return None
    return status.st_size


def _sync_file(
    writer: Writer,
    worker: Worker,
    item: _Planned,
    tally: _Tally,
    *,
    max_bytes: int,
    meter: Meter,
) -> None:
    file, known = item.file, item.known
    same = known[1] if known and known[1].terms == item.terms else None
    try:
        data, state = _read_if_changed(file.path, same, max_bytes=max_bytes)
        state = state._replace(terms=item.terms)
        if data is None:
            tally.unchanged += 1
            if known and state != known[1]:
                writer.touch(known[0], state)
            meter.settled(item.characters)
            return
        document = worker.load(data, name=file.path.name, uri=file.path.as_uri())
        metadata = {**document.metadata, "path": file.relative}
        document = labelled(document.model_copy(update={"metadata": metadata}), item.terms)
        if document.expires is not None and document.expires <= time.time() and not document.hold:
            tally.retired += 1
            _remove(writer, {item.name: known} if known else {}, tally)
            meter.settled(item.characters)
            return
        prepared = writer.prepare(document, (item.name, state))
        if lacks_grammar(suffix := format_suffix(file.path.name)):
            tally.undivided[suffix] += 1
    except Exception as error:
        # Any error here is due to this file, because nothing here changes the index.
        if isinstance(error, UnsupportedFormatError) and not item.is_root:
            tally.left_out.unsupported[file_type(file.path.name)] += 1
        elif isinstance(error, IngestError) and not isinstance(error, InvalidDocumentError):
            tally.skipped.append(Skipped(path=item.name, reason=str(error)))
        else:
            reason = fault(file.relative, "can't be indexed", error)
            tally.skipped.append(Skipped(path=item.name, reason=reason))
        meter.settled(item.characters)
        return
    meter.encoding(item.characters, len(prepared.passages))
    writer.put(prepared)
    tally.hidden += bool(document.hidden)
    tally.left_out_characters += document.left_out
    (tally.updated if known else tally.added).append(document.id)


def _read_if_changed(
    path: Path, known: SourceState | None, *, max_bytes: int
) -> tuple[bytes | None, SourceState]:
    """Return the file's bytes and state; the bytes are None if they haven't changed."""
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
    """Return the known files under `root`, without those of the roots inside it."""
    path = printable(str(root))
    apart = tuple(_prefix(printable(str(other))) for other in inner)
    known = writer.catalog.sources(path, _prefix(path))
    return {path: entry for path, entry in known.items() if not _prefix(path).startswith(apart)}


def _prefix(path: str) -> str:
    """Return the prefix of all paths below `path`."""
    return path if path.endswith(os.sep) else path + os.sep


def _remove(writer: Writer, gone: dict[str, tuple[str, SourceState]], tally: _Tally) -> None:
    for path, (id, _) in gone.items():
        if writer.catalog.held(id):
            tally.skipped.append(Skipped(path=path, reason=f"its file is gone, and it {HELD}"))
            continue
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
