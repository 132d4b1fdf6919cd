"""Recognising duplicate passages: copies of a file, boilerplate, two versions of a page.

These are pure functions of text. ``hits`` decides which of two duplicates becomes a hit and which
is listed beside it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import NamedTuple

OVERLAP = 0.9
"""Share of their shingles that near duplicates have in common (Jaccard similarity)."""

_SHINGLE = 3  # words
_WORD = re.compile(r"\w+")

# Words that reverse a sentence: passages that differ in one of them aren't duplicates.
_NEGATIONS = frozenset(
    {"cannot", "except", "never", "no", "none", "nor", "not", "only", "t", "unless", "without"}
    | {"jamais", "kein", "keine", "keinen", "nicht", "nie", "non", "ohne", "pas", "sans", "sin"}
)


class Candidate(NamedTuple):
    """A passage to compare: its position, its heading path and its text."""

    document_id: str
    start: int
    end: int
    heading: str
    text: str


class _Words(NamedTuple):
    candidate: Candidate
    counts: Counter[str]
    shingles: frozenset[tuple[str, ...]]


class Distinct:
    """A set of passages without duplicates, in the order in which they were added.

    Two passages are duplicates if they have the same heading path and the same text except for
    white space. They are also duplicates if `OVERLAP` of their shingles are the same, and they
    don't differ in numbers, names (words with a capital letter) or negations. Overlapping passages
    of one document are never duplicates.
    """

    def __init__(self) -> None:
        self._folded: dict[tuple[str, str], int] = {}
        self._words: list[_Words] = []
        self._by_shingle: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._words)

    def find(self, candidate: Candidate) -> int | None:
        """Return the number of the first passage of which this one is a duplicate; None if none."""
        same = self._folded.get(_folded(candidate))
        if same is not None:
            return same
        words = _words(candidate)
        near = {
            number for shingle in _telling(words.shingles) for number in self._by_shingle[shingle]
        }
        return next((n for n in sorted(near) if _near(self._words[n], words)), None)

    def add(self, candidate: Candidate) -> int:
        """Add a passage that isn't a duplicate; return its number, from 0."""
        number = len(self._words)
        words = _words(candidate)
        self._words.append(words)
        self._folded[_folded(candidate)] = number
        for shingle in _telling(words.shingles):
            self._by_shingle[shingle].append(number)
        return number


def _folded(candidate: Candidate) -> tuple[str, str]:
    return candidate.heading, " ".join(candidate.text.split())


def _words(candidate: Candidate) -> _Words:
    written = _WORD.findall(candidate.text)
    folded = [word.casefold() for word in written]
    shingles = zip(*(folded[ahead:] for ahead in range(_SHINGLE)), strict=False)
    return _Words(candidate, Counter(written), frozenset(shingles))


def _telling(shingles: frozenset[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return enough shingles that two near duplicates share at least one of them.

    Sets with `OVERLAP` in common differ in at most the rest, so the first shingles in a fixed order
    can't all differ (prefix filtering).
    """
    return sorted(shingles)[: int((1 - OVERLAP) * len(shingles)) + 1]


def _near(one: _Words, other: _Words) -> bool:
    a, b = one.candidate, other.candidate
    if a.heading != b.heading:
        return False
    if a.document_id == b.document_id and a.start < b.end and b.start < a.end:
        return False
    common = len(one.shingles & other.shingles)
    if common < OVERLAP * (len(one.shingles) + len(other.shingles) - common):
        return False
    differing = (one.counts - other.counts) + (other.counts - one.counts)
    return not any(map(_matters, differing))


def _matters(word: str) -> bool:
    return word.casefold() in _NEGATIONS or word != word.lower() or any(map(str.isdigit, word))
