"""From the token similarities of a hit to the smallest verbatim quotes that carry the evidence.

Pure functions over arrays and text; nothing here encodes, searches or reads a document. Turning a
quote into a citation with lines, pages and links is `rag_tools.cite.locate`'s business.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_tools.sentences import sentences
from rag_tools.types import Aligned, Citation, Span

# Measured with the bundled checkpoint, √IDF weights and exact MaxSim. IoU at recall: Chroma's
# chunking evaluation, 276 questions, ten hits, `strongest`; five whole passages: 0.066 at 0.937.
# Short: SQuAD, 1,819 questions, paragraph given: the first quote has at most 200 characters and
# holds the answer.

# How far below the best a quote may score. 0: 0.394 at 0.418 · 0.02: 0.389 at 0.499 ·
# 0.03: 0.400 at 0.549 · 0.04: 0.386 at 0.582 · 0.05: 0.369 at 0.608
MARGIN = 0.03

# What share of a score the whole passage has, which says what a sentence's pronouns mean.
# 0: 0.384 at 0.509, short 0.787 · 0.5: 0.400 at 0.549, short 0.808 · 0.7: 0.376 at 0.574
CONTEXT = 0.5

# What a heading's score is handicapped by: it repeats a question's words and doesn't answer it.
# Not measured, the sets have no marked headings; larger than differences between sentences are.
HEADING_HANDICAP = 0.1

# A sentence over LONG characters is cut to that if the cut costs at most LOSS of its score, else
# to TOO_LONG. LOSS 0: IoU 0.412, short 0.682 · 0.01: 0.399, 0.790 · 0.02: 0.400, 0.808 ·
# cut always: 0.389, 0.835
LONG = 200
TOO_LONG = 300
LOSS = 0.02

_SCORE_DECIMALS = 6

# Marks of lists, quotations, headings and tables, which belong to the layout and not to the words.
# Each must be followed by a space, so that "-5 °C", "#42" and "**bold**" stay whole.
_LEADING = re.compile(r"(?:\s|(?:[-*+•◦▪‣>|]|#{1,6}|\(?\d{1,3}[.)]|\[[ xX]\])(?=\s))*")
_CLAUSE_END = re.compile(r"[,;:)]\s+|[，；：、]\s*|\s[-–—|]+\s|—|\n\s*")
_SEPARATORS = " \t\r\n,;:，；：、—–|-"
_WORD_END = re.compile(r"\s+")


class Section(NamedTuple):
    """A range of a passage that a quote doesn't leave, such as a function; whether a heading."""

    start: int
    end: int
    heading: bool = False


class Quote(NamedTuple):
    """A range of characters worth quoting.

    Attributes
    ----------
    span
        Code points, relative to the text it was taken from.
    score
        Weighted mean similarity per query token, in [0, 1]: a share of `CONTEXT` of what the
        passage around the quote says, the rest of what the quote itself says. Quotes of
        different passages compare.
    """

    span: Span
    score: float


def quotes(
    text: str,
    spans: NDArray[np.int32],
    similarities: NDArray[np.float32],
    weights: NDArray[np.float32],
    *,
    sections: Sequence[Section] = (),
) -> list[Quote]:
    """Return the quotes of a passage that bear on a query, best first, ties by position.

    Every sentence is scored by MaxSim of the query over its own tokens. The best sentence and
    those within `MARGIN` of it are kept, short neighbours joined, and a sentence longer
    than `LONG` is cut at clause borders to the part that scores best: to `LONG` characters where
    that costs at most `LOSS` of the score, else to `TOO_LONG`.

    Parameters
    ----------
    text
        The passage.
    spans
        (n_tokens, 2) int32, code points of `text`, by rising start. A zero-length row is a token
        that stands nowhere in `text` (marker, context): it can't be quoted, only supply context.
    similarities
        (n_query_tokens, n_tokens) float32, cosine.
    weights
        (n_query_tokens,) float32, not negative: how much each query token matters. All zero means
        that all matter alike.
    sections
        Ranges of `text`, in order; what none covers is one as well. A heading is quoted only if
        it beats every other sentence by about `HEADING_HANDICAP`.

    Returns
    -------
    list of Quote
        Spans are relative to `text`, don't overlap and have no white space at their ends. Empty
        if no token can be quoted.
    """
    passage = _Evidence.of(spans, similarities, weights)
    units = [unit for unit in _units(text, sections) if passage.holds(_trimmed(text, unit[0]))]
    candidates = [span for span, _ in units]
    handicap = np.array([HEADING_HANDICAP * section.heading for _, section in units])
    kept = _near_best(units, passage.scores(candidates) - handicap)
    parts = [_narrowed(text, _trimmed(text, unit), passage) for unit in _joined(kept)]
    found = map(Quote, parts, passage.scores(parts).tolist())
    return sorted(found, key=lambda quote: (-quote.score, quote.span))


def distinct(hits: Iterable[Iterable[Citation]]) -> list[tuple[Citation, ...]]:
    """Return every hit's citations without those that overlap one of a better hit.

    Overlapping passages of a document yield the same sentences; none is cited twice.

    Parameters
    ----------
    hits
        The citations of each hit, best hit first, best citation first.
    """
    cited: dict[str, list[Span]] = {}
    kept: list[tuple[Citation, ...]] = []
    for citations in hits:
        fresh = []
        for citation in citations:
            span = Span(citation.start, citation.end)
            spans = cited.setdefault(citation.document_id, [])
            if not any(span.overlaps(other) for other in spans):
                spans.append(span)
                fresh.append(citation)
        kept.append(tuple(fresh))
    return kept


def strongest(citations: Iterable[Citation]) -> list[Citation]:
    """Return the citations within `MARGIN` of the best one, best first, ties by id and position."""
    ranked = sorted(citations, key=lambda c: (-c.score, c.document_id, c.start))
    return [citation for citation in ranked if citation.score >= ranked[0].score - MARGIN]


def alignment(
    query_spans: NDArray[np.int32],
    spans: NDArray[np.int32],
    similarities: NDArray[np.float32],
    *,
    start: int = 0,
    within: Span | None = None,
) -> tuple[Aligned, ...]:
    """Return for every query token the passage token it matches best, in order of the query.

    Parameters
    ----------
    query_spans
        (n_query_tokens, 2) int32, code points of the query; tokens of zero length are left out.
    spans
        (n_tokens, 2) int32, code points of the passage; tokens of zero length match nothing.
    similarities
        (n_query_tokens, n_tokens) float32, cosine.
    start
        Where the passage starts in its document: the result's positions are the document's.
    within
        Range of the passage that may be matched, such as a quote; all of it if None.

    Returns
    -------
    tuple of Aligned
        Ties go to the first token. Empty if no token may be matched.
    """
    eligible = spans[:, 1] > spans[:, 0]
    if within is not None:
        eligible &= (spans[:, 0] >= within.start) & (spans[:, 0] < within.end)
    columns = np.flatnonzero(eligible)
    if not columns.size:
        return ()
    rows = np.flatnonzero(query_spans[:, 1] > query_spans[:, 0])
    best = columns[similarities[np.ix_(rows, columns)].argmax(axis=1)]
    return tuple(
        Aligned(
            query_start=int(query_spans[row, 0]),
            query_end=int(query_spans[row, 1]),
            start=start + int(spans[column, 0]),
            end=start + int(spans[column, 1]),
            similarity=float(similarities[row, column]),
        )
        for row, column in zip(rows, best, strict=True)
    )


class _Evidence(NamedTuple):
    """What each token of a passage that can be quoted says to each query token.

    Attributes
    ----------
    starts
        First code point of each token, rising.
    similarities
        (n_query_tokens, n_tokens + 1), not below zero; the last column is zero, so that
        `n_tokens` is a valid end of a slice for `reduceat`.
    weights
        (n_query_tokens,) summing to 1.
    context
        MaxSim of the query over the whole passage, tokens that can't be quoted included.
    """

    starts: list[int]
    similarities: NDArray[np.float32]
    weights: NDArray[np.float32]
    context: np.float32

    @classmethod
    def of(
        cls,
        spans: NDArray[np.int32],
        similarities: NDArray[np.float32],
        weights: NDArray[np.float32],
    ) -> _Evidence:
        quotable = spans[:, 1] > spans[:, 0]
        padded = np.zeros((len(similarities), int(quotable.sum()) + 1), np.float32)
        np.maximum(similarities[:, quotable], 0, out=padded[:, :-1])
        total = weights.sum()
        shares = weights / total if total > 0 else np.full_like(weights, 1 / max(1, len(weights)))
        context = shares @ similarities.max(axis=1, initial=0)
        return cls(spans[quotable, 0].tolist(), padded, shares, context)

    def holds(self, span: Span) -> bool:
        """Tell whether a token starts in `span`."""
        first, end = self._tokens(span)
        return first < end

    def scores(self, spans: Sequence[Span]) -> NDArray[np.float64]:
        """Return the score of each span, all of which hold a token: float64 (n_spans,)."""
        if not spans:
            return np.zeros(0)
        slices = [border for span in spans for border in self._tokens(span)]
        said = np.maximum.reduceat(self.similarities, slices, axis=1)[:, ::2]
        scores = (1 - CONTEXT) * (self.weights @ said) + CONTEXT * self.context
        # The last bits of a product depend on where in memory its factors are.
        return scores.astype(np.float64).round(_SCORE_DECIMALS)

    def _tokens(self, span: Span) -> tuple[int, int]:
        """Return the range of tokens that start in `span`; `bisect` beats NumPy on so few."""
        return bisect_left(self.starts, span.start), bisect_left(self.starts, span.end)


def _units(text: str, sections: Sequence[Section]) -> Iterator[tuple[Span, Section]]:
    """Yield the sentences of `text`, which never cross a section's border, and their sections."""
    start = 0
    for section in [*sections, Section(len(text), len(text))]:
        for part in (Section(start, section.start), section):
            yield from ((span, part) for span in sentences(text, part.start, part.end))
        start = section.end


def _near_best(
    units: Sequence[tuple[Span, Section]], ranks: NDArray[np.float64]
) -> list[tuple[Span, Section]]:
    """Return the units ranked within `MARGIN` of the best."""
    best = ranks.max(initial=-np.inf)
    return [unit for unit, rank in zip(units, ranks, strict=True) if rank >= best - MARGIN]


def _joined(units: Sequence[tuple[Span, Section]]) -> Iterator[Span]:
    """Join spans of a section that touch, as long as the result isn't longer than `LONG`."""
    current: tuple[Span, Section] | None = None
    for span, section in units:
        if current and current[1] == section and current[0].end == span.start:
            whole = Span(current[0].start, span.end)
            if whole.end - whole.start <= LONG:
                current = (whole, section)
                continue
        if current:
            yield current[0]
        current = (span, section)
    if current:
        yield current[0]


def _narrowed(text: str, span: Span, passage: _Evidence) -> Span:
    """Cut a long span to `LONG` if that loses little evidence, else to `TOO_LONG`."""
    if span.end - span.start <= LONG:
        return span
    part = _best_part(text, span, passage, LONG)
    whole_score, part_score = passage.scores([span, part])
    if whole_score - part_score <= LOSS:
        return part
    return _best_part(text, span, passage, TOO_LONG)


def _best_part(text: str, span: Span, passage: _Evidence, limit: int) -> Span:
    """Return the best run of clauses up to `limit` characters; of equals the shorter, the first."""
    borders = _borders(text, span, limit)
    runs: list[Span] = []
    end = 0
    for first, start in enumerate(borders[:-1]):
        end = max(end, first + 1)
        while end + 1 < len(borders) and borders[end + 1] - start <= limit:
            end += 1
        run = text[start : borders[end]]
        run = run if borders[end] == span.end else run.rstrip(_SEPARATORS)
        runs.append(_trimmed(text, Span(start, start + len(run))))
    runs = [run for run in runs if passage.holds(run)]
    if not runs:
        return span
    _, best = min(
        zip(passage.scores(runs).tolist(), runs, strict=True),
        key=lambda scored: (-scored[0], scored[1].end - scored[1].start, scored[1].start),
    )
    return best


def _borders(text: str, span: Span, limit: int) -> list[int]:
    """Return where `span` may be cut: at clauses, and at words in clauses beyond `limit`."""
    clauses = [m.end() for m in _CLAUSE_END.finditer(text, *span) if m.end() < span.end]
    borders = [span.start]
    for border in [*clauses, span.end]:
        if border - borders[-1] > limit:
            words = _WORD_END.finditer(text, borders[-1] + 1, border)
            borders += [m.end() for m in words if m.end() < border]
        if border > borders[-1]:
            borders.append(border)
    return borders


def _trimmed(text: str, span: Span) -> Span:
    """Leave out white space and layout marks at both ends."""
    leading = _LEADING.match(text, *span)
    start = leading.end() if leading else span.start
    words = text[start : span.end].rstrip()
    while words.endswith((" |", "\t|")):
        words = words[:-1].rstrip()
    return Span(start, start + len(words))
