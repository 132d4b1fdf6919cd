"""Changing an index: syncing files, adding and deleting documents.

Each call is one session of `rag_tools.writer.Writer`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rag_tools.audit.entry import recorded
from rag_tools.catalog.history import SETTING as VERSIONS
from rag_tools.catalog.restricted import DEFAULT_DENY
from rag_tools.cite.locate import check_url_template
from rag_tools.disk import failures_named
from rag_tools.errors import (
    AccessError,
    HeldError,
    IngestError,
    InvalidQueryError,
    SkippedDocumentsError,
)
from rag_tools.gathered import Recall
from rag_tools.git_sync import GitOptions, is_repository_root, repository_root
from rag_tools.ingest.discover import inside
from rag_tools.ingest.load import DEFAULT_MAX_BYTES
from rag_tools.ingest.worker import DEFAULT_TIMEOUT, Worker
from rag_tools.meter import Meter
from rag_tools.opened import OpenIndex
from rag_tools.purge.erase import erase
from rag_tools.purge.traces import Traces
from rag_tools.remote.repository import is_bare
from rag_tools.sync import SyncOptions, source_root, sync
from rag_tools.types import (
    AccessRules,
    Document,
    Progress,
    Skipped,
    SyncReport,
    WebOptions,
)
from rag_tools.versioning import rules_of, trim_old
from rag_tools.web_sync import is_page_root, page_root
from rag_tools.writer import HELD, Writer


class Indexer:
    """Changes an index. Threads that share an indexer take turns."""

    def __init__(self, opened: OpenIndex) -> None:
        self._opened = opened
        # Reentrant: a thread that starts a second write during a write must be refused by the
        # index's lock, instead of waiting here for itself.
        self._writing = threading.RLock()

    def sync(
        self,
        paths: Sequence[str | Path] = (),
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        hidden: bool = False,
        gitignore: bool = True,
        max_bytes: int | None = None,
        document_timeout: float | None = None,
        url_template: str | None = None,
        access: AccessRules | None = None,
        within: Sequence[str | Path] = (),
        web: WebOptions | None = None,
        remote: bool = True,
        progress: Progress | None = None,
    ) -> SyncReport:
        """Bring the index up to date with files and folders.

        New and changed files are indexed, and files that no longer exist are removed. For an
        unchanged file, only its size and time are read. Files that can't be read or parsed are
        skipped and reported in the result.

        Parameters
        ----------
        paths
            Files and folders; URLs of pages, sitemaps and feeds; and git repositories:
            ``git+https://host/path@revision``, ``git+file:///path@revision``, or the folder of one
            without a working tree. Default: what was synced before, with the options used then.
            A folder that was synced before and lies inside one of them keeps its own options.
        include, exclude
            Patterns as in a .gitignore, relative to each folder. `exclude` takes precedence.
        hidden
            Whether to index files and folders whose names start with a dot.
        gitignore
            Whether to leave out what git's ignore files name. What .ragignore files name is always
            left out.
        max_bytes
            Skip larger files and report them; default 64 MiB.
        document_timeout
            Skip and report files that take longer to parse, in seconds; default 60. Files on which
            a parser could hang or crash are parsed in a separate process.
        url_template
            Template for the URLs of citations, for all documents and from now on, such as
            ``https://docs.example.com/{relative_path}#L{first_line}``; see `cite_span` for the
            fields. An empty string removes it, so that citations have the URLs of their sources.
        access
            Who may read the files of `paths`, and whether documents without labels are for
            nobody, see ``docs/security.md``. Default: as when they were synced before.
        within
            Folders outside which nothing is read, for callers who aren't trusted with all files.
            `paths` must lie in them, links that lead out of them aren't followed, and roots that
            were synced before keep their options. Nothing of other machines is read.
        web
            How pages are collected; `WebOptions.allow_private` counts for repositories too.
        remote
            Whether pages and repositories are looked at that were synced before, without `paths`.
        progress
            Called as work advances: with the stage ``scan`` while files are listed, then with
            ``index``, whose total doesn't change. If it raises, the work ends; what was committed
            is kept.

        Raises
        ------
        IndexLockedError
            If another process is writing.
        IndexAccessError
            If the index can't be written, for example because the disk is full; what was committed
            is kept.
        InvalidQueryError
            If the timeout isn't positive, the template has an unknown field, a path lies outside
            `within`, or there are no paths and nothing in `within` was synced before.
        """
        timeout = DEFAULT_TIMEOUT if document_timeout is None else document_timeout
        if not timeout > 0:
            raise InvalidQueryError(f"document timeout {timeout:g} s: allow more than 0 seconds")
        if url_template:
            check_url_template(url_template)
        rules = access and access.rules
        options = SyncOptions(tuple(include), tuple(exclude), hidden, gitignore, rules)
        local, elsewhere = _divided(paths, options, web or WebOptions())
        roots = [source_root(path) for path in local]
        folders = [source_root(folder) for folder in within]
        if folders and elsewhere:
            raise InvalidQueryError(
                f"{next(iter(elsewhere))!r} isn't in a folder that may be indexed: "
                f"{', '.join(map(str, folders))}"
            )
        for path, root in zip(local, roots, strict=True):
            if folders and not inside(root, folders):
                raise InvalidQueryError(
                    f"{str(path)!r} isn't in a folder that may be indexed: "
                    f"{', '.join(map(str, folders))}"
                )
        meter = Meter(progress)
        with (
            recorded(self._opened.audit, "sync", change=True) as entry,
            Worker(timeout=timeout) as worker,
            self.session(meter) as writer,
        ):
            if url_template is not None:
                writer.set_setting("url_template", url_template or None)
            if access is not None and access.default_deny is not None:
                writer.set_setting(DEFAULT_DENY, access.default_deny)
            report = sync(
                writer,
                [(root, options) for root in roots],
                worker=worker,
                max_bytes=DEFAULT_MAX_BYTES if max_bytes is None else max_bytes,
                meter=meter,
                within=folders,
                elsewhere=elsewhere,
                remote=remote,
            )
            moment = int(time.time())
            expired = [
                *writer.catalog.expired(moment),
                *writer.catalog.expired_versions(moment),
            ]
            erase(writer, self._opened.directory, expired, Traces())
            trim_old(writer.catalog)
            report = report.model_copy(
                update={"removed": (*report.removed, *expired), "expired": len(expired)}
            )
            entry.documents = (*report.added, *report.updated, *report.removed)
            counts = ("added", "updated", "removed", "skipped")
            entry.detail = {name: len(getattr(report, name)) for name in counts}
            entry.detail["expired"] = len(expired)
        return report

    def add(
        self, documents: Iterable[Document], *, progress: Progress | None = None
    ) -> tuple[str, ...]:
        """Add documents, or replace those with the same ids; return their ids.

        Documents are committed in batches: if this raises, some may already have been added.

        Raises
        ------
        IndexLockedError
            If another process is writing.
        SkippedDocumentsError
            If some documents can't be indexed, such as one whose blocks don't tile its text. The
            exception says which and why. The other documents were added; earlier versions of the
            skipped ones are kept.
        IndexAccessError
            If the index can't be written, for example because the disk is full; what was committed
            is kept.
        """
        added: list[str] = []
        skipped: list[Skipped] = []
        with (
            recorded(self._opened.audit, "add", change=True) as entry,
            self.session(progress) as writer,
        ):
            entry.documents = added
            for document in documents:
                try:
                    prepared = writer.prepare(document)
                except IngestError as error:
                    skipped.append(Skipped(path=document.uri, reason=str(error)))
                    continue
                writer.put(prepared)
                added.append(document.id)
        if skipped:
            raise SkippedDocumentsError(tuple(added), tuple(skipped))
        return tuple(added)

    def delete(self, document_ids: Iterable[str]) -> int:
        """Delete documents; return the number of those that existed. Unknown ids are ignored.

        Raises
        ------
        HeldError
            If some of them are held; then none is deleted.
        IndexLockedError
            If another process is writing.
        IndexAccessError
            If the index can't be written, for example because the disk is full; what was committed
            is kept.
        """
        with (
            recorded(self._opened.audit, "delete", change=True) as entry,
            self.session(None) as writer,
        ):
            entry.documents = known = [
                id for id in dict.fromkeys(document_ids) if writer.catalog.knows(id)
            ]
            if held := [id for id in known if writer.catalog.holds(id)]:
                raise HeldError(f"nothing was deleted: {', '.join(held[:10])} {HELD}")
            for id in known:
                writer.delete(id)
        return len(known)

    @contextmanager
    def session(
        self, progress: Progress | None, *, recall: Recall | None = None
    ) -> Iterator[Writer]:
        """Open a session of changes for the length of a ``with`` block, see `Writer`.

        Raises
        ------
        IndexMismatchError
            If the index was deleted, moved or replaced since it was opened.
        IndexLockedError
            If another process is writing.
        IndexAccessError
            If the index can't be written.
        """
        opened = self._opened
        if opened.principal is not None:
            raise AccessError(
                "an index isn't changed on behalf of a principal: use the engine without one"
            )
        encoder = opened.encoder
        opened.reader.require()
        with (
            self._writing,
            # An error of the operating system may be about a file that the caller reads.
            failures_named(opened.directory, files=False),
            Writer(
                opened.directory,
                encoder,
                passage_tokens=opened.settings.passage_tokens,
                bits=opened.settings.bits,
                progress=progress,
                recall=recall,
            ) as writer,
        ):
            wanted = opened.keep_versions
            if wanted is not None:
                rules = rules_of(writer.catalog)
                if rules.keep != wanted:
                    changed = rules.model_copy(update={"keep": wanted})
                    writer.set_setting(VERSIONS, changed.model_dump())
            yield writer


def _divided(
    paths: Sequence[str | Path], options: SyncOptions, web: WebOptions
) -> tuple[list[str | Path], dict[str, WebOptions | GitOptions]]:
    """Return the paths of files and folders, and what is elsewhere: pages and repositories."""
    git = GitOptions(options.include, options.exclude, options.hidden, web.allow_private)
    local: list[str | Path] = []
    elsewhere: dict[str, WebOptions | GitOptions] = {}
    for path in paths:
        given = str(path)
        if is_page_root(given):
            elsewhere[page_root(given)] = web
        elif is_repository_root(given):
            elsewhere[repository_root(given)] = git
        elif is_bare(Path(path)):
            elsewhere[repository_root(f"git+{source_root(path).as_uri()}")] = git
        else:
            local.append(path)
    return local, elsewhere
