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
from rag_tools.ingest.load import DEFAULT_MAX_BYTES, load_bytes, read
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
        Reads the index.
    searcher
        Searches the same index, for the documents that a quotation without a source may be from.
    """

    def __init__(self, reader: Reader, searcher: Searcher) -> None:
        self._reader = reader
        self._searcher = searcher

    def verify(self, citation: Citation | Mapping[str, Any]) -> Verification:
        """Check that a quote is still where its citation says.

        The source itself is read if it is a file that can be read, else the indexed text.

        Raises
        ------
        InvalidQueryError
            If a field of the citation is missing or can't be used.
        """
        if not isinstance(citation, Citation):
            (citation,) = parse_citations([citation])
        with self._reader.view() as view:
            key = view.catalog.document_key(citation.document_id)
            if key is None:  # the same text may be indexed under another id
                key = view.catalog.document_key_by_text(citation.document_sha256)
            if key is None:
                return verify(citation, indexed=None, source=None)
            indexed = self._reader.document(view, key)
            path, state = view.catalog.source(key)
            url_template = view.url_template
        source = _reread(path, state, indexed)
        return verify(citation, indexed=indexed, source=source, url_template=url_template)

    def verify_answer(self, answer: str) -> Verifications:
        """Check the quotations of an agent's finished answer, in order; see `quotations`.

        A quotation must be in the document that the answer gives as its source. If that document
        isn't indexed, or no source is given, the quotation must be in one of the documents that a
        search for it finds.

        Raises
        ------
        InvalidQueryError
            If the answer quotes nothing, or is longer than `limits.MAX_ANSWER` characters.
        """
        check_answer(answer)
        found = quotations(answer)
        if not found:
            raise InvalidQueryError(
                "the answer quotes nothing: put quotations between quotation marks or in block "
                "quotes"
            )
        return Verifications(verifications=tuple(map(self._verify_quotation, found)))

    def _verify_quotation(self, quotation: Quotation) -> Verification:
        """Return the best of the verdicts that the documents it may be from give a quotation."""
        with self._reader.view() as view:
            ids = [
                id
                for id in map(document_id, map(_uri, quotation.sources))
                if view.catalog.document_key(id) is not None
            ]
        if not ids:  # the beginning of a long quotation suffices to find its document
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
    """Return the document as its source reads now; None if the source can't be read."""
    if path is None:
        return None
    try:
        # As large as when it was indexed, whatever limit was set then.
        data = read(Path(path), max_bytes=max(DEFAULT_MAX_BYTES, state.size))
        if hashlib.sha256(data).hexdigest() == state.sha256:
            return indexed
        return load_bytes(data, name=Path(path).name, uri=indexed.uri)
    except NoTextError:
        return Document(id=indexed.id, uri=indexed.uri, title=indexed.title, text="")
    except IngestError:
        return None
