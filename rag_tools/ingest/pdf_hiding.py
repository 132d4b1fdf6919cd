"""Which characters of a PDF page no reader sees: white, transparent, tiny or drawn invisibly."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pypdfium2.raw as pdfium_c
from numpy.typing import NDArray

from rag_tools.ingest.pdf_glyphs import Glyphs, Rectangle, is_invisible
from rag_tools.types import Hidden

Box = tuple[int, int, int, int]

_NEAR_WHITE = 0xF3
_TINY = 12  # tenths of a point: the height of a character's box
_PAINTING = frozenset((pdfium_c.FPDF_PAGEOBJ_IMAGE, pdfium_c.FPDF_PAGEOBJ_SHADING))
_MAX_OBJECTS = 20_000  # of a page that are looked at


def unseen(page: Any, text_page: Any, glyphs: Glyphs) -> dict[Box, str]:  # noqa: ANN401
    """Return the boxes of the characters that no reader of a page sees, and why.

    The first character of each word is looked at. What is white counts as seen wherever something
    is painted that isn't white, and what is drawn invisibly wherever there is a picture, as in a
    scan whose text was recognised.
    """
    found: dict[Box, str] = {}
    painted = _Painted(page)
    how = ""
    starts_word = True
    heights = glyphs.places[:, 3] - glyphs.places[:, 1]
    for at, character in enumerate(glyphs.text):
        if character.isspace():
            starts_word = True
            continue
        if starts_word:
            how = _how(text_page, glyphs.indices[at], float(heights[at]), painted)
            starts_word = False
        if how:
            left, top, right, bottom = glyphs.boxes[at].tolist()
            found[left, top, right, bottom] = how
    return found


def hidden(
    text: str,
    boxes: NDArray[np.int16],
    ranges: Sequence[tuple[int, int]],
    pages: Sequence[dict[Box, str]],
) -> Iterator[Hidden]:
    """Yield the characters of a text that no reader sees, in order.

    Parameters
    ----------
    boxes
        ``(n, 4)``, of the characters.
    ranges
        Of the text of each page.
    pages
        What `unseen` returned for each page.
    """
    for (start, end), boxes_unseen in zip(ranges, pages, strict=True):
        if not boxes_unseen:
            continue
        for at in range(start, end):
            left, top, right, bottom = boxes[at].tolist()
            how = boxes_unseen.get((left, top, right, bottom))
            if how and not text[at].isspace():
                yield Hidden(at, at + 1, how)


def _how(text_page: Any, index: int, height: float, painted: _Painted) -> str:  # noqa: ANN401
    if 0 < height < _TINY:
        return "text too small to be seen"
    if is_invisible(text_page, index):
        return "" if painted.at(_middle(text_page, index), pictures=True) else "invisible text"
    channels = [ctypes.c_uint() for _ in range(4)]
    if not pdfium_c.FPDFText_GetFillColor(text_page, index, *channels):
        return ""
    *colour, opacity = (channel.value for channel in channels)
    if opacity == 0:
        return "transparent text"
    if min(colour) < _NEAR_WHITE or painted.at(_middle(text_page, index)):
        return ""
    return "text in the colour of its background"


def _middle(text_page: Any, index: int) -> tuple[float, float]:  # noqa: ANN401
    box = pdfium_c.FS_RECTF()
    if not pdfium_c.FPDFText_GetLooseCharBox(text_page, index, box):
        return 0.0, 0.0
    return (box.left + box.right) / 2, (box.bottom + box.top) / 2


class _Object(NamedTuple):
    """Something that is painted on a page: its rectangle, and whether it is a picture."""

    rectangle: Rectangle
    picture: bool


class _Painted:
    """What is painted on a page besides text, in other colours than white; listed when needed."""

    def __init__(self, page: Any) -> None:  # noqa: ANN401
        self._page = page
        self._objects: list[_Object] | None = None

    def at(self, place: tuple[float, float], *, pictures: bool = False) -> bool:
        """Tell whether something is painted at a place; `pictures`: a picture."""
        if self._objects is None:
            self._objects = list(self._list())
        x, y = place
        return any(
            left <= x <= right and bottom <= y <= top and (picture or not pictures)
            for (left, bottom, right, top), picture in self._objects
        )

    def _list(self) -> Iterator[_Object]:
        count = pdfium_c.FPDFPage_CountObjects(self._page)
        for index in range(min(count, _MAX_OBJECTS)):
            drawn = pdfium_c.FPDFPage_GetObject(self._page, index)
            if not (what := _paints(drawn)):
                continue
            sides = [ctypes.c_float() for _ in range(4)]
            if pdfium_c.FPDFPageObj_GetBounds(drawn, *sides):
                left, bottom, right, top = (side.value for side in sides)
                yield _Object((left, bottom, right, top), what == "picture")


def _paints(drawn: Any) -> str:  # noqa: ANN401
    """Return ``"picture"`` or ``"colour"`` for an object that paints, ``""`` for one that doesn't.

    Of a form, which is a page within the page, its rectangle counts if anything in it paints.
    """
    kind = pdfium_c.FPDFPageObj_GetType(drawn)
    if kind in _PAINTING:
        return "picture"
    if kind == pdfium_c.FPDF_PAGEOBJ_FORM:
        count = min(pdfium_c.FPDFFormObj_CountObjects(drawn), _MAX_OBJECTS)
        inner = {_paints(pdfium_c.FPDFFormObj_GetObject(drawn, index)) for index in range(count)}
        return "picture" if "picture" in inner else "colour" if "colour" in inner else ""
    if kind != pdfium_c.FPDF_PAGEOBJ_PATH:
        return ""
    fill, stroke = ctypes.c_int(), ctypes.c_int()
    if not pdfium_c.FPDFPath_GetDrawMode(drawn, fill, stroke) or not fill.value:
        return ""
    channels = [ctypes.c_uint() for _ in range(4)]
    if not pdfium_c.FPDFPageObj_GetFillColor(drawn, *channels):
        return "colour"  # a pattern
    *colour, opacity = (channel.value for channel in channels)
    return "colour" if opacity and min(colour) < _NEAR_WHITE else ""
