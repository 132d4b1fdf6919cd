"""The parts of a PDF page: pieces of text, and the lines that are made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LARGER = 1.15
"""Letters that are this many times as high as the usual ones are those of a title."""

MORE_THAN_USUAL = 1 / 3
"""Share of a line by which a gap exceeds the usual one if it separates paragraphs."""


@dataclass(slots=True, frozen=True, eq=False)
class Piece:
    """Text that is contiguous on a page: a line, or the part of it in one column or cell.

    Attributes
    ----------
    text
        The text in logical order.
    boxes
        Boxes of its characters, shape (len(text), 4), int16, as in `rag_tools.types.SourceMap`.
    left, top, right, bottom
        Extent in tenths of a point on the page turned so that its text is upright.
    height
        Height of a usual character.
    order
        Position in the order in which the page is drawn.
    bold
        Whether the font is bold.
    label
        Label of the form field whose value the text is, in case none is printed beside it.
    is_field
        Whether the text is the value of a form field.
    """

    text: str
    boxes: NDArray[np.int16]
    left: float
    top: float
    right: float
    bottom: float
    height: float
    order: int
    bold: bool = False
    label: str = ""
    is_field: bool = False


class Line(NamedTuple):
    """A line of text as it is read, with extents as in `Piece`.

    `column` is the number of its column on the page. A row of a table holds all of its cells.
    """

    text: str
    boxes: NDArray[np.int16]
    left: float
    top: float
    right: float
    bottom: float
    height: float
    bold: bool
    column: int
    is_row: bool


def median(values: NDArray[np.float64]) -> float:
    """Return the median, the upper one of two; this is several times faster than NumPy's."""
    middle = len(values) // 2
    return float(np.partition(values, middle)[middle])
