"""What citing derives of a whole document, once, so that the work for a quote is that of the quote.

These are where its lines start, its words as a browser's search compares them, and the boxes of its
characters. Each is kept for the documents that were cited last.
"""

from __future__ import annotations

import zlib
from array import array
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import wraps
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_Whole = TypeVar("_Whole", bound=Hashable)
_Derived = TypeVar("_Derived")

# Characters of the documents for which each is kept: those of twenty books, or of one larger text.
_KEPT_TEXT = 16 * 1024 * 1024
_KEPT_BOXES = 10 * 1024 * 1024  # 8 bytes each

# A term is unique if one of its windows is. Of windows of 16 characters, 17 in a row are looked up
# at most; in 1,000,000 characters of English, 0.1 % of the sentences need a search all the same.
_WINDOW = 16
_LOOKED_UP = 17
_MOST_BITS = 24  # of the number of a counter
_HASHED_TOGETHER = 4 * 1024 * 1024  # characters
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, its bits well mixed (the golden ratio)


def _kept(
    characters: int, size: Callable[[Any], int]
) -> Callable[[Callable[[_Whole], _Derived]], Callable[[_Whole], _Derived]]:
    """Have a function's last results kept, by what they were derived of.

    Parameters
    ----------
    characters
        Sum of the sizes of what is kept, not counting the last result.
    size
        Returns the characters of the document of a result.
    """

    def decorate(derive: Callable[[_Whole], _Derived]) -> Callable[[_Whole], _Derived]:
        known: OrderedDict[_Whole, _Derived] = OrderedDict()
        lock = Lock()
        total = 0

        @wraps(derive)
        def derived(whole: _Whole) -> _Derived:
            nonlocal total
            with lock:
                if whole in known:
                    known.move_to_end(whole)
                    return known[whole]
            found = derive(whole)
            with lock:
                if whole not in known:  # another thread may have been faster
                    known[whole] = found
                    total += size(found)
                while total > characters and len(known) > 1:
                    total -= size(known.popitem(last=False)[1])
            return found

        return derived

    return decorate


class Lines:
    """Where the lines of a text start."""

    def __init__(self, text: str) -> None:
        self.characters = len(text)
        # A regular expression over every line takes a tenth of a search's time; this, a hundredth.
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        ends = codes == ord("\n")
        returns = np.flatnonzero(codes == ord("\r"))
        # The line feed after it, if there is one, ends the line.
        ends[returns] = np.append(codes, 0)[returns + 1] != ord("\n")
        self.starts = array("q", [0, *(np.flatnonzero(ends) + 1).tolist()])


class Searchable:
    """A text as a browser's search compares it, which tells what stands in it twice.

    Hashes of all its windows of characters are counted. A count of one proves that the window, and
    each term that holds it, stands in the text once at most.
    """

    def __init__(self, text: str) -> None:
        self.characters = len(text)
        self._text = folded(text)
        bits = min(max(len(self._text).bit_length() + 1, 10), _MOST_BITS)
        self._shift = np.uint64(64 - bits)
        self._counts = np.zeros(1 << bits, np.uint8)  # two stands for more
        for start in range(0, len(self._text), _HASHED_TOGETHER):
            windows = self._windows(self._text[start : start + _HASHED_TOGETHER + _WINDOW - 1])
            found = np.minimum(np.bincount(windows, minlength=1 << bits), 2)
            self._counts = np.minimum(self._counts + found.astype(np.uint8), 2)

    def repeats(self, term: str) -> bool:
        """Tell whether a term, folded, stands in the text more than once.

        O(length of the term) where one of its windows is unique, else O(length of the text).
        """
        if (self._counts[self._windows(term[: _WINDOW + _LOOKED_UP - 1])] == 1).any():
            return False
        first = self._text.find(term)
        return self._text.find(term, first + 1) >= 0

    def _windows(self, text: str) -> NDArray[np.int64]:
        """Return the number of the counter of every window of a text."""
        return (_hashes(text) >> self._shift).astype(np.int64)


def folded(text: str) -> str:
    """Return the text as find-in-page compares it: without case, white space collapsed."""
    return " ".join(text.casefold().split())


def _hashes(text: str) -> NDArray[np.uint64]:
    """Return a hash of every window of a text: ``(len(text) - 15,)`` uint64, if it is as long."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    hashes = codes.astype(np.uint64)
    length, factor = 1, _MULTIPLIER
    with np.errstate(over="ignore"):
        while length < _WINDOW:  # of two windows, one twice as long
            hashes = hashes[:-length] * factor + hashes[length:]
            length, factor = 2 * length, factor * factor
        return hashes * _MULTIPLIER


@_kept(_KEPT_TEXT, lambda lines: lines.characters)
def lines(text: str) -> Lines:
    """Return where the lines of a text start: O(its length) for a text not cited lately."""
    return Lines(text)


@_kept(_KEPT_TEXT, lambda page: page.characters)
def searchable(text: str) -> Searchable:
    """Return a text as it is searched: O(its length) for a text not cited lately."""
    return Searchable(text)


@_kept(_KEPT_BOXES, len)
def character_boxes(packed: bytes) -> NDArray[np.int16]:
    """Return the boxes of `SourceMap`, ``(len(text), 4)``, tenths of a point; kept likewise."""
    boxes: NDArray[np.int16] = np.frombuffer(zlib.decompress(packed), dtype="<i2").reshape(-1, 4)
    return boxes
