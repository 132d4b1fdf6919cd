"""Scanned pages of a PDF: the pictures on a page whose text has to be recognised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pypdfium2.raw as pdfium_c
from numpy.typing import NDArray

from rag_tools.ingest.extras import recognises_text
from rag_tools.ingest.ocr import Recognised, read_picture
from rag_tools.ingest.pdf_pieces import Piece

_LEAST_SHARE = 0.2  # of the page that a picture covers; smaller ones are logos and figures
_MOST_CHARACTERS = 200  # on a picture; more are its text, printed over it or recognised before
_SCALE = 200 / 72  # pixels per point
_MOST_PIXELS = 5000  # a side
_DEEPEST = 5  # forms inside of forms


def read_scan(
    page: Any,  # noqa: ANN401 - pypdfium2 is untyped
    pieces: list[Piece],
    upright: NDArray[np.float64],
    shown: NDArray[np.float64],
) -> list[Recognised]:
    """Return the text that is recognised in the large pictures of a page.

    Nothing without the extra ``[ocr]``, or if the pictures have a text already.

    Parameters
    ----------
    page
        Turned so that its text is upright.
    pieces
        The text that the page has.
    upright, shown
        Page coordinates and 1 → tenths of a point from the top left corner of the page as it is
        turned, and as it is shown.
    """
    if not recognises_text():
        return []
    width, height = page.get_size()
    areas = [_placed(each, upright) for each in _pictures(page)]
    areas = [
        area
        for area in areas
        if _size(area) >= _LEAST_SHARE * 100 * width * height
        and sum(len(piece.text) for piece in pieces if _holds(area, piece)) <= _MOST_CHARACTERS
    ]
    if not areas:
        return []
    scale = min(_SCALE, _MOST_PIXELS / max(width, height))
    picture = page.render(scale=scale).to_numpy()[:, :, :3]
    # Pixels → tenths of a point on the turned page → page coordinates → the page as it is shown.
    tenths = np.array([[10 / scale, 0], [0, 10 / scale], [0, 0]])
    back = np.linalg.inv(np.c_[upright, (0, 0, 1)])
    on_page = np.c_[tenths, (0, 0, 1)] @ back
    found = read_picture(np.ascontiguousarray(picture[:, :, ::-1]), tenths, on_page @ shown)
    return [
        each
        for each in found
        if any(_holds(area, each.piece) for area in areas)
        and not any(_covers(piece, each.piece) for piece in pieces)
    ]


def _pictures(page: Any) -> list[tuple[float, float, float, float]]:  # noqa: ANN401
    objects = page.get_objects([pdfium_c.FPDF_PAGEOBJ_IMAGE], max_depth=_DEEPEST)
    found = []
    for each in objects:
        try:
            found.append(tuple(map(float, each.get_bounds())))
        except Exception:  # a damaged picture isn't drawn either
            continue
    return found  # type: ignore[return-value]


def _placed(
    bounds: tuple[float, float, float, float], upright: NDArray[np.float64]
) -> tuple[float, float, float, float]:
    left, bottom, right, top = bounds
    corners = np.array([(left, bottom, 1), (right, top, 1)]) @ upright
    (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def _size(area: tuple[float, float, float, float]) -> float:
    return max(0.0, area[2] - area[0]) * max(0.0, area[3] - area[1])


def _holds(area: tuple[float, float, float, float], piece: Piece) -> bool:
    x, y = (piece.left + piece.right) / 2, (piece.top + piece.bottom) / 2
    return area[0] <= x <= area[2] and area[1] <= y <= area[3]


def _covers(piece: Piece, other: Piece) -> bool:
    """Tell whether a piece is where most of another is."""
    width = min(piece.right, other.right) - max(piece.left, other.left)
    height = min(piece.bottom, other.bottom) - max(piece.top, other.top)
    size = (other.right - other.left) * (other.bottom - other.top)
    return max(width, 0.0) * max(height, 0.0) > 0.3 * size
