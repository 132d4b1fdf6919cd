"""The flags of a stretch of a document."""

from __future__ import annotations

from collections.abc import Iterator

from rag_tools.screening.characters import invisible_runs
from rag_tools.screening.instructions import instructions
from rag_tools.types import Document, Flag, FlagKind, Span

MAX_FLAGS = 20
"""The most flags of one stretch; a document that consists of attacks isn't worth more."""

_Findings = Iterator[tuple[Span, str]]


def flags(document: Document, span: Span) -> tuple[Flag, ...]:
    """Return what in a stretch of a document deserves a second look, in order: O(its length)."""
    text = span.of(document.text)
    found = [
        *_flags("hidden", _hidden(document, span)),
        *_flags("invisible characters", _shifted(invisible_runs(text), span.start)),
        *_flags("instructions", _shifted(instructions(text), span.start)),
    ]
    distinct = dict.fromkeys(sorted(found, key=lambda flag: (flag.start, flag.end, flag.kind)))
    return tuple(distinct)[:MAX_FLAGS]


def within(found: tuple[Flag, ...], span: Span) -> tuple[Flag, ...]:
    """Return the flags that concern a part of the stretch that they were found in."""
    return tuple(flag for flag in found if Span(flag.start, flag.end).overlaps(span))


def _hidden(document: Document, span: Span) -> _Findings:
    for start, end, how in document.hidden:
        if start < span.end and span.start < end:
            yield Span(max(start, span.start), min(end, span.end)), how


def _shifted(found: _Findings, by: int) -> _Findings:
    for (start, end), what in found:
        yield Span(start + by, end + by), what


def _flags(kind: FlagKind, found: _Findings) -> Iterator[Flag]:
    for (start, end), what in found:
        yield Flag(kind=kind, start=start, end=end, detail=what)
