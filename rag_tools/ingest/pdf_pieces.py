"""The parts that a PDF page is put together from: pieces of text, and the lines made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LARGER = 1.15
"""Letters that are this many times as high as the usual ones are those of a title."""

MORE_THAN_USUAL = 1 / 3
"""A gap between lines that is larger than the usual one by this share of a line sets them apart."""


@dataclass(slots=True, frozen=True, eq=False)
class Piece:
    """Text that stands together on a page: a line, or what of it is in one column or cell.

    Attributes
    ----------
    text
        In logical order.
    boxes
        Shape (len(text), 4), int16: of the characters, as in `rag_tools.types.SourceMap`.
    left, top, right, bottom
        Extent in tenths of a point on the page turned so that its text is upright.
    height
        Of a usual character.
    order
        Place in the order in which the page is drawn.
    bold
        Whether the font is.
    label
        What the text is the value of, if that doesn't stand beside it.
    is_field
        Whether it is the value of a form field.
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
    """A line of text as it is read; extents as of `Piece`.

    `column` counts the columns of the page; a table's row has all of its cells.
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
    """Return the middle value, the upper of two; several times faster than NumPy's."""
    middle = len(values) // 2
    return float(np.partition(values, middle)[middle])
