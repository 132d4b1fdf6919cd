"""Units: the pieces of a document that people know, and that quotes consist of.

A sentence, a list item, a table row, a line of a log, a line of code. The loaders mark the
structure with blocks; this module alone decides what the units of a block are. Passages are packed
from units and quotes are chosen among them elsewhere.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Literal, NamedTuple

from rag_tools.sentences import lines, sentences
from rag_tools.types import Block, BlockKind, Span

UnitKind = Literal[
    "sentence",
    "item",
    "row",
    "line",
    "code",
    "heading",
    "question",
    "lead-in",
    "header",
    "navigation",
]

CONTEXT: frozenset[UnitKind] = frozenset({"heading", "question", "lead-in", "header", "navigation"})
"""Kinds of units that say what another unit is about, and that say nothing by themselves."""

LEADING: frozenset[UnitKind] = frozenset({"heading", "question", "lead-in"})
"""Kinds of context that belong to the unit that follows them."""

JOINABLE: frozenset[UnitKind] = frozenset({"sentence", "code"})
"""Kinds of units that read on from one to the next, so that a quote may hold several."""

_LONGEST_ITEM = 200
"""Most characters of a list item or definition that is one unit; a longer one is its sentences."""
_LONGEST_QUESTION = 300

# Kinds of blocks through which running text may go on, if they are of one section.
_RUNNING: frozenset[BlockKind] = frozenset({"paragraph", "list", "code"})
_IN_TABLE: frozenset[BlockKind] = frozenset({"table", "row"})

_MARKED_ITEM = re.compile(r"\s*+(?:[-*+•‣◦▪]|\(?(?:\d{1,3}[.)]|[a-z]\)))\s")
_MARKED_ROW = re.compile(r"\s*+(?:\||\+[-=])")
_QUESTION = re.compile(r"\W*+(?:Q|Question|Frage|Pregunta)\s?\d{0,3}\s?[:.)]\s", re.IGNORECASE)
_QUESTION_MARKS = ("?", "？", "؟")
_COLONS = (":", "：")
_AFTER_THE_END = " \t\r\n*_\"'”’»)]"


class Unit(NamedTuple):
    """A unit of a document.

    Attributes
    ----------
    start, end
        Range of code points of the document, white space and marks at both ends included.
    kind
        What it is.
    section
        Number that the units have in common which a quote may run through.
    header
        Of a table row: the range of the table's header, if it has one that is known.
    """

    start: int
    end: int
    kind: UnitKind
    section: int = 0
    header: Span | None = None


def pieces(text: str, kind: BlockKind, start: int, end: int) -> list[tuple[Span, UnitKind]]:
    r"""Return the units of ``text[start:end]``, all of it in one block; they tile it.

    Parameters
    ----------
    text
        Of the document.
    kind
        Of the block.
    start, end
        The block, or a part of it that begins with a unit.

    Examples
    --------
    >>> text = "Is it safe? Yes."
    >>> [(span.of(text), kind) for span, kind in pieces(text, "paragraph", 0, len(text))]
    [('Is it safe? ', 'question'), ('Yes.', 'sentence')]
    """
    whole = Span(start, end)
    match kind:
        case "heading" | "header" | "navigation" | "row":
            return [(whole, kind)]
        case "item":
            if len(whole.of(text).strip()) <= _LONGEST_ITEM:
                return [(whole, _prose_kind(whole.of(text), "item"))]
            return _sentences(text, whole)
        case "paragraph" | "list":
            return _sentences(text, whole)
        case "table":
            return [(line, "row") for line in lines(text, start, end)]
        case "lines":
            return [(line, "line") for line in lines(text, start, end)]
        case _:
            return [(line, "code") for line in lines(text, start, end)]


def units(text: str, blocks: Sequence[Block] = (), within: Span | None = None) -> list[Unit]:
    """Return the units of a document, or of a passage of it; they tile it.

    Parameters
    ----------
    text
        The canonical text.
    blocks
        They tile `text`; without any it is one paragraph.
    within
        The passage; the whole text by default. A unit that its border cuts is cut.

    Returns
    -------
    list of Unit
        In order.
    """
    within = within or Span(0, len(text))
    blocks = blocks or (Block("paragraph", 0, len(text)),)
    first = bisect_right(blocks, within.start, key=lambda block: block.end)
    found: list[Unit] = []
    section = 0
    before: Block | None = None
    header = _header_before(blocks, first)
    for block in blocks[first:]:
        if block.start >= within.end:
            break
        runs_on = before and block.path == before.path and {block.kind, before.kind} <= _RUNNING
        section += not runs_on
        before = block
        if block.kind == "header":
            header = Span(block.start, block.end)
        elif block.kind not in _IN_TABLE:
            header = None
        of_row = header if block.kind in _IN_TABLE else None
        start, end = max(block.start, within.start), min(block.end, within.end)
        found += [
            Unit(span.start, span.end, kind, section, of_row)
            for span, kind in pieces(text, block.kind, start, end)
        ]
    return found


def _header_before(blocks: Sequence[Block], place: int) -> Span | None:
    """Return the header of the table in whose middle the block at `place` stands."""
    while place < len(blocks) and blocks[place].kind in _IN_TABLE and place:
        place -= 1
        if blocks[place].kind == "header":
            return Span(blocks[place].start, blocks[place].end)
    return None


def _sentences(text: str, span: Span) -> list[tuple[Span, UnitKind]]:
    return [
        (sentence, _sentence_kind(sentence.of(text)))
        for sentence in sentences(text, span.start, span.end)
    ]


def _sentence_kind(sentence: str) -> UnitKind:
    if _MARKED_ROW.match(sentence):
        return "row"
    return _prose_kind(sentence, "item" if _MARKED_ITEM.match(sentence) else "sentence")


def _prose_kind(unit: str, kind: UnitKind) -> UnitKind:
    words = unit.rstrip(_AFTER_THE_END)
    if len(words) <= _LONGEST_QUESTION and (
        words.endswith(_QUESTION_MARKS) or ("\n" not in words and _QUESTION.match(words))
    ):
        return "question"
    return "lead-in" if words.endswith(_COLONS) else kind
