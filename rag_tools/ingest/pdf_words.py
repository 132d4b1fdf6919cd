"""Tells words that a line end of a PDF divides from compounds that have a hyphen of their own."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import numpy as np

from rag_tools.ingest.pdf_pieces import Line

_HYPHENS = "-\u2010\u00ad"

_WORD = re.compile(r"[^\W\d_]+")
_HYPHENATED = re.compile(r"[^\W\d_]+(?:[-\u2010][^\W\d_]+)+")
# "pre- and postwar": the hyphen stands for the part that both words share.
_SHARED = frozenset(
    ("and", "or", "und", "oder", "bis", "sowie", "bzw", "et", "ou", "y", "e", "o", "en")
)
# First parts that keep their hyphen, unless the document spells the word without it.
_KEEPS_HYPHEN = frozenset(
    (
        "all",
        "cross",
        "ex",
        "half",
        "high",
        "long",
        "low",
        "mid",
        "non",
        "quasi",
        "self",
        "semi",
        "well",
    )
)
_SHORTEST_PART = 3


def is_hyphen_end(text: str) -> bool:
    """Tell whether a line ends with a hyphen after a letter or a digit."""
    return len(text) > 1 and text[-1] in _HYPHENS and text[-2].isalnum()


class DividedWords:
    """Tells which lines end inside a word, and whether the word has a hyphen there."""

    def __init__(self, lines: list[Line], opens: list[bool]) -> None:
        self._lines = lines
        self._ends = [
            not opens[index] and _divide_word(before, after)
            for index, (before, after) in enumerate(pairwise(lines), 1)
        ]
        self._words: Counter[str] | None = None

    def goes_on(self, index: int) -> bool:
        """Tell whether a word continues from a line to the next."""
        return 0 <= index < len(self._ends) and self._ends[index]

    def keeps_hyphen(self, index: int) -> bool:
        """Tell whether the word has a hyphen of its own.

        The spelling elsewhere in the document decides. If there is none, a hyphen between
        lower-case letters is taken for one that only the line end put there.
        """
        before, after = self._lines[index].text, self._lines[index + 1].text
        if before[-1] == "\u00ad":
            return False
        first = before[:-1].rpartition(" ")[2]
        end = _WORD.match(after)
        if end is None or not first[-1:].isalpha():
            return True
        second = end.group()
        parts = re.split(r"[^\w]+", first)
        last = parts[-1]
        if re.search(r"[/@_.\d]", first.strip("\"'([{«“‘")):
            return True  # an address, an identifier
        is_plain = second.islower() or (last.isupper() and second.isupper() and len(last) > 1)
        if not is_plain:
            return True
        words = self._vocabulary()
        joined, hyphenated = (last + second).lower(), f"{last}-{second}".lower()
        if words[joined] or words[hyphenated]:
            return words[hyphenated] > words[joined]
        if re.search(r"\w[-\u2010]", first):
            return True  # a compound
        if last.lower() in _KEEPS_HYPHEN and len(second) > _SHORTEST_PART:
            return True
        return (
            min(len(last), len(second)) > _SHORTEST_PART
            and words[last.lower()] > 0
            and words[second.lower()] > 0
        )

    def _vocabulary(self) -> Counter[str]:
        """Return the words within lines, with and without hyphens."""
        if self._words is None:
            self._words = Counter()
            for index, line in enumerate(self._lines):
                text = line.text.lower()
                if self.goes_on(index):
                    text = text.rpartition(" ")[0]
                if self.goes_on(index - 1):
                    text = text.partition(" ")[2]
                self._words.update(_WORD.findall(text))
                if "-" in text or "\u2010" in text:
                    found = _HYPHENATED.findall(text)
                    self._words.update(word.replace("\u2010", "-") for word in found)
        return self._words


def without_hyphen(line: Line) -> Line:
    """Return a line without the hyphen at its end, whose box the letter before it covers."""
    boxes = line.boxes
    kept = boxes[:-1].copy()
    if boxes[-1].any() and len(kept):
        kept[-1, :2] = np.minimum(kept[-1, :2], boxes[-1, :2])
        kept[-1, 2:] = np.maximum(kept[-1, 2:], boxes[-1, 2:])
    return line._replace(text=line.text[:-1], boxes=kept)


def _divide_word(before: Line, after: Line) -> bool:
    """Tell whether a line ends with the first part of a word that the next line continues."""
    if before.is_row or after.is_row or not is_hyphen_end(before.text):
        return False
    word = _WORD.match(after.text)
    if word is None:
        return after.text[0].isdigit()
    return word.group() not in _SHARED
