"""Results in the compact form that models read: short ids, places in words, no text twice.

A hit takes at most `HIT` characters of JSON. If a page has less room than its hits would take, all
of them are shortened: first the text around the quotes, then the weaker quotes. The full text is
in the results with every field, and is returned when the id is fetched.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from rag_tools.member_uri import member_path
from rag_tools.types import (
    Citation,
    CitedAnswer,
    Facet,
    Flag,
    Hit,
    SearchResults,
    Span,
    Support,
    Verification,
)
from rag_tools.wire.fitting import (
    COUNTS,
    fitted_facets,
    fitting,
    json_cut,
    json_size,
    label,
    too_small,
)
from rag_tools.wire.ids import ShortIds
from rag_tools.wire.results import MAX_CURSOR, NOTICE

HIT = 800
"""The most characters of JSON that a hit takes.

That is 200 tokens at four characters each. The budget is 250 tokens: ids and punctuation take more
tokens than words do.
"""

_LEAST = 400  # characters of a hit, at least; if there is less room, fewer hits are shown
_QUOTES = 0.6  # share of a hit's room for its quotes; the rest is for the text around them
_GAIN = 20  # a text is shown only if it has this many characters more than the best quote
_COPIES, _COPY = 3, 40  # number of files with the same passage that are named; length of a name
_HEADER = 100  # characters of the row that names the columns of a quoted row
_BEGINNING = 3  # words of a statement that are shown to identify it


class _Brief(BaseModel):
    """A value whose empty fields are left out of the JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_serializer(mode="wrap")
    def _without_none(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


class BriefCitation(_Brief):
    """A verbatim quote; in a hit, `where` has only what the hit's own `where` lacks.

    `header` names the columns, if the quote is from a row of a table.
    """

    id: str
    where: str | None = None
    header: str | None = None
    quote: str
    flags: tuple[str, ...] | None = None


class BriefHit(_Brief):
    """A passage: its quotes and the text around them; ``…`` marks where the text is cut.

    `also_in` names other files that contain the same passage, and `flags` says what in the passage
    deserves a second look.
    """

    id: str
    where: str
    flags: tuple[str, ...] | None = None
    also_in: tuple[str, ...] | None = None
    citations: tuple[BriefCitation, ...] = ()
    text: str | None = None


class BriefSearch(_Brief):
    """Hits in order of descending score."""

    notice: str = NOTICE
    results: tuple[BriefHit, ...] = ()
    facets: tuple[Facet, ...] | None = None
    low_confidence: bool | None = None
    left_out: int | None = None
    next_cursor: str | None = None


class BriefSupport(_Brief):
    """How well quotes support a claim; `uncovered` has the words that they don't cover."""

    notice: str = NOTICE
    verdict: str
    score: float
    uncovered: tuple[str, ...] | None = None
    citations: tuple[BriefCitation, ...] = ()
    left_out: int | None = None


class BriefVerification(_Brief):
    """The status of a citation, and the words as they are in the document."""

    status: str
    id: str | None = None
    where: str | None = None
    quote: str | None = None
    begins: str | None = None
    detail: str | None = None


class BriefVerifications(_Brief):
    """The status of several citations, in the order given."""

    notice: str = NOTICE
    verifications: tuple[BriefVerification, ...] = ()
    left_out: int | None = None


class CheckedStatement(_Brief):
    """A statement of a draft: its first words, and the ids of the quotes that support it."""

    begins: str
    verdict: str
    citations: tuple[str, ...] | None = None
    uncovered: tuple[str, ...] | None = None


class CheckedAnswer(_Brief):
    """A draft, statement by statement."""

    notice: str = NOTICE
    statements: tuple[CheckedStatement, ...] = ()
    citations: tuple[BriefCitation, ...] | None = None
    cited: tuple[BriefVerification, ...] | None = None
    quotations: tuple[BriefVerification, ...] | None = None
    left_out: int | None = None


def brief_search(
    found: SearchResults, ids: ShortIds, *, skip: int, limit: int, max_chars: int
) -> BriefSearch:
    """Return up to `limit` hits from number `skip` on, shortened to fit into `max_chars`.

    Raises
    ------
    InvalidQueryError
        If not even the first of them fits.
    """
    hits = found.results[skip : skip + limit]
    facets = fitted_facets(found.facets, max_chars) or None
    page = BriefSearch(low_confidence=found.low_confidence or None, facets=facets)
    room = max_chars - json_size(page) - len(',"left_out":,"next_cursor":""') - COUNTS
    each = min(HIT, max(_LEAST, room // max(1, len(hits)) - 1))
    results: list[BriefHit] = []
    for hit in hits:
        shown = _hit(hit, ids, each)
        room -= json_size(shown) + 1
        if room < 0:
            if not results:
                raise too_small("passage", max_chars - room)
            break
        results.append(shown)
    after = skip + len(results)
    more = len(results) < len(hits) or (len(hits) == limit and after <= MAX_CURSOR)
    return page.model_copy(
        update={
            "results": tuple(results),
            "left_out": len(hits) - len(results) or None,
            "next_cursor": str(after) if more else None,
        }
    )


def brief_support(found: Support, ids: ShortIds, *, max_chars: int) -> BriefSupport:
    """Return a verdict with the quotes that fit into `max_chars`.

    Raises
    ------
    InvalidQueryError
        If not even the first of them fits.
    """
    page = BriefSupport(
        verdict=found.verdict,
        score=round(found.score, 2),
        uncovered=_words(found.claim, found.uncovered, max_chars // 4),
    )
    citations = (
        _citation(each, ids, _full_place(each), _room(max_chars)) for each in found.citations
    )
    kept = fitting(page, citations, max_chars - len(',"left_out":'), "quote", ())
    left_out = len(found.citations) - len(kept)
    return page.model_copy(update={"citations": kept.items, "left_out": left_out or None})


def brief_verifications(
    found: Iterator[Verification], ids: ShortIds, *, given: int, max_chars: int
) -> BriefVerifications:
    """Return the verifications that fit into `max_chars`; `found` is read only as far as needed.

    Parameters
    ----------
    given
        The number of citations that are to be verified.

    Raises
    ------
    InvalidQueryError
        If not even the first of them fits.
    """
    shown = (_verification(each, ids, _room(max_chars)) for each in found)
    room = max_chars - len(',"left_out":')
    kept = fitting(BriefVerifications(), shown, room, "verification", ())
    return BriefVerifications(verifications=kept.items, left_out=given - len(kept) or None)


def checked_answer(
    found: CitedAnswer,
    cited: Sequence[Verification],
    quotations: Sequence[Verification],
    ids: ShortIds,
    *,
    max_chars: int,
) -> CheckedAnswer:
    """Return the result for a draft: its statements first, then as many quotes as fit.

    Parameters
    ----------
    cited
        The verifications of the ids that the draft gives.
    quotations
        The verifications of the passages that it quotes.

    Raises
    ------
    InvalidQueryError
        If not even the first statement fits.
    """
    room = _room(max_chars)
    citations = [_citation(each, ids, _full_place(each), room) for each in found.citations]
    statements = [
        CheckedStatement(
            begins=_beginning(found.draft[claim.start : claim.end]),
            verdict=claim.support.verdict,
            citations=tuple(citations[number - 1].id for number in claim.numbers) or None,
            uncovered=_words(found.draft[claim.start : claim.end], claim.support.uncovered, 300),
        )
        for claim in found.claims
    ]
    page = CheckedAnswer()
    left_out = 0
    lists: list[tuple[str, Iterable[BaseModel], int, str | None]] = [
        ("statements", statements, len(statements), "statement"),
        ("cited", (_known(each, ids, room) for each in cited), len(cited), None),
        ("quotations", (_quotation(each, ids, room) for each in quotations), len(quotations), None),
        ("citations", citations, len(citations), None),
    ]
    for name, entries, count, what in lists:
        if count:
            around = len(f',"{name}":[],"left_out":')
            kept = fitting(page, entries, max_chars - around, what, ())
            page = page.model_copy(update={name: kept.items or None})
            left_out += count - len(kept)
    statements_shown = page.statements or ()
    return page.model_copy(update={"statements": statements_shown, "left_out": left_out or None})


def _hit(hit: Hit, ids: ShortIds, room: int) -> BriefHit:
    """Return a hit in at most `room` characters of JSON, unless its ids alone take more."""
    shown = BriefHit(
        id=ids.of(hit.document_id, hit.start, hit.text),
        where=label(_join(_name(hit), _heading(hit)), max(40, room // 5)),
        flags=_kinds(hit.flags),
        also_in=_copies(hit) or None,
    )
    spans: list[Span] = []  # of the quotes shown, relative to the hit's text
    for cited in hit.citations:
        left = (int(_QUOTES * room) if spans else room) - json_size(shown) - 1
        citation = _citation(cited, ids, _lines(cited), left if not spans else HIT)
        if spans and json_size(citation) > left:
            continue
        start = cited.start - hit.start
        spans.append(Span(start, start + len(citation.quote)))
        shown = shown.model_copy(update={"citations": (*shown.citations, citation)})
    around = _around(hit.text, spans, room - json_size(shown) - len(',"text":""'))
    return shown.model_copy(update={"text": around})


def _citation(citation: Citation, ids: ShortIds, where: str | None, room: int) -> BriefCitation:
    """Return a citation in at most `room` characters of JSON; a long quote is cut at its end."""

    def made(quote: str) -> BriefCitation:
        id = ids.of(citation.document_id, citation.start, quote)
        flags = _kinds(citation.flags)
        return BriefCitation(id=id, where=where, header=header, quote=quote, flags=flags)

    header = label(" ".join(citation.header.split()), _HEADER) if citation.header else None
    whole = made(citation.quote)
    if header and json_size(whole) > room:  # the words come before what their columns are called
        header = None
        whole = made(citation.quote)
    if json_size(whole) <= room:
        return whole
    empty = json_size(whole.model_copy(update={"quote": ""}))
    cut = json_cut(citation.quote, max(_GAIN, room - empty)) or citation.quote[:1]
    words = cut.rsplit(None, 1)[0]  # without the incomplete last word
    return made(words if len(words) > len(cut) // 2 else cut)


def _around(text: str, spans: Sequence[Span], room: int) -> str | None:
    """Return the part of a passage around its quotes; None if it adds too little to them."""
    whole = Span(min((s.start for s in spans), default=0), max((s.end for s in spans), default=0))
    centres = (whole, *spans[:1])
    centre = next((span for span in centres if _length(span.of(text)) <= room), None)
    if centre is None:
        return None

    def window(more: int) -> Span:
        before, after = centre.start, len(text) - centre.end
        left = min(before, max(more, 2 * more - after))
        right = min(after, max(more, 2 * more - before))
        return Span(centre.start - left, centre.end + right)

    widths = range(len(text) + 1)
    fits = bisect_right(widths, room - 2, key=lambda more: _length(window(more).of(text))) - 1
    span = window(max(0, fits))
    start, end = span
    if start:  # not within a word
        start = min(centre.start, start + _rest_of_word(text[start - 1 : centre.start]))
    if end < len(text):
        end = max(centre.end, end - _rest_of_word(text[centre.end : end + 1][::-1]))
    cut = text[start:end].strip()
    if spans and len(cut) < len(spans[0].of(text)) + _GAIN:
        return None
    return f"{'…' * (start > 0)}{cut}{'…' * (end < len(text))}" or None


def _rest_of_word(text: str) -> int:
    """Return the number of characters before the first white space."""
    space = next((n for n, character in enumerate(text) if character.isspace()), None)
    return len(text) if space is None else space


def _room(max_chars: int) -> int:
    """Return the most characters of JSON that a citation takes on a page of `max_chars`."""
    return min(HIT, max_chars // 2)


def _verification(found: Verification, ids: ShortIds, room: int) -> BriefVerification:
    citation = found.citation
    if found.status not in ("exact", "moved"):
        return BriefVerification(status=found.status, detail=label(found.detail))
    shown = _citation(citation, ids, _full_place(citation), room)
    return BriefVerification(
        status=found.status,
        id=shown.id,
        where=shown.where,
        quote=shown.quote,
        detail=None if found.status == "exact" else label(found.detail),
    )


def _known(found: Verification, ids: ShortIds, room: int) -> BriefVerification:
    """Return the status of an id that a draft gives, with the words if they moved."""
    shown = _verification(found, ids, room)
    unchanged = {"where": None, "quote": None} if found.status == "exact" else {}
    return shown.model_copy(update=unchanged)


def _quotation(found: Verification, ids: ShortIds, room: int) -> BriefVerification:
    """Return the status of a passage that a draft quotes, by its first words only."""
    shown = _verification(found, ids, room)
    return shown.model_copy(update={"quote": None, "begins": _beginning(found.citation.quote)})


def _beginning(text: str) -> str:
    words = text.split()
    return label(" ".join(words[:_BEGINNING]), 60) + "…" * (len(words) > _BEGINNING)


def _words(text: str, spans: Sequence[Span], room: int) -> tuple[str, ...] | None:
    """Return the texts of `spans`, as many as fit."""
    found: list[str] = []
    for span in spans:
        word = " ".join(span.of(text).split())
        room -= _length(word) + 3
        if room < 0:
            break
        found.append(word)
    return tuple(found) or None


def _full_place(citation: Citation) -> str:
    """Return where a quote is, such as "handbook.md, lines 10-14, Backups > Retention"."""
    return label(_join(_file(citation.url), _lines(citation), citation.heading))


def _join(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


def _lines(citation: Citation) -> str | None:
    if citation.place is not None:
        return citation.place
    if citation.lines is None:
        return None
    first, last = citation.lines
    return f"line {first}" if first == last else f"lines {first}-{last}"


def _name(hit: Hit) -> str:
    """Return a document's path, or else the name of its file, or else its title."""
    path = hit.metadata.get("path")
    if isinstance(path, str) and path:
        return path
    return _file(hit.uri) if hit.uri.startswith("file:") else hit.title or hit.uri


def _copies(hit: Hit) -> tuple[str, ...]:
    """Return the names of the first other files that contain the passage."""
    names = dict.fromkeys(label(_file(copy.url), _COPY) for copy in hit.also_in)
    return tuple(names)[:_COPIES]


def _kinds(flags: Sequence[Flag]) -> tuple[str, ...] | None:
    """Return the kinds of flags, each once; None if there are none."""
    return tuple(dict.fromkeys(flag.kind for flag in flags)) or None


def _heading(hit: Hit) -> str | None:
    """Return the heading of a hit without the document's title, with which all of them begin."""
    heading = hit.heading or ""
    if heading == hit.title:
        return heading
    return heading.removeprefix(f"{hit.title} > ") or None


def _file(url: str) -> str:
    parts = urlsplit(url)
    inside = member_path(url)
    if inside and parts.scheme not in ("http", "https"):
        return f"{unquote(parts.path).rpartition('/')[2]}/{inside}"
    return unquote(parts.path.rstrip("/").rpartition("/")[2]) or parts.netloc or url


def _length(text: str) -> int:
    """Return the number of characters of JSON that a text takes, without quotation marks."""
    return len(json.dumps(text, ensure_ascii=False)) - len('""')
