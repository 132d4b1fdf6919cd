"""The characters of a PDF page as PDFium gives them: code points, boxes, direction, weight."""

from __future__ import annotations

import ctypes
import math
import re
from typing import Any, NamedTuple

import numpy as np
import pypdfium2.raw as pdfium_c
from numpy.typing import NDArray

_UPRIGHT = math.radians(20)
_BOLD_WEIGHT = 600
_BOLD = re.compile(rb"bold|black|heavy|(?:^|\+)(?:cmbx|sfbx|lmbx)", re.IGNORECASE)
_HYPHEN = 2  # the code that PDFium gives a hyphen at the end of a line

Rectangle = tuple[float, float, float, float]  # left, bottom, right, top on the page


class Glyphs(NamedTuple):
    """Characters of a page in the order in which PDFium gives them, with line breaks."""

    text: str
    indices: list[int]  # of the characters in PDFium
    boxes: NDArray[np.int16]  # (n, 4), as they are stored
    places: NDArray[np.float64]  # (n, 4), in tenths of a point on the upright page


def read_glyphs(
    text_page: Any,  # noqa: ANN401
    shown: NDArray[np.float64],
    upright: NDArray[np.float64],
) -> Glyphs:
    """Return the characters of a page.

    Parameters
    ----------
    text_page
        A text page of pypdfium2.
    shown, upright
        Shape (3, 2): page coordinates and 1 → tenths of a point from the top left corner of the
        page as it is displayed, and of the page turned so that its text is upright.
    """
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
        # PDFium leaves out the line break after the first part of a hyphenated word.
        is_hyphen = code == _HYPHEN and pdfium_c.FPDFText_IsHyphen(raw, index) == 1
        if code in (0, 0xD):  # a character without a Unicode value, or the CR of a CR LF
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
    return Glyphs(
        "".join(characters), indices, stored_boxes(rectangles, shown), placed(rectangles, upright)
    )


def placed(rectangles: NDArray[np.float64], transform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rectangles, shape (n, 4), as left, top, right, bottom in tenths of a point."""
    first = rectangles[:, :2] @ transform[:2] + transform[2]
    second = rectangles[:, 2:] @ transform[:2] + transform[2]
    return np.hstack([np.minimum(first, second), np.maximum(first, second)])


def stored_boxes(
    rectangles: NDArray[np.float64], transform: NDArray[np.float64]
) -> NDArray[np.int16]:
    """Return rectangles on the page as boxes, shape (n, 4), all zero where there is no area."""
    places = placed(rectangles, transform)
    boxes = np.hstack([np.floor(places[:, :2]), np.ceil(places[:, 2:])])
    has_area = (rectangles[:, 0] != rectangles[:, 2]) & (rectangles[:, 1] != rectangles[:, 3])
    limits = np.iinfo(np.int16)  # 3,276.7 points; beyond them, only the text is kept
    fits = ((boxes >= limits.min) & (boxes <= limits.max)).all(axis=1)
    boxes[~(has_area & fits)] = 0
    return boxes.astype("<i2")


def on_page(
    text_page: Any,  # noqa: ANN401
    glyphs: Glyphs,
    size: tuple[float, float],
    upright: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Tell which characters a reader of the page can see: those inside its crop box."""
    middle = (glyphs.places[:, :2] + glyphs.places[:, 2:]) / 2
    limit = 10 * np.array(size)
    inside = (middle >= 0) & (middle <= limit)
    seen: NDArray[np.bool_] = inside[:, 0] & inside[:, 1]
    x, y = ctypes.c_double(), ctypes.c_double()
    for index in np.flatnonzero(~seen):
        # The boxes of a replacement text (/ActualText) are wrong, but the origins of its
        # characters are right.
        if pdfium_c.FPDFText_GetCharOrigin(text_page, glyphs.indices[index], x, y):
            origin = np.array([x.value, y.value]) @ upright[:2] + upright[2]
            seen[index] = bool(((origin >= 0) & (origin <= limit)).all())
    return seen


def is_upright(text_page: Any, index: int, turns: int) -> bool:  # noqa: ANN401
    """Tell whether a character is upright on a page that is turned by some quarter turns."""
    angle: float = pdfium_c.FPDFText_GetCharAngle(text_page, index) + turns * math.pi / 2
    return abs((angle + math.pi) % (2 * math.pi) - math.pi) < _UPRIGHT


def is_bold(text_page: Any, index: int) -> bool:  # noqa: ANN401
    """Tell by the name of a character's font, or else by its weight, whether it is bold."""
    name = ctypes.create_string_buffer(128)
    pdfium_c.FPDFText_GetFontInfo(text_page, index, name, len(name), None)
    if name.value:
        return _BOLD.search(name.value) is not None
    # If a font has no name, PDFium guesses its weight, and takes some regular fonts for bold.
    weight: int = pdfium_c.FPDFText_GetFontWeight(text_page, index)
    return weight >= _BOLD_WEIGHT


def is_invisible(text_page: Any, index: int) -> bool:  # noqa: ANN401
    """Tell whether a character is drawn invisibly, as programs that recognise scans do."""
    drawn = pdfium_c.FPDFText_GetTextObject(text_page, index)
    invisible = pdfium_c.FPDF_TEXTRENDERMODE_INVISIBLE
    return bool(drawn and pdfium_c.FPDFTextObj_GetTextRenderMode(drawn) == invisible)
