"""From matches to hits: the passage's text, and the quotes its alignment points to.

Nothing is encoded or ranked here.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from rag_tools.catalog import catalog
from rag_tools.cite.locate import cite_span
from rag_tools.cite.quote import alignment, distinct, quotes
from rag_tools.index.kernels import similarities
from rag_tools.index.search import Match, Query
from rag_tools.reader import Reader, View
from rag_tools.tracing import stage
from rag_tools.types import Citation, Document, Hit, Passage, Span
from rag_tools.units import units


@stage("rag_tools.cite")
def hits(
    reader: Reader,
    view: View,
    matches: Iterable[Match],
    query: Query,
    query_spans: NDArray[np.int32] | None,
    *,
    limit: int,
    ceiling: float,
    cite: bool,
) -> tuple[Hit, ...]:
    """Return the hits of the `limit` best matches, best first, ties by id.

    Overlapping passages hold the same sentences: none is cited twice, the better hit has it.

    Parameters
    ----------
    query_spans
        ``(n_query_tokens, 2)`` int32 code points of the query, to give every citation its
        alignment; None to leave it out.
    ceiling
        Highest score a match can have.
    cite
        Whether to quote; else no hit has citations.
    """
    ranked = sorted(
        (-match.score, catalog.passage_id(view.connection, match.segment, match.position), match)
        for match in matches
    )
    found = []
    for _, id, match in ranked[:limit]:
        row = catalog.passage_at(view.connection, match.segment, match.position)
        found.append((match, reader.document(view, row.document), row.passage, id))
    # Of one hit together: where the lines of a document start is remembered for a few documents.
    located = [
        (
            _citations(view, match, document, passage, query, query_spans, ceiling) if cite else (),
            cite_span(
                document, Span(passage.start, passage.end), url_template=view.url_template
            ).url,
        )
        for match, document, passage, _ in found
    ]
    citations = distinct(quoted for quoted, _ in located)
    return tuple(
        Hit(
            id=id,
            document_id=document.id,
            document_sha256=document.sha256,
            uri=document.uri,
            title=document.title,
            url=url,
            score=match.score,
            text=document.text[passage.start : passage.end],
            start=passage.start,
            end=passage.end,
            heading=catalog.heading(passage) or None,
            metadata=document.metadata,
            citations=cited,
        )
        for (match, document, passage, id), (_, url), cited in zip(
            found, located, citations, strict=True
        )
    )


def _citations(
    view: View,
    match: Match,
    document: Document,
    passage: Passage,
    query: Query,
    query_spans: NDArray[np.int32] | None,
    ceiling: float,
) -> list[Citation]:
    segment = view.snapshot.segments[match.segment]
    spans = segment.spans(match.position)
    grid = similarities(segment, query.vectors, match.position)
    found = quotes(
        document.text[passage.start : passage.end],
        spans,
        grid,
        query.weights,
        relevance=match.score / ceiling,
        units=units(document.text, document.blocks, Span(passage.start, passage.end)),
        start=passage.start,
    )
    return [
        cite_span(
            document,
            Span(passage.start + quote.span.start, passage.start + quote.span.end),
            score=quote.score,
            url_template=view.url_template,
            alignment=None
            if query_spans is None
            else alignment(query_spans, spans, grid, start=passage.start, within=quote.span),
        )
        for quote in found
    ]
