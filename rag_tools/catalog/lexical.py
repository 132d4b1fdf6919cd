"""The lexical index: BM25 over passages, by SQLite's FTS5."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from rag_tools.tracing import stage

TABLE = """
-- Contentless: the text lives with the documents, once. Deleting a row takes the text it had.
CREATE VIRTUAL TABLE lexical USING fts5 (
    text, heading, content = '', tokenize = 'porter unicode61 remove_diacritics 2'
);
"""

LISTED = 1000
"""Passages that a search has BM25 list; what it doesn't list has a BM25 of 0."""

# Share of passages a word may be in for BM25 to look for it. On 36,000 passages and 16 questions
# BM25 takes 15 ms with all words, 7.5 ms with 0.5, 7.4 ms with 0.3 (medians); nDCG@10 is the same
# to 0.001 on SQuAD, Cranfield and CoSQA.
_COMMON = 0.3

_WORD = re.compile(r"\w+")
# A version, a part number, an error code, a date: its words in this order and no others between.
_IDENTIFIER = re.compile(r"\w{1,50}(?:[-./:]\w{1,50}){1,10}")

# Words that BM25 looks for, and how many passages are counted to tell which of more are rarest:
# 1,300 words, more than the longest query has, take a tenth of a second at most.
MAX_WORDS = 64
COUNTED = 500


def rewrite(connection: sqlite3.Connection) -> None:
    """Write the index anew without the words of passages that were removed: O(its size).

    Until then FTS5 only marks them as removed. Its option ``secure-delete`` would erase them at
    once, but needs SQLite 3.42, and no older SQLite could read the index from then on.
    """
    connection.execute("INSERT INTO lexical (lexical) VALUES ('optimize')")


def count_missing(connection: sqlite3.Connection) -> int:
    """Return how many passages aren't in the index."""
    (count,) = connection.execute(
        # The table in which FTS5 keeps the length of each row.
        "SELECT count(*) FROM passage WHERE key NOT IN (SELECT id FROM lexical_docsize)"
    ).fetchone()
    return int(count)


def in_memory(texts: Iterable[str]) -> sqlite3.Connection:
    """Index texts in a database of their own, in memory; their keys count from 0."""
    connection = sqlite3.connect(":memory:")
    connection.execute(TABLE)
    add(connection, ((key, text, "") for key, text in enumerate(texts)))
    return connection


def add(connection: sqlite3.Connection, rows: Iterable[tuple[int, str, str]]) -> None:
    """Index passages given as (key, text, heading)."""
    connection.executemany(
        "INSERT INTO lexical (rowid, text, heading) VALUES (?, ?, ?)",
        ((key, _clean(text), _clean(heading)) for key, text, heading in rows),
    )


def remove(connection: sqlite3.Connection, rows: Iterable[tuple[int, str, str]]) -> None:
    """Remove passages; text and heading must be what `add` was given."""
    connection.executemany(
        "INSERT INTO lexical (lexical, rowid, text, heading) VALUES ('delete', ?, ?, ?)",
        ((key, _clean(text), _clean(heading)) for key, text, heading in rows),
    )


def holds(connection: sqlite3.Connection, word: str) -> bool:
    """Tell whether any passage holds a word, or another one with the same stem."""
    row = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM lexical WHERE lexical MATCH ?)", [f'"{word}"']
    ).fetchone()
    return bool(row[0])


def words(query: str) -> list[re.Match[str]]:
    """Return the words of a query, where they stand in it."""
    return list(_WORD.finditer(query))


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
    telling = [word for word in found if word.span() not in common]
    identifiers = [term for term in _IDENTIFIER.findall(query) if any(map(str.isdigit, term))]
    return [word[0] for word in telling or found] + identifiers


@stage("rag_tools.lexical")
def bm25(
    connection: sqlite3.Connection,
    words: Iterable[str],
    *,
    limit: int,
    condition: str = "1",
    parameters: Sequence[str | int | float] = (),
) -> list[tuple[int, float]]:
    """Return the keys and scores of the best passages with any of some terms.

    A term of several words is found where they stand one after the other.
    Of many words, as those of a stack trace, the rarest in the index count.

    Parameters
    ----------
    condition, parameters
        Restriction on ``document AS d`` from `compile_filter`, applied before `limit`.
    """
    distinct = list(dict.fromkeys(word.lower() for word in words))
    if len(distinct) > MAX_WORDS:
        distinct = _rarest(connection, distinct)
    if not distinct:
        return []
    match = " OR ".join(f'"{word}"' for word in distinct)
    restriction = (
        ""
        if condition == "1"
        else "AND rowid IN (SELECT p.key FROM passage AS p JOIN document AS d "
        f"ON d.key = p.document WHERE {condition})"
    )
    # In one row: see `catalog.columns`.
    keys, scores = connection.execute(
        "SELECT json_group_array(rowid), json_group_array(-rank) FROM (SELECT rowid, rank "
        f"FROM lexical WHERE lexical MATCH ? {restriction} ORDER BY rank, rowid LIMIT ?)",
        [match, *parameters, limit],
    ).fetchone()
    listed = zip(json.loads(keys), json.loads(scores), strict=True)
    return sorted(listed, key=lambda found: (-found[1], found[0]))


def _rarest(connection: sqlite3.Connection, words: Sequence[str]) -> list[str]:
    """Return the `MAX_WORDS` words that fewest passages hold, of those that any holds.

    They are in order of their frequency; those of equal frequency keep their order.
    """
    counts = (
        connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM lexical WHERE lexical MATCH ? LIMIT ?)",
            [f'"{word}"', COUNTED],
        ).fetchone()[0]
        for word in words
    )
    counted = sorted((count, place) for place, count in enumerate(counts) if count)
    return [words[place] for _, place in counted[:MAX_WORDS]]


def _clean(text: str) -> str:
    """Replace NUL, at which SQLite would end the string."""
    return text.replace("\0", " ")
