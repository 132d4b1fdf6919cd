"""The lexical index: BM25 over passages, by SQLite's FTS5."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

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


def bm25(
    connection: sqlite3.Connection,
    query: str,
    *,
    limit: int,
    condition: str = "1",
    parameters: Sequence[str | int | float] = (),
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Score the passages that hold any of the words of `query`; keep the best.

    Parameters
    ----------
    condition, parameters
        Restriction on ``document AS d`` from `compile_filter`, applied before `limit`.

    Returns
    -------
    places, scores
        ``(n, 2)`` int64 segment ids and positions, and ``(n,)`` float32, falling.
    """
    words = list(dict.fromkeys(word.lower() for word in _WORD.findall(_clean(query))))
    rows: list[tuple[int, int, float]] = []
    if words:
        match = " OR ".join(f'"{word}"' for word in words[:_MAX_WORDS])
        restriction = (
            ""
            if condition == "1"
            else "AND rowid IN (SELECT p.key FROM passage AS p JOIN document AS d "
            f"ON d.key = p.document WHERE {condition})"
        )
        rows = connection.execute(
            "SELECT p.segment, p.position, -best.rank FROM (SELECT rowid, rank FROM lexical "
            f"WHERE lexical MATCH ? {restriction} ORDER BY rank, rowid LIMIT ?) AS best "
            "JOIN passage AS p ON p.key = best.rowid ORDER BY best.rank, p.key",
            [match, *parameters, limit],
        ).fetchall()
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return table[:, :2].astype(np.int64), table[:, 2].astype(np.float32)


def _clean(text: str) -> str:
    """Replace NUL, at which SQLite would end the string."""
    return text.replace("\0", " ")
