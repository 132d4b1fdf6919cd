"""BM25 over some of the passages, with the statistics of these alone.

SQLite's own BM25 counts every passage of the index, so that the scores of some tell about the
others. Here the lexical index only says where a term stands; what is counted is counted here, by
the formula of FTS5, so that scores are those of an index with these passages and no others.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from rag_tools.catalog import lexical
from rag_tools.tracing import stage

INSTANCES = "CREATE VIRTUAL TABLE temp.instance USING fts5vocab ('main', 'lexical', 'instance')"
"""Where every term stands: passage, column and number of the word in it."""

_K1, _B = 1.2, 0.75  # of FTS5
_LEAST_IDF = 1e-6  # of FTS5, for a term that more than half of the passages hold

# An instance as one number: the passage, the column and the number of the word.
_WORDS = 1 << 20
_PLACES = 2 * _WORDS


@dataclass(frozen=True)
class Passages:
    """The passages that are searched.

    Attributes
    ----------
    keys
        ``(n,)`` int64, ascending: of their rows.
    addresses
        ``(n, 2)`` int64: segments and positions.
    lengths
        ``(n,)`` float64: words of each, of its headings too.
    """

    keys: NDArray[np.int64]
    addresses: NDArray[np.int64]
    lengths: NDArray[np.float64]


class Lengths:
    """The words of each passage by its key. A passage of a key never changes, so they are kept."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._keys = np.empty(0, np.int64)
        self._lengths = np.empty(0, np.float64)

    def of(self, connection: sqlite3.Connection, keys: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the lengths of passages, ``(n,)`` float64: O(passages added since the last call).

        Parameters
        ----------
        keys
            ``(n,)`` int64, of passages that this connection sees.
        """
        with self._lock:
            last = int(self._keys[-1]) if len(self._keys) else 0
            rows = connection.execute(
                "SELECT id, sz FROM main.lexical_docsize WHERE id > ? ORDER BY id", [last]
            ).fetchall()
            if rows:
                self._keys = np.append(self._keys, np.array([key for key, _ in rows], np.int64))
                added = np.array([_words(sizes) for _, sizes in rows], np.float64)
                self._lengths = np.append(self._lengths, added)
            return self._lengths[np.searchsorted(self._keys, keys)]


@lru_cache(maxsize=10_000)
def _words(sizes: bytes) -> int:
    """Return the sum of numbers as SQLite stores them: seven bits in a byte, the largest first."""
    total = number = 0
    for byte in sizes:
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            total, number = total + number, 0
    return total


@stage("rag_tools.lexical")
def bm25(
    connection: sqlite3.Connection,
    words: Iterable[str],
    passages: Passages,
    chosen: NDArray[np.bool_],
    *,
    limit: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the places in `passages` of the best with any of some terms, and their scores.

    Terms are those of `rag_tools.catalog.lexical.bm25`.

    Parameters
    ----------
    chosen
        ``(n,)`` bool: those that may be returned. The others count all the same.

    Returns
    -------
    tuple
        ``(n,)`` int64, best first, ties by key; and ``(n,)`` float32.
    """
    terms = list(dict.fromkeys(word.lower() for word in words))
    found = [_occurrences(connection, _stems(term), passages) for term in terms]
    if len(found) > lexical.MAX_WORDS:
        counted = sorted(
            (min(len(at), lexical.COUNTED), number) for number, (at, _) in enumerate(found)
        )
        found = [found[number] for count, number in counted if count][: lexical.MAX_WORDS]
    n = len(passages.keys)
    scores = np.zeros(n)
    mean = passages.lengths.sum() / max(n, 1)
    for at, times in found:
        idf = np.log((n - len(at) + 0.5) / (len(at) + 0.5))
        idf = idf if idf > 0 else _LEAST_IDF
        spread = _K1 * (1 - _B + _B * passages.lengths[at] / mean) if len(at) else 0.0
        scores[at] += idf * (times * (_K1 + 1) / (times + spread))
    scores[~chosen] = 0
    best = np.flatnonzero(scores)
    best = best[np.lexsort((best, -scores[best]))][:limit]
    return best, scores[best].astype(np.float32)


def _occurrences(
    connection: sqlite3.Connection, stems: Sequence[str], passages: Passages
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Return the places of the passages with these words in a row, and how often each has them."""
    found: NDArray[np.int64] | None = None
    for number, stem in enumerate(stems):
        (stored,) = connection.execute(
            f"SELECT json_group_array(doc * {_PLACES} + (col = 'heading') * {_WORDS} + offset) "
            "FROM temp.instance WHERE term = ?",
            [stem],
        ).fetchone()
        starts = np.array(json.loads(stored), dtype=np.int64) - number
        found = starts if found is None else np.intersect1d(found, starts)
    if found is None or not len(found) or not len(passages.keys):
        return np.empty(0, np.intp), np.empty(0, np.int64)
    keys, times = np.unique(found // _PLACES, return_counts=True)
    at = np.minimum(np.searchsorted(passages.keys, keys), len(passages.keys) - 1)
    seen = passages.keys[at] == keys
    return at[seen], times[seen]


class _Tokenizer:
    """Divides terms into words as the lexical index does."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False
        )
        self._connection.execute(lexical.TABLE)
        self._connection.execute(INSTANCES)

    def words(self, term: str) -> tuple[str, ...]:
        with self._lock:
            lexical.add(self._connection, [(1, term, "")])
            rows = self._connection.execute("SELECT term FROM temp.instance ORDER BY offset")
            words = tuple(word for (word,) in rows)
            self._connection.execute("INSERT INTO lexical (lexical) VALUES ('delete-all')")
        return words


_tokenizer = lru_cache(maxsize=1)(_Tokenizer)


@lru_cache(maxsize=1000)
def _stems(term: str) -> tuple[str, ...]:
    return _tokenizer().words(term)
