"""What of something that was deleted other documents of a catalog hold as well."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable


class Remains:
    """A part of `rag_tools.catalog.catalog.Catalog`, for a session of changes."""

    _connection: sqlite3.Connection

    def stores(self, content: bytes) -> bool:
        """Tell whether a document, or a version, is stored with these bytes: O(size).

        They are compressed, as it is.
        """
        row = self._connection.execute(
            "SELECT EXISTS (SELECT 1 FROM (SELECT text, structure FROM document UNION ALL "
            "SELECT text, structure FROM version) WHERE instr(text, ?1) OR instr(structure, ?1))",
            [content],
        ).fetchone()
        return bool(row[0])

    def stated(self, values: Iterable[str]) -> set[str]:
        """Return those of some values that rows hold: O(documents) each.

        Values are titles, addresses and values of metadata, or parts of them.
        """
        held = set()
        stated = (
            "SELECT title || char(10) || uri || char(10) || metadata AS text FROM document "
            "UNION ALL SELECT title || char(10) || uri || char(10) || metadata FROM version "
            "UNION ALL SELECT path FROM root UNION ALL SELECT path FROM passage"
        )
        found = f"SELECT EXISTS (SELECT 1 FROM ({stated}) WHERE instr(text, ?1) OR instr(text, ?2))"
        for value in values:
            escaped = json.dumps(value, ensure_ascii=False)[1:-1]
            if self._connection.execute(found, [value, escaped]).fetchone()[0]:
                held.add(value)
        return held
