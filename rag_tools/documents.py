"""Reading the documents of an index: one of them, a part of one, or the list."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rag_tools.catalog.filters import compile_filter
from rag_tools.cite.locate import cite_span
from rag_tools.errors import InvalidQueryError, NotFoundError
from rag_tools.reader import Reader
from rag_tools.types import Document, DocumentEntry, Fetched, Filter, Span, Versions

_LISTED_TOGETHER = 16  # documents whose texts are read to be counted before the first is listed
_PASSAGE_ID = re.compile(r".+:(?P<start>\d{1,15})-(?P<end>\d{1,15})", re.DOTALL)


class Documents:
    """The documents of an index."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def document(self, id: str) -> Document:
        """Return a document whole, as it was added.

        Raises
        ------
        NotFoundError
            If no document has this id.
        """
        with self._reader.view() as view:
            key = view.catalog.document_key(id)
            if key is None:
                raise NotFoundError(f"no document has the id {id!r}: search for it")
            return self._reader.document(view, key)

    def documents(
        self, *, filter: Filter | None = None, after: str = ""
    ) -> Iterator[DocumentEntry]:
        """Iterate over the documents, without their texts, in order of id.

        What is committed meanwhile is seen or not; no document is given twice.

        Parameters
        ----------
        filter
            Restriction on documents, see `Filter`.
        after
            Leave out this id and those before it.

        Raises
        ------
        InvalidQueryError
            If the filter can't be used.
        """
        condition, parameters = compile_filter(filter or {})
        return self._documents(condition, parameters, after)

    def document_ids(self, text: str, *, limit: int, titles: bool = True) -> tuple[str, ...]:
        """Return the first ids that begin with `text`, or whose document's title contains it.

        Without `titles`, only ids count; then the time doesn't grow with the documents.
        """
        with self._reader.view() as view:
            # No id and no title holds a lone surrogate.
            known = text.encode("utf-8", "replace").decode("utf-8")
            look_up = view.catalog.ids_like if titles else view.catalog.ids_beginning
            return tuple(look_up(known, limit=limit))

    def versions(self, known: Versions | None = None) -> Versions:
        """Return which version of each document the index holds; `known` if it is still true."""
        with self._reader.view() as view:
            generation = view.snapshot.generation
            if known is not None and known.generation == generation:
                return known
            return Versions(generation, view.catalog.document_keys())

    def fetch(self, id: str, *, start: int = 0, end: int | None = None) -> Fetched:
        """Return a document's text, or a passage's.

        Parameters
        ----------
        id
            Of a document, or of a passage as `search` returns it.
        start, end
            Range of code points of the document; default: all of it. A passage has its own range,
            and these are ignored.

        Raises
        ------
        NotFoundError
            If nothing has this id.
        InvalidQueryError
            If the range isn't within the document.
        """
        with self._reader.view() as view:
            key = view.catalog.document_key(id)
            if key is None and (passage := _passage_range(id)):
                key = view.catalog.document_key(id.rpartition(":")[0])
                start, end = passage
            if key is None:
                raise NotFoundError(f"no document or passage has the id {id!r}: search for it")
            document = self._reader.document(view, key)
        size = len(document.text)
        end = size if end is None else end
        if not 0 <= start <= end <= size:
            raise InvalidQueryError(
                f"range {start}:{end} isn't within the {size} characters of {document.title!r}"
            )
        whole = start == 0 and end == size
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
            },
        )

    def _documents(
        self, condition: str, parameters: Sequence[str | int | float], after: str
    ) -> Iterator[DocumentEntry]:
        # Not in one view: a reader that dawdles would keep the writer's log from being emptied.
        while True:
            with self._reader.view() as view:
                entries = view.catalog.entries(
                    condition, parameters, after=after, limit=_LISTED_TOGETHER
                )
            yield from entries
            if len(entries) < _LISTED_TOGETHER:
                return
            after = entries[-1].id


def _passage_range(id: str) -> tuple[int, int] | None:
    """Return the range in a passage id, ``DOCUMENT_ID:START-END``."""
    match = _PASSAGE_ID.fullmatch(id)
    return None if match is None else (int(match["start"]), int(match["end"]))
