"""PDF to canonical text, with the place of every character on its page.

The text layer is read with PDFium; text in large pictures is recognised, if the extra ``[ocr]`` is
installed. The result is the text as a
person reads it: columns follow one another, words that are hyphenated at the end of a line are
joined, and the headers, footers and page numbers that pages repeat are left out.
"""

from __future__ import annotations

import contextlib
import re
import threading
import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.blocks import Opening, Sections, tile
from rag_tools.ingest.hidden import joined
from rag_tools.ingest.pdf_flow import Flow, TextLine, flow
from rag_tools.ingest.pdf_hiding import hidden
from rag_tools.ingest.pdf_page import PageText, read_page
from rag_tools.ingest.pdf_pieces import LARGER
from rag_tools.ingest.properties import pdf_properties
from rag_tools.types import Block, Document, Page, Recognised, SourceMap

# PDFium keeps global state: one thread at a time may be inside it.
_PDFIUM = threading.Lock()

# Kind of destination → index of the parameter that holds the top edge of the view.
_TOP_OF_VIEW = {
    pdfium_c.PDFDEST_VIEW_XYZ: 1,
    pdfium_c.PDFDEST_VIEW_FITH: 0,
    pdfium_c.PDFDEST_VIEW_FITBH: 0,
}
_NO_TITLES = ("", "untitled")  # what programs write when the author gave no title

# The number printed before a title, which outlines often leave out.
_NUMBERING = re.compile(r"(?:(?:[\d.]+|[ivxlc]+|[a-z])[.:)]? )?")
_MAX_NUMBERING = 12

# Limits of what counts as a heading if there is no outline.
_HEADING_LINES = 3
_HEADING_LENGTH = 150
_HEADING_LEVELS = 6
# At least three letters, or two of a script whose words are that short.
_WORD = re.compile(r"[^\W\d_]{3}|[\u1100-\uffff]{2}")
_REPEATED = 4
_MOST_HEADINGS = 0.25  # share of the characters; beyond it, size and weight mean something else
_ENDS_SENTENCE = re.compile(r"[.!?;,。！？]\Z")


def load_pdf(data: bytes, *, uri: str, name: str) -> Document:
    """Extract the text layer of a PDF.

    Blocks are paragraphs told apart by line spacing, tables, and the headings that the PDF's
    outline names, or, without one, that are set larger or in bold. ``source_map`` holds pages and
    the box of every character. A `Loader`, see `rag_tools.ingest.load`.
    """
    with _PDFIUM:
        pdf = _open(data, name)
        try:
            pages = [_read_page(pdf, index, name) for index in range(len(pdf))]
            outline = _read_outline(pdf)
            title = _collapse(pdf.get_metadata_value("Title"))
            metadata = pdf_properties(pdf)
        finally:
            pdf.close()
    found = flow(pages)
    headings = _outlined(outline, found, pages) or _set_apart(found)
    if title.casefold() in _NO_TITLES:
        title = _first_title(found, headings)
    unseen = hidden(found.text, found.boxes, found.ranges, [page.hidden for page in pages])
    return Document(
        text=found.text,
        uri=uri,
        title=title or name,
        media_type="application/pdf",
        hidden=joined(unseen, found.text),
        left_out=sum(page.left_out for page in pages),
        blocks=flow_blocks(found, headings),
        source_map=flow_map(found, pages),
        metadata=metadata,
    )


class _Heading(NamedTuple):
    """The beginning of a section."""

    first: int  # line
    stop: int  # first line after the heading
    path: tuple[str, ...]
    is_printed: bool  # whether the lines are the title, or only where the outline points


class _OutlineEntry(NamedTuple):
    """A bookmark: its title and its destination."""

    title: str
    path: tuple[str, ...]
    page: int  # index
    y: float | None  # page coordinates, if the destination has them


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
    # This must come before any page is read. If it fails, only the form values are missing.
    with contextlib.suppress(pdfium.PdfiumError):
        pdf.init_forms()
    return pdf


def _is_truncated(data: bytes) -> bool:
    """Tell whether the end-of-file mark is missing from the last KiB, where readers look for it."""
    return data.startswith(b"%PDF-") and b"%%EOF" not in data.rstrip(b"\0 \t\r\n")[-1024:]


def _read_page(pdf: Any, index: int, name: str) -> PageText:  # noqa: ANN401
    try:
        return read_page(pdf, index)
    except pdfium.PdfiumError as error:
        raise UnreadableFileError(
            f"{name}: page {index + 1} of {len(pdf)} is damaged ({error}): get the file again"
        ) from None


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


def flow_map(found: Flow, pages: list[PageText]) -> SourceMap:
    """Return where the characters of a text stand on its pages."""
    return SourceMap(
        pages=tuple(
            Page(number, start, end, page.width, page.height, page.label)
            for number, ((start, end), page) in enumerate(zip(found.ranges, pages, strict=True), 1)
        ),
        boxes=zlib.compress(found.boxes.astype("<i2").tobytes()) if found.text else b"",
        recognised=tuple(_recognised(found, pages)),
    )


def _recognised(found: Flow, pages: list[PageText]) -> Iterator[Recognised]:
    """Yield the ranges of the text that were recognised; their boxes tell them from the others."""
    for (start, end), page in zip(found.ranges, pages, strict=True):
        scanned = page.pieces[len(page.pieces) - len(page.confidence) :]
        sure = {
            box.tobytes(): confidence
            for piece, confidence in zip(scanned, page.confidence, strict=True)
            for box in piece.boxes
            if box.any()
        }
        if not sure:
            continue
        run: Recognised | None = None
        for place in range(start, end):
            confidence = sure.get(found.boxes[place].astype("<i2").tobytes())
            if confidence is None and not found.boxes[place].any():
                continue  # a space
            if run and confidence == run.confidence:
                run = run._replace(end=place + 1)
                continue
            if run:
                yield run
            run = None if confidence is None else Recognised(place, place + 1, confidence)
        if run:
            yield run


def flow_blocks(found: Flow, headings: list[_Heading]) -> tuple[Block, ...]:
    """Return paragraphs, tables and headings that tile the text."""
    lines = found.lines
    kinds: dict[int, Opening] = {start: Opening("paragraph", start) for start in found.asides}
    for line in lines:
        if line.opens:
            kinds[line.start] = Opening("table" if line.is_row else "paragraph", line.start)
    paths: dict[int, tuple[str, ...]] = {}  # where a section starts → its path
    for heading in headings:
        start = lines[heading.first].start
        paths[start] = heading.path
        kinds[start] = Opening("heading" if heading.is_printed else "paragraph", start)
        if heading.is_printed and heading.stop < len(lines):
            after = lines[heading.stop]
            kinds.setdefault(
                after.start, Opening("table" if after.is_row else "paragraph", after.start)
            )
    openings: list[Opening] = []
    path: tuple[str, ...] = ()
    for start in sorted(kinds):
        path = paths.get(start, path)
        openings.append(kinds[start]._replace(path=path))
    return tile(openings, len(found.text))


def _first_title(found: Flow, headings: list[_Heading]) -> str:
    """Return the largest heading of the first page, or else the first line of the text."""
    lines = found.lines
    first = [h for h in headings if h.is_printed and lines[h.first].page == 0]
    if first:
        largest = max(first, key=lambda heading: lines[heading.first].height)
        if lines[largest.first].height > LARGER * found.letters:
            text = found.text[lines[largest.first].start : lines[largest.stop - 1].end]
            return _collapse(text)
    return _collapse(found.text.lstrip().split("\n", 1)[0])


def _set_apart(found: Flow) -> list[_Heading]:
    """Return the paragraphs that are headings by their type: larger letters, or bold ones."""
    lines = found.lines
    starts = [index for index, line in enumerate(lines) if line.opens]
    if not starts:
        return []
    usual_is_bold = sum(line.bold for line in lines) > len(lines) / 2
    candidates: list[tuple[int, int, tuple[int, bool]]] = []
    heads_something = False
    for first, stop in zip(reversed(starts), [len(lines), *reversed(starts[1:])], strict=True):
        line = lines[first]
        text = found.text[line.start : lines[stop - 1].end]
        is_large = line.height > LARGER * found.letters
        is_bold = line.bold and not usual_is_bold and line.height > found.letters / LARGER
        if (
            heads_something
            and (is_large or (is_bold and not _ENDS_SENTENCE.search(text)))
            and stop - first <= _HEADING_LINES
            and len(text) <= _HEADING_LENGTH
            and _WORD.search(text)
            and sum(map(str.isalpha, text)) > len(text) / 2
            and not line.is_row
            and all(_are_aligned(line, other) for other in lines[first + 1 : stop])
        ):
            size = round(line.height / 5) if is_large else 0
            candidates.append((first, stop, (size, line.bold)))
        else:
            # Large letters that are no heading are a label in a figure, and so are those above.
            heads_something = not is_large
    candidates.reverse()
    # Lines that are repeated many times, such as samples of a font, are no headings.
    times = Counter(found.text[lines[first].start : lines[first].end] for first, _, _ in candidates)
    candidates = [
        each
        for each in candidates
        if times[found.text[lines[each[0]].start : lines[each[0]].end]] < _REPEATED
    ]
    for kept in (candidates, [each for each in candidates if each[2][0]]):
        length = sum(lines[stop - 1].end - lines[first].start for first, stop, _ in kept)
        if length <= _MOST_HEADINGS * len(found.text):
            break
    else:
        return []
    candidates = kept
    levels = sorted({each[2] for each in candidates}, reverse=True)[:_HEADING_LEVELS]
    headings: list[_Heading] = []
    sections = Sections()
    for first, stop, style in candidates:
        level = levels.index(style) if style in levels else _HEADING_LEVELS
        sections.open(level, _collapse(found.text[lines[first].start : lines[stop - 1].end]))
        headings.append(_Heading(first, stop, sections.path, True))
    return headings


def _outlined(outline: list[_OutlineEntry], found: Flow, pages: list[PageText]) -> list[_Heading]:
    """Return the beginnings of the sections that the outline names."""
    headings = []
    for entry in outline:
        first, stop, is_printed = _find_entry(entry, found.text, pages, found.lines)
        if first < stop:
            headings.append(_Heading(first, stop, entry.path, is_printed))
    return headings


def _are_aligned(first: TextLine, second: TextLine) -> bool:
    """Tell whether two lines are aligned at the left or centred."""
    lefts, rights = first.left - second.left, first.right - second.right
    return min(abs(lefts), abs(lefts + rights) / 2) < first.height


def _find_entry(
    entry: _OutlineEntry, text: str, pages: list[PageText], lines: list[TextLine]
) -> tuple[int, int, bool]:
    """Return the lines ``[first, stop)`` of an outline entry and whether they are its title.

    If the page doesn't show the title, the first line below the destination is returned.
    """
    low = bisect_left(lines, entry.page, key=lambda line: line.page)
    high = bisect_left(lines, entry.page + 1, key=lambda line: line.page)
    y = 0.0
    if entry.y is not None:
        y = float((np.array([0, entry.y, 1]) @ pages[entry.page].upright)[1])
    for first in sorted(range(low, high), key=lambda i: abs(lines[i].top - y)):
        stop = _title_stop(entry.title, text, lines, first, high)
        if stop:
            return first, stop, True
    below = next((i for i in range(low, high) if lines[i].bottom > y), high)
    return below, min(below + 1, high), False


def _title_stop(title: str, text: str, lines: list[TextLine], first: int, high: int) -> int | None:
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
