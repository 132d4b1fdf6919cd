"""From pages to one text: paragraphs, words and sentences joined across lines and pages.

The lines of a page and their order are decided in ``pdf_layout``, the headers and footers that are
left out in ``pdf_running``, and the words that are divided between lines in ``pdf_words``.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_tools.ingest.pdf_layout import reading_order
from rag_tools.ingest.pdf_page import PageText
from rag_tools.ingest.pdf_pieces import LARGER, MORE_THAN_USUAL, Line
from rag_tools.ingest.pdf_running import without_running
from rag_tools.ingest.pdf_words import DividedWords, is_hyphen_end, without_hyphen

_APART = "\n\n"  # between pages and around text outside of the running text

_ENDS_SENTENCE = re.compile(r"[.!?:;…。！？؟۔][\"'’”»›)\]]*\Z")
_STARTS_ITEM = re.compile(r"(?:[-*+•‣◦▪–—·]|\(?(?:\d{1,3}|[A-Za-z])[.)])\s")
_FULL = 0.85  # share of the longest line from which a line may have ended for want of room

_SMALLER = 0.92  # share of the usual height below which letters are those of a footnote
_FOOTNOTE = re.compile(r"(?:\d{1,3}|[*†‡§¶])[\s.)]?\s?[^\W\d_“\"'(]")


class TextLine(NamedTuple):
    """A line of the text: its code points, and its extent on its page in tenths of a point."""

    start: int
    end: int
    page: int  # index
    left: float
    top: float
    right: float
    bottom: float
    height: float  # of its letters
    bold: bool
    opens: bool  # a paragraph
    is_row: bool  # of a table


@dataclass
class Flow:
    """The text of a document.

    Attributes
    ----------
    text
        The canonical text.
    boxes
        Boxes of its characters, shape (len(text), 4), int16.
    ranges
        Start and end of each page in code points.
    lines
        Lines of the running text, in order.
    asides
        Offsets at which text outside of the running text starts.
    letters
        Height of most letters in tenths of a point.
    """

    text: str
    boxes: NDArray[np.int16]
    ranges: list[tuple[int, int]]
    lines: list[TextLine]
    asides: list[int]
    letters: float


class _Placed(NamedTuple):
    line: Line
    page: int


class _Writer:
    """Collects the text, its boxes, and the offsets of pages, lines and asides."""

    def __init__(self) -> None:
        self.lines: list[TextLine] = []
        self.asides: list[int] = []
        self._parts: list[str] = []
        self._boxes: list[NDArray[np.int16]] = []
        self._length = 0
        self._ranges: dict[int, tuple[int, int]] = {}  # of pages

    def aside(self, page: int, lines: list[Line]) -> None:
        """Write lines that are outside of the running text."""
        self._separate(_APART)
        self.asides.append(self._length)
        for number, line in enumerate(lines):
            self._separate("\n" if number else "")
            self._write(line.text, line.boxes, page)

    def line(self, line: Line, page: int, separator: str, *, opens: bool) -> None:
        """Write a line of the running text."""
        self._separate(separator)
        start = self._length
        self._write(line.text, line.boxes, page)
        self.lines.append(
            TextLine(
                start,
                self._length,
                page,
                line.left,
                line.top,
                line.right,
                line.bottom,
                line.height,
                line.bold,
                opens,
                line.is_row,
            )
        )

    def rest_of_word(self, line: Line, page: int) -> Line | None:
        """Write the rest of a word that the next line begins with, so that the word is whole.

        Return the line without it, or None if nothing of the line is left.
        """
        text, boxes = line.text, line.boxes
        end = len(text.split(" ", 1)[0])
        self._write(text[:end], boxes[:end], page)
        self.lines[-1] = self.lines[-1]._replace(end=self._length)
        rest = text[end + 1 :]
        return line._replace(text=rest, boxes=boxes[end + 1 :]) if rest else None

    def flow(self, pages: int, letters: float) -> Flow:
        """Return what was written."""
        ranges: list[tuple[int, int]] = []
        end = 0
        for page in range(pages):
            start, end = self._ranges.get(page, (end, end))
            ranges.append((start, end))
        boxes = np.concatenate([np.zeros((0, 4), dtype="<i2"), *self._boxes])
        return Flow("".join(self._parts), boxes, ranges, self.lines, self.asides, letters)

    def _separate(self, separator: str) -> None:
        if self._length and separator:
            self._parts.append(separator)
            self._boxes.append(np.zeros((len(separator), 4), dtype="<i2"))
            self._length += len(separator)

    def _write(self, text: str, boxes: NDArray[np.int16], page: int) -> None:
        self._parts.append(text)
        self._boxes.append(boxes)
        first, _ = self._ranges.get(page, (self._length, 0))
        self._length += len(text)
        self._ranges[page] = first, self._length


def flow(pages: Sequence[PageText]) -> Flow:
    """Join the pages of a document to its text.

    A line of a page is a line of the text. Text outside of the running text, such as notes and the
    first of each running header, is surrounded by blank lines. So is a page, unless a sentence or
    a paragraph continues on the next one.
    """
    letters = _usual_height(pages)
    bodies, heads = without_running(pages, letters)
    placed: list[_Placed] = []
    asides: list[list[list[Line]]] = []  # page → groups
    for index, body in enumerate(bodies):
        lines, notes = _without_footnotes(reading_order(body), letters)
        placed += [_Placed(line, index) for line in lines]
        asides.append(notes + pages[index].asides)
    opens = _paragraph_starts(placed)
    before, after = _place_asides(heads, asides, placed, opens)
    words = DividedWords([line for line, _ in placed], opens)
    writer = _Writer()
    for index, (line, page) in enumerate(placed):
        for aside in before[index]:
            writer.aside(*aside)
        if words.goes_on(index) and not words.keeps_hyphen(index):
            line = without_hyphen(line)
        if words.goes_on(index - 1):
            rest = writer.rest_of_word(line, page)
            if rest is not None:
                writer.line(rest, page, "\n", opens=False)
            continue
        turns = opens[index] and index > 0 and placed[index - 1].page != page
        separator = _APART if before[index] or turns else "\n"
        writer.line(line, page, separator, opens=opens[index])
    for aside in after:
        writer.aside(*aside)
    return writer.flow(len(pages), letters)


def _usual_height(pages: Sequence[PageText]) -> float:
    """Return the height of most letters in tenths of a point."""
    heights: Counter[int] = Counter()
    for page in pages:
        for piece in page.pieces:
            heights[round(piece.height / 5)] += len(piece.text)
    return 5.0 * heights.most_common(1)[0][0] if heights else 0.0


# -- paragraphs --------------------------------------------------------------------------------


def _paragraph_starts(placed: list[_Placed]) -> list[bool]:
    """Tell for each line whether it starts a paragraph.

    Gaps are measured in line heights and compared with the document's usual gap, so that neither
    font size nor double spacing matters. A gap that is wider than usual by a third of a line starts
    a paragraph. So does the beginning of a column or a page, unless a sentence continues there.
    """
    gaps = [
        (after.line.top - before.line.bottom) / max(1.0, after.line.bottom - after.line.top)
        for before, after in pairwise(placed)
    ]
    same = [_same_column(before, after) for before, after in pairwise(placed)]
    inside = [gap for gap, is_same in zip(gaps, same, strict=True) if is_same]
    usual = float(np.median(inside)) if inside else 0.0
    widths = _column_extents(placed)
    starts = [True] if placed else []
    for (before, after), gap, is_same in zip(pairwise(placed), gaps, same, strict=True):
        first, second = before.line, after.line
        if first.is_row != second.is_row or _is_larger(first, second):
            starts.append(True)
        elif is_same:
            starts.append(gap > usual + MORE_THAN_USUAL or gap < -1)
        else:
            starts.append(not _runs_on(first, second, widths[before.page, first.column]))
    return starts


def _same_column(before: _Placed, after: _Placed) -> bool:
    return (before.page, before.line.column) == (after.page, after.line.column)


def _is_larger(first: Line, second: Line) -> bool:
    """Tell whether two lines look so different that they are a title and its text."""
    heights = sorted((first.height, second.height))
    return heights[1] > LARGER * max(1.0, heights[0]) or (
        first.bold != second.bold
        and min(len(first.text), len(second.text)) > 1
        and not second.text[0].islower()
    )


def _column_extents(placed: list[_Placed]) -> dict[tuple[int, int], float]:
    """Return the length of the longest line of each column of each page."""
    found: dict[tuple[int, int], float] = {}
    for line, page in placed:
        key = page, line.column
        found[key] = max(found.get(key, 0.0), line.right - line.left)
    return found


def _runs_on(before: Line, after: Line, width: float) -> bool:
    """Tell whether a sentence continues from the end of a column at the start of the next."""
    text = before.text.rstrip()
    if before.is_row or after.is_row or _ENDS_SENTENCE.search(text):
        return False
    if is_hyphen_end(text) and after.text[0].isalnum():
        return True
    if after.text[0].islower() or after.text[0] in ",;)":
        return True
    if _STARTS_ITEM.match(after.text):
        return False
    return before.right - before.left >= _FULL * width and len(text.split()) > 2


# -- text outside of the running text ----------------------------------------------------------


def _without_footnotes(lines: list[Line], letters: float) -> tuple[list[Line], list[list[Line]]]:
    """Return the text of a page and its footnotes: smaller lines at its end, each with a mark."""
    end = len(lines)
    while end and lines[end - 1].height < _SMALLER * letters and not lines[end - 1].is_row:
        end -= 1
    while end < len(lines) and not _FOOTNOTE.match(lines[end].text):
        end += 1
    if not 0 < end < len(lines):
        return lines, []
    notes: list[list[Line]] = []
    for line in lines[end:]:
        if _FOOTNOTE.match(line.text):
            notes.append([])
        notes[-1].append(line)
    return lines[:end], notes


def _place_asides(
    heads: list[list[list[Line]]],
    asides: list[list[list[Line]]],
    placed: list[_Placed],
    opens: list[bool],
) -> tuple[list[list[tuple[int, list[Line]]]], list[tuple[int, list[Line]]]]:
    """Return the asides to write before each line, and those to write at the end.

    No paragraph is interrupted: headers are written before the first paragraph that begins on the
    page, other asides after the last that ends on it. The lines after them are marked in `opens`
    as the start of a paragraph.
    """
    before: list[list[tuple[int, list[Line]]]] = [[] for _ in placed]
    after: list[tuple[int, list[Line]]] = []
    firsts: dict[int, int] = {}
    borders: defaultdict[int, list[int]] = defaultdict(list)
    for index, (_, page) in enumerate(placed):
        firsts.setdefault(page, index)
        if opens[index]:
            borders[page].append(index)
    following = len(placed)
    nexts: dict[int, int] = {}
    for page in reversed(range(len(heads))):
        nexts[page] = following
        following = firsts.get(page, following)
    for page in range(len(heads)):
        end = nexts[page]
        is_torn = end < len(placed) and not opens[end]
        top = borders[page][0] if borders[page] else end
        bottom = borders[page][-1] if is_torn and borders[page] else end
        for place, groups in ((top, heads[page]), (bottom, asides[page])):
            for group in groups:
                (before[place] if place < len(placed) else after).append((page, group))
                if place < len(placed):
                    opens[place] = True
    return before, after
