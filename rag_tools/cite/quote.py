"""From the token similarities of a hit to the smallest verbatim quotes that carry the evidence.

Pure functions over arrays and text; nothing here encodes, searches or reads a document. What a unit
is worth is `rag_tools.cite.unit_scores`' business, where a quote is cut `rag_tools.cite.cutting`'s,
and turning it into a citation with lines, pages and links `rag_tools.cite.locate`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_tools.cite.asked import Asked
from rag_tools.cite.cutting import LONG, parts, trimmed
from rag_tools.cite.unit_scores import (
    TokenEvidence,
    inherited_score,
    read_gains,
    unit_scores,
)
from rag_tools.types import Aligned, Citation, Span
from rag_tools.units import CONTEXT, JOINABLE, LEADING, Unit
from rag_tools.units import units as units_of

# How far below the best a sentence may score to be quoted, and how much further if it touches one
# that is quoted, or two; chosen together with the shares of a score, see `unit_scores`. If touching
# ones aren't joined, IoU is lower by 0.005.
MARGIN = 0.03
BESIDE = 0.025
BETWEEN = 0.041
_LAXER = ((1, BESIDE), (2, BETWEEN))

_GAP = 4  # characters between two sentences of a paragraph or a list: white space, marks

_BLANK_LINE = re.compile(r"\n[^\S\n]*+\n|\r[^\S\r\n]*+\r")

_Places = NDArray[np.intp]

Strengths = Callable[[Sequence[Span]], NDArray[np.float32]]
"""Returns the strength of the evidence in ranges of a passage, in order and not overlapping."""


class Quote(NamedTuple):
    """A range of characters worth quoting.

    Attributes
    ----------
    span
        Code points, relative to the text it was taken from.
    score
        Of the sentence, or joined sentences, that the quote is, or is part of, in [0, 1]: see
        `rag_tools.cite.unit_scores`. Quotes of different passages compare.
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
    asked: Asked | None = None,
    strengths: Strengths | None = None,
) -> list[Quote]:
    """Return the quotes of a passage that bear on a query, best first, ties by position.

    Best is what scores highest, with what it gains for having what is asked for, see `Asked`.

    The best unit and those within `MARGIN` of it are kept, and of running text their neighbours
    within `BESIDE` more. Short ones within `MARGIN` that touch are joined if they are running
    text. A unit longer than `LONG` is cut at clause borders: the part with the highest MaxSim
    comes first, the parts around it that bear on the query directly after it.

    Context is no quote. What it says about a query counts for the unit that it leads to: the
    evidence of a question is its answer's, that of a heading, less `HEADING_HANDICAP`, the first
    unit's below it. Where that evidence is the best there is, the rest of the paragraph or list is
    quoted too, up to `LONG`; what introduces a list is quoted together with it, what introduces
    code after it. Context is
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
    asked
        What the query asks for; default: nothing that units would be told by.
    strengths
        How strong the evidence in each range of the passage is by a model that read it together
        with the query, see `Reading.strengths`; default: only the token vectors count.

    Returns
    -------
    list of Quote
        Spans are relative to `text`, don't overlap and have no white space at their ends. Empty
        if no token can be quoted.
    """
    passage = TokenEvidence.of(spans, similarities, weights, relevance)
    candidates = _candidates(text, _relative(text, units, start), passage, asked or Asked())
    if strengths is not None and candidates:
        gains = read_gains(strengths([candidate.span for candidate in candidates]))
        candidates = [
            candidate._replace(rank=candidate.rank + gain, gain=candidate.gain + gain)
            for candidate, gain in zip(candidates, gains, strict=True)
        ]
    ranks = np.array([candidate.rank for candidate in candidates])
    places = np.arange(len(ranks))
    runs_on = np.array([candidate.joinable for candidate in candidates], bool)
    touching = (np.abs(places[:, None] - places) == 1) & runs_on[:, None] & runs_on
    near, beside = _near_best(ranks, touching)
    chosen = [
        *_joined([candidates[place] for place in near]),
        *(candidates[place] for place in beside),
    ]
    whole = [trimmed(text, each.span) for each in chosen]
    scores = np.maximum(passage.scores(whole), [each.inherited for each in chosen]).tolist()
    ordered = sorted(
        zip(chosen, whole, scores, strict=True),
        key=lambda each: (-(each[2] + each[0].gain), each[0].leads, each[1]),
    )
    return [Quote(part, score) for _, span, score in ordered for part in parts(text, span, passage)]


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


class _Candidate(NamedTuple):
    """A range that may be quoted.

    Attributes
    ----------
    span
        One unit, or what introduces a list with the first items of it.
    rank
        What it is chosen by: its score, or that of the context that leads to it, and `gain`.
    inherited
        Score of the context that leads to it, if that is higher than its own; else 0.
    section
        See `Unit.section`.
    joinable
        Whether it is running text.
    gain
        What it is worth more for having what is asked for.
    leads
        Whether it introduces code, which is quoted before it.
    """

    span: Span
    rank: float
    inherited: float
    section: int
    joinable: bool
    gain: float = 0.0
    leads: bool = False


def _relative(text: str, units: Sequence[Unit] | None, start: int) -> list[Unit]:
    """Return the units of a passage with positions that count from its start."""
    if units is None:
        return units_of(text)
    return [
        unit._replace(
            start=unit.start - start,
            end=unit.end - start,
            header=unit.header and Span(unit.header.start - start, unit.header.end - start),
        )
        for unit in units
    ]


def _candidates(
    text: str, units: Sequence[Unit], passage: TokenEvidence, asked: Asked
) -> list[_Candidate]:
    """Return what may be quoted, in order, ranked by its evidence and its context's."""
    units = [unit for unit in units if passage.holds(trimmed(text, Span(*unit[:2])))]
    own = unit_scores([trimmed(text, Span(*unit[:2])) for unit in units], units, passage)
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
        inherited = max((inherited_score(units[each], own[each]) for each in lead), default=0.0)
        asking = [each for each in lead if units[each].kind != "heading"]
        if asking:
            led = Span(units[asking[0]].start, unit.end)
            inherited = max(inherited, float(passage.scores([trimmed(text, led)])[0]))
        inherited = inherited if inherited > own[place] else 0.0
        if inherited:
            introduces = units[lead[-1]].kind == "lead-in"
            introduction = units[lead[-1]]
            if introduces and unit.kind == "code":
                introduces = False
                candidates.append(
                    _Candidate(
                        Span(*introduction[:2]),
                        inherited,
                        0.0,
                        unit.section,
                        joinable=False,
                        leads=True,
                    )
                )
            first = introduction.start if introduces else unit.start
            span = Span(first, _answer_end(text, units, place, first))
            taken = span.end
        gain = asked.gain(span.of(text), _header(text, unit))
        candidates.append(
            _Candidate(
                span,
                max(inherited, own[place]) + gain,
                inherited,
                unit.section,
                joinable=unit.kind in JOINABLE,
                gain=gain,
            )
        )
        lead = []
    if candidates:
        return candidates
    return [
        _Candidate(Span(*unit[:2]), score, 0.0, unit.section, joinable=False)
        for unit, score in zip(units, own, strict=True)
    ]


def _header(text: str, unit: Unit) -> str:
    """Return the header of the table that a unit is a row of, if the passage holds it."""
    return unit.header.of(text) if unit.header and unit.header.start >= 0 else ""


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
                gain = max(before.gain, candidate.gain)
                joined[-1] = before._replace(span=span, inherited=inherited, gain=gain)
                continue
        joined.append(candidate)
    return joined
