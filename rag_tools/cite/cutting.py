"""Where a quote begins and ends: without marks of the layout, and cut at clauses if it is long.

Pure functions over text and the evidence of its tokens. Which units are quoted is decided in
`rag_tools.cite.quote`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag_tools.cite.unit_scores import TokenEvidence
from rag_tools.types import Span

# A sentence over LONG characters is cut at clause borders. The part with the most evidence is
# quoted first; what is left of the sentence follows where it scores at most REST below it.
# Nothing else of it: 0.413 at 0.579 · 0.12: 0.433 at 0.622 · 0.18: 0.432 at 0.627
LONG = 200
REST = 0.18

# Marks of lists, quotations, headings and tables, which belong to the layout and not to the words.
# Each must be followed by a space, so that "-5 °C", "#42" and "**bold**" stay whole.
_LEADING = re.compile(r"(?:\s|(?:[-*+•◦▪‣>|]|#{1,6}|\(?\d{1,3}[.)]|\[[ xX]\])(?=\s))*")
_CLAUSE_END = re.compile(r"\t+|[,;:)]\s+|[，；：、]\s*|\s[-–—|]+\s|—|\n\s*")
_SEPARATORS = " \t\r\n,;:，；：、—–|-"
_RULE = "+-=|: \t"
_WORD_END = re.compile(r"\s+")


def trimmed(text: str, span: Span, separators: str = "") -> Span:
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
    while (line := words.rpartition("\n")) and line[1] and not line[2].strip(_RULE):
        words = line[0].rstrip()  # a rule below a row of a table
    while words.endswith((" |", "\t|")):
        words = words[:-1].rstrip()
    return Span(start, start + len(words))


def parts(text: str, span: Span, passage: TokenEvidence) -> Iterator[Span]:
    """Yield the parts of a sentence that are quoted: all of it, or the best part of a long one."""
    if span.end - span.start <= LONG:
        yield span
        return
    best = _best_part(text, span, passage)
    yield best
    around = [
        trimmed(text, part, _SEPARATORS)
        for part in (Span(span.start, best.start), Span(best.end, span.end))
    ]
    around = [part for part in around if passage.holds(part)]
    scores = passage.scores([span, *around])
    for part, score in zip(around, scores[1:], strict=True):
        if score >= scores[0] - REST:
            yield part


def _best_part(text: str, span: Span, passage: TokenEvidence) -> Span:
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
        runs.append(trimmed(text, Span(start, start + len(run))))
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
