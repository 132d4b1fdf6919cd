"""PDF to canonical text, with the place of every character on its page.

The text layer is read with PDFium; nothing is recognised from images. A line of the page is a
line of the text, words hyphenated at a line's end stay so, and a blank line separates pages.
"""

from __future__ import annotations

import math
import re
import threading
import zlib
from bisect import bisect_left
from collections import Counter
from ctypes import c_int
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c
from numpy.typing import NDArray

from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.blocks import Opening, tile
from rag_tools.types import Block, Document, Page, SourceMap

# PDFium keeps global state: one thread at a time may be inside it.
_PDFIUM = threading.Lock()

_PAGE_SEPARATOR = "\n\n"
# Which parameter of a destination, by its kind, is the top edge to show.
_TOP_OF_VIEW = {
    pdfium_c.PDFDEST_VIEW_XYZ: 1,
    pdfium_c.PDFDEST_VIEW_FITH: 0,
    pdfium_c.PDFDEST_VIEW_FITBH: 0,
}
_NO_BOX = (0.0, 0.0, 0.0, 0.0)
_SAMPLED_CHARACTERS = 500  # of a page, to see which way up its text is
_NO_TITLES = ("", "untitled")  # what programs write when nobody gave a title

# Outlines often leave out the number that the page prints before a title.
_NUMBERING = re.compile(r"(?:(?:[\d.]+|[ivxlc]+|[a-z])[.:)]? )?")
_MAX_NUMBERING = 12


def load_pdf(data: bytes, *, uri: str, name: str) -> Document:
    """Extract the text layer of a PDF.

    Parameters
    ----------
    data
        The file.
    uri, name
        The document's identity, and what to call it in messages and for want of a title.

    Returns
    -------
    Document
        Blocks are paragraphs told apart by line spacing, and the headings that the PDF's outline
        names; ``source_map`` holds pages and the box of every character.

    Raises
    ------
    UnreadableFileError
        The file is encrypted, damaged, truncated, or has pages but no text layer.
    """
    with _PDFIUM:
        pdf = _open(data, name)
        try:
            pages = [_read_page(pdf, index, name) for index in range(len(pdf))]
            outline = _read_outline(pdf)
            title = _collapse(pdf.get_metadata_value("Title"))
        finally:
            pdf.close()
    if not any(page.text.strip() for page in pages) and any(page.is_drawn for page in pages):
        raise UnreadableFileError(
            f"{name}: no text layer: run OCR first (for example `ocrmypdf IN.pdf OUT.pdf`)"
        )
    text, source_map, lines = _assemble(pages)
    if title.casefold() in _NO_TITLES:
        title = _collapse(text.lstrip().split("\n", 1)[0])
    return Document(
        text=text,
        uri=uri,
        title=title or name,
        media_type="application/pdf",
        blocks=_blocks(text, pages, lines, outline),
        source_map=source_map,
    )


class _PageText(NamedTuple):
    """What one page holds."""

    text: str
    boxes: NDArray[np.int16]  # (len(text), 4), tenths of a point from the top left corner
    width: float
    height: float
    transform: NDArray[np.float64]  # (3, 2): page coordinates and 1 → tenths of a point
    is_drawn: bool


class _OutlineEntry(NamedTuple):
    """A bookmark: what it is called and where it points."""

    title: str
    path: tuple[str, ...]
    page: int  # index
    y: float | None  # page coordinates, if the destination has them


class _Line(NamedTuple):
    """A line of text: code points of the document, and its extent on the page in tenths."""

    start: int
    end: int
    page: int  # index
    top: int
    bottom: int


def _open(data: bytes, name: str) -> Any:  # noqa: ANN401 - pypdfium2 is untyped
    try:
        pdf = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if error.err_code in (pdfium_c.FPDF_ERR_PASSWORD, pdfium_c.FPDF_ERR_SECURITY):
            raise UnreadableFileError(
                f"{name}: encrypted, a password is needed: save a copy without a password"
            ) from None
        reason = "truncated" if _is_truncated(data) else "damaged or not a PDF"
        raise UnreadableFileError(f"{name}: {reason} ({error}): get the file again") from None
    # PDFium rebuilds what it can of a cut file and would silently miss the rest.
    if _is_truncated(data):
        pdf.close()
        raise UnreadableFileError(f"{name}: truncated (no end-of-file mark): get the file again")
    return pdf


def _is_truncated(data: bytes) -> bool:
    """Tell whether the end-of-file mark is missing from the last KiB, where readers look for it."""
    return data.startswith(b"%PDF-") and b"%%EOF" not in data.rstrip(b"\0 \t\r\n")[-1024:]


def _read_page(pdf: Any, index: int, name: str) -> _PageText:  # noqa: ANN401
    try:
        page = pdf[index]
        width, height = page.get_size()
        transform = _page_transform(page, width, height)
        text_page = _upright_textpage(page)
    except pdfium.PdfiumError as error:
        raise UnreadableFileError(
            f"{name}: page {index + 1} of {len(pdf)} is damaged ({error}): get the file again"
        ) from None
    try:
        text, corners = _read_characters(text_page)
        return _PageText(
            text,
            _to_tenths(corners, transform),
            width,
            height,
            transform,
            pdfium_c.FPDFPage_CountObjects(page) > 0,
        )
    finally:
        text_page.close()
        page.close()


def _upright_textpage(page: Any) -> Any:  # noqa: ANN401
    """Return the characters of a page, in the order in which they are read.

    PDFium orders them as they are displayed, and jumbles lines that are displayed sideways or
    upside down. So the page is turned until most of its text is upright; where characters stand
    on the page doesn't depend on that.
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
        return text_page
    text_page.close()
    page.set_rotation(rotation)
    return page.get_textpage()


def _page_transform(page: Any, width: float, height: float) -> NDArray[np.float64]:  # noqa: ANN401
    """Return the map from page coordinates to tenths of a point from the top left corner.

    PDFium answers in whole pixels and accounts for crop box and rotation; three points on a
    canvas of 1,000 pixels per point fix the map.
    """
    x, y = c_int(), c_int()
    images = []
    for page_x, page_y in ((0, 0), (100, 0), (0, 100)):
        canvas = (0, 0, round(width * 1000), round(height * 1000))
        pdfium_c.FPDF_PageToDevice(page, *canvas, 0, page_x, page_y, x, y)
        images.append((x.value / 100, y.value / 100))
    origin, right, up = np.array(images)
    return np.array([(right - origin) / 100, (up - origin) / 100, origin])


def _read_characters(text_page: Any) -> tuple[str, list[tuple[float, float, float, float]]]:  # noqa: ANN401
    """Return a page's text and, per code point, (left, bottom, right, top) on the page."""
    characters: list[str] = []
    corners: list[tuple[float, float, float, float]] = []
    rectangle = pdfium_c.FS_RECTF()
    high_surrogate = 0
    count = text_page.count_chars()
    for index in range(count):
        code = pdfium_c.FPDFText_GetUnicode(text_page, index)
        if 0xD800 <= code < 0xDC00:  # where wchar_t has 16 bits, PDFium reports UTF-16 units
            high_surrogate = code
            continue
        if 0xDC00 <= code < 0xE000:
            is_pair = high_surrogate > 0
            code = (
                0x10000 + ((high_surrogate - 0xD800) << 10) + code - 0xDC00 if is_pair else 0xFFFD
            )
        high_surrogate = 0
        # PDFium takes the line break out after a hyphenated half of a word.
        is_hyphen = pdfium_c.FPDFText_IsHyphen(text_page, index) == 1
        if code in (0, 0xD) and not is_hyphen:  # no Unicode value; the CR of a CR LF
            continue
        corner = _NO_BOX
        if pdfium_c.FPDFText_GetLooseCharBox(text_page, index, rectangle):
            corner = (rectangle.left, rectangle.bottom, rectangle.right, rectangle.top)
        characters.append("-" if is_hyphen else chr(code) if code < 0x110000 else "\ufffd")
        corners.append(corner)
        if is_hyphen and index + 1 < count:
            characters.append("\n")
            corners.append(_NO_BOX)
    return "".join(characters), corners


def _to_tenths(
    corners: list[tuple[float, float, float, float]], transform: NDArray[np.float64]
) -> NDArray[np.int16]:
    """Turn page rectangles into boxes, shape (n, 4); zero where there is no area to show."""
    rectangles = np.array(corners, dtype=np.float64).reshape(-1, 4)
    one = np.ones((len(rectangles), 1))
    first = np.hstack([rectangles[:, :2], one]) @ transform
    second = np.hstack([rectangles[:, 2:], one]) @ transform
    boxes = np.hstack(
        [np.floor(np.minimum(first, second)), np.ceil(np.maximum(first, second))]
    )  # (n, 4)
    has_area = (rectangles[:, 0] != rectangles[:, 2]) & (rectangles[:, 1] != rectangles[:, 3])
    limits = np.iinfo(np.int16)  # 3.2767 metres worth of points: beyond, only text is kept
    fits = ((boxes >= limits.min) & (boxes <= limits.max)).all(axis=1)
    boxes[~(has_area & fits)] = 0
    return boxes.astype("<i2")


def _read_outline(pdf: Any) -> list[_OutlineEntry]:  # noqa: ANN401
    entries: list[_OutlineEntry] = []
    parents: list[str] = []
    for bookmark in pdf.get_toc():
        title = _collapse(bookmark.get_title())
        destination = bookmark.get_dest()
        page = destination.get_index() if destination else None
        del parents[bookmark.level :]
        parents.append(title)
        if page is None or not title:
            continue
        mode, position = destination.get_view()
        column = _TOP_OF_VIEW.get(mode, len(position))
        y = position[column] if column < len(position) else None
        entries.append(_OutlineEntry(title, tuple(filter(None, parents)), page, y))
    return entries


def _assemble(pages: list[_PageText]) -> tuple[str, SourceMap, list[_Line]]:
    """Join the pages to the canonical text."""
    parts: list[str] = []
    boxes: list[NDArray[np.int16]] = []
    map_pages: list[Page] = []
    lines: list[_Line] = []
    length = 0
    for index, page in enumerate(pages):
        if length and page.text:
            parts.append(_PAGE_SEPARATOR)
            boxes.append(np.zeros((len(_PAGE_SEPARATOR), 4), dtype="<i2"))
            length += len(_PAGE_SEPARATOR)
        start = length
        parts.append(page.text)
        boxes.append(page.boxes)
        length += len(page.text)
        lines += _lines(page, index, start)
        map_pages.append(Page(index + 1, start, length, page.width, page.height))
    text = "".join(parts)
    packed = zlib.compress(np.concatenate(boxes).astype("<i2").tobytes()) if text else b""
    return text, SourceMap(pages=tuple(map_pages), boxes=packed), lines


def _lines(page: _PageText, index: int, offset: int) -> list[_Line]:
    lines = []
    start = 0
    for line in page.text.split("\n"):
        glyphs = page.boxes[start : start + len(line)]
        glyphs = glyphs[glyphs.any(axis=1)]
        if len(glyphs):
            top, bottom = int(glyphs[:, 1].min()), int(glyphs[:, 3].max())
            lines.append(_Line(offset + start, offset + start + len(line), index, top, bottom))
        start += len(line) + 1
    return lines


def _blocks(
    text: str, pages: list[_PageText], lines: list[_Line], outline: list[_OutlineEntry]
) -> tuple[Block, ...]:
    """Return paragraphs and headings that tile the text."""
    starts = {0, *_paragraph_starts(lines)}
    paths: dict[int, tuple[str, ...]] = {}  # where a section starts → its path
    heading_starts: set[int] = set()
    for entry in outline:
        first, stop, is_heading = _find_entry(entry, text, pages, lines)
        if first == stop:
            continue
        start = lines[first].start if first else 0
        paths[start] = entry.path
        starts.add(start)
        if is_heading:
            heading_starts.add(start)
            if stop < len(lines):
                starts.add(lines[stop].start)
    openings: list[Opening] = []
    path: tuple[str, ...] = ()
    for start in sorted(starts):
        path = paths.get(start, path)
        openings.append(Opening("heading" if start in heading_starts else "paragraph", start, path))
    return tile(openings, len(text))


def _paragraph_starts(lines: list[_Line]) -> list[int]:
    """Return where a line stands apart from the line before it.

    Gaps are measured in line heights against the document's usual gap, so that neither font size
    nor double spacing matters. A third of a line more than usual is a paragraph; moving up the
    page is a new column.
    """
    gaps = [
        (after.top - before.bottom) / max(1, after.bottom - after.top)
        for before, after in pairwise(lines)
    ]
    usual = float(np.median(gaps)) if gaps else 0.0
    return [
        after.start
        for (before, after), gap in zip(pairwise(lines), gaps, strict=True)
        if before.page != after.page or gap > usual + 1 / 3 or gap < -1
    ]


def _find_entry(
    entry: _OutlineEntry, text: str, pages: list[_PageText], lines: list[_Line]
) -> tuple[int, int, bool]:
    """Return the lines ``[first, stop)`` of an outline entry, and whether they are its title.

    Without the title on the page, the entry points at the first line below its destination.
    """
    low = bisect_left(lines, entry.page, key=lambda line: line.page)
    high = bisect_left(lines, entry.page + 1, key=lambda line: line.page)
    y = 0.0
    if entry.y is not None:
        y = float((np.array([0, entry.y, 1]) @ pages[entry.page].transform)[1])
    for first in sorted(range(low, high), key=lambda i: abs(lines[i].top - y)):
        stop = _title_stop(entry.title, text, lines, first, high)
        if stop:
            return first, stop, True
    below = next((i for i in range(low, high) if lines[i].bottom > y), high)
    return below, min(below + 1, high), False


def _title_stop(title: str, text: str, lines: list[_Line], first: int, high: int) -> int | None:
    """Return where a title that starts at line `first` stops, or ``None`` if none starts there."""
    wanted = title.casefold()
    seen = ""
    for stop in range(first + 1, high + 1):
        line = lines[stop - 1]
        seen = _collapse(f"{seen} {text[line.start : line.end]}").casefold()
        if seen.endswith(wanted) and _NUMBERING.fullmatch(seen.removesuffix(wanted)):
            return stop
        if len(seen) > len(wanted) + _MAX_NUMBERING:
            return None
    return None


def _collapse(text: str) -> str:
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
