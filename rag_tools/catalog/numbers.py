"""Reading from the catalog what columns and bitmaps are made of.

All of it is about all documents, whoever may read them; what a caller sees is chosen above.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rag_tools.catalog.columns import Row
from rag_tools.catalog.fields import NAMES, OF_DOCUMENTS
from rag_tools.catalog.schema import EXPIRED
from rag_tools.catalog.upgrade import TERMS


class StoredNumbers:
    """The part of a catalog that gives arrays."""

    _connection: sqlite3.Connection
    _format: int

    def columns(
        self,
        names: Sequence[str],
        source: str,
        parameters: Sequence[str | int | float],
    ) -> NDArray[np.int64]:
        """Return columns of whole numbers, ``(n_rows, n_columns)`` int64, the rows in any order.

        They come from SQLite in a single row: it gives up the interpreter at every row, and where
        other threads are at work, has to wait for it again.
        """
        arrays = ", ".join(f"json_group_array({name})" for name in names)
        row = self._connection.execute(
            f"SELECT {arrays} FROM {source}", list(parameters)
        ).fetchone()
        return np.array([json.loads(each) for each in row], dtype=np.int64).T

    def key_array(self) -> NDArray[np.int64]:
        """Return the keys of all documents, whoever may read them, in any order."""
        return self.columns(("d.key",), "main.document AS d", []).reshape(-1)

    def labels_after(self, key: int) -> NDArray[np.int64]:
        """Return the keys after a given one, and those of their sets of labels: ``(n, 2)``."""
        labels = "0" if self._format < TERMS else "d.labels"
        found = self.columns(
            ("d.key", labels),
            "(SELECT * FROM main.document WHERE key > ? ORDER BY key) AS d",
            [key],
        ).reshape(-1, 2)
        return found[np.argsort(found[:, 0])]

    def expired_keys(self, now: int) -> NDArray[np.int64]:
        """Return the keys of the documents that have expired and aren't held."""
        if self._format < TERMS:
            return np.empty(0, np.int64)
        source = f"main.document AS d WHERE {EXPIRED}"
        return self.columns(("d.key",), source, [now]).reshape(-1)

    def document_owners(self, segment: int, size: int) -> NDArray[np.int64]:
        """Return the key of the document of each of the `size` passages of a segment; 0: none."""
        found = self.columns(
            ("p.position", "p.document"), "main.passage AS p WHERE p.segment = ?", [segment]
        ).reshape(-1, 2)
        owners = np.zeros(size, np.int64)
        owners[found[:, 0]] = found[:, 1]
        return owners

    def field_rows(self, field: str, after: int) -> list[Row]:
        """Return the values of a field in the documents with keys after a given one, in order.

        Of all documents, whoever may read them. `NAMES` has the names of their fields.
        """
        if column := OF_DOCUMENTS.get(field):
            source = f"SELECT key, 'text', {column} FROM main.document"
        elif field == NAMES:
            source = (
                "SELECT d.key, 'text', e.key FROM main.document AS d, json_each(d.metadata) AS e"
            )
        else:
            source = (
                "SELECT d.key, e.type, e.value FROM main.document AS d, "
                f"""json_each(d.metadata, '$."{field}"') AS e"""
            )
        key = "key" if column else "d.key"
        rows = self._connection.execute(f"{source} WHERE {key} > ? ORDER BY {key}", [after])
        return rows.fetchall()
