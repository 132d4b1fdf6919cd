"""Reads a page with PDFium: its text in pieces, form values, notes and alternative texts.

PDFium gives characters and boxes. The order in which they are read is decided in ``pdf_layout``.
"""

from __future__ import annotations

import ctypes
import math
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pypdfium2.raw as pdfium_c
from numpy.typing import NDArray

from rag_tools.ingest.pdf_cutting import cut
from rag_tools.ingest.pdf_glyphs import on_page, read_glyphs
from rag_tools.ingest.pdf_hiding import Box, unseen
from rag_tools.ingest.pdf_layout import reading_order
from rag_tools.ingest.pdf_notes import Placing, read_alternatives, read_annotations, read_string
from rag_tools.ingest.pdf_pieces import Line, Piece
from rag_tools.ingest.pdf_scan import read_scan

_MAX_LABEL = 32  # characters of a page label; nobody prints a longer one
_SAMPLED_CHARACTERS = 500  # characters of a page that tell the direction of its text


class PageText(NamedTuple):
    """The content of one page.

    Attributes
    ----------
    pieces
        Pieces of the text in the usual direction, of form values and of text boxes.
    asides
        Groups of lines outside of the text: stamps in another direction, notes, alternative texts.
    width, height
        Size in points, as the page is displayed.
    upright
        Matrix of shape (3, 2): page coordinates and 1 → tenths of a point from the top left corner
        of the page turned so that its text is upright.
    upright_height
        Height in points of the page turned so.
    label
        The page number as it is printed; None if it is the place in the file, counted from 1.
    hidden
        Boxes of the characters that no reader sees, and why, see `unseen`.
    left_out
        Number of characters outside of the page, which aren't in the pieces.
    confidence
        Of each piece that was recognised in a picture; they stand last in `pieces`.
    """

    pieces: list[Piece]
    asides: list[list[Line]]
    width: float
    height: float
    upright: NDArray[np.float64]
    upright_height: float
    label: str | None
    hidden: dict[Box, str]
    left_out: int
    confidence: list[float] = []  # noqa: RUF012 - never changed


def read_page(pdf: Any, index: int) -> PageText:  # noqa: ANN401 - pypdfium2 is untyped
    """Return the content of a page; raises ``PdfiumError`` if the page is damaged."""
    page = pdf[index]
    try:
        width, height = page.get_size()
        shown = _page_transform(page, width, height)
        text_page, turns = _upright_textpage(page)
        try:
            upright_size = page.get_size()
            upright = _page_transform(page, *upright_size)
            glyphs = read_glyphs(text_page, shown, upright)
            seen = on_page(text_page, glyphs, upright_size, upright)
            pieces, turned = cut(text_page, glyphs, seen, turns)
            hidden = unseen(page, text_page, glyphs)
            left_out = sum(
                not shown and not character.isspace()
                for shown, character in zip(seen, glyphs.text, strict=True)
            )
        finally:
            text_page.close()
        scan = read_scan(page, pieces, upright, shown)
        place = Placing(shown, upright, len(glyphs.text))
        fields, notes = read_annotations(pdf, page, place)
        notes += read_alternatives(pdf, page, place)
    finally:
        page.close()
    asides = [[line] for note in notes for line in reading_order([note])]
    return PageText(
        pieces + fields + [each.piece for each in scan],
        ([turned] if turned else []) + asides,
        width,
        height,
        upright,
        upright_size[1],
        _label(pdf, index),
        hidden,
        left_out,
        [each.confidence for each in scan],
    )


def _label(pdf: Any, index: int) -> str | None:  # noqa: ANN401
    """Return the printed number of a page, or None if it is its place in the file, from 1."""
    label = read_string(pdfium_c.FPDF_GetPageLabel, pdf, index)
    return label if 0 < len(label) <= _MAX_LABEL and label != str(index + 1) else None


def _upright_textpage(page: Any) -> tuple[Any, int]:  # noqa: ANN401
    """Return the characters of a page in order and the quarter turns at which they are upright.

    PDFium orders characters as they are displayed, and mixes up lines that are displayed sideways
    or upside down. So the page is turned until most of its text is upright; the coordinates of
    characters don't depend on that.
    """
    text_page = page.get_textpage()
    count = text_page.count_chars()
    step = max(1, count // _SAMPLED_CHARACTERS)
    turns = Counter(
        round(-2 * pdfium_c.FPDFText_GetCharAngle(text_page, index) / math.pi) % 4
        for index in range(0, count, step)
        if pdfium_c.FPDFText_IsGenerated(text_page, index) == 0
    )
    rotation = 90 * turns.most_common(1)[0][0] if turns else page.get_rotation()
    if rotation == page.get_rotation():
        return text_page, rotation // 90
    text_page.close()
    page.set_rotation(rotation)
    return page.get_textpage(), rotation // 90


def _page_transform(page: Any, width: float, height: float) -> NDArray[np.float64]:  # noqa: ANN401
    """Return the map from page coordinates to tenths of a point from the top left corner.

    PDFium answers in whole pixels and accounts for crop box and rotation; three points on a
    canvas of 1,000 pixels per point fix the map.
    """
    x, y = ctypes.c_int(), ctypes.c_int()
    images = []
    for page_x, page_y in ((0, 0), (100, 0), (0, 100)):
        canvas = (0, 0, round(width * 1000), round(height * 1000))
        pdfium_c.FPDF_PageToDevice(page, *canvas, 0, page_x, page_y, x, y)
        images.append((x.value / 100, y.value / 100))
    origin, right, up = np.array(images)
    return np.array([(right - origin) / 100, (up - origin) / 100, origin])
