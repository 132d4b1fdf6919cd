"""Simpler means to compare with: BM25 over pieces of documents, and the best sentence of a text."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

PIECE = 800
"""Characters of a piece of a document, about as many as a passage of the engine has."""

_K1, _B = 1.2, 0.75
_WORD = re.compile(r"\w+")
# A line is a sentence where it is a block of its own, as in lists and tables; a wrapped paragraph
# isn't cut at its line ends.
_BORDER = re.compile(r"(?<=[.!?])\s+(?=\S)|\n(?=\s*\n)|\n(?=\s*[-*•])|\t")

Range = tuple[str, int, int]
"""A document, by its id, and a range of characters of its text."""


def words(text: str) -> list[str]:
    """Return the words of a text in small letters."""
    return _WORD.findall(text.lower())


class Bm25:
    """BM25 over pieces of documents, cut at line ends."""

    def __init__(self, documents: Mapping[str, str]) -> None:
        self._pieces: list[Range] = []
        self._lengths: list[int] = []
        self._postings: dict[str, list[tuple[int, int]]] = {}
        for id, text in documents.items():
            for start, end in _pieces(text):
                self._add((id, start, end), words(text[start:end]))
        self._mean = sum(self._lengths) / max(1, len(self._lengths))

    def first(self, query: str) -> Range | None:
        """Return the piece that scores best."""
        scores: dict[int, float] = defaultdict(float)
        for word in set(words(query)):
            found = self._postings.get(word, [])
            idf = math.log(1 + (len(self._pieces) - len(found) + 0.5) / (len(found) + 0.5))
            for piece, count in found:
                length = 1 - _B + _B * self._lengths[piece] / self._mean
                scores[piece] += idf * count * (_K1 + 1) / (count + _K1 * length)
        best = min(scores, key=lambda piece: (-scores[piece], piece), default=None)
        return None if best is None else self._pieces[best]

    def _add(self, piece: Range, tokens: list[str]) -> None:
        for word, count in Counter(tokens).items():
            self._postings.setdefault(word, []).append((len(self._pieces), count))
        self._pieces.append(piece)
        self._lengths.append(len(tokens))


def best_sentence(query: str, text: str, start: int, end: int) -> tuple[int, int]:
    """Return the sentence in a range that shares the most words with a query, the first of them."""
    wanted = set(words(query))

    def shared(sentence: tuple[int, int]) -> int:
        return len(wanted & set(words(text[slice(*sentence)])))

    return max(_sentences(text, start, end), key=shared, default=(start, end))


def _sentences(text: str, start: int, end: int) -> Iterable[tuple[int, int]]:
    at = start
    for border in _BORDER.finditer(text, start, end):
        if text[at : border.start()].strip():
            yield at, border.start()
        at = border.end()
    if text[at:end].strip():
        yield at, end


def _pieces(text: str) -> Iterable[tuple[int, int]]:
    start = 0
    while start < len(text):
        end = min(len(text), start + PIECE)
        if end < len(text):
            line_end = text.rfind("\n", start, end)
            end = line_end + 1 if line_end > start else end
        yield start, end
        start = end
