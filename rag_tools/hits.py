"""Making hits from matches: the text of the passage, and the quotes that its alignment gives.

Nothing is encoded or ranked here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_tools.catalog.rows import heading
from rag_tools.cite.asked import Asked
from rag_tools.cite.locate import cite_span
from rag_tools.cite.quote import alignment, distinct, quotes
from rag_tools.duplicates import Candidate, Distinct
from rag_tools.evidence.model import Reading
from rag_tools.index.kernels import similarities
from rag_tools.index.search import Match, Query
from rag_tools.ingest.seen import seen
from rag_tools.reader import Reader, View
from rag_tools.screening.flags import flags, within
from rag_tools.second_stage import SecondStage, gain
from rag_tools.tracing import stage
from rag_tools.types import Citation, Copy, Document, Flag, Hit, Judgement, Passage, Span
from rag_tools.units import units

COPIES = 10
"""Maximum number of duplicates that are listed with a hit."""

_SPARE = 8  # further matches to look at, because some may be duplicates
_MOST = 1024  # maximum number of matches to look at, unless more are wanted


class _Found(NamedTuple):
    """A match with its document and passage, and what the second stage says of it."""

    match: Match
    document: Document
    passage: Passage
    id: str
    reading: Reading | None = None

    @property
    def score(self) -> float:
        """The score of both stages."""
        return self.match.score + gain(self.reading)


def hits(
    reader: Reader,
    view: View,
    find: Callable[[int], Iterable[Match]],
    query: Query,
    query_spans: NDArray[np.int32] | None,
    *,
    limit: int,
    ceiling: float,
    cite: bool,
    asked: Asked | None = None,
    second_stage: SecondStage | None = None,
    text: str = "",
) -> tuple[Hit, ...]:
    """Return the hits for the `limit` best matches, best first, ties by id.

    Of several duplicates (see `Distinct`), the best becomes a hit that lists the others.
    Overlapping passages contain the same sentences: each is cited once, by the better hit.

    Parameters
    ----------
    find
        Function that returns the given number of best matches, and those that tie with the last.
    query_spans
        ``(n_query_tokens, 2)`` int32 spans of the query's tokens, for the alignments of citations;
        None leaves the alignments out.
    ceiling
        Highest score that a match can have.
    cite
        Whether hits have citations.
    asked
        What the query asks for; default: nothing that a unit could be recognised by.
    second_stage
        Reads the best passages together with the query; default: none is read, and the order is
        that of the first stage.
    text
        The words of the query, for the second stage.
    """
    wanted = limit if second_stage is None else max(limit, second_stage.passages)
    groups = _distinct(reader, view, find, wanted)
    if second_stage is not None:
        with stage("rag_tools.read"):
            groups = _read(second_stage, text, groups)
    with stage("rag_tools.cite"):
        return _assembled(
            view, groups[:limit], query, query_spans, asked, ceiling=ceiling, cite=cite
        )


def _read(
    second_stage: SecondStage, text: str, groups: Sequence[Sequence[_Found]]
) -> list[list[_Found]]:
    """Return the groups with what the second stage says of their best passages, in its order."""
    found = second_stage.read(text, [seen(best.document, best.passage) for best, *_ in groups])
    read = [
        [best._replace(reading=reading), *copies]
        for (best, *copies), reading in zip(groups, found, strict=True)
    ]
    return sorted(read, key=lambda group: (-group[0].score, group[0].id))


def _assembled(
    view: View,
    groups: Sequence[Sequence[_Found]],
    query: Query,
    query_spans: NDArray[np.int32] | None,
    asked: Asked | None,
    *,
    ceiling: float,
    cite: bool,
) -> tuple[Hit, ...]:
    """Return a hit for each group of passages with the same content, with its citations."""
    located = [
        (
            _citations(view, best, query, query_spans, asked, ceiling) if cite else (),
            _url(view, best),
            flags(best.document, _span(best)),
        )
        for best, *_ in groups
    ]
    citations = distinct(quoted for quoted, _, _ in located)
    return tuple(
        Hit(
            id=best.id,
            document_id=best.document.id,
            document_sha256=best.document.sha256,
            uri=best.document.uri,
            title=best.document.title,
            url=url,
            score=best.score,
            reading=_brief(best.reading),
            text=best.document.text[best.passage.start : best.passage.end],
            start=best.passage.start,
            end=best.passage.end,
            heading=heading(best.passage) or None,
            metadata=best.document.metadata,
            citations=tuple(_flagged(each, found) for each in cited),
            flags=found,
            also_in=tuple(
                Copy(id=copy.id, url=_url(view, copy), score=copy.match.score)
                for copy in copies[:COPIES]
            ),
        )
        for (best, *copies), (_, url, found), cited in zip(groups, located, citations, strict=True)
    )


def _distinct(
    reader: Reader, view: View, find: Callable[[int], Iterable[Match]], limit: int
) -> list[list[_Found]]:
    """Return the `limit` best matches that aren't duplicates, each with its duplicates."""
    known: dict[tuple[int, int], _Found] = {}
    documents: dict[int, Document] = {}  # each is read once, however small the reader's cache
    wanted = limit + _SPARE
    while True:
        ranked = _ranked(view, find(wanted))[:wanted]
        groups: list[list[_Found]] = []
        distinguished = Distinct()
        for match, id in ranked:
            address = match.segment, match.position
            if address not in known:
                row = view.catalog.passage_at(*address)
                if row.document not in documents:
                    documents[row.document] = reader.document(view, row.document)
                known[address] = _Found(match, documents[row.document], row.passage, id)
            found = known[address]
            candidate = _candidate(found)
            number = distinguished.find(candidate)
            if number is not None:
                groups[number].append(found)
            elif len(groups) < limit:
                distinguished.add(candidate)
                groups.append([found])
        if len(groups) == limit or len(ranked) < wanted or wanted >= _MOST:
            return groups
        wanted *= 2


def _ranked(view: View, matches: Iterable[Match]) -> list[tuple[Match, str]]:
    """Return matches with the ids of their passages, best first, ties by id."""
    named = [(match, view.catalog.passage_id(match.segment, match.position)) for match in matches]
    return sorted(named, key=lambda each: (-each[0].score, each[1]))


def _candidate(found: _Found) -> Candidate:
    document, passage = found.document, found.passage
    text = document.text[passage.start : passage.end]
    return Candidate(document.id, passage.start, passage.end, heading(passage), text)


def _brief(reading: Reading | None) -> Judgement | None:
    """Return what a hit says of its reading."""
    if reading is None:
        return None
    return Judgement(
        gain=gain(reading),
        no_answer=round(reading.no_answer, 3),
        entailed=round(reading.entailed, 3),
        contradicted=round(reading.contradicted, 3),
    )


def _span(found: _Found) -> Span:
    return Span(found.passage.start, found.passage.end)


def _flagged(citation: Citation, found: tuple[Flag, ...]) -> Citation:
    """Return a citation with those flags of its passage that concern the quote."""
    flagged = within(found, Span(citation.start, citation.end)) if found else ()
    return citation.model_copy(update={"flags": flagged}) if flagged else citation


def _url(view: View, found: _Found) -> str:
    return cite_span(found.document, _span(found), url_template=view.url_template).url


def _citations(
    view: View,
    found: _Found,
    query: Query,
    query_spans: NDArray[np.int32] | None,
    asked: Asked | None,
    ceiling: float,
) -> list[Citation]:
    match, document, passage, _, reading = found
    segment = view.snapshot.segments[match.segment]
    spans = segment.spans(match.position)
    grid = similarities(segment, query.vectors, match.position)
    quoted = quotes(
        document.text[passage.start : passage.end],
        spans,
        grid,
        query.weights,
        relevance=match.score / ceiling,
        units=units(document.text, document.blocks, Span(passage.start, passage.end)),
        start=passage.start,
        asked=asked,
        strengths=None if reading is None else reading.strengths,
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
        for quote in quoted
    ]
