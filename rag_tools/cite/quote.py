"""From the token similarities of a hit to the smallest verbatim quotes that carry the evidence.

Pure functions over arrays and text; nothing here encodes, searches or reads a document. Turning a
quote into a citation with lines, pages and links is `rag_tools.cite.locate`'s business.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_tools.types import Aligned, Citation, Span
from rag_tools.units import CONTEXT, JOINABLE, LEADING, Unit, UnitKind
from rag_tools.units import units as units_of

# Measured with the bundled checkpoint on Chroma's chunking evaluation: IoU at recall of the
# characters quoted for 276 questions, `strongest` of 10 to 20 hits; five whole passages: 0.066 at
# 0.937.

# What a sentence's score is made of: MaxSim over its own tokens, how well its tokens match the
# query on average, which favours sentences that are about it throughout, and the score of the
# passage, which says what its pronouns mean. MaxSim alone: 0.384 at 0.509 · with half of the
# passage's MaxSim: 0.400 at 0.549 · these: 0.429 at 0.628
OWN, MEAN, PASSAGE = 0.37, 0.24, 0.39

# How far below the best a sentence may score to be quoted, and how much further if it touches one
# that is quoted, or two. 0.021, 0.018, -: 0.433 at 0.618 · 0.026, 0.025, -: 0.417 at 0.652 ·
# 0.026, 0.022, 0.05: 0.429 at 0.655, and 0.424 at 0.653 if touching ones aren't joined
MARGIN = 0.026
BESIDE = 0.022
BETWEEN = 0.05
_LAXER = ((1, BESIDE), (2, BETWEEN))

# What a heading's score is handicapped by: it repeats a question's words and doesn't answer it, nor
# need the first sentence below it.
# Not measured, the sets have no marked headings; larger than differences between sentences are.
HEADING_HANDICAP = 0.15

# A sentence over LONG characters is cut at clause borders. The part with the most evidence is
# quoted first; what is left of the sentence follows where it scores at most REST below it.
# Nothing else of it: 0.413 at 0.579 · 0.12: 0.433 at 0.622 · 0.18: 0.432 at 0.627
LONG = 200
REST = 0.18

# Units whose words are alike from one to the next, and that say different things.
_ALIKE: frozenset[UnitKind] = frozenset({"row", "line"})

_SCORE_DECIMALS = 6
_GAP = 4  # characters between two sentences of a paragraph or a list: white space, marks

# Marks of lists, quotations, headings and tables, which belong to the layout and not to the words.
# Each must be followed by a space, so that "-5 °C", "#42" and "**bold**" stay whole.
_LEADING = re.compile(r"(?:\s|(?:[-*+•◦▪‣>|]|#{1,6}|\(?\d{1,3}[.)]|\[[ xX]\])(?=\s))*")
_CLAUSE_END = re.compile(r"\t+|[,;:)]\s+|[，；：、]\s*|\s[-–—|]+\s|—|\n\s*")
_SEPARATORS = " \t\r\n,;:，；：、—–|-"
_BLANK_LINE = re.compile(r"\n[^\S\n]*+\n|\r[^\S\r\n]*+\r")
_RULE = "+-=|: \t"
_WORD_END = re.compile(r"\s+")

_Places = NDArray[np.intp]


class Quote(NamedTuple):
    """A range of characters worth quoting.

    Attributes
    ----------
    span
        Code points, relative to the text it was taken from.
    score
        Of the sentence, or joined sentences, that the quote is, or is part of, in [0, 1]: see
        `OWN`. Quotes of different passages compare.
    """

    span: Span
    score: float


def quotes(
    text: str,
    spans: NDArray[np.int32],
    similarities: NDArray[np.float32],
    weights: NDArray[np.float32],
    *,
    relevance: float | None = None,
    units: Sequence[Unit] | None = None,
    start: int = 0,
) -> list[Quote]:
    """Return the quotes of a passage that bear on a query, best first, ties by position.

    The best unit and those within `MARGIN` of it are kept, and of running text their neighbours
    within `BESIDE` more. Short ones within `MARGIN` that touch are joined if they are running
    text. A unit longer than `LONG` is cut at clause borders: the part with the highest MaxSim
    comes first, the parts around it that bear on the query directly after it.

    Context is no quote. What it says about a query counts for the unit that it leads to: the
    evidence of a question is its answer's, that of a heading, less `HEADING_HANDICAP`, the first
    unit's below it. Where that evidence is the best there is, the rest of the paragraph or list is
    quoted too, up to `LONG`; what introduces a list is quoted together with it. Context is
    quoted itself only if a passage holds nothing else.

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
    relevance
        Score of the passage in [0, 1], comparable between passages; default: its MaxSim.
    units
        Of the passage; by default it is running text.
    start
        Where the passage starts in its document: the positions of `units` are the document's.

    Returns
    -------
    list of Quote
        Spans are relative to `text`, don't overlap and have no white space at their ends. Empty
        if no token can be quoted.
    """
    passage = _Evidence.of(spans, similarities, weights, relevance)
    candidates = _candidates(text, _relative(text, units, start), passage)
    ranks = np.array([candidate.rank for candidate in candidates])
    places = np.arange(len(ranks))
    runs_on = np.array([candidate.joinable for candidate in candidates], bool)
    touching = (np.abs(places[:, None] - places) == 1) & runs_on[:, None] & runs_on
    near, beside = _near_best(ranks, touching)
    chosen = [
        *_joined([candidates[place] for place in near]),
        *(candidates[place] for place in beside),
    ]
    whole = [_trimmed(text, each.span) for each in chosen]
    scores = np.maximum(passage.scores(whole), [each.inherited for each in chosen]).tolist()
    return [
        Quote(part, score)
        for span, score in sorted(
            zip(whole, scores, strict=True), key=lambda pair: (-pair[1], pair[0])
        )
        for part in _parts(text, span, passage)
    ]


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
    """Return the citations that score near the best one, best first, ties in the order given.

    Near is within `MARGIN`; those that touch one of these follow within `BESIDE` more, those that
    touch two within `BETWEEN`.
    """
    ranked = sorted(citations, key=lambda citation: -citation.score)
    documents = np.array([citation.document_id for citation in ranked])
    starts = np.array([citation.start for citation in ranked], np.int64)
    ends = np.array([citation.end for citation in ranked], np.int64)
    gaps = np.maximum(starts[:, None] - ends, starts - ends[:, None])
    touching = (documents[:, None] == documents) & (gaps <= _GAP)
    near, beside = _near_best(np.array([citation.score for citation in ranked]), touching)
    return [ranked[place] for place in (*near, *beside)]


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
    relevance
        Score of the whole passage, tokens that can't be quoted included.
    """

    starts: list[int]
    similarities: NDArray[np.float32]
    weights: NDArray[np.float32]
    relevance: float

    @classmethod
    def of(
        cls,
        spans: NDArray[np.int32],
        similarities: NDArray[np.float32],
        weights: NDArray[np.float32],
        relevance: float | None,
    ) -> _Evidence:
        quotable = spans[:, 1] > spans[:, 0]
        padded = np.zeros((len(similarities), int(quotable.sum()) + 1), np.float32)
        np.maximum(similarities[:, quotable], 0, out=padded[:, :-1])
        total = weights.sum()
        shares = weights / total if total > 0 else np.full_like(weights, 1 / max(1, len(weights)))
        if relevance is None:
            relevance = float(shares @ similarities.max(axis=1, initial=0))
        return cls(spans[quotable, 0].tolist(), padded, shares, relevance)

    def holds(self, span: Span) -> bool:
        """Tell whether a token starts in `span`."""
        first, end = self._tokens(span)
        return first < end

    def scores(self, spans: Sequence[Span]) -> NDArray[np.float64]:
        """Return the score of each span, all of which hold a token: float64 (n_spans,)."""
        if not spans:
            return np.zeros(0)
        slices = self._slices(spans)
        sums = np.add.reduceat(self.weights @ self.similarities, slices)[::2]
        means = sums / np.subtract(slices[1::2], slices[::2])
        scores = OWN * self._maxsim(slices) + MEAN * means + PASSAGE * self.relevance
        # The last bits of a product depend on where in memory its factors are.
        return scores.astype(np.float64).round(_SCORE_DECIMALS)

    def maxsim(self, spans: Sequence[Span]) -> NDArray[np.float64]:
        """Return the weighted MaxSim of each span, all of which hold a token: (n_spans,)."""
        return self._maxsim(self._slices(spans)).astype(np.float64).round(_SCORE_DECIMALS)

    def best(self, spans: Sequence[Span]) -> NDArray[np.float64]:
        """Return each query token's best similarity in each span: (n_query_tokens, n_spans)."""
        return self._best(self._slices(spans)).astype(np.float64)

    def _best(self, slices: list[int]) -> NDArray[np.float32]:
        best: NDArray[np.float32] = np.maximum.reduceat(self.similarities, slices, axis=1)[:, ::2]
        return best

    def _maxsim(self, slices: list[int]) -> NDArray[np.float32]:
        return self.weights @ self._best(slices)

    def _slices(self, spans: Sequence[Span]) -> list[int]:
        return [border for span in spans for border in self._tokens(span)]

    def _tokens(self, span: Span) -> tuple[int, int]:
        """Return the range of tokens that start in `span`; `bisect` beats NumPy on so few."""
        return bisect_left(self.starts, span.start), bisect_left(self.starts, span.end)


class _Candidate(NamedTuple):
    """A range that may be quoted.

    Attributes
    ----------
    span
        One unit, or what introduces a list with the first items of it.
    rank
        What it is chosen by: its score, or that of the context that leads to it.
    inherited
        Score of the context that leads to it, if that is higher than its own; else 0.
    section
        See `Unit.section`.
    joinable
        Whether it is running text.
    """

    span: Span
    rank: float
    inherited: float
    section: int
    joinable: bool


def _relative(text: str, units: Sequence[Unit] | None, start: int) -> list[Unit]:
    """Return the units of a passage with positions that count from its start."""
    if units is None:
        return units_of(text)
    return [unit._replace(start=unit.start - start, end=unit.end - start) for unit in units]


def _candidates(text: str, units: Sequence[Unit], passage: _Evidence) -> list[_Candidate]:
    """Return what may be quoted, in order, ranked by its evidence and its context's."""
    units = [unit for unit in units if passage.holds(_trimmed(text, Span(*unit[:2])))]
    own = _scores(text, units, passage)
    candidates: list[_Candidate] = []
    lead: list[int] = []  # places of the context that leads to the next unit
    taken = 0  # where the last candidate ends
    for place, unit in enumerate(units):
        if unit.kind in CONTEXT:
            lead = [*lead, place] if unit.kind in LEADING else []
            continue
        if unit.start < taken:  # quoted with what introduces it
            continue
        span = Span(*unit[:2])
        inherited = max((_inherited(units[each], own[each]) for each in lead), default=0.0)
        asking = [each for each in lead if units[each].kind != "heading"]
        if asking:
            led = Span(units[asking[0]].start, unit.end)
            inherited = max(inherited, float(passage.scores([_trimmed(text, led)])[0]))
        inherited = inherited if inherited > own[place] else 0.0
        if inherited:
            introduces = units[lead[-1]].kind == "lead-in"
            first = units[lead[-1]].start if introduces else unit.start
            span = Span(first, _answer_end(text, units, place, first))
            taken = span.end
        joinable = unit.kind in JOINABLE
        rank = max(inherited, own[place])
        candidates.append(_Candidate(span, rank, inherited, unit.section, joinable))
        lead = []
    if candidates:
        return candidates
    return [
        _Candidate(Span(*unit[:2]), score, 0.0, unit.section, joinable=False)
        for unit, score in zip(units, own, strict=True)
    ]


def _scores(text: str, units: Sequence[Unit], passage: _Evidence) -> list[float]:
    """Return what each unit is ranked by: its score, if it isn't a row or an entry among others.

    Rows say the same of different things. The query tokens count for them that tell them apart,
    by how far the best of the rows stands out; together they score what they would score anyway.
    """
    spans = [_trimmed(text, Span(*unit[:2])) for unit in units]
    scores = passage.scores(spans)
    for kind, run in groupby(range(len(units)), key=lambda place: units[place].kind):
        places = list(run)
        if kind in _ALIKE and len(places) > 1:
            best = passage.best([spans[place] for place in places])
            above = best - best.mean(axis=1, keepdims=True)  # (n_query_tokens, n_rows)
            spread = above.max(axis=1)
            apart = spread @ above / spread.sum() if spread.sum() else np.zeros(len(places))
            scores[places] = scores[places].mean() + OWN * apart
    return [float(score) for score in scores.round(_SCORE_DECIMALS)]


def _inherited(context: Unit, score: float) -> float:
    """Return what the unit that a context leads to is worth for it."""
    return score - HEADING_HANDICAP * (context.kind == "heading")


def _answer_end(text: str, units: Sequence[Unit], place: int, start: int) -> int:
    """Return the end of what a context leads to, from `place` on, as far as it fits a quote.

    That are the items of a list, or the sentences of a paragraph.
    """
    end = units[place].end
    for unit, following in pairwise(units[place:]):
        items = unit.kind == following.kind == "item"
        sentences = (
            {unit.kind, following.kind} <= JOINABLE
            and unit.section == following.section
            and not _BLANK_LINE.search(text, unit.start, unit.end)
        )
        touch = unit.end == following.start
        if not touch or not (items or sentences) or following.end - start > LONG:
            break
        end = following.end
    return end


def _near_best(ranks: NDArray[np.float64], touching: NDArray[np.bool_]) -> tuple[_Places, _Places]:
    """Return the places within `MARGIN` of the best, and those that touch them and are weaker.

    Parameters
    ----------
    ranks
        (n,) float64.
    touching
        (n, n) bool: which stand beside each other.
    """
    bar = ranks.max(initial=-np.inf) - MARGIN
    near = kept = ranks >= bar
    beside = [np.empty(0, np.intp)]
    for touched, handicap in _LAXER:
        found = ~kept & (ranks >= bar - handicap) & (touching[:, kept].sum(axis=1) >= touched)
        beside.append(np.flatnonzero(found))
        kept = kept | found
    return np.flatnonzero(near), np.concatenate(beside)


def _joined(candidates: Iterable[_Candidate]) -> list[_Candidate]:
    """Join running text of a section that touches, up to `LONG`."""
    joined: list[_Candidate] = []
    for candidate in candidates:
        if joined:
            before = joined[-1]
            span = Span(before.span.start, candidate.span.end)
            if (
                before.joinable
                and candidate.joinable
                and before.section == candidate.section
                and before.span.end == candidate.span.start
                and span.end - span.start <= LONG
            ):
                inherited = max(before.inherited, candidate.inherited)
                joined[-1] = before._replace(span=span, inherited=inherited)
                continue
        joined.append(candidate)
    return joined


def _parts(text: str, span: Span, passage: _Evidence) -> Iterator[Span]:
    """Yield the parts of a sentence that are quoted: all of it, or the best part of a long one."""
    if span.end - span.start <= LONG:
        yield span
        return
    best = _best_part(text, span, passage)
    yield best
    around = [
        _trimmed(text, part, _SEPARATORS)
        for part in (Span(span.start, best.start), Span(best.end, span.end))
    ]
    around = [part for part in around if passage.holds(part)]
    scores = passage.scores([span, *around])
    for part, score in zip(around, scores[1:], strict=True):
        if score >= scores[0] - REST:
            yield part


def _best_part(text: str, span: Span, passage: _Evidence) -> Span:
    """Return the best run of clauses up to `LONG` characters; of equals the shorter, the first."""
    borders = _borders(text, span)
    runs: list[Span] = []
    end = 0
    for first, start in enumerate(borders[:-1]):
        end = max(end, first + 1)
        while end + 1 < len(borders) and borders[end + 1] - start <= LONG:
            end += 1
        run = text[start : borders[end]]
        run = run if borders[end] == span.end else run.rstrip(_SEPARATORS)
        runs.append(_trimmed(text, Span(start, start + len(run))))
    runs = [run for run in runs if passage.holds(run)]
    if not runs:
        return span
    _, best = min(
        zip(passage.maxsim(runs).tolist(), runs, strict=True),
        key=lambda scored: (-scored[0], scored[1].end - scored[1].start, scored[1].start),
    )
    return best


def _borders(text: str, span: Span) -> list[int]:
    """Return where `span` may be cut: at clauses, and at words in clauses beyond `LONG`."""
    clauses = [m.end() for m in _CLAUSE_END.finditer(text, *span) if m.end() < span.end]
    borders = [span.start]
    for border in [*clauses, span.end]:
        if border - borders[-1] > LONG:
            words = _WORD_END.finditer(text, borders[-1] + 1, border)
            borders += [m.end() for m in words if m.end() < border]
        if border > borders[-1]:
            borders.append(border)
    return borders


def _trimmed(text: str, span: Span, separators: str = "") -> Span:
    """Leave out white space, layout marks and any `separators` at both ends."""
    leading = _LEADING.match(text, *span)
    start = leading.end() if leading else span.start
    words = text[start : span.end].rstrip()
    while (line := words.partition("\n")) and line[1] and not line[0].strip(_RULE + "\r"):
        start += len(line[0]) + 1  # a rule above a row of a table
        words = line[2]
    if separators:
        words = words.rstrip(separators)
        start += len(words) - len(words.lstrip(separators))
        words = words.lstrip(separators)
    while words.endswith((" |", "\t|")):
        words = words[:-1].rstrip()
    while (line := words.rpartition("\n")) and line[1] and not line[2].strip(_RULE):
        words = line[0].rstrip()  # a rule below a row of a table
    return Span(start, start + len(words))
