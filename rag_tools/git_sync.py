"""Bringing an index up to date with a revision of a git repository.

Git knows of each file whether its content is the same: a file whose blob is the one that was
indexed isn't read.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from rag_tools.catalog.rows import SourceState
from rag_tools.errors import FileTooLargeError, IngestError
from rag_tools.ingest.discover import file_type, is_wanted
from rag_tools.ingest.load import supported
from rag_tools.ingest.sensitive import is_sensitive
from rag_tools.intake import Finish, Intake, Planned, Source
from rag_tools.member_uri import member_uri
from rag_tools.meter import Meter
from rag_tools.remote.repository import (
    SCHEMES,
    Change,
    File,
    Revision,
    current_commit,
    parse_root,
)
from rag_tools.types import Metadata, Skipped
from rag_tools.writer import Writer

_OPTIONS, _COMMIT = "git", "commit"  # fields of what is stored with a root


@dataclass(frozen=True)
class GitOptions:
    """Which files of a repository are indexed; see `SyncOptions` and `WebOptions`."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hidden: bool = False
    allow_private: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the options as the catalog stores them."""
        return {
            "include": list(self.include),
            "exclude": list(self.exclude),
            "hidden": self.hidden,
            "allow_private": self.allow_private,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> GitOptions:
        """Undo `as_json`."""
        return cls(
            tuple(stored["include"]),
            tuple(stored["exclude"]),
            stored["hidden"],
            stored["allow_private"],
        )


def is_repository_root(root: str) -> bool:
    """Tell whether a root is a repository."""
    return root.partition("://")[0].lower() in SCHEMES


def repository_root(root: str) -> str:
    """Return a repository as roots are stored; raise `InvalidQueryError` if it isn't one."""
    return parse_root(root).root


def plan_revision(
    writer: Writer,
    root: str,
    options: GitOptions | None,
    intake: Intake,
    opened: contextlib.ExitStack,
    *,
    meter: Meter,
    max_bytes: int,
) -> tuple[list[Planned], Finish]:
    """Return the files of a revision that must be read; remove the vanished ones.

    Parameters
    ----------
    options
        None: those used the last time.
    opened
        Closes the repository when everything is read.
    """
    stored = writer.catalog.roots().get(root, {})
    if options is None:
        options = GitOptions.from_json(stored[_OPTIONS])
    prefix = f"{root} "
    known = writer.catalog.sources(prefix, prefix)
    repository = parse_root(root)
    try:
        commit = current_commit(repository, allow_private=options.allow_private)
        now = {_OPTIONS: options.as_json(), _COMMIT: commit}
        if now == stored and known:
            intake.tally.unchanged += len(known)
            return [], _nothing
        revision = opened.enter_context(
            Revision(repository, commit, allow_private=options.allow_private)
        )
        files = _chosen(revision.files(), options, intake)
        changes = revision.changes()
    except IngestError as error:
        intake.tally.skipped.append(Skipped(path=root, reason=str(error)))
        return [], _nothing
    # Only when all files are in the index, the commit is.
    writer.set_root(root, {_OPTIONS: options.as_json(), _COMMIT: stored.get(_COMMIT, "")})
    intake.remove(entry for path, entry in known.items() if path.removeprefix(prefix) not in files)
    planned: list[Planned] = []
    for seen, file in enumerate(files.values()):
        meter.scanned(seen)
        entry = known.get(prefix + file.path)
        state = SourceState(file.size, 0, f"git:{file.blob}")
        if entry and entry.state == state:
            intake.tally.unchanged += 1
            continue
        source = Source(
            prefix + file.path,
            member_uri(root, file.path),
            PurePosixPath(file.path).name,
            file.path,
            entry,
            file.size,
            metadata=_metadata(repository.url, commit, changes.get(file.path)),
            hidden=options.hidden,
            root=root,
            revision=commit,
        )
        planned.append((source, functools.partial(_read, revision, file, state, max_bytes)))

    def finish() -> None:
        if not any(path.startswith(prefix) for path in intake.failed):
            writer.set_root(root, now)

    return planned, finish


def _nothing() -> None:
    """Record nothing."""


def _chosen(files: list[File], options: GitOptions, intake: Intake) -> dict[str, File]:
    """Return the files to index, by path."""
    left_out = intake.tally.left_out
    kept: dict[str, File] = {}
    wanted = is_wanted(options.include, options.exclude)
    for file in files:
        is_hidden = any(part.startswith(".") for part in file.path.split("/"))
        if (is_hidden and not options.hidden) or not wanted(file.path):
            continue
        if is_sensitive(file.path):
            left_out.sensitive += 1
        elif not supported(PurePosixPath(file.path)):
            left_out.unsupported[file_type(PurePosixPath(file.path).name)] += 1
        else:
            kept[file.path] = file
    return kept


def _read(
    revision: Revision, file: File, state: SourceState, max_bytes: int
) -> tuple[bytes, SourceState]:
    if file.size > max_bytes:
        raise FileTooLargeError(
            f"{file.path}: {file.size:,} bytes, the limit is {max_bytes:,}; raise the limit "
            "(--max-file-size, max_bytes)"
        )
    return revision.read(file), state


def _metadata(url: str, commit: str, change: Change | None) -> Metadata:
    found: Metadata = {"commit": commit}
    if url.startswith("http"):
        found["repository"] = url.removesuffix(".git").rstrip("/")
    if change:
        with contextlib.suppress(ValueError):
            moment = datetime.fromisoformat(change.time).astimezone(UTC)
            found["modified"] = moment.isoformat()
        found["modified_by"] = change.author[:1000]
    return found
