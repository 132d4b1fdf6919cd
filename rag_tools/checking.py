"""Checking citations and finished answers against the documents of an index."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag

from rag_tools.catalog.rows import SourceState
from rag_tools.cite.answer import Quotation, quotations
from rag_tools.cite.verify import parse_citations, verify
from rag_tools.errors import IngestError, InvalidQueryError, NoTextError
from rag_tools.ingest.load import load
from rag_tools.limits import MAX_QUERY, check_answer
from rag_tools.reader import Reader
from rag_tools.searcher import Searcher
from rag_tools.types import Citation, Document, Verification, Verifications, document_id

_VERDICTS = ("exact", "moved", "stale", "missing")  # best first


class Checker:
    """Says what became of citations.

    Parameters
    ----------
    reader
        Of the index.
    searcher
        Of the same index: finds where a quotation without a source may be from.
    """

    def __init__(self, reader: Reader, searcher: Searcher) -> None:
        self._reader = reader
        self._searcher = searcher

    def verify(self, citation: Citation | Mapping[str, Any]) -> Verification:
        """Check that a quote still stands where its citation says.

        Reads the source itself where it is a file within reach, else the indexed text.

        Raises
        ------
        InvalidQueryError
            If the citation lacks a field or holds nonsense.
        """
        if not isinstance(citation, Citation):
            (citation,) = parse_citations([citation])
        with self._reader.view() as view:
            key = view.catalog.document_key(citation.document_id)
            if key is None:  # perhaps the same text under another name
                key = view.catalog.document_key_by_text(citation.document_sha256)
            if key is None:
                return verify(citation, indexed=None, source=None)
            indexed = self._reader.document(view, key)
            path, state = view.catalog.source(key)
            url_template = view.url_template
        source = _reread(path, state, indexed)
        return verify(citation, indexed=indexed, source=source, url_template=url_template)

    def verify_answer(self, answer: str) -> Verifications:
        """Check what an agent's finished answer quotes, see `quotations`, in order.

        A quotation must stand in the document that the answer gives as its source; where that is
        none that is indexed, in one of those that a search for it finds.

        Raises
        ------
        InvalidQueryError
            If the answer quotes nothing, or is longer than `limits.MAX_ANSWER` characters.
        """
        check_answer(answer)
        found = quotations(answer)
        if not found:
            raise InvalidQueryError(
                "the answer quotes nothing: a quotation stands between quotation marks, or in a "
                "block quote"
            )
        return Verifications(verifications=tuple(map(self._verify_quotation, found)))

    def _verify_quotation(self, quotation: Quotation) -> Verification:
        """Return the best verdict on a quotation over the documents that it may be from."""
        with self._reader.view() as view:
            ids = [
                id
                for id in map(document_id, map(_uri, quotation.sources))
                if view.catalog.document_key(id) is not None
            ]
        if not ids:  # its beginning tells where a long quotation is from
            ids = [
                hit.document_id for hit in self._searcher.search(quotation.text[:MAX_QUERY]).results
            ]
        ids = ids or [""]
        citations = parse_citations(
            [{"document_id": id, "quote": quotation.text} for id in dict.fromkeys(ids)]
        )
        verdicts = list(map(self.verify, citations))
        return min(verdicts, key=lambda each: _VERDICTS.index(each.status))


def _uri(source: str) -> str:
    """Return the URI of a document that an answer refers to by URL or by path."""
    return urldefrag(source)[0] if "://" in source else Path(source).resolve().as_uri()


def _reread(path: str | None, state: SourceState, indexed: Document) -> Document | None:
    """Return the document as its source reads now, or None if that is out of reach."""
    if path is None:
        return None
    try:
        if hashlib.sha256(Path(path).read_bytes()).hexdigest() == state.sha256:
            return indexed
        return load(Path(path), uri=indexed.uri)
    except NoTextError:
        return Document(id=indexed.id, uri=indexed.uri, title=indexed.title, text="")
    except (OSError, IngestError):
        return None
