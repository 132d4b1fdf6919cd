"""Searching an index, and citing from it.

`Searcher.search` encodes the query, prepares it (weights of its tokens, BM25), selects the passages
that match the filter, runs the stages of `rag_tools.index.search`, assembles hits and estimates
their confidence. All of this reads one committed state.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from itertools import chain

from rag_tools.audit.entry import recorded
from rag_tools.catalog.filters import parse_filter
from rag_tools.cite import support
from rag_tools.cite.asked import Asked
from rag_tools.cite.claims import QUOTES, cited_answer
from rag_tools.cite.compare import Around
from rag_tools.cite.quote import strongest
from rag_tools.encode.embeddings import EncodedQuery
from rag_tools.encode.encoder import BATCH
from rag_tools.errors import InvalidQueryError
from rag_tools.hits import hits
from rag_tools.index import lexical
from rag_tools.index.dispatch import thread_count, use_one_thread
from rag_tools.index.search import EFFORTS, Match, Quality, Query, Signals, search, weigh
from rag_tools.index.snapshot import Selection
from rag_tools.limits import check_query
from rag_tools.opened import OpenIndex
from rag_tools.reader import View
from rag_tools.types import Citation, CitedAnswer, Facet, Filter, Hit, SearchResults, Support


class Searcher:
    """Searches an index and cites from it. Safe to share between threads."""

    def __init__(self, opened: OpenIndex) -> None:
        self._opened = opened

    def search(
        self,
        query: str | EncodedQuery,
        *,
        limit: int = 10,
        filter: Filter | None = None,
        explain: bool = False,
        quality: Quality = "balanced",
        cite: bool = True,
        facets: Sequence[str] = (),
    ) -> SearchResults:
        """Return the passages that answer `query` best, with citations.

        Parameters
        ----------
        query
            A question or keywords, of `limits.MAX_QUERY` characters at most, or a query that is
            already encoded.
        limit
            Maximum number of hits.
        filter
            Restriction on documents, see `Filter`. It is applied before ranking.
        explain
            Whether citations have alignments.
        quality
            ``exact`` scores every passage, ``balanced`` those that are likely to matter, and
            ``fast`` fewer. A small index is always scored whole, see `EFFORTS`.
        cite
            False leaves out the citations and the confidence, which needs them. Where only ranks
            matter, a hundred hits then take a third of the time.
        facets
            Fields whose values are counted: over the documents that match the filter, which are
            those that are searched, whatever the query is.

        Raises
        ------
        InvalidQueryError
            If the query is blank or too long, the limit isn't positive, the filter can't be used,
            or the quality is unknown.
        """
        with recorded(self._opened.audit, "search", query=_words(query)) as entry:
            found = self._search(
                query,
                limit=limit,
                filter=filter,
                explain=explain,
                quality=quality,
                cite=cite,
                facets=facets,
            )
            entry.documents = (hit.document_id for hit in found.results)
        return found

    def _search(
        self,
        query: str | EncodedQuery,
        *,
        limit: int,
        filter: Filter | None,
        explain: bool,
        quality: Quality,
        cite: bool = True,
        facets: Sequence[str] = (),
    ) -> SearchResults:
        _check(limit, quality)
        encoded = self._encoded(query)
        opened = self._opened
        pieces = opened.encoder.pieces_per_word(encoded.text, encoded.embeddings)
        signals = opened.signals.adapted(pieces)
        condition = parse_filter(filter or {})
        counts: tuple[Facet, ...] = ()
        with opened.reader.view() as view:
            selection = view.snapshot.everything
            if filter or facets:
                chosen = view.selecting.documents(condition)
                counts = view.selecting.facets(facets, chosen)
            if filter:
                selection = view.snapshot.select(view.selecting.passages(chosen))
            prepared = _prepared(view, encoded, signals, selection)

            def find(wanted: int) -> list[Match]:
                return search(
                    view.snapshot,
                    prepared,
                    selection,
                    limit=wanted,
                    signals=signals,
                    effort=EFFORTS[quality],
                )

            found = hits(
                opened.reader,
                view,
                find,
                prepared,
                encoded.embeddings.spans if explain else None,
                limit=limit,
                ceiling=signals.ceiling,
                cite=cite,
                asked=Asked.of(encoded.text),
                second_stage=opened.second_stage if cite and quality != "fast" else None,
                text=encoded.text,
            )
        return self._judged(encoded.text, found, counts, cited=cite)

    def search_batch(
        self,
        queries: Sequence[str],
        *,
        limit: int = 10,
        filter: Filter | None = None,
        explain: bool = False,
        quality: Quality = "balanced",
        cite: bool = True,
    ) -> list[SearchResults]:
        """Run several searches: the results are those of single searches, in less time.

        Every query runs on one thread, and one query per core runs at a time. Parameters and
        errors are those of `search`.
        """
        for query in queries:
            check_query(query)
        _check(limit, quality)
        encoder = self._opened.encoder

        def encoded(texts: Sequence[str]) -> list[EncodedQuery]:
            return list(map(EncodedQuery, texts, encoder.encode_queries(texts)))

        context = copy_context()  # of who searches, for the audit log

        def found(query: EncodedQuery) -> SearchResults:
            search = partial(self.search, query, limit=limit, filter=filter, explain=explain)
            return context.copy().run(search, quality=quality, cite=cite)

        with ThreadPoolExecutor(thread_count(), initializer=use_one_thread) as pool:
            groups = [queries[i : i + BATCH] for i in range(0, len(queries), BATCH)]
            return list(pool.map(found, chain.from_iterable(pool.map(encoded, groups))))

    def cite(
        self,
        claim: str | EncodedQuery,
        *,
        limit: int = 8,
        filter: Filter | None = None,
        explain: bool = False,
        quality: Quality = "balanced",
    ) -> Support:
        """Return how far the documents support `claim`, and the most relevant quotes.

        Parameters and errors are those of `search`; `limit` is the maximum number of citations.
        """
        with recorded(self._opened.audit, "cite", query=_words(claim)) as entry:
            found = self._search(
                claim, limit=2 * limit, filter=filter, explain=True, quality=quality
            )
            citations, around = quoted(found.results, limit)
            entry.documents = (citation.document_id for citation in citations)
        assessed = support.assess(
            found.query, citations, around, calibrated=self._opened.calibrated
        )
        return assessed if explain else assessed.unaligned()

    def cite_answer(
        self, answer: str, *, filter: Filter | None = None, quality: Quality = "balanced"
    ) -> CitedAnswer:
        """Return a draft answer with citations of the documents that support its statements.

        Parameters
        ----------
        answer
            Markdown of `limits.MAX_ANSWER` characters at most. Its own citation markers and list
            of references are removed; sentences that need no citation stay as they are, see
            `statements`.
        filter, quality
            As in `search`.

        Raises
        ------
        InvalidQueryError
            If the answer is blank, too long or not valid Unicode, if one of its statements is
            longer than a claim may be, or if the filter can't be used.
        """
        _check(1, quality)

        def cite(claim: str) -> Support:
            return self.cite(claim, limit=QUOTES, filter=filter, quality=quality)

        return cited_answer(answer, cite)

    def _encoded(self, query: str | EncodedQuery) -> EncodedQuery:
        if isinstance(query, EncodedQuery):
            return query
        check_query(query)
        return EncodedQuery(query, self._opened.encoder.encode_query(query))

    def _judged(
        self, query: str, found: tuple[Hit, ...], facets: tuple[Facet, ...], *, cited: bool
    ) -> SearchResults:
        """Return the results with their confidence, if that was calibrated for this index."""
        sure = None
        if cited and found and self._opened.calibrated:
            sure = support.confidence(query, found[0])
        return SearchResults(
            query=query,
            results=found,
            facets=facets,
            confidence=sure,
            low_confidence=sure is not None and sure < support.calibration().low,
        )


def quoted(results: Sequence[Hit], limit: int) -> tuple[list[Citation], list[Around]]:
    """Return the strongest citations of hits, `limit` at most, and what stands around each."""
    citations = strongest(citation for hit in results for citation in hit.citations)[:limit]
    places = {
        (citation.document_id, citation.start, citation.end): Around(
            title=f"{hit.title} ; {hit.uri.rpartition('/')[2]}", passage=hit.text
        )
        for hit in results
        for citation in hit.citations
    }
    return citations, [places[each.document_id, each.start, each.end] for each in citations]


def _prepared(view: View, encoded: EncodedQuery, signals: Signals, selection: Selection) -> Query:
    """Return the query for the stages: with the weights of its tokens and the results of BM25."""
    embeddings, snapshot = encoded.embeddings, view.snapshot
    frequencies = snapshot.document_frequencies(embeddings.token_ids)
    words = lexical.telling_words(encoded.text, embeddings.spans, frequencies, snapshot.n_passages)
    return Query(
        vectors=embeddings.vectors,
        weights=weigh(frequencies, snapshot.n_passages, exponent=signals.idf),
        pooled=embeddings.pooled,
        lexical=view.bm25(words, selection),
    )


def _words(query: str | EncodedQuery) -> str:
    return query.text if isinstance(query, EncodedQuery) else query


def _check(limit: int, quality: Quality) -> None:
    if limit < 1:
        raise InvalidQueryError(f"limit {limit}: ask for at least one result")
    if quality not in EFFORTS:
        raise InvalidQueryError(f"quality {quality!r}: choose {', '.join(EFFORTS)}")
