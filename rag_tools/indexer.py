"""Changing an index: syncing files, adding and deleting documents.

Each call is one session of `rag_tools.writer.Writer`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rag_tools.cite.locate import check_url_template
from rag_tools.disk import failures_named
from rag_tools.errors import IngestError, InvalidQueryError, SkippedDocumentsError
from rag_tools.ingest.discover import inside
from rag_tools.ingest.load import DEFAULT_MAX_BYTES
from rag_tools.ingest.worker import DEFAULT_TIMEOUT, Worker
from rag_tools.opened import OpenIndex
from rag_tools.sync import Meter, SyncOptions, source_root, sync
from rag_tools.types import Document, Progress, Skipped, SyncReport
from rag_tools.writer import Writer


class Indexer:
    """The writing side of an engine. Threads that share it take turns."""

    def __init__(self, opened: OpenIndex) -> None:
        self._opened = opened
        # Reentrant: a thread that writes while it writes is refused by the index's lock, and would
        # wait for itself here.
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
        within: Sequence[str | Path] = (),
        progress: Progress | None = None,
    ) -> SyncReport:
        """Bring the index in step with files and folders.

        New and changed files are indexed, vanished ones removed, unchanged ones cost a stat.
        Files that can't be read or parsed are reported in the result and skipped.

        Parameters
        ----------
        paths
            Files and folders; default: those synced before, with the options used then. What
            was synced before and lies inside one of them keeps its own options.
        include, exclude
            Patterns as in a .gitignore, relative to each folder. `exclude` wins.
        hidden
            Take files and folders whose name starts with a dot.
        gitignore
            Leave out what git's ignore files name; what .ragignore files name is left out anyway.
        max_bytes
            Report and skip larger files; default 64 MiB.
        document_timeout
            Report and skip a file that isn't parsed within so many seconds; default 60. Files that
            a parser could stall or crash on are parsed in a process of their own.
        url_template
            Makes the urls of citations from now on, whatever was synced before: such as
            ``https://docs.example.com/{relative_path}#L{first_line}``; see `cite_span` for the
            fields. An empty string: the source's own again.
        within
            Folders that nothing is read outside of: for callers who aren't trusted with all
            files. `paths` must lie in them, links that lead out of them aren't followed, and what
            was synced before keeps its options.
        progress
            Called as work advances, with the stage ``scan`` while files are looked at, then
            ``index``, whose total stays the same. If it raises, the work ends; what was committed
            stays.

        Raises
        ------
        IndexLockedError
            If another process is writing.
        IndexAccessError
            If the disk is full, a permission is missing or the like: what was committed stays.
        InvalidQueryError
            If the time for a document isn't positive, the template has an unknown field, a path
            isn't `within` the folders, or nothing in them was synced before and there are no paths.
        """
        timeout = DEFAULT_TIMEOUT if document_timeout is None else document_timeout
        if not timeout > 0:
            raise InvalidQueryError(f"{timeout:g} seconds for a document: allow more than 0")
        if url_template:
            check_url_template(url_template)
        options = SyncOptions(tuple(include), tuple(exclude), hidden, gitignore)
        roots = [source_root(path) for path in paths]
        folders = [source_root(folder) for folder in within]
        for path, root in zip(paths, roots, strict=True):
            if folders and not inside(root, folders):
                raise InvalidQueryError(
                    f"{str(path)!r} isn't in a folder that may be indexed: "
                    f"{', '.join(map(str, folders))}"
                )
        meter = Meter(progress)
        with Worker(timeout=timeout) as worker, self._writer(meter) as writer:
            if url_template is not None:
                writer.set_url_template(url_template or None)
            return sync(
                writer,
                [(root, options) for root in roots],
                worker=worker,
                max_bytes=DEFAULT_MAX_BYTES if max_bytes is None else max_bytes,
                meter=meter,
                within=folders,
            )

    def add(
        self, documents: Iterable[Document], *, progress: Progress | None = None
    ) -> tuple[str, ...]:
        """Add documents, replacing those with the same id; return their ids.

        They are committed as they gather: if this raises, the first ones may have been added.

        Raises
        ------
        IndexLockedError
            If another process is writing.
        SkippedDocumentsError
            If some documents can't be indexed, such as one whose blocks don't tile its text. It
            says which and why. The others were added; earlier versions of these stay.
        IndexAccessError
            If the disk is full, a permission is missing or the like: what was committed stays.
        """
        added: list[str] = []
        skipped: list[Skipped] = []
        with self._writer(progress) as writer:
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
        """Delete documents; unknown ids are ignored. Return how many there were.

        Raises
        ------
        IndexLockedError
            If another process is writing.
        IndexAccessError
            If the disk is full, a permission is missing or the like: what was committed stays.
        """
        with self._writer(None) as writer:
            known = [
                id
                for id in dict.fromkeys(document_ids)
                if writer.catalog.document_key(id) is not None
            ]
            for id in known:
                writer.delete(id)
        return len(known)

    @contextmanager
    def _writer(self, progress: Progress | None) -> Iterator[Writer]:
        opened = self._opened
        encoder = opened.encoder
        with (
            self._writing,
            # Files that can't be read may be those of the caller's documents.
            failures_named(opened.directory, files=False),
            Writer(
                opened.directory,
                encoder,
                passage_tokens=opened.settings.passage_tokens,
                bits=opened.settings.bits,
                progress=progress,
            ) as writer,
        ):
            yield writer
