"""From pages to one text: running heads left out, words and sentences joined across lines.

Which lines a page has, and in which order, is decided in ``pdf_layout``.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_tools.ingest.pdf_layout import Line, Piece, piece_rows, reading_order
from rag_tools.ingest.pdf_page import PageText

_APART = "\n\n"  # between pages and around what stands outside of the text
_HYPHENS = "-\u2010\u00ad"

# Where running heads and feet stand, and how they are told.
_MARGIN = 0.16  # of the page's height, at the top and at the bottom
_MARGIN_ROWS = 4
_REPEATED_WITHIN = 2  # pages: heads may alternate between left and right pages
_NEAR = 8  # rows of the same text that are looked at, before and after
_MAX_HEADS = 200  # that are kept; each is looked for in the text
_MORE_THAN_USUAL = 1 / 3  # of a line, for a gap to set something apart
_LARGER = 1.15  # than the usual letters: a title, not a head

_NUMBER = re.compile(r"\d+")
_ROMAN = re.compile(r"[ivxlcdm]+|[IVXLCDM]+")
_PAGE_NUMBER = re.compile(
    r"\W*(?:(?:page|pages?|p\.|seite|página|pagina|стр\.)\s*)?#(?:\s*(?:/|of|von|de|di|из)\s*#)?\W*",
    re.IGNORECASE,
)

_ENDS_SENTENCE = re.compile(r"[.!?:;…。！？؟۔][\"'’”»›)\]]*\Z")
_STARTS_ITEM = re.compile(r"(?:[-*+•‣◦▪–—·]|\(?(?:\d{1,3}|[A-Za-z])[.)])\s")
_FULL = 0.85  # of the longest line: one that could have ended because there was no more room

_SMALLER = 0.92  # than the usual letters: a footnote
_FOOTNOTE = re.compile(r"(?:\d{1,3}|[*†‡§¶])[\s.)]?\s?[^\W\d_“\"'(]")

_WORD = re.compile(r"[^\W\d_]+")
_HYPHENATED = re.compile(r"[^\W\d_]+(?:[-\u2010][^\W\d_]+)+")
_FIRST_WORD = re.compile(r"[^\W\d_]+")
# "pre- and postwar": the hyphen stands for what the next word shares with it.
_SHARED = frozenset(
    ("and", "or", "und", "oder", "bis", "sowie", "bzw", "et", "ou", "y", "e", "o", "en")
)
# First parts that keep their hyphen, unless the document spells the word without.
_KEEPS_HYPHEN = frozenset(
    (
        "all",
        "cross",
        "ex",
        "half",
        "high",
        "long",
        "low",
        "mid",
        "non",
        "quasi",
        "self",
        "semi",
        "well",
    )
)
_SHORTEST_PART = 3


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
        Canonical.
    boxes
        Shape (len(text), 4), int16.
    ranges
        Of each page: start and end in code points.
    lines
        Of the running text, in order.
    asides
        Where something outside of the running text starts.
    letters
        Height of most letters.
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
    """Collects the text, its boxes, and where pages, lines and asides begin."""

    def __init__(self) -> None:
        self.lines: list[TextLine] = []
        self.asides: list[int] = []
        self._parts: list[str] = []
        self._boxes: list[NDArray[np.int16]] = []
        self._length = 0
        self._ranges: dict[int, tuple[int, int]] = {}  # of pages

    def aside(self, page: int, lines: list[Line]) -> None:
        """Write lines that stand outside of the running text."""
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
        """Write what of a word stands in the next line; return the line without it, if any is left.

        So the line break comes after the word.
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

    A line of a page is a line of the text. What stands outside of the running text, such as
    notes and the first of each running head, has a blank line around it, and so has a page,
    unless a sentence or a paragraph runs on over its end.
    """
    letters = _usual_height(pages)
    bodies, heads = _without_running(pages, letters)
    placed: list[_Placed] = []
    asides: list[list[list[Line]]] = []  # page → groups
    for index, body in enumerate(bodies):
        lines, notes = _without_footnotes(reading_order(body), letters)
        placed += [_Placed(line, index) for line in lines]
        asides.append(notes + pages[index].asides)
    opens = _paragraph_starts(placed)
    before, after = _place_asides(heads, asides, placed, opens)
    joins = _Joins(placed, opens)
    writer = _Writer()
    for index, (line, page) in enumerate(placed):
        for aside in before[index]:
            writer.aside(*aside)
        if joins.joins(index) and not joins.keeps_hyphen(index):
            line = line._replace(text=line.text[:-1], boxes=_with_hyphen(line.boxes))
        if joins.joins(index - 1):
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
    """Return the height of most letters, in tenths of a point."""
    heights: Counter[int] = Counter()
    for page in pages:
        for piece in page.pieces:
            heights[round(piece.height / 5)] += len(piece.text)
    return 5.0 * heights.most_common(1)[0][0] if heights else 0.0


# -- running heads and feet --------------------------------------------------------------------


class _Edge(NamedTuple):
    """A row of text at the top or bottom of a page."""

    page: int
    pieces: list[Piece]
    text: str  # with # for numbers
    numbers: list[int]
    centre: float
    height: float


def _without_running(
    pages: Sequence[PageText], letters: float
) -> tuple[list[list[Piece]], list[list[list[Line]]]]:
    """Return the pieces of each page without running heads, feet and page numbers.

    Also returns the heads and feet of each page that are its first of their kind and say what
    the text doesn't.
    """
    rows = [piece_rows(page.pieces) for page in pages]
    usual = _usual_gap(rows)
    edges: list[list[list[_Edge]]] = []  # page → top and bottom → rows from the edge inwards
    known: defaultdict[str, list[_Edge]] = defaultdict(list)
    for index, page in enumerate(pages):
        margins = [
            _margin(index, ordered, 10 * page.upright_height, is_top=is_top)
            for ordered, is_top in ((rows[index], True), (rows[index][::-1], False))
        ]
        edges.append(margins)
        for edge in margins[0] + margins[1]:
            known[edge.text].append(edge)
    bodies: list[list[Piece]] = []
    running: list[list[_Edge]] = []
    for index in range(len(pages)):
        found = [
            edge
            for margin, ordered in zip(edges[index], (rows[index], rows[index][::-1]), strict=True)
            for edge in _running(margin, ordered, known, usual, letters)
        ]
        left_out = {id(piece) for edge in found for piece in edge.pieces}
        body = [piece for piece in pages[index].pieces if id(piece) not in left_out]
        # A page that holds nothing else, such as a form or a slide, keeps it.
        bodies.append(body or pages[index].pieces)
        running.append(found if body else [])
    return bodies, _new_heads(bodies, running)


def _margin(page: int, rows: list[list[Piece]], height: float, *, is_top: bool) -> list[_Edge]:
    found = []
    for row in rows[:_MARGIN_ROWS]:
        centre = (min(p.top for p in row) + max(p.bottom for p in row)) / 2
        if (centre if is_top else height - centre) > _MARGIN * height:
            break
        if any(piece.is_field for piece in row):
            break
        text = " ".join(p.text for p in sorted(row, key=lambda p: p.left))
        numbers = [int(digits[-9:]) for digits in _NUMBER.findall(text)]
        generic = "#" if _ROMAN.fullmatch(text.strip(" -–—[]()")) else _NUMBER.sub("#", text)
        found.append(
            _Edge(page, row, generic, numbers, centre, float(np.median([p.height for p in row])))
        )
    return found


def _running(
    margin: list[_Edge],
    rows: list[list[Piece]],
    known: dict[str, list[_Edge]],
    usual: float,
    letters: float,
) -> list[_Edge]:
    """Return the rows of a margin, from the edge inwards, that other pages repeat."""
    count = 0
    for edge in margin:
        alike = known[edge.text]  # in order of their pages
        near = bisect_left(alike, edge.page, key=lambda other: other.page)
        if edge.height > _LARGER * letters or not any(
            _repeats(edge, other) for other in alike[max(0, near - _NEAR) : near + _NEAR]
        ):
            break
        count += 1
    if not count or count == len(rows):
        return []
    if all(_PAGE_NUMBER.fullmatch(edge.text) for edge in margin[:count]):
        return margin[:count]
    # The first rows of text may be alike by chance, or head a table; a head stands apart.
    first, second = sorted(
        (rows[count - 1], rows[count]), key=lambda row: min(piece.top for piece in row)
    )
    return margin[:count] if _row_gap(first, second) > usual + _MORE_THAN_USUAL else []


def _repeats(edge: _Edge, other: _Edge) -> bool:
    distance = other.page - edge.page
    if distance == 0 or abs(other.centre - edge.centre) > 0.5 * edge.height:
        return False
    if abs(other.height - edge.height) > 0.1 * edge.height:
        return False
    # Numbers are the same, or count pages: the sum of an invoice doesn't.
    steps = [after - before for before, after in zip(edge.numbers, other.numbers, strict=False)]
    if len(edge.numbers) != len(other.numbers) or not set(steps) <= {0, distance}:
        return False
    if _PAGE_NUMBER.fullmatch(edge.text):
        return not steps or distance in steps  # no steps: Roman numerals
    return abs(distance) <= _REPEATED_WITHIN


def _usual_gap(rows: list[list[list[Piece]]]) -> float:
    """Return the usual space between lines, in heights of a line: among the smaller ones."""
    gaps = [_row_gap(*pair) for page in rows for pair in pairwise(page)]
    return float(np.percentile(gaps, 25, method="lower")) if gaps else 0.0


def _row_gap(above: list[Piece], below: list[Piece]) -> float:
    space = min(piece.top for piece in below) - max(piece.bottom for piece in above)
    return space / max(1.0, below[0].height)


def _new_heads(bodies: list[list[Piece]], running: list[list[_Edge]]) -> list[list[list[Line]]]:
    seen: set[str] = set()
    text = ""
    if any(running):
        text = " ".join(" ".join(piece.text for piece in body) for body in bodies).casefold()
    heads: list[list[list[Line]]] = []
    for found in running:
        new = []
        for edge in found:
            words = edge.text.replace("#", " ").split()
            key = " ".join(words)
            is_new = (
                key not in seen and len(seen) < _MAX_HEADS and not _PAGE_NUMBER.fullmatch(edge.text)
            )
            seen.add(key)
            if is_new and " ".join(words).casefold() not in text:
                new.append(reading_order(edge.pieces))
        heads.append(new)
    return heads


# -- paragraphs --------------------------------------------------------------------------------


def _paragraph_starts(placed: list[_Placed]) -> list[bool]:
    """Tell of each line whether it stands apart from the line before it.

    Gaps are measured in line heights against the document's usual gap, so that neither font size
    nor double spacing matters. A third of a line more than usual is a paragraph. What a column or
    page begins with is one unless a sentence runs on.
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
            starts.append(gap > usual + _MORE_THAN_USUAL or gap < -1)
        else:
            starts.append(not _runs_on(first, second, widths[before.page, first.column]))
    return starts


def _same_column(before: _Placed, after: _Placed) -> bool:
    return (before.page, before.line.column) == (after.page, after.line.column)


def _is_larger(first: Line, second: Line) -> bool:
    """Tell whether two lines are set so differently that they are a title and its text."""
    heights = sorted((first.height, second.height))
    return heights[1] > _LARGER * max(1.0, heights[0]) or (
        first.bold != second.bold
        and min(len(first.text), len(second.text)) > 1
        and not second.text[0].islower()
    )


def _column_extents(placed: list[_Placed]) -> dict[tuple[int, int], float]:
    """Return where the longest line of each column of each page ends."""
    found: dict[tuple[int, int], float] = {}
    for line, page in placed:
        key = page, line.column
        found[key] = max(found.get(key, 0.0), line.right - line.left)
    return found


def _runs_on(before: Line, after: Line, width: float) -> bool:
    """Tell whether a sentence runs on from the end of a column to the start of the next."""
    text = before.text.rstrip()
    if before.is_row or after.is_row or _ENDS_SENTENCE.search(text):
        return False
    if _is_hyphen_end(text) and after.text[0].isalnum():
        return True
    if after.text[0].islower() or after.text[0] in ",;)":
        return True
    if _STARTS_ITEM.match(after.text):
        return False
    return before.right - before.left >= _FULL * width and len(text.split()) > 2


# -- words across lines ------------------------------------------------------------------------


def _is_hyphen_end(text: str) -> bool:
    return len(text) > 1 and text[-1] in _HYPHENS and text[-2].isalnum()


class _Joins:
    """Which lines end inside of a word, and whether the word has a hyphen there."""

    def __init__(self, placed: list[_Placed], opens: list[bool]) -> None:
        self._placed = placed
        self._ends = [
            not opens[index] and _joins(before.line, after.line)
            for index, (before, after) in enumerate(pairwise(placed), 1)
        ]
        self._words: Counter[str] | None = None

    def joins(self, index: int) -> bool:
        """Tell whether a word goes on from a line to the next."""
        return 0 <= index < len(self._ends) and self._ends[index]

    def keeps_hyphen(self, index: int) -> bool:
        """Tell whether the word has a hyphen wherever it stands.

        The document knows how it spells the word. If it doesn't say, a hyphen between lower case
        letters is one of syllables.
        """
        before, after = self._placed[index].line.text, self._placed[index + 1].line.text
        if before[-1] == "\u00ad":
            return False
        first = before[:-1].rpartition(" ")[2]
        end = _FIRST_WORD.match(after)
        if end is None or not first[-1:].isalpha():
            return True
        second = end.group()
        parts = re.split(r"[^\w]+", first)
        last = parts[-1]
        if re.search(r"[/@_.\d]", first.strip("\"'([{«“‘")):
            return True  # an address, an identifier
        is_plain = second.islower() or (last.isupper() and second.isupper() and len(last) > 1)
        if not is_plain:
            return True
        words = self._vocabulary()
        joined, hyphenated = (last + second).lower(), f"{last}-{second}".lower()
        if words[joined] or words[hyphenated]:
            return words[hyphenated] > words[joined]
        if re.search(r"\w[-\u2010]", first):
            return True  # a compound
        if last.lower() in _KEEPS_HYPHEN and len(second) > _SHORTEST_PART:
            return True
        return (
            min(len(last), len(second)) > _SHORTEST_PART
            and words[last.lower()] > 0
            and words[second.lower()] > 0
        )

    def _vocabulary(self) -> Counter[str]:
        """Return the words that stand within lines, with and without hyphens."""
        if self._words is None:
            self._words = Counter()
            for index, (line, _) in enumerate(self._placed):
                text = line.text.lower()
                if self.joins(index):
                    text = text.rpartition(" ")[0]
                if self.joins(index - 1):
                    text = text.partition(" ")[2]
                self._words.update(_WORD.findall(text))
                if "-" in text or "\u2010" in text:
                    found = _HYPHENATED.findall(text)
                    self._words.update(word.replace("\u2010", "-") for word in found)
        return self._words


def _with_hyphen(boxes: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return the boxes of a line less that of its hyphen, which the letter before it covers."""
    kept = boxes[:-1].copy()
    if boxes[-1].any() and len(kept):
        kept[-1, :2] = np.minimum(kept[-1, :2], boxes[-1, :2])
        kept[-1, 2:] = np.maximum(kept[-1, 2:], boxes[-1, 2:])
    return kept


def _joins(before: Line, after: Line) -> bool:
    if before.is_row or after.is_row or not _is_hyphen_end(before.text):
        return False
    word = _FIRST_WORD.match(after.text)
    if word is None:
        return after.text[0].isdigit()
    return word.group() not in _SHARED


# -- what stands outside of the running text ---------------------------------------------------


def _without_footnotes(lines: list[Line], letters: float) -> tuple[list[Line], list[list[Line]]]:
    """Return the text of a page, and the footnotes: smaller, at its end, each with its mark."""
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
    """Return before which line, or at the end, the asides of each page are written.

    Where no paragraph is torn: heads before the first that begins on the page, the others after
    the last that ends on it. The lines after them then open a paragraph in `opens`.
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
