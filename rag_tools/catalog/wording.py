"""What is looked up of the passages of a segment, from the stored texts.

Lexical postings are made of it where there are none: in indexes of earlier formats, and where they
are damaged.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator
from functools import lru_cache

from rag_tools.catalog.rows import heading
from rag_tools.index.postings import Worded
from rag_tools.types import Passage

_TEXTS = 16  # decompressed at a time; the passages of a document mostly stand together
_DAMAGED = (zlib.error, ValueError, TypeError, AttributeError)


def wording(connection: sqlite3.Connection, segment: int, size: int) -> Iterator[Worded | None]:
    """Yield what is looked up of the passages at all positions: O(size of their texts).

    None stands for a passage that is deleted, or can't be read.

    Parameters
    ----------
    size
        Number of passages of the segment.
    """

    @lru_cache(maxsize=_TEXTS)
    def text_of(document: int) -> str:
        row = connection.execute(
            "SELECT text FROM main.document WHERE key = ?", [document]
        ).fetchone()
        return "" if row is None else zlib.decompress(row[0]).decode("utf-8")

    at = 0
    rows = connection.execute(
        "SELECT position, document, start, end, path FROM main.passage WHERE segment = ? "
        "AND position BETWEEN 0 AND ? ORDER BY position",
        [segment, size - 1],
    )
    for position, document, start, end, path in rows:
        while at < position:
            yield None
            at += 1
        at += 1
        try:
            passage = Passage(start, end, tuple(json.loads(path)))
            yield Worded(text_of(document)[start:end], heading(passage))
        except _DAMAGED:
            yield None
    while at < size:
        yield None
        at += 1
