"""BM25 over the lexical postings of segments, by the formula and the parameters of SQLite's FTS5.

What is counted are the live passages of a `Collection` and no others: how many there are, how many
hold a term, how long they are. So scores are those of an index of these passages alone, and tell
nothing about passages that a caller may not see.

`_Lists` defines what the traversal in ``native/lexical.h`` computes, to the last bit, and runs
where there was no compiler.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from rag_tools.index.dispatch import NUMPY, kernel_name, native
from rag_tools.index.postings import Postings, Worded, merged, runs
from rag_tools.index.terms import is_letter, phrases, terms
from rag_tools.tracing import stage
from rag_tools.types import Span

LISTED = 1000
"""Passages that a search has BM25 list; what it doesn't list has a BM25 of 0."""

K1, B = 1.2, 0.75
_LEAST_IDF = 1e-6  # of a term that more than half of the passages hold

# What a term contributes is rounded to a multiple of 2**-40, by adding and subtracting this number.
# Sums of such numbers below 2**12 are exact, so a score doesn't depend on the order of its terms;
# with `MAX_WORDS` terms in a trillion passages, it is below.
_ROUNDING = 1.5 * 2**12

# Share of passages a word may be in for BM25 to look for it. On 36,000 passages and 16 questions
# BM25 takes 15 ms with all words, 7.5 ms with 0.5, 7.4 ms with 0.3 (medians); nDCG@10 is the same
# to 0.001 on SQuAD, Cranfield and CoSQA.
_COMMON = 0.3

_WORD = re.compile("w+")
# A version, a part number, an error code, a date: its words in this order and no others between.
_IDENTIFIER = re.compile(r"\w{1,50}(?:[-./:]\w{1,50}){1,10}")

# Words that BM25 looks for, and how many passages are counted to tell which of more are rarest.
MAX_WORDS = 64
COUNTED = 500

Found = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Places ``(n, 2)`` int64, best first, those with equal scores ascending; scores ``(n,)``."""


@dataclass(frozen=True)
class Collection:
    """The passages that BM25 counts.

    Attributes
    ----------
    postings
        Of each segment.
    live
        Of each segment, ``(n_passages,)`` bool: which passages count.
    """

    postings: Sequence[Postings]
    live: Sequence[NDArray[np.bool_]]

    @cached_property
    def n_passages(self) -> int:
        """Number of passages that count."""
        return sum(int(np.count_nonzero(live)) for live in self.live)

    @cached_property
    def n_words(self) -> int:
        """Number of their words, with those of their headings."""
        pairs = zip(self.postings, self.live, strict=True)
        return sum(int(postings.lengths[live].sum(dtype=np.int64)) for postings, live in pairs)

    @cached_property
    def holes(self) -> list[NDArray[np.bool_] | None]:
        """`live` of each segment, None where every passage counts."""
        return [None if live.all() else live for live in self.live]

    def holds(self, word: str) -> bool:
        """Tell whether a passage holds a word, or another one with the same stem."""
        phrase = terms(word)
        return any(
            bool(live[postings.of_phrase(phrase)[0]].any())
            for postings, live in zip(self.postings, self.live, strict=True)
        )


def in_memory(texts: Iterable[str]) -> Collection:
    """Index texts in memory, as one segment."""
    postings = Postings.of(merged(list(runs(Worded(text, "") for text in texts))))
    return Collection([postings], [np.ones(len(postings), np.bool_)])


def words(query: str) -> list[Span]:
    """Return where the words of a query stand in it."""
    marked = "".join("w" if is_letter(each) or each == "_" else " " for each in query)
    return [Span(*match.span()) for match in _WORD.finditer(marked)]


def telling_words(
    query: str, spans: NDArray[np.int32], frequencies: NDArray[np.int64], n_passages: int
) -> list[str]:
    """Return the terms of a query that BM25 should look for: no words of every other passage.

    Such words move its scores little and make it visit most of the index. Of a word in pieces
    nothing is known: all of its pieces may be common and the word rare, as the letters of a script
    that the vocabulary has no words of. Identifiers of several words, such as ``v1.2.3`` or
    ``7F-0923-B``, are terms as a whole too.

    Parameters
    ----------
    spans
        ``(n_query_tokens, 2)`` int32 code points of the query.
    frequencies
        ``(n_query_tokens,)`` int64: passages that hold each token, of `n_passages`.
    """
    common = {tuple(span) for span in spans[frequencies > _COMMON * n_passages].tolist()}
    found = words(query)
    telling = [word for word in found if tuple(word) not in common]
    identifiers = [term for term in _IDENTIFIER.findall(query) if any(map(str.isdigit, term))]
    return [word.of(query) for word in telling or found] + identifiers


def listed(collection: Collection, words: Iterable[str], *, limit: int) -> list[tuple[int, float]]:
    """Return the positions and scores of the best passages of one segment, ties by position."""
    places, scores = bm25(collection, words, limit=limit)
    return list(zip(places[:limit, 1].tolist(), scores[:limit].tolist(), strict=True))


@stage("rag_tools.lexical")
def bm25(
    collection: Collection,
    words: Iterable[str],
    *,
    limit: int,
    selected: Sequence[NDArray[np.bool_]] | None = None,
) -> Found:
    """Return the `limit` best passages with any of some words, and those that tie with the last.

    A word that consists of several terms is found where they stand one after the other. Of many
    words, as those of a stack trace, the rarest count.

    Parameters
    ----------
    selected
        Of each segment, ``(n_passages,)`` bool: live passages that may be returned. The others
        count all the same. Default: all live ones.
    """
    distinct = dict.fromkeys(word.lower() for word in words)
    looked_for = [phrase for word in distinct for phrase in phrases(word)]
    lists: _Lists | native.TermLists
    if kernel_name() == NUMPY:
        lists = _Lists(collection.postings, looked_for)
    else:
        lists = native.TermLists(list(map(_native, collection.postings)), looked_for)
    chosen = list(collection.live if selected is None else selected)
    counts = lists.counts(collection.holes)
    numbers = [number for number, count in enumerate(counts) if count]
    if len(looked_for) > MAX_WORDS:
        rarest = sorted(numbers, key=lambda number: (min(counts[number], COUNTED), number))
        numbers = rarest[:MAX_WORDS]
    weights = [idf(collection.n_passages, counts[number]) for number in numbers]
    mean = collection.n_words / max(collection.n_passages, 1)
    return lists.best(numbers, weights, mean, chosen, limit)


def idf(n_passages: int, count: int) -> float:
    """Return the inverse document frequency of a term that `count` passages hold."""
    value = math.log((n_passages - count + 0.5) / (count + 0.5))
    return value if value > 0 else _LEAST_IDF


class _Lists:
    """The passages that hold each of some phrases, segment by segment."""

    def __init__(self, postings: Sequence[Postings], phrases: Sequence[Sequence[bytes]]) -> None:
        self._postings = postings
        self._found = [[each.of_phrase(phrase) for each in postings] for phrase in phrases]

    def counts(self, live: Sequence[NDArray[np.bool_] | None]) -> list[int]:
        """Return how many passages hold each phrase, of those marked, see `Collection.holes`."""
        return [
            sum(
                len(found) if marks is None else int(np.count_nonzero(marks[found]))
                for (found, _), marks in zip(segments, live, strict=True)
            )
            for segments in self._found
        ]

    def best(
        self,
        numbers: Sequence[int],
        weights: Sequence[float],
        mean: float,
        selected: Sequence[NDArray[np.bool_]],
        limit: int,
    ) -> Found:
        """Return the best passages by some of the phrases, with their weights; see `bm25`."""
        places, scores = [np.empty((0, 2), np.int64)], [np.empty(0)]
        for at, postings in enumerate(self._postings):
            sums = np.zeros(len(postings))
            for number, weight in zip(numbers, weights, strict=True):
                passages, times = self._found[number][at]
                spread = K1 * (1 - B + B * postings.lengths[passages].astype(np.float64) / mean)
                gained = weight * ((times * (K1 + 1)) / (times + spread))
                sums[passages] += (gained + _ROUNDING) - _ROUNDING
            sums[~selected[at]] = 0
            found = np.flatnonzero(sums)
            places.append(np.stack([np.full(len(found), at), found], axis=1))
            scores.append(sums[found])
        return _first(np.concatenate(places), np.concatenate(scores), limit)


def _native(postings: Postings) -> native.Postings:
    found = _handed.get(postings)
    if found is None:
        found = _handed[postings] = native.Postings(*(postings.arrays[name] for name in _HANDED))
    return found


_HANDED = (
    *("terms", "term_offsets", "posting_offsets", "block_offsets"),
    *("block_last", "block_places", "block_frequency", "block_ratio"),
    *("passages", "frequencies", "places", "lengths"),
)
_handed: WeakKeyDictionary[Postings, native.Postings] = WeakKeyDictionary()


def _first(places: NDArray[np.int64], scores: NDArray[np.float64], limit: int) -> Found:
    """Return the `limit` best of places in ascending order, and those that tie with the last."""
    worst = np.partition(scores, -limit)[-limit] if limit < len(scores) else -np.inf
    kept = np.flatnonzero(scores >= worst)
    order = kept[np.argsort(-scores[kept], kind="stable")]
    return places[order], scores[order]
