"""Checking citations and finished answers against the documents of an index."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rag_tools.audit.entry import recorded
from rag_tools.cite.answer import Quotation, quotations
from rag_tools.cite.verify import parse_citations, verify
from rag_tools.documents import Documents
from rag_tools.errors import InvalidQueryError, NotFoundError
from rag_tools.history import History, document_of, entry_of
from rag_tools.limits import MAX_QUERY, check_answer
from rag_tools.member_uri import split_locator
from rag_tools.opened import OpenIndex
from rag_tools.reader import View
from rag_tools.searcher import Searcher
from rag_tools.types import (
    Citation,
    DocumentVersion,
    Verification,
    Verifications,
    document_id,
)
from rag_tools.wire.ids import Place, cited, is_short, made_for, resolve

_MOST_VERSIONS = 200  # in which a quote is looked for
_VERDICTS = ("exact", "moved", "stale", "missing")  # best first


class Checker:
    """Says what became of citations.

    Parameters
    ----------
    opened
        The index.
    searcher
        Searches the same index, for the documents that a quotation without a source may be from.
    documents
        Resolves the short ids with which an answer refers to its sources.
    """

    def __init__(self, opened: OpenIndex, searcher: Searcher, documents: Documents) -> None:
        self._reader = opened.reader
        self._sources = opened.sources
        self._audit = opened.audit
        self._searcher = searcher
        self._documents = documents
        self._history = History(opened.reader)

    def verify(self, citation: Citation | Mapping[str, Any]) -> Verification:
        """Check that a quote is still where its citation says.

        The source itself is read if it is a file that can be read, else the indexed text. A source
        that changed is parsed within the limits of size, time and memory that indexing has; a
        source that exceeds them counts as one that can't be read.

        A quote that isn't there any more is looked for in the earlier versions of the document, if
        the index keeps them; then it is ``stale``, and `Verification.version` says which has it.

        Raises
        ------
        InvalidQueryError
            If a field of the citation is missing or can't be used.
        """
        if not isinstance(citation, Citation):
            (citation,) = parse_citations([citation])
        with (
            recorded(self._audit, "verify", query=citation.quote) as entry,
            self._reader.view() as view,
        ):
            entry.documents = (citation.document_id,)
            key = view.catalog.document_key(citation.document_id)
            if key is None:  # the same text may be indexed under another id
                key = view.catalog.document_key_by_text(citation.document_sha256)
            if key is None:
                return self._in_versions(
                    view, citation, verify(citation, indexed=None, source=None)
                )
            indexed = self._reader.document(view, key)
            path, state = view.catalog.source(key)
            url_template = view.url_template
        source = self._sources.read(path, state, indexed)
        found = verify(citation, indexed=indexed, source=source, url_template=url_template)
        if found.status in ("exact", "moved"):
            return found
        with self._reader.view() as view:
            return self._in_versions(view, citation, found)

    def _in_versions(self, view: View, citation: Citation, found: Verification) -> Verification:
        """Return what was found, and in which earlier version the quote stands, if in any."""
        rows = [
            row for row in view.catalog.versions_of(citation.document_id) if row.key is not None
        ]
        # That which was cited first, then the latest.
        rows.sort(key=lambda row: (row.sha256 == citation.document_sha256, row.until), reverse=True)
        moved = None
        for row in rows[:_MOST_VERSIONS]:
            document = document_of(self._reader, view, row)
            status = verify(citation, indexed=document, source=None).status
            if status == "exact":
                return _held(found, entry_of(row), "it stands where it was cited")
            if status == "moved" and moved is None:
                moved = row
        return found if moved is None else _held(found, entry_of(moved), "it stands")

    def verify_answer(self, answer: str) -> Verifications:
        """Check the quotations of an agent's finished answer, in order; see `quotations`.

        A quotation must be in the document that the answer gives as its source: by a URL, a path,
        or a short id that a tool for models returned. If that document isn't indexed, or no source
        is given, the quotation must be in one of the documents that a search for it finds. Short
        ids that belong to no quotation follow: the words that each stands for must still be there.

        Raises
        ------
        InvalidQueryError
            If the answer quotes nothing and has no short id, or is longer than
            `limits.MAX_ANSWER` characters.
        """
        check_answer(answer)
        quoted = quotations(answer)
        used = {source for quotation in quoted for source in quotation.sources}
        ids = [id for id in cited(answer)[1] if id not in used]
        if not quoted and not ids:
            raise InvalidQueryError(
                "the answer quotes nothing: put quotations between quotation marks or in block "
                "quotes, and the ids of citations in square brackets"
            )
        verdicts = [*map(self._verify_quotation, quoted), *map(self._verify_id, ids)]
        return Verifications(verifications=tuple(verdicts))

    def _verify_id(self, id: str) -> Verification:
        """Check that the words that a short id was made for stand where it says."""
        place = self._place(id)
        if place is not None and not place.intact:
            held = self._history.cited(place.document_id, place.start, place.end, made_for(id))
            if held is not None:
                version, text = held
                place = place._replace(document_sha256=version.sha256, text=text, intact=True)
        if place is not None and place.intact:
            return self.verify(
                Citation(
                    document_id=place.document_id,
                    document_sha256=place.document_sha256,
                    start=place.start,
                    end=place.end,
                    quote=place.text,
                )
            )
        known = place is not None
        return Verification(
            status="stale" if known else "missing",
            checked="index",
            citation=Citation(
                document_id=place.document_id if place else id,
                document_sha256="",
                start=place.start if place else 0,
                end=place.end if place else 0,
                quote="",
            ),
            detail=f"The document changed since the id {id!r} was given: search again."
            if known
            else f"No document has the id {id!r}; it may be deleted: search again.",
        )

    def _place(self, id: str) -> Place | None:
        try:
            return resolve(self._documents, id)
        except NotFoundError:
            return None

    def _verify_quotation(self, quotation: Quotation) -> Verification:
        """Return the best verdict on a quotation over the documents that it may be from."""
        short = [self._place(source) for source in quotation.sources if is_short(source)]
        named = [_uri(source) for source in quotation.sources if not is_short(source)]
        with self._reader.view() as view:
            places = {place.document_id: place.start for place in short if place} | {
                id: 0 for id in map(document_id, named) if view.catalog.document_key(id) is not None
            }
        if not places:  # its beginning tells where a long quotation is from
            found = self._searcher.search(quotation.text[:MAX_QUERY]).results
            places = dict.fromkeys((hit.document_id for hit in found), 0) or {"": 0}
        citations = parse_citations(
            [
                {"document_id": id, "quote": quotation.text, "start": start}
                for id, start in places.items()
            ]
        )
        verdicts = list(map(self.verify, citations))
        return min(verdicts, key=lambda each: _VERDICTS.index(each.status))


def _held(found: Verification, version: DocumentVersion, how: str) -> Verification:
    """Return that a quote is gone, and that an earlier version holds it."""
    since = f"from {version.since}" if version.since else "from a time that isn't known"
    return found.model_copy(
        update={
            "status": "stale",
            # Who put it there is for whoever asks for the versions.
            "version": version.model_copy(update={"provenance": None}),
            "detail": f"The document no longer holds the quote, but {how} in the version that was "
            f"current {since} to {version.until}.",
        }
    )


def _uri(source: str) -> str:
    """Return the URI of a document that an answer refers to by URL or by path."""
    return split_locator(source)[0] if "://" in source else Path(source).resolve().as_uri()
