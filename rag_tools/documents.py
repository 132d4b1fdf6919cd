"""Reading the documents of an index: a whole document, a part of one, or the list."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from rag_tools.audit.entry import recorded
from rag_tools.audit.log import AuditLog
from rag_tools.catalog.filters import Condition, is_everything, parse_filter
from rag_tools.cite.locate import cite_span
from rag_tools.errors import InvalidQueryError, NotFoundError
from rag_tools.history import at
from rag_tools.reader import Reader, View
from rag_tools.restricted import RestrictedReader
from rag_tools.screening.flags import flags
from rag_tools.types import (
    Document,
    DocumentEntry,
    Fetched,
    Filter,
    Moment,
    Span,
    Versions,
)

_LISTED_TOGETHER = 16  # documents that are read from the catalog at a time
_SCREENED = 100_000  # characters that are looked at for flags, in 20 ms
_PASSAGE_ID = re.compile(r".+:(?P<start>\d{1,15})-(?P<end>\d{1,15})", re.DOTALL)


class Documents:
    """The documents of an index; `audit` records who reads them."""

    def __init__(self, reader: Reader, audit: AuditLog | None = None) -> None:
        self._reader = reader
        self._last: tuple[int, Mapping[str, int]] | None = None  # generation and versions
        self._audit = audit

    def document(self, id: str, *, as_of: Moment | None = None) -> Document:
        """Return a whole document, as it was added.

        Parameters
        ----------
        as_of
            As it stood at this time, if the index keeps versions, see `rag_tools.history.at`.
            Default: as it is now.

        Raises
        ------
        NotFoundError
            If no document has this id, or no version is kept of that time.
        InvalidQueryError
            If the time can't be used.
        """
        with recorded(self._audit, "read") as entry, self._reader.view() as view:
            entry.documents = (id,)
            if as_of is not None:
                return at(self._reader, view, id, as_of)[0]
            key = view.catalog.document_key(id)
            if key is None:
                raise NotFoundError(f"no document has the id {id!r}: search for it")
            return self._reader.document(view, key)

    def documents(
        self, *, filter: Filter | None = None, after: str = ""
    ) -> Iterator[DocumentEntry]:
        """Iterate over the documents, without their texts, in ascending order of id.

        Changes that are committed meanwhile may be missed; no document is returned twice.

        Parameters
        ----------
        filter
            Restriction on documents, see `Filter`.
        after
            Start after this id.

        Raises
        ------
        InvalidQueryError
            If the filter can't be used.
        """
        with recorded(self._audit, "list"):
            condition = parse_filter(filter or {})
            if not is_everything(condition):
                with self._reader.view() as view:
                    view.selecting.documents(condition)
        return self._documents(condition, after)

    def document_ids(self, text: str, *, limit: int, titles: bool = True) -> tuple[str, ...]:
        """Return the first `limit` ids that begin with `text`, or whose title contains it.

        If `titles` is false, titles aren't searched; then the time doesn't depend on the number of
        documents.
        """
        with recorded(self._audit, "list"), self._reader.view() as view:
            # Ids and titles don't contain lone surrogates.
            known = text.encode("utf-8", "replace").decode("utf-8")
            look_up = view.catalog.ids_like if titles else view.catalog.ids_beginning
            return tuple(look_up(known, limit=limit))

    def versions(self, known: Versions | None = None) -> Versions:
        """Return the versions of all documents, or `known` if the index hasn't changed since.

        With a principal, they are those of the documents that the caller may read, and other
        changes aren't told: the generation then counts what this method told.
        """
        with self._reader.view() as view:
            generation = view.snapshot.generation
            if isinstance(self._reader, RestrictedReader):
                return self._told(generation, view, known)
            if known is not None and known.generation == generation:
                return known
            return Versions(generation, view.catalog.document_keys())

    def _told(self, generation: int, view: View, known: Versions | None) -> Versions:
        """Return the versions as a caller sees them who may not read all documents."""
        read, keys = self._last or (None, {})
        if read != generation:
            keys = view.catalog.document_keys()
            self._last = generation, keys
        if known is None:
            return Versions(0, keys)
        return known if known.keys == keys else Versions(known.generation + 1, keys)

    def fetch(
        self,
        id: str,
        *,
        start: int = 0,
        end: int | None = None,
        as_of: Moment | None = None,
    ) -> Fetched:
        """Return the text of a document or of a passage.

        Parameters
        ----------
        id
            Id of a document, or of a passage as `search` returns it.
        start, end
            Range of code points of the document; default: all of it. The range is ignored for a
            passage, which has its own.
        as_of
            As it stood at this time; see `document`. The metadata then have ``since`` and
            ``until``, from when to when that version was the current one.

        Returns
        -------
        Fetched
            Its metadata have the range, and as ``flags`` the kinds of what deserves a second look
            in the first 100,000 characters of it, see `Flag`; without any, there is no such field.

        Raises
        ------
        NotFoundError
            If nothing has this id, or no version is kept of that time.
        InvalidQueryError
            If the range isn't within the document, or the time can't be used.
        """
        with recorded(self._audit, "read") as entry, self._reader.view() as view:
            entry.documents = (id,)
            owner = id
            known = view.catalog.versions_of if as_of is not None else view.catalog.document_key
            if not known(id) and (passage := _passage_range(id)):
                owner = id.rpartition(":")[0]
                start, end = passage
            document, times = self._read(view, owner, as_of, asked=id)
        size = len(document.text)
        end = size if end is None else end
        if not 0 <= start <= end <= size:
            raise InvalidQueryError(
                f"range {start}:{end} isn't within the {size} characters of {document.title!r}"
            )
        whole = start == 0 and end == size
        found = flags(document, Span(start, min(end, start + _SCREENED)))
        kinds = list(dict.fromkeys(flag.kind for flag in found))
        return Fetched(
            id=id,
            title=document.title,
            text=document.text[start:end],
            url=document.uri
            if whole or start == end
            else cite_span(document, Span(start, end), url_template=view.url_template).url,
            metadata={
                **document.metadata,
                "document_id": document.id,
                "document_sha256": document.sha256,
                "media_type": document.media_type,
                "start": start,
                "end": end,
                "total_characters": size,
                **times,
                **({"flags": kinds} if kinds else {}),
            },
        )

    def _read(
        self, view: View, id: str, as_of: Moment | None, *, asked: str
    ) -> tuple[Document, dict[str, str | None]]:
        """Return a document, and from when to when it was so if it is one `as_of` some time."""
        if as_of is not None:
            document, version = at(self._reader, view, id, as_of)
            return document, {"since": version.since, "until": version.until}
        key = view.catalog.document_key(id)
        if key is None:
            raise NotFoundError(f"no document or passage has the id {asked!r}: search for it")
        return self._reader.document(view, key), {}

    def _documents(self, condition: Condition, after: str) -> Iterator[DocumentEntry]:
        # Not in one view: a slow reader would prevent the write-ahead log from being emptied.
        while True:
            with self._reader.view() as view:
                if is_everything(condition):
                    entries = view.catalog.entries(after=after, limit=_LISTED_TOGETHER)
                else:
                    chosen = view.selecting.documents(condition)
                    first = view.selecting.by_id(chosen, after=after, limit=_LISTED_TOGETHER)
                    entries = view.catalog.listed(first)
            yield from entries
            if len(entries) < _LISTED_TOGETHER:
                return
            after = entries[-1].id


def _passage_range(id: str) -> tuple[int, int] | None:
    """Return the range in a passage id, ``DOCUMENT_ID:START-END``."""
    match = _PASSAGE_ID.fullmatch(id)
    return None if match is None else (int(match["start"]), int(match["end"]))
