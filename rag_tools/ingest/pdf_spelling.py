"""What the characters on a line of a PDF spell: spaces, accents, right-to-left ligatures."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from rag_tools.ingest.pdf_glyphs import Glyphs
from rag_tools.ingest.pdf_pieces import median

_LOST_SPACE = 0.24  # share of a line's height from which a gap stands for a missing space

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


def without_leaders(text: str, boxes: NDArray[np.int16]) -> tuple[str, NDArray[np.int16]]:
    """Leave out the rows of dots that lead the eye from a title to its page number."""
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


def spaced(glyphs: Glyphs, ink: NDArray[np.intp], height: float) -> tuple[str, NDArray[np.int16]]:
    """Return the text of some glyphs with one space where there are spaces, or a wide gap."""
    first, stop = int(ink[0]), int(ink[-1]) + 1
    text = glyphs.text[first:stop]
    steps = np.diff(ink)
    places = glyphs.places[ink]
    apart = np.maximum(places[1:, 0] - places[:-1, 2], places[:-1, 0] - places[1:, 2])
    usual = max(0.0, median(apart)) if len(apart) else 0.0  # of letters that are set apart
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
    """Join accents that are drawn over a letter, as TeX draws them, with that letter."""
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


def _logical(glyphs: Glyphs, indices: list[int]) -> list[int]:
    """Put the letters of right-to-left ligatures in order.

    PDFium reverses a right-to-left line character by character. It also reverses the letters of a
    ligature, unless the ligature is mapped to a single presentation form.
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
