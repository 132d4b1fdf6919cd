"""Bringing an index up to date with files: reading changed ones and dropping vanished ones.

If the size and time of a file are those recorded, the file isn't read; if only its time is new, it
is read and hashed; only new content is parsed and encoded. All files are listed before the first
one is read, so that progress has a total.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rag_tools.catalog.catalog import RETIRED
from rag_tools.catalog.rows import Known, SourceState
from rag_tools.errors import IngestError, InvalidQueryError, UnreadableFileError
from rag_tools.git_sync import GitOptions, is_repository_root, plan_revision
from rag_tools.ingest.discover import discover, inside
from rag_tools.ingest.labelling import Labelling
from rag_tools.ingest.load import content, harmless
from rag_tools.ingest.reading import printable
from rag_tools.ingest.worker import Worker
from rag_tools.intake import Finish, Intake, Planned, Source, Tally
from rag_tools.meter import Meter
from rag_tools.types import AccessRules, Skipped, SyncReport, WebOptions, document_id
from rag_tools.web_sync import is_page_root, plan_pages
from rag_tools.writer import Writer

# A file that is written again within this time after it was read may keep its size and time stamp,
# because the clocks of file systems are coarse. A stamp that is this fresh isn't trusted later.
_RACY_NS = 2_000_000_000


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


def sync(
    writer: Writer,
    roots: Sequence[tuple[Path, SyncOptions]],
    *,
    worker: Worker,
    max_bytes: int,
    meter: Meter,
    within: Sequence[Path] = (),
    elsewhere: Mapping[str, WebOptions | GitOptions] | None = None,
    remote: bool = True,
) -> SyncReport:
    """Bring the index in step with the files under `roots`, and with what is `elsewhere`.

    A file that can't be read, parsed or made ready, whatever is raised, is reported and skipped;
    if an earlier version of it is indexed, that one stays.

    Parameters
    ----------
    roots
        Absolute paths of folders or files, with their options; if nothing is `elsewhere` either:
        everything that was synced before, with the options used then. A root synced before that
        lies inside one of them keeps its own options and is synced too.
    worker
        Parses the files.
    max_bytes
        Files larger than this are reported and skipped.
    meter
        Told of what is done; the writer's progress too.
    within
        Resolved folders. If there are any, `roots` lie in them, links that lead out of them are
        reported and skipped, and what was synced before is synced as it was then: its options
        count, and so does a root around one of `roots`. Nothing `elsewhere` is synced then.
    elsewhere
        Pages of the web and repositories, as roots are stored, with their options.
    remote
        Whether those that were synced before count among everything.
    """
    started = time.monotonic()
    tally = Tally()
    intake = Intake(writer, worker, tally, meter, max_bytes=max_bytes)
    distant: dict[str, WebOptions | GitOptions | None] = dict(elsewhere or {})
    if remote and not (roots or distant or within):
        distant = dict.fromkeys(filter(is_remote, writer.catalog.roots()))
    stored = {
        path: (Path(path), SyncOptions.from_json(options))
        for path, options in writer.catalog.roots().items()
        if not is_remote(path)
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
    given = given or ({} if elsewhere else stored)
    every = stored | given
    below = tuple(map(_prefix, given))
    planned: list[Planned] = []
    for path, (root, options) in every.items():
        inner = [other for name, (other, _) in every.items() if name.startswith(_prefix(path))]
        # One that nobody named isn't missed once its files have been removed.
        if path in given or (
            path.startswith(below) and (os.path.lexists(root) or _known(writer, root, inner))
        ):
            planned += _plan_root(
                writer,
                root,
                options,
                _labelling(path, every),
                intake,
                inner,
                within=within,
                meter=meter,
                max_bytes=max_bytes,
            )
    with contextlib.ExitStack() as opened:
        finishing: list[Finish] = []
        for path, chosen in distant.items():
            if isinstance(chosen, WebOptions) or (chosen is None and is_page_root(path)):
                found, finish = plan_pages(
                    writer, path, chosen, intake, meter=meter, max_bytes=max_bytes
                )
            else:
                found, finish = plan_revision(
                    writer, path, chosen, intake, opened, meter=meter, max_bytes=max_bytes
                )
            planned += found
            finishing.append(finish)
        _take(planned, intake, worker, meter)
        for finish in finishing:
            finish()
    writer.commit()
    meter.finish()
    return tally.report(
        encoded_passages=writer.encoded_passages, seconds=time.monotonic() - started
    )


def is_remote(root: str) -> bool:
    """Tell whether a root is a page of the web or a repository."""
    return is_page_root(root) or is_repository_root(root)


def _take(planned: list[Planned], intake: Intake, worker: Worker, meter: Meter) -> None:
    # In the order of a hash: what the codebook is trained on, the first files, is then a fair
    # sample of all of them, and so is what the time left is estimated by; and the order is the
    # same every time.
    planned.sort(key=lambda item: document_id(item[0].uri))
    meter.plan(sum(source.characters for source, _ in planned))
    if not all(harmless(source.name, source.size) for source, _ in planned):
        worker.start()
    for source, read_source in planned:
        intake.take(source, read_source)


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
    intake: Intake,
    inner: Sequence[Path],
    *,
    within: Sequence[Path],
    meter: Meter,
    max_bytes: int,
) -> list[Planned]:
    """Return the files under a root that must be read; remove the vanished ones."""
    tally = intake.tally
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
            intake.remove(known.values())
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
    intake.remove(
        entry
        for path, entry in known.items()
        if path not in present and not _prefix(path).startswith(blind)
    )
    planned: list[Planned] = []
    retired = writer.catalog.retired
    for seen, (path, file) in enumerate(present.items()):
        meter.scanned(seen)
        entry = known.get(path)
        if retired and document_id(file.path.as_uri()) in retired:
            if file.path != root:
                tally.retired += 1
                continue
            retired -= {document_id(file.path.as_uri())}  # it was named by itself
            writer.set_setting(RETIRED, sorted(retired))
        try:
            terms = labelling.terms(file.path, sidecar=file.sidecar)
        except IngestError as error:  # a document whose readers aren't known isn't indexed
            tally.skipped.append(Skipped(path=path, reason=str(error)))
            continue
        same = entry if entry is not None and entry.state.terms == terms else None
        size = _size_if_changed(file.path, same)
        if size is None:
            tally.unchanged += 1
            continue
        source = Source(
            path,
            file.path.as_uri(),
            file.path.name,
            file.relative,
            entry,
            size,
            is_root=file.path == root,
            hidden=options.hidden,
            terms=terms,
            root=name,
        )
        read_file = functools.partial(
            _read_if_changed,
            file.path,
            same and same.state,
            terms,
            max_bytes=max_bytes,
            within=within,
        )
        planned.append((source, read_file))
    return planned


def _size_if_changed(path: Path, known: Known | None) -> int | None:
    """Return the size of a file that must be read; None if its size and time are known."""
    try:
        status = path.stat()
    except (OSError, RuntimeError):
        return 0  # reading the file will report the error
    if known and (status.st_mtime_ns, status.st_size) == (known.state.mtime_ns, known.state.size):
        return None
    return status.st_size


def _read_if_changed(
    path: Path,
    known: SourceState | None,
    terms: str | None,
    *,
    max_bytes: int,
    within: Sequence[Path],
) -> tuple[bytes | None, SourceState]:
    """Return the file's bytes and state; the bytes are None if they haven't changed."""
    try:
        before = path.stat()
    except (OSError, RuntimeError) as error:
        raise UnreadableFileError(f"{printable(str(path))}: {error}") from error
    if known and before.st_mtime_ns == known.mtime_ns and before.st_size == known.size:
        return None, known
    now = time.time_ns()
    data, mtime_ns = content(path, max_bytes=max_bytes, within=within)
    racy = mtime_ns > now - _RACY_NS
    sha256 = hashlib.sha256(data).hexdigest()
    state = SourceState(len(data), 0 if racy else mtime_ns, sha256, terms)
    return (None if known and known.sha256 == state.sha256 else data), state


def _known(writer: Writer, root: Path, inner: Sequence[Path]) -> dict[str, Known]:
    """Return the known files under `root`, without those of the roots inside it."""
    path = printable(str(root))
    apart = tuple(_prefix(printable(str(other))) for other in inner)
    known = writer.catalog.sources(path, _prefix(path))
    return {path: entry for path, entry in known.items() if not _prefix(path).startswith(apart)}


def _prefix(path: str) -> str:
    """Return the prefix of all paths below `path`."""
    return path if path.endswith(os.sep) else path + os.sep


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
