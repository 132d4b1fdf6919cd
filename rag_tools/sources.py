"""The sources of documents as they are now, for checking citations: files that may have changed."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from threading import Lock

from rag_tools.catalog.rows import SourceState
from rag_tools.closing import Closing
from rag_tools.errors import IngestError, NoTextError
from rag_tools.ingest.contents import find
from rag_tools.ingest.load import DEFAULT_MAX_BYTES, read
from rag_tools.ingest.worker import Worker
from rag_tools.member_uri import member_path
from rag_tools.types import Document

_CHANGED = 4  # changed sources whose content is kept


class Sources(Closing):
    """Reads sources, and parses those that changed. Safe to share between threads."""

    def __init__(self) -> None:
        # What changed sources contain now, so that several quotes of one are checked at the cost of
        # one: by URI and hash of the file, the last used at the end.
        self._changed: OrderedDict[tuple[str, str], Document | None] = OrderedDict()
        # Starting its process takes longer than parsing most documents, so it is kept.
        self._worker = Worker()
        self._parsing = Lock()

    def close(self) -> None:
        """End the process that parses changed sources."""
        with self._parsing:
            self._worker.close()

    def read(self, path: str | None, state: SourceState, indexed: Document) -> Document | None:
        """Return the document as its source reads now; None if the source can't be read."""
        if path is None or not indexed.uri.startswith("file:"):
            return None  # nothing of another machine is fetched to check a quote
        try:
            # It may have been indexed with a higher limit.
            data = read(Path(path), max_bytes=max(DEFAULT_MAX_BYTES, state.size))
        except IngestError:
            return None
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 == state.sha256:
            return indexed
        key = (indexed.uri, sha256)
        try:
            document = self._changed.pop(key)
        except KeyError:
            document = self._loaded(data, Path(path).name, indexed)
        self._changed[key] = document
        while len(self._changed) > _CHANGED:
            with suppress(KeyError):  # another thread may have removed it
                self._changed.popitem(last=False)
        return document

    def _loaded(self, data: bytes, name: str, indexed: Document) -> Document | None:
        """Return what the bytes of a changed source contain; None if they can't be read."""
        kept = self._parsing.acquire(blocking=False)
        try:
            if kept:
                return _document(self._worker, data, name, indexed)
            with Worker() as worker:  # another thread is parsing
                return _document(worker, data, name, indexed)
        except NoTextError:
            return _without_text(indexed)
        except IngestError:
            return None
        finally:
            if kept:
                self._parsing.release()


def _document(worker: Worker, data: bytes, name: str, indexed: Document) -> Document:
    """Return the file's document, or the member of it that was indexed."""
    found = find(
        worker,
        data,
        name=name,
        uri=indexed.uri,
        path=member_path(indexed.uri),
        max_bytes=DEFAULT_MAX_BYTES,
    )
    return found or _without_text(indexed)


def _without_text(indexed: Document) -> Document:
    """Return what is left of a document that its source no longer has."""
    return Document(id=indexed.id, uri=indexed.uri, title=indexed.title, text="")
