"""The versions of a document: which there are, and reading one as it stood at some time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rag_tools.audit.entry import recorded
from rag_tools.audit.log import AuditLog
from rag_tools.catalog.history import VersionRow
from rag_tools.errors import InvalidQueryError, NotFoundError
from rag_tools.instants import milliseconds, shown
from rag_tools.reader import Reader, View
from rag_tools.types import Document, DocumentVersion, Moment, Provenance


class History:
    """What an index keeps of its documents; available as `Engine.history`.

    Who may not read a document, or what came after a version of it, doesn't see the version.
    """

    def __init__(self, reader: Reader, audit: AuditLog | None = None) -> None:
        self._reader = reader
        self._audit = audit

    def versions(self, id: str) -> tuple[DocumentVersion, ...]:
        """Return the versions of a document, the oldest first; the current one is the last.

        Of a document whose file is gone, there is no current one.

        Raises
        ------
        NotFoundError
            If no document has this id, nor had it.
        """
        with recorded(self._audit, "list"), self._reader.view() as view:
            found = view.catalog.versions_of(id)
        if not found:
            raise NotFoundError(f"no document has the id {id!r}: search for it")
        return tuple(map(entry_of, found))

    def document(self, id: str, as_of: Moment) -> Document:
        """Return a whole document as it stood at some time; see `at`."""
        with recorded(self._audit, "read") as entry, self._reader.view() as view:
            entry.documents = (id,)
            return at(self._reader, view, id, as_of)[0]

    def cited(
        self, id: str, start: int, end: int, is_it: Callable[[str], bool]
    ) -> tuple[DocumentVersion, str] | None:
        """Return the latest earlier version with a text in its place, and the text; None if none.

        Parameters
        ----------
        is_it
            Tells it by its characters.
        """
        with self._reader.view() as view:
            for version, document in earlier(self._reader, view, id):
                text = document.text[start:end]
                if len(text) == end - start and is_it(text):
                    return version, text
        return None


def at(reader: Reader, view: View, id: str, as_of: Moment) -> tuple[Document, DocumentVersion]:
    """Return a document as it stood at some time, and which version that is.

    Raises
    ------
    NotFoundError
        If no document has this id, or no version is kept that was the current one then.
    InvalidQueryError
        If the time can't be used.
    """
    try:
        moment = milliseconds(as_of)
    except ValueError as error:
        raise InvalidQueryError(
            f"{as_of!r} is no time ({error}): write 2026-03-31 or 2026-03-31T12:00:00+00:00"
        ) from error
    rows = view.catalog.versions_of(id)
    if not rows:
        raise NotFoundError(f"no document has the id {id!r}: search for it")
    for row in reversed(rows):
        if (row.since is None or row.since <= moment) and (row.until is None or moment < row.until):
            return document_of(reader, view, row), entry_of(row)
    known = ", ".join(
        f"from {'an unknown time' if row.since is None else shown(row.since)} to "
        f"{'now' if row.until is None else shown(row.until)}"
        for row in rows[-5:]
    )
    raise NotFoundError(
        f"no version of {id!r} is kept that was current at {shown(moment)}; there is one {known}"
    )


def document_of(reader: Reader, view: View, row: VersionRow) -> Document:
    """Return the document of a version, whole."""
    if row.key is not None:
        return view.catalog.version(row.key)
    key = view.catalog.document_key(row.id)
    assert key is not None, "it is the current version in this view"
    return reader.document(view, key)


def earlier(reader: Reader, view: View, id: str) -> Iterator[tuple[DocumentVersion, Document]]:
    """Yield the versions of a document but the current one, the latest first."""
    for row in reversed(view.catalog.versions_of(id)):
        if row.key is not None:
            yield entry_of(row), document_of(reader, view, row)


def entry_of(row: VersionRow) -> DocumentVersion:
    """Return a version as it is listed."""
    told = row.provenance
    return DocumentVersion(
        document_id=row.id,
        sha256=row.sha256,
        characters=row.characters,
        title=row.title,
        uri=row.uri,
        since=None if row.since is None else shown(row.since),
        until=None if row.until is None else shown(row.until),
        provenance=None if told is None else Provenance.model_validate_json(told),
    )
