"""Cuts the characters of a PDF page into pieces of text at gaps and changes of direction."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_tools.ingest.pdf_glyphs import Glyphs, is_bold, is_invisible, is_upright
from rag_tools.ingest.pdf_layout import SAME_LEVEL, WIDE_GAP, is_right_to_left
from rag_tools.ingest.pdf_pieces import Line, Piece, median
from rag_tools.ingest.pdf_spelling import spaced, without_leaders


def cut(
    text_page: Any,  # noqa: ANN401
    glyphs: Glyphs,
    seen: NDArray[np.bool_],
    turns: int,
) -> tuple[list[Piece], list[Line]]:
    """Cut the text of a page into pieces, and return apart what runs in another direction.

    Parameters
    ----------
    seen
        Which characters are inside the page, see `on_page`.
    turns
        Quarter turns at which the text is upright.
    """
    text, places = glyphs.text, glyphs.places
    if not text:
        return [], []
    is_ink = ~np.fromiter(map(str.isspace, text), dtype=bool, count=len(text))
    is_ink &= seen
    heights = places[:, 3] - places[:, 1]
    pieces: list[Piece] = []
    hidden: list[Piece] = []
    turned: list[Line] = []
    start = 0
    for line in text.split("\n"):
        stop = start + len(line)
        ink = start + np.flatnonzero(is_ink[start:stop])
        if len(ink):
            first = glyphs.indices[int(ink[0])]
            if not is_upright(text_page, first, turns):
                turned.append(_turned_line(glyphs, ink))
            else:
                height = median(heights[ink]) or 1.0
                last = glyphs.indices[int(ink[-1])]
                bold = is_bold(text_page, first) and is_bold(text_page, last)
                for group in _split(text, places, ink, height):
                    piece = _piece(glyphs, group, height, bold, len(pieces))
                    invisible = is_invisible(text_page, glyphs.indices[int(group[0])])
                    if piece.text:  # it may have held only dots
                        (hidden if invisible else pieces).append(piece)
        start = stop + 1
    return pieces + _not_doubled(hidden, pieces), turned


def _split(
    text: str, places: NDArray[np.float64], ink: NDArray[np.intp], height: float
) -> list[NDArray[np.intp]]:
    """Split a line at wide gaps, whatever the order of its glyphs."""
    left, right = places[ink, 0], places[ink, 2]
    apart = np.maximum(left[1:] - right[:-1], left[:-1] - right[1:]) > WIDE_GAP * height
    if not apart.any():
        return [ink]
    # PDFium continues a line in another column, or below, if that is less than a line lower.
    level = (places[ink, 1] + places[ink, 3]) / 2
    moved = np.abs(np.diff(level)) > SAME_LEVEL * height
    parts = np.split(ink, np.flatnonzero(apart & moved) + 1)
    return [group for part in parts for group in _split_level(text, places, part, height)]


def _split_level(
    text: str, places: NDArray[np.float64], ink: NDArray[np.intp], height: float
) -> list[NDArray[np.intp]]:
    left = places[ink, 0]
    by_left = np.argsort(left, kind="stable")
    reached = np.maximum.accumulate(places[ink, 2][by_left])
    cuts = np.flatnonzero(left[by_left][1:] - reached[:-1] > WIDE_GAP * height) + 1
    # From left to right, unless the letters are right-to-left: beside Arabic, PDFium reverses
    # Latin words.
    return [
        ink[np.sort(group) if is_right_to_left(text[i] for i in ink[group]) else group]
        for group in np.split(by_left, cuts)
    ]


def _piece(glyphs: Glyphs, ink: NDArray[np.intp], height: float, bold: bool, order: int) -> Piece:
    places = glyphs.places[ink]
    text, boxes = without_leaders(*spaced(glyphs, ink, height))
    return Piece(
        text,
        boxes,
        float(places[:, 0].min()),
        float(places[:, 1].min()),
        float(places[:, 2].max()),
        float(places[:, 3].max()),
        height,
        order,
        bold,
    )


def _turned_line(glyphs: Glyphs, ink: NDArray[np.intp]) -> Line:
    indices = range(int(ink[0]), int(ink[-1]) + 1)
    is_ink = set(ink.tolist())
    kept = [i for i in indices if i in is_ink or glyphs.text[i] == " "]
    places = glyphs.places[ink]
    return Line(
        "".join(glyphs.text[i] for i in kept),
        glyphs.boxes[kept],
        float(places[:, 0].min()),
        float(places[:, 1].min()),
        float(places[:, 2].max()),
        float(places[:, 3].max()),
        0.0,
        False,
        -1,
        False,
    )


def _not_doubled(hidden: list[Piece], seen: list[Piece]) -> list[Piece]:
    """Return the pieces of invisible text, as of a scan, that no visible text covers."""
    if not hidden or not seen:
        return hidden
    left, top, right, bottom = np.array(
        [(piece.left, piece.top, piece.right, piece.bottom) for piece in seen]
    ).T
    kept = []
    for piece in hidden:
        width = np.minimum(right, piece.right) - np.maximum(left, piece.left)
        height = np.minimum(bottom, piece.bottom) - np.maximum(top, piece.top)
        shared = float((np.maximum(width, 0) * np.maximum(height, 0)).sum())
        if shared < 0.5 * (piece.right - piece.left) * (piece.bottom - piece.top):
            kept.append(piece)
    return kept
