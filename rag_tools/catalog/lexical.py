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
_MAX_WORDS = 64


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


def words(query: str) -> list[re.Match[str]]:
    """Return the words of a query, where they stand in it."""
    return list(_WORD.finditer(query))


def telling_words(
    query: str, spans: NDArray[np.int32], frequencies: NDArray[np.int64], n_passages: int
) -> list[str]:
    """Return the words of a query that BM25 should look for: not those in every other passage.

    Such words move its scores little and make it visit most of the index. Of a word in pieces
    nothing is known: all of its pieces may be common and the word rare, as the letters of a script
    that the vocabulary has no words of.

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
    return [word[0] for word in telling or found]


@stage("rag_tools.lexical")
def bm25(
    connection: sqlite3.Connection,
    words: Iterable[str],
    *,
    limit: int,
    condition: str = "1",
    parameters: Sequence[str | int | float] = (),
) -> list[tuple[int, float]]:
    """Return the keys and scores of the best passages with any of some words.

    Parameters
    ----------
    condition, parameters
        Restriction on ``document AS d`` from `compile_filter`, applied before `limit`.
    """
    distinct = list(dict.fromkeys(word.lower() for word in words))[:_MAX_WORDS]
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


def _clean(text: str) -> str:
    """Replace NUL, at which SQLite would end the string."""
    return text.replace("\0", " ")
