"""Text in pictures, recognised by RapidOCR (PP-OCR on ONNX Runtime): the extra ``[ocr]``.

The models are in the wheel of RapidOCR; nothing is downloaded.
"""

from __future__ import annotations

import logging
import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_tools.ingest.pdf_pieces import Piece, median

_LEAST_CONFIDENCE = 0.5
_LETTERS = 0.7  # share of the height of a line's box that a usual letter has


class Recognised(NamedTuple):
    """A line of recognised text as a piece of its page, with the confidence from 0 to 1."""

    piece: Piece
    confidence: float


def read_picture(
    picture: NDArray[np.uint8], upright: NDArray[np.float64], shown: NDArray[np.float64]
) -> list[Recognised]:
    """Return the lines of text in a picture.

    Parameters
    ----------
    picture
        ``(height, width, 3)`` RGB.
    upright, shown
        Matrices of shape (3, 2): coordinates of the picture and 1 → tenths of a point from the top
        left corner of the page turned so that its text is upright, and of the page as it is shown.
    """
    # Whether a line stands on its head isn't asked: of noisy lines, the answer is often wrong.
    answer = _engine()(picture[:, :, ::-1], use_cls=False, return_word_box=True)
    if answer.txts is None or answer.boxes is None:
        return []
    quads = np.asarray(answer.boxes, dtype=np.float64)  # (n, 4 corners, 2)
    level = _turned(-_skew(quads), upright)
    found: list[Recognised] = []
    words = answer.word_results or [()] * len(answer.txts)
    for quad, text, confidence, parts in zip(quads, answer.txts, answer.scores, words, strict=True):
        text = " ".join(text.split())
        if not text or confidence < _LEAST_CONFIDENCE:
            continue
        boxes = _boxes(text, quad, parts, shown)
        left, top, right, bottom = _extent(quad, level)
        piece = Piece(text, boxes, left, top, right, bottom, _LETTERS * (bottom - top), len(found))
        found.append(Recognised(piece, float(confidence)))
    return found


@cache
def _engine() -> Any:  # noqa: ANN401 - RapidOCR has no types
    from rapidocr import RapidOCR

    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    return RapidOCR(params={"Global.log_level": "error"})


def _skew(quads: NDArray[np.float64]) -> float:
    """Return the angle of most lines to the horizontal, in radians; 0 if they don't agree."""
    tops = quads[:, 1] - quads[:, 0]
    long = tops[np.hypot(tops[:, 0], tops[:, 1]) >= median(np.hypot(tops[:, 0], tops[:, 1]))]
    angle = median(np.arctan2(long[:, 1], long[:, 0]))
    return angle if abs(angle) < math.pi / 8 else 0.0


def _turned(angle: float, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix that turns a picture before it does what `matrix` does."""
    cosine, sine = math.cos(angle), math.sin(angle)
    turn = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    return np.asarray(turn @ matrix)


def _boxes(
    text: str,
    quad: NDArray[np.float64],
    parts: Any,  # noqa: ANN401
    shown: NDArray[np.float64],
) -> NDArray[np.int16]:
    """Return the box of each character: words have boxes, and their characters share them."""
    boxes = np.zeros((len(text), 4), dtype="<i2")
    at = 0
    for word, _, corners in parts:
        start = text.find(word, at) if word else -1
        if start >= 0:
            at = start + len(word)
            _fill(boxes, start, at, np.asarray(corners, dtype=np.float64), shown)
    for start, end in _missing(text, boxes):
        part = _part(quad, start / len(text), end / len(text))
        _fill(boxes, start, end, part, shown)
    return boxes


def _missing(text: str, boxes: NDArray[np.int16]) -> list[tuple[int, int]]:
    """Return the runs of characters that have no box although they are drawn."""
    lacks = [not boxes[i].any() and not text[i].isspace() for i in range(len(text))]
    starts = [i for i in range(len(text)) if lacks[i] and (i == 0 or not lacks[i - 1])]
    ends = [
        i + 1 for i in range(len(text)) if lacks[i] and (i + 1 == len(text) or not lacks[i + 1])
    ]
    return list(zip(starts, ends, strict=True))


def _fill(
    boxes: NDArray[np.int16],
    start: int,
    end: int,
    corners: NDArray[np.float64],
    shown: NDArray[np.float64],
) -> None:
    """Give characters equal parts of a word's box, from its left to its right."""
    length = end - start
    for place in range(start, end):
        part = _part(corners, (place - start) / length, (place + 1 - start) / length)
        left, upper, right, lower = _extent(part, shown)
        boxes[place] = np.clip(
            (math.floor(left), math.floor(upper), math.ceil(right), math.ceil(lower)), 0, 32767
        )


def _part(corners: NDArray[np.float64], first: float, last: float) -> NDArray[np.float64]:
    """Return the corners of a part of a quadrangle, from and to shares of its width."""
    top, bottom = corners[1] - corners[0], corners[2] - corners[3]
    upper = (corners[0] + first * top, corners[0] + last * top)
    lower = (corners[3] + last * bottom, corners[3] + first * bottom)
    return np.array([*upper, *lower])


def _extent(
    corners: NDArray[np.float64], matrix: NDArray[np.float64]
) -> tuple[float, float, float, float]:
    placed = np.c_[corners, np.ones(len(corners))] @ matrix
    (left, top), (right, bottom) = placed.min(axis=0).tolist(), placed.max(axis=0).tolist()
    return left, top, right, bottom
