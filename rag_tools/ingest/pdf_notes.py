"""What a PDF page holds beside its drawn text: form values, notes, alternative texts."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pypdfium2.raw as pdfium_c
from numpy.typing import NDArray

from rag_tools.ingest.pdf_glyphs import Rectangle, placed, stored_boxes
from rag_tools.ingest.pdf_pieces import Piece

_MAX_ANNOTATIONS = 10_000  # annotations of a page
_MAX_ELEMENTS = 10_000  # elements of a page's structure
_MAX_OBJECTS = 100_000  # objects of a page among which those of a figure are searched for
_MAX_VALUE = 100_000  # characters of a value or a note

_HIDDEN = pdfium_c.FPDF_ANNOT_FLAG_HIDDEN | pdfium_c.FPDF_ANNOT_FLAG_NOVIEW
# Links and pop-ups repeat other text; widgets are form fields.
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


class Placing(NamedTuple):
    """Makes pieces of what isn't drawn as text."""

    shown: NDArray[np.float64]
    upright: NDArray[np.float64]
    order: int  # higher than that of everything that is drawn

    def piece(self, text: str, corner: Rectangle, *, label: str = "", field: bool) -> Piece:
        """Return a piece of text that has one rectangle for all of its characters."""
        rectangles = np.array([corner])
        left, top, right, bottom = placed(rectangles, self.upright)[0].tolist()
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


def read_annotations(
    pdf: Any,  # noqa: ANN401
    page: Any,  # noqa: ANN401
    place: Placing,
) -> tuple[list[Piece], list[Piece]]:
    """Return the text of form fields and text boxes, and that of other notes."""
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
                text = read_string(_contents, annotation)
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
    """Return the value that a form field shows, and its label for screen readers."""
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
            text = read_string(pdfium_c.FPDFAnnot_GetFormFieldValue, form, annotation)
    if not text:
        return "", ""
    return text, read_string(pdfium_c.FPDFAnnot_GetFormFieldAlternateName, form, annotation).rstrip(
        ": "
    )


def read_string(read: Callable[..., int], *arguments: Any) -> str:  # noqa: ANN401
    """Return a string that PDFium writes into a buffer as UTF-16, with white space collapsed."""
    size = read(*arguments, None, 0)
    if not 2 < size <= 2 * _MAX_VALUE:
        return ""
    buffer = ctypes.create_string_buffer(size)
    read(*arguments, ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), size)
    text = buffer.raw[: size - 2].decode("utf-16-le", "replace")
    return " ".join(text.replace("\0", " ").split())


def read_alternatives(pdf: Any, page: Any, place: Placing) -> list[Piece]:  # noqa: ANN401
    """Return the alternative texts of a tagged page's figures."""
    if not pdfium_c.FPDFCatalog_IsTagged(pdf):
        return []
    tree = pdfium_c.FPDF_StructTree_GetForPage(page)
    if not tree:
        return []
    try:
        found = {}
        for element in _elements(tree):
            text = read_string(pdfium_c.FPDF_StructElement_GetAltText, element)
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
    """Return the rectangles of marked content on a page."""
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
