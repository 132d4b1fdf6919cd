"""What PDFium knows of a page: its text in pieces, form values, notes and alternative texts.

PDFium tells characters and boxes. What order they are read in is decided in ``pdf_layout``.
"""

from __future__ import annotations

import ctypes
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pypdfium2.raw as pdfium_c
from numpy.typing import NDArray

from rag_tools.ingest.pdf_layout import (
    SAME_LEVEL,
    WIDE_GAP,
    Line,
    Piece,
    is_right_to_left,
    median,
    reading_order,
)

_SAMPLED_CHARACTERS = 500  # of a page, to see which way up its text is
_UPRIGHT = math.radians(20)
_LOST_SPACE = 0.24  # of a line's height, without a space between
_BOLD_WEIGHT = 600
_BOLD = re.compile(rb"bold|black|heavy|(?:^|\+)(?:cmbx|sfbx|lmbx)", re.IGNORECASE)
_HYPHEN = 2  # how PDFium marks the hyphen at the end of a line

_LEADER = re.compile(r" ?(?:[.·…] ?){6,}")

# Spacing accents and their combining counterparts.
_ACCENTS = {
    "`": "\u0300",
    "\u00b4": "\u0301",
    "^": "\u0302",
    "\u02c6": "\u0302",
    "~": "\u0303",
    "\u02dc": "\u0303",
    "\u00af": "\u0304",
    "\u02d8": "\u0306",
    "\u02d9": "\u0307",
    "\u00a8": "\u0308",
    "\u02da": "\u030a",
    "\u02dd": "\u030b",
    "\u02c7": "\u030c",
    "\u00b8": "\u0327",
    "\u02db": "\u0328",
}

_MAX_ANNOTATIONS = 10_000  # of a page
_MAX_ELEMENTS = 10_000  # of a page's structure
_MAX_OBJECTS = 100_000  # of a page, among which those of a figure are looked for
_MAX_VALUE = 100_000  # characters of a value or note

_HIDDEN = pdfium_c.FPDF_ANNOT_FLAG_HIDDEN | pdfium_c.FPDF_ANNOT_FLAG_NOVIEW
# Links and pop-ups repeat what stands elsewhere; widgets are fields.
_WITHOUT_NOTE = {
    pdfium_c.FPDF_ANNOT_LINK,
    pdfium_c.FPDF_ANNOT_POPUP,
    pdfium_c.FPDF_ANNOT_WIDGET,
}
_MARKS = (pdfium_c.FPDF_FORMFIELD_CHECKBOX, pdfium_c.FPDF_FORMFIELD_RADIOBUTTON)
_VALUES = (
    pdfium_c.FPDF_FORMFIELD_TEXTFIELD,
    pdfium_c.FPDF_FORMFIELD_COMBOBOX,
    pdfium_c.FPDF_FORMFIELD_LISTBOX,
)

Rectangle = tuple[float, float, float, float]  # left, bottom, right, top on the page


class PageText(NamedTuple):
    """What one page holds.

    Attributes
    ----------
    pieces
        Of the text that runs in the usual direction, with form values and text boxes.
    asides
        What stands outside of the text: stamps that run in another direction, notes, alternative
        texts. Groups of lines.
    width, height
        In points, as the page is displayed.
    upright
        Shape (3, 2): page coordinates and 1 → tenths of a point from the top left corner of the
        page turned so that its text is upright.
    upright_height
        Of the page turned so, in points.
    """

    pieces: list[Piece]
    asides: list[list[Line]]
    width: float
    height: float
    upright: NDArray[np.float64]
    upright_height: float


class _Glyphs(NamedTuple):
    """Characters of a page in the order in which PDFium gives them, with line breaks."""

    text: str
    indices: list[int]  # PDFium's
    boxes: NDArray[np.int16]  # (n, 4), as they are stored
    places: NDArray[np.float64]  # (n, 4), tenths of a point on the upright page


def read_page(pdf: Any, index: int) -> PageText:  # noqa: ANN401 - pypdfium2 is untyped
    """Return what a page holds; raises ``PdfiumError`` if the page is damaged."""
    page = pdf[index]
    try:
        width, height = page.get_size()
        shown = _page_transform(page, width, height)
        text_page, turns = _upright_textpage(page)
        try:
            upright_size = page.get_size()
            upright = _page_transform(page, *upright_size)
            glyphs = _read_glyphs(text_page, shown, upright)
            pieces, turned = _pieces(text_page, glyphs, upright_size, upright, turns)
        finally:
            text_page.close()
        place = _Place(shown, upright, len(glyphs.text))
        fields, notes = _read_annotations(pdf, page, place)
        notes += _read_alternatives(pdf, page, place)
    finally:
        page.close()
    asides = [[line] for note in notes for line in reading_order([note])]
    return PageText(
        pieces + fields,
        ([turned] if turned else []) + asides,
        width,
        height,
        upright,
        upright_size[1],
    )


# -- text --------------------------------------------------------------------------------------


def _upright_textpage(page: Any) -> tuple[Any, int]:  # noqa: ANN401
    """Return the characters of a page in order, and the quarter turns at which they are upright.

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


def _read_glyphs(
    text_page: Any,  # noqa: ANN401
    shown: NDArray[np.float64],
    upright: NDArray[np.float64],
) -> _Glyphs:
    characters: list[str] = []
    corners: list[Rectangle] = []
    indices: list[int] = []
    rectangle = pdfium_c.FS_RECTF()
    high_surrogate = 0
    get_unicode, get_box = pdfium_c.FPDFText_GetUnicode, pdfium_c.FPDFText_GetLooseCharBox
    raw = text_page.raw
    for index in range(text_page.count_chars()):
        code = get_unicode(raw, index)
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
        is_hyphen = code == _HYPHEN and pdfium_c.FPDFText_IsHyphen(raw, index) == 1
        if code in (0, 0xD):  # no Unicode value; the CR of a CR LF
            continue
        corner = (0.0, 0.0, 0.0, 0.0)
        if get_box(raw, index, rectangle):
            corner = (rectangle.left, rectangle.bottom, rectangle.right, rectangle.top)
        characters.append("-" if is_hyphen else chr(code) if code < 0x110000 else "\ufffd")
        corners.append(corner)
        indices.append(index)
        if is_hyphen:
            characters.append("\n")
            corners.append(corner)
            indices.append(index)
    rectangles = np.array(corners, dtype=np.float64).reshape(-1, 4)
    return _Glyphs(
        "".join(characters), indices, stored_boxes(rectangles, shown), _placed(rectangles, upright)
    )


def _placed(rectangles: NDArray[np.float64], transform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rectangles on the page, (n, 4), as left, top, right, bottom in tenths."""
    first = rectangles[:, :2] @ transform[:2] + transform[2]
    second = rectangles[:, 2:] @ transform[:2] + transform[2]
    return np.hstack([np.minimum(first, second), np.maximum(first, second)])


def stored_boxes(
    rectangles: NDArray[np.float64], transform: NDArray[np.float64]
) -> NDArray[np.int16]:
    """Turn page rectangles into boxes, shape (n, 4); zero where there is no area to show."""
    places = _placed(rectangles, transform)
    boxes = np.hstack([np.floor(places[:, :2]), np.ceil(places[:, 2:])])
    has_area = (rectangles[:, 0] != rectangles[:, 2]) & (rectangles[:, 1] != rectangles[:, 3])
    limits = np.iinfo(np.int16)  # 3.2767 metres worth of points: beyond, only text is kept
    fits = ((boxes >= limits.min) & (boxes <= limits.max)).all(axis=1)
    boxes[~(has_area & fits)] = 0
    return boxes.astype("<i2")


def _pieces(
    text_page: Any,  # noqa: ANN401
    glyphs: _Glyphs,
    size: tuple[float, float],
    upright: NDArray[np.float64],
    turns: int,
) -> tuple[list[Piece], list[Line]]:
    """Cut the text of a page into pieces; text that runs in another direction is apart."""
    text, places = glyphs.text, glyphs.places
    if not text:
        return [], []
    is_ink = ~np.fromiter(map(str.isspace, text), dtype=bool, count=len(text))
    is_ink &= _on_page(text_page, glyphs, size, upright)
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
            if not _is_upright(text_page, first, turns):
                turned.append(_turned_line(glyphs, ink))
            else:
                height = median(heights[ink]) or 1.0
                last = glyphs.indices[int(ink[-1])]
                bold = _is_bold(text_page, first) and _is_bold(text_page, last)
                for group in _split(text, places, ink, height):
                    piece = _piece(glyphs, group, height, bold, len(pieces))
                    invisible = _is_invisible(text_page, glyphs.indices[int(group[0])])
                    if piece.text:  # and not just dots
                        (hidden if invisible else pieces).append(piece)
        start = stop + 1
    return pieces + _not_doubled(hidden, pieces), turned


def _on_page(
    text_page: Any,  # noqa: ANN401
    glyphs: _Glyphs,
    size: tuple[float, float],
    upright: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Tell which characters a reader of the page can see: those outside of its crop box aren't."""
    middle = (glyphs.places[:, :2] + glyphs.places[:, 2:]) / 2
    limit = 10 * np.array(size)
    inside = (middle >= 0) & (middle <= limit)
    seen: NDArray[np.bool_] = inside[:, 0] & inside[:, 1]
    x, y = ctypes.c_double(), ctypes.c_double()
    for index in np.flatnonzero(~seen):
        # The boxes of a replacement text (/ActualText) run away from its glyphs; where those
        # start is right.
        if pdfium_c.FPDFText_GetCharOrigin(text_page, glyphs.indices[index], x, y):
            origin = np.array([x.value, y.value]) @ upright[:2] + upright[2]
            seen[index] = bool(((origin >= 0) & (origin <= limit)).all())
    return seen


def _split(
    text: str, places: NDArray[np.float64], ink: NDArray[np.intp], height: float
) -> list[NDArray[np.intp]]:
    """Split a line where there is nothing over a wide gap, whatever the order of its glyphs."""
    left, right = places[ink, 0], places[ink, 2]
    apart = np.maximum(left[1:] - right[:-1], left[:-1] - right[1:]) > WIDE_GAP * height
    if not apart.any():
        return [ink]
    # PDFium goes on with a line in another column, or below, if that is less than a line lower.
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
    # Left to right, unless letters say otherwise: beside Arabic, PDFium turns Latin words around.
    return [
        ink[np.sort(group) if is_right_to_left(text[i] for i in ink[group]) else group]
        for group in np.split(by_left, cuts)
    ]


def _piece(glyphs: _Glyphs, ink: NDArray[np.intp], height: float, bold: bool, order: int) -> Piece:
    places = glyphs.places[ink]
    text, boxes = _without_leaders(*_spaced(glyphs, ink, height))
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


def _without_leaders(text: str, boxes: NDArray[np.int16]) -> tuple[str, NDArray[np.int16]]:
    """Leave the rows of dots out that lead the eye from a title to its page number."""
    if not _LEADER.search(text):
        return text, boxes
    parts: list[str] = []
    kept: list[NDArray[np.int16]] = []
    done = 0
    for match in _LEADER.finditer(text):
        start, end = match.span()
        parts.append(text[done:start])
        kept.append(boxes[done:start])
        if start > 0 and end < len(text):
            parts.append(" ")
            kept.append(np.zeros((1, 4), dtype="<i2"))
        done = end
    return "".join([*parts, text[done:]]), np.concatenate([*kept, boxes[done:]])


def _spaced(glyphs: _Glyphs, ink: NDArray[np.intp], height: float) -> tuple[str, NDArray[np.int16]]:
    """Return the text of some glyphs with one space where there are any or a gap shows one."""
    first, stop = int(ink[0]), int(ink[-1]) + 1
    text = glyphs.text[first:stop]
    steps = np.diff(ink)
    places = glyphs.places[ink]
    apart = np.maximum(places[1:, 0] - places[:-1, 2], places[:-1, 0] - places[1:, 2])
    usual = max(0.0, median(apart)) if len(apart) else 0.0  # of letters set apart
    is_space = steps > 1
    is_lost = ~is_space & (apart > usual + _LOST_SPACE * height)
    is_plain = text.isascii() and _ACCENTS.keys().isdisjoint(text)
    if is_plain and not is_lost.any() and (steps <= 2).all():
        return text.replace("\t", " "), glyphs.boxes[first:stop]
    indices = _logical(glyphs, ink.tolist())
    parts = [glyphs.text[indices[0]]]
    kept = [indices[0]]
    for number, after in enumerate(indices[1:]):
        if is_space[number]:
            parts.append(" ")
            kept.append(int(ink[number]) + 1)
        elif is_lost[number] and not (_is_wide(parts[-1]) or _is_wide(glyphs.text[after])):
            parts.append(" ")
            kept.append(-1)
        parts.append(glyphs.text[after])
        kept.append(after)
    boxes = glyphs.boxes[kept]
    boxes[np.array(kept) < 0] = 0
    if not _ACCENTS.keys().isdisjoint(parts):
        return _accented(parts, boxes)
    return "".join(parts), boxes


def _accented(parts: list[str], boxes: NDArray[np.int16]) -> tuple[str, NDArray[np.int16]]:
    """Put accents that are drawn over a letter, as TeX does, into that letter."""
    text = list(parts)
    kept = [box for box in boxes]
    index = 0
    while index < len(text):
        if text[index] in _ACCENTS:
            for place in (index - 1, index + 1):
                if 0 <= place < len(text) and _is_over(kept[index], kept[place]):
                    letter = {"\u0131": "i", "\u0237": "j"}.get(text[place], text[place])
                    whole = unicodedata.normalize("NFC", letter + _ACCENTS[text[index]])
                    if letter.isalpha() and len(whole) == 1:
                        text[place] = whole
                        kept[place] = _union(kept[place], kept[index])
                        del text[index], kept[index]
                        index -= 1
                        break
        index += 1
    return "".join(text), np.array(kept, dtype="<i2")


def _is_over(accent: NDArray[np.int16], letter: NDArray[np.int16]) -> bool:
    middle = (int(accent[0]) + int(accent[2])) / 2
    return bool(
        letter[0] < middle < letter[2] and max(accent[1], letter[1]) < min(accent[3], letter[3])
    )


def _union(first: NDArray[np.int16], second: NDArray[np.int16]) -> NDArray[np.int16]:
    return np.concatenate([np.minimum(first[:2], second[:2]), np.maximum(first[2:], second[2:])])


def _is_wide(character: str) -> bool:
    """Tell whether a character is of a script that is written without spaces."""
    return character >= "\u2e80" and unicodedata.east_asian_width(character) in "WF"


def _logical(glyphs: _Glyphs, indices: list[int]) -> list[int]:
    """Put the letters of right-to-left ligatures in order.

    PDFium turns a right-to-left line around character by character. Of a glyph that stands for
    several letters it turns these around too, unless its meaning was one presentation form.
    """
    text, places = glyphs.text, glyphs.places
    if not any(text[index] >= "\u0590" for index in indices):
        return indices
    ordered: list[int] = []
    for place, group in groupby(indices, key=lambda index: tuple(places[index].tolist())):
        letters = list(group)
        word = "".join(text[index] for index in letters)
        if (
            len(letters) > 1
            and place[0] < place[2]
            and unicodedata.bidirectional(word[0]) in ("R", "AL", "NSM")
            and word not in _presentation_forms()
        ):
            letters.reverse()
        ordered += letters
    return ordered


@cache
def _presentation_forms() -> frozenset[str]:
    """Return the spellings of the Hebrew and Arabic ligatures that are single characters."""
    forms = (*range(0xFB1D, 0xFE00), *range(0xFE70, 0xFEFD))
    spelt = (unicodedata.normalize("NFKC", chr(code)).strip() for code in forms)
    return frozenset(word for word in spelt if len(word) > 1)


def _turned_line(glyphs: _Glyphs, ink: NDArray[np.intp]) -> Line:
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


def _is_upright(text_page: Any, index: int, turns: int) -> bool:  # noqa: ANN401
    angle: float = pdfium_c.FPDFText_GetCharAngle(text_page, index) + turns * math.pi / 2
    return abs((angle + math.pi) % (2 * math.pi) - math.pi) < _UPRIGHT


def _is_bold(text_page: Any, index: int) -> bool:  # noqa: ANN401
    name = ctypes.create_string_buffer(128)
    pdfium_c.FPDFText_GetFontInfo(text_page, index, name, len(name), None)
    if name.value:
        return _BOLD.search(name.value) is not None
    # Where a font doesn't say, PDFium guesses, and takes some regular ones for bold.
    weight: int = pdfium_c.FPDFText_GetFontWeight(text_page, index)
    return weight >= _BOLD_WEIGHT


def _is_invisible(text_page: Any, index: int) -> bool:  # noqa: ANN401
    drawn = pdfium_c.FPDFText_GetTextObject(text_page, index)
    invisible = pdfium_c.FPDF_TEXTRENDERMODE_INVISIBLE
    return bool(drawn and pdfium_c.FPDFTextObj_GetTextRenderMode(drawn) == invisible)


def _not_doubled(hidden: list[Piece], seen: list[Piece]) -> list[Piece]:
    """Return the invisible text, as of a scan, under which no visible text stands."""
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


# -- fields, notes, alternative texts ----------------------------------------------------------


class _Place(NamedTuple):
    """How to place what isn't drawn as text."""

    shown: NDArray[np.float64]
    upright: NDArray[np.float64]
    order: int  # after everything that is drawn

    def piece(self, text: str, corner: Rectangle, *, label: str = "", field: bool) -> Piece:
        """Return text all of whose characters stand in one rectangle."""
        rectangles = np.array([corner])
        left, top, right, bottom = _placed(rectangles, self.upright)[0].tolist()
        boxes = np.repeat(stored_boxes(rectangles, self.shown), len(text), axis=0)
        return Piece(
            text,
            boxes,
            left,
            top,
            right,
            bottom,
            bottom - top,
            self.order,
            label=label,
            is_field=field,
        )


def _read_annotations(
    pdf: Any,  # noqa: ANN401
    page: Any,  # noqa: ANN401
    place: _Place,
) -> tuple[list[Piece], list[Piece]]:
    """Return what fields and text boxes hold, and the other notes."""
    fields: list[Piece] = []
    notes: list[Piece] = []
    rectangle = pdfium_c.FS_RECTF()
    count = pdfium_c.FPDFPage_GetAnnotCount(page)
    for index in range(min(count, _MAX_ANNOTATIONS)):
        annotation = pdfium_c.FPDFPage_GetAnnot(page, index)
        if not annotation:
            continue
        try:
            kind = pdfium_c.FPDFAnnot_GetSubtype(annotation)
            if pdfium_c.FPDFAnnot_GetFlags(annotation) & _HIDDEN:
                continue
            label = ""
            if kind == pdfium_c.FPDF_ANNOT_WIDGET:
                text, label = _field(pdf.formenv, annotation)
            elif kind in _WITHOUT_NOTE:
                continue
            else:
                text = _string(_contents, annotation)
            if not text or not pdfium_c.FPDFAnnot_GetRect(annotation, rectangle):
                continue
            corner = (rectangle.left, rectangle.bottom, rectangle.right, rectangle.top)
            in_text = kind in (pdfium_c.FPDF_ANNOT_WIDGET, pdfium_c.FPDF_ANNOT_FREETEXT)
            is_field = kind == pdfium_c.FPDF_ANNOT_WIDGET
            piece = place.piece(text, corner, label=label, field=is_field)
            (fields if in_text else notes).append(piece)
        finally:
            pdfium_c.FPDFPage_CloseAnnot(annotation)
    return fields, notes


def _contents(annotation: Any, buffer: Any, size: int) -> int:  # noqa: ANN401
    length: int = pdfium_c.FPDFAnnot_GetStringValue(annotation, b"Contents", buffer, size)
    return length


def _field(form: Any, annotation: Any) -> tuple[str, str]:  # noqa: ANN401
    """Return what a form field shows, and what it is called for those who can't see it."""
    if form is None:
        return "", ""
    kind = pdfium_c.FPDFAnnot_GetFormFieldType(form, annotation)
    text = ""
    if kind in _MARKS:
        text = "[x]" if pdfium_c.FPDFAnnot_IsChecked(form, annotation) else "[ ]"
    elif kind in _VALUES:
        flags = pdfium_c.FPDFAnnot_GetFormFieldFlags(form, annotation)
        is_password = (
            kind == pdfium_c.FPDF_FORMFIELD_TEXTFIELD
            and flags & pdfium_c.FPDF_FORMFLAG_TEXT_PASSWORD
        )
        if not is_password:
            text = _string(pdfium_c.FPDFAnnot_GetFormFieldValue, form, annotation)
    if not text:
        return "", ""
    return text, _string(pdfium_c.FPDFAnnot_GetFormFieldAlternateName, form, annotation).rstrip(
        ": "
    )


def _string(read: Callable[..., int], *arguments: Any) -> str:  # noqa: ANN401
    """Return a string that PDFium writes as UTF-16 into a buffer, its white space collapsed."""
    size = read(*arguments, None, 0)
    if not 2 < size <= 2 * _MAX_VALUE:
        return ""
    buffer = ctypes.create_string_buffer(size)
    read(*arguments, ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), size)
    text = buffer.raw[: size - 2].decode("utf-16-le", "replace")
    return " ".join(text.replace("\0", " ").split())


def _read_alternatives(pdf: Any, page: Any, place: _Place) -> list[Piece]:  # noqa: ANN401
    """Return the alternative texts of a tagged page's figures."""
    if not pdfium_c.FPDFCatalog_IsTagged(pdf):
        return []
    tree = pdfium_c.FPDF_StructTree_GetForPage(page)
    if not tree:
        return []
    try:
        found = {}
        for element in _elements(tree):
            text = _string(pdfium_c.FPDF_StructElement_GetAltText, element)
            if text:
                found[pdfium_c.FPDF_StructElement_GetMarkedContentID(element)] = text
        if not found:
            return []
        corners = _marked_content(page, set(found))
        return [
            place.piece(text, corners.get(mark, (0.0, 0.0, 0.0, 0.0)), field=False)
            for mark, text in found.items()
        ]
    finally:
        pdfium_c.FPDF_StructTree_Close(tree)


def _elements(tree: Any) -> Iterator[Any]:  # noqa: ANN401
    waiting = [
        pdfium_c.FPDF_StructTree_GetChildAtIndex(tree, index)
        for index in range(min(pdfium_c.FPDF_StructTree_CountChildren(tree), _MAX_ELEMENTS))
    ][::-1]
    for _ in range(_MAX_ELEMENTS):
        if not waiting:
            return
        element = waiting.pop()
        if not element:
            continue
        yield element
        count = min(pdfium_c.FPDF_StructElement_CountChildren(element), _MAX_ELEMENTS)
        waiting += [
            pdfium_c.FPDF_StructElement_GetChildAtIndex(element, index)
            for index in reversed(range(count))
        ]


def _marked_content(page: Any, marks: set[int]) -> dict[int, Rectangle]:  # noqa: ANN401
    """Return where marked content stands on a page."""
    corners: dict[int, Rectangle] = {}
    edges = [ctypes.c_float() for _ in range(4)]
    for index in range(min(pdfium_c.FPDFPage_CountObjects(page), _MAX_OBJECTS)):
        drawn = pdfium_c.FPDFPage_GetObject(page, index)
        mark = pdfium_c.FPDFPageObj_GetMarkedContentID(drawn)
        if mark in marks and pdfium_c.FPDFPageObj_GetBounds(drawn, *edges):
            left, bottom, right, top = (edge.value for edge in edges)
            if mark in corners:
                other = corners[mark]
                left, bottom = min(left, other[0]), min(bottom, other[1])
                right, top = max(right, other[2]), max(top, other[3])
            corners[mark] = (left, bottom, right, top)
    return corners
