"""The lexical index: BM25 over passages, by SQLite's FTS5."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence

from rag_tools.tracing import stage

TABLE = """
-- Contentless: the text lives with the documents, once. Deleting a row takes the text it had.
CREATE VIRTUAL TABLE lexical USING fts5 (
    text, heading, content = '', tokenize = 'porter unicode61 remove_diacritics 2'
);
"""

_WORD = re.compile(r"\w+")
_MAX_WORDS = 64


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
    rows = connection.execute(
        "SELECT rowid, -rank FROM lexical WHERE lexical MATCH ? "
        f"{restriction} ORDER BY rank, rowid LIMIT ?",
        [match, *parameters, limit],
    )
    return [(int(key), float(score)) for key, score in rows]


def _clean(text: str) -> str:
    """Replace NUL, at which SQLite would end the string."""
    return text.replace("\0", " ")
