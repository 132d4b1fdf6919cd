"""Units: the pieces of a document that people know, and that quotes consist of.

A sentence, a list item, a table row, a line of a log, a line of code. The loaders mark the
structure with blocks; this module alone decides what the units of a block are. Passages are packed
from units and quotes are chosen among them elsewhere.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
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
_MOST_ROWS = 5000  # between a row and its header, so that looking for it doesn't take for ever

_ASKING_CELLS = 2  # of a row that holds a question: its number and the question
_CELL_ENDS = ("\t", " | ")

# A line of prose has five words in a row, and is no comment, prompt or quotation mark of a mail.
# Lines are prose that is set as it stands if a third of them are such lines, a third of these go on
# in the middle of a sentence, and one line in ten ends one.
_PROSE_LINE = re.compile(
    r"\s*+(?!(?:#|//|/?\*|--\s|;|%|\w*>|\$)).*?(?:[^\W\d_][\w'’-]*+[,;:.]?+\s++){5}"
)
_GOES_ON = re.compile(r"\s*+[^\W\d_A-Z][\w'’-]*+[,;:.]?(?:\s|\Z)")
_SENTENCE_END = re.compile(r"[^\W\d_]{2}[.!?][\"')]?(?:\s|\Z)")
_FEWEST_LINES = 3
_LOOKED_AT = 200  # characters of a line, which tell whether it is prose

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
        case "row" if _is_running(whole.of(text)):
            return _sentences(text, whole)
        case "row":
            return [(whole, _row_kind(whole.of(text)))]
        case "heading" | "header" | "navigation":
            return [(whole, kind)]
        case "item":
            if len(whole.of(text).strip()) <= _LONGEST_ITEM:
                return [(whole, _prose_kind(whole.of(text), "item"))]
            return _sentences(text, whole)
        case "paragraph" | "list":
            return _sentences(text, whole)
        case "table":
            return [(line, _row_kind(line.of(text))) for line in lines(text, start, end)]
        case "lines":
            return [(line, "line") for line in lines(text, start, end)]
        case "code" if _is_prose(text, whole):
            return [unit for entry in _entries(text, whole) for unit in _of_entry(text, entry)]
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


def header_at(blocks: Sequence[Block], position: int) -> Span | None:
    """Return the header of the table that a row at a position belongs to; None elsewhere.

    Parameters
    ----------
    blocks
        Of the document; they tile it.
    position
        A code point of its text.
    """
    place = bisect_right(blocks, position, key=lambda block: block.end)
    if place < len(blocks) and blocks[place].kind == "header":
        return None
    return _header_before(blocks, place)


def _header_before(blocks: Sequence[Block], place: int) -> Span | None:
    """Return the header of the table in whose middle the block at `place` stands."""
    nearest = max(0, place - _MOST_ROWS)
    while nearest < place < len(blocks) and blocks[place].kind in _IN_TABLE:
        place -= 1
        if blocks[place].kind == "header":
            return Span(blocks[place].start, blocks[place].end)
    return None


def _row_kind(row: str) -> UnitKind:
    """Return what a row is: one that holds a question, numbered or not, and nothing else asks."""
    cells = sum(row.strip().count(mark) for mark in _CELL_ENDS) + 1
    return _prose_kind(row, "row") if cells <= _ASKING_CELLS and _asks(row) else "row"


def _is_running(row: str) -> bool:
    """Tell whether a row of a table is a paragraph that only a page's layout put into a cell."""
    return len(row.strip()) > _LONGEST_ITEM and not any(mark in row.strip() for mark in _CELL_ENDS)


def _is_prose(text: str, span: Span) -> bool:
    """Tell whether lines are a text that is set as it stands, such as a page of a manual."""
    rows = [line.of(text)[:_LOOKED_AT] for line in lines(text, *span)]
    prose = [_PROSE_LINE.match(row) is not None for row in rows]
    wrapped = sum(
        before and _GOES_ON.match(row) is not None
        for before, row in zip(prose, rows[1:], strict=False)
    )
    filled = sum(1 for row in rows if row.strip())
    ends = sum(_SENTENCE_END.search(row) is not None for row in rows)
    return _FEWEST_LINES <= filled <= min(3 * sum(prose), 9 * wrapped, 10 * ends)


def _entries(text: str, span: Span) -> Iterator[Span]:
    """Yield the paragraphs of a text that is set as it stands, and its entries; they tile it.

    An entry is a line with deeper ones below it, such as an option with its description.
    """
    start = second = span.start
    depths: list[int] = []  # of the first two lines of the entry, and the deepest
    blank = False
    for line in lines(text, *span):
        row = line.of(text).expandtabs()
        if not row.strip():
            blank = True
            continue
        depth = len(row) - len(row.lstrip())
        if depths and (blank or depths[-1] > depths[0] >= depth):
            yield Span(start, line.start)
            start, depths = line.start, []
        elif len(depths) == 2 and depths[0] < depths[1] < depth:  # a title above a term
            yield Span(start, second)
            start, depths = second, depths[1:]
        if len(depths) == 1:
            second = line.start
        depths = [*depths[:2], max([depth, *depths[-1:]])]
        blank = False
    yield Span(start, span.end)


def _of_entry(text: str, entry: Span) -> list[tuple[Span, UnitKind]]:
    """Return an entry as an item if it is short, else as its sentences, its term with the first.

    A line of capitals is the title of a section.
    """
    words = entry.of(text).strip()
    if words.isupper() and "\n" not in words:
        return [(entry, "heading")]
    if "\n" in words and len(" ".join(words.split())) <= _LONGEST_ITEM and _is_hanging(words):
        return [(entry, _prose_kind(words, "item"))]
    found = _sentences(text, entry)
    if len(found) > 1 and _is_hanging(words) and "\n" not in found[0][0].of(text).strip():
        (term, _), (first, kind), *rest = found
        return [(Span(term.start, first.end), kind), *rest]
    return found


def _is_hanging(entry: str) -> bool:
    """Tell whether the second line of an entry, which starts with its term, is set deeper."""
    _, _, below = entry.partition("\n")
    return below[:1].isspace()


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
        _asks(words) or ("\n" not in words and _QUESTION.match(words))
    ):
        return "question"
    return "lead-in" if words.endswith(_COLONS) else kind


def _asks(unit: str) -> bool:
    return unit.rstrip(_AFTER_THE_END).endswith(_QUESTION_MARKS)
