"""Finds the headers, footers and page numbers that the pages of a PDF repeat at their edges."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from rag_tools.ingest.pdf_layout import piece_rows, reading_order
from rag_tools.ingest.pdf_page import PageText
from rag_tools.ingest.pdf_pieces import LARGER, MORE_THAN_USUAL, Line, Piece

# Where running headers and footers are, and how they are recognised.
_MARGIN = 0.16  # of the page's height, at the top and at the bottom
_MARGIN_ROWS = 4
_REPEATED_WITHIN = 2  # pages; headers may alternate between left and right pages
_NEAR = 8  # rows of the same text that are examined, before and after
_MAX_HEADS = 200  # headers that are kept; each is searched for in the text

_NUMBER = re.compile(r"\d+")
_ROMAN = re.compile(r"[ivxlcdm]+|[IVXLCDM]+")
_PAGE_NUMBER = re.compile(
    r"\W*(?:(?:page|pages?|p\.|seite|página|pagina|стр\.)\s*)?#(?:\s*(?:/|of|von|de|di|из)\s*#)?\W*",
    re.IGNORECASE,
)


class _Edge(NamedTuple):
    """A row of text at the top or bottom of a page."""

    page: int
    pieces: list[Piece]
    text: str  # with # for numbers
    numbers: list[int]
    centre: float
    height: float


def without_running(
    pages: Sequence[PageText], letters: float
) -> tuple[list[list[Piece]], list[list[list[Line]]]]:
    """Return the pieces of each page without running headers, footers and page numbers.

    Also returns the headers and footers of each page that no page before it has and whose words
    aren't in the text.
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
        # A page without any other text, such as a form or a slide, keeps them.
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
    """Return the rows of a margin that other pages repeat, from the edge inwards."""
    count = 0
    for edge in margin:
        alike = known[edge.text]  # in order of their pages
        near = bisect_left(alike, edge.page, key=lambda other: other.page)
        if edge.height > LARGER * letters or not any(
            _repeats(edge, other) for other in alike[max(0, near - _NEAR) : near + _NEAR]
        ):
            break
        count += 1
    if not count or count == len(rows):
        return []
    if all(_PAGE_NUMBER.fullmatch(edge.text) for edge in margin[:count]):
        return margin[:count]
    # The first rows of text may be alike by chance, or head a table; a gap follows a header.
    first, second = sorted(
        (rows[count - 1], rows[count]), key=lambda row: min(piece.top for piece in row)
    )
    return margin[:count] if _row_gap(first, second) > usual + MORE_THAN_USUAL else []


def _repeats(edge: _Edge, other: _Edge) -> bool:
    distance = other.page - edge.page
    if distance == 0 or abs(other.centre - edge.centre) > 0.5 * edge.height:
        return False
    if abs(other.height - edge.height) > 0.1 * edge.height:
        return False
    # Numbers must be the same or count pages, which the sum of an invoice doesn't.
    steps = [after - before for before, after in zip(edge.numbers, other.numbers, strict=False)]
    if len(edge.numbers) != len(other.numbers) or not set(steps) <= {0, distance}:
        return False
    if _PAGE_NUMBER.fullmatch(edge.text):
        return not steps or distance in steps  # no steps: Roman numerals
    return abs(distance) <= _REPEATED_WITHIN


def _usual_gap(rows: list[list[list[Piece]]]) -> float:
    """Return the usual gap between lines in heights of a line: the first quartile."""
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
