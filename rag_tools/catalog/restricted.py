"""A catalog of which a caller sees the documents that they may read.

In the names ``document`` and ``passage``, views take the place of the tables, for this connection:
whatever is asked of the catalog, what the caller may not read isn't there.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Container
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rag_tools.catalog import schema, upgrade
from rag_tools.catalog.catalog import Catalog

DEFAULT_DENY = "default_deny"
"""The setting of an index by which no caller may read a document without labels."""


class RestrictedCatalog(Catalog):
    """An open catalog, for reading what may be read.

    Attributes
    ----------
    readable
        Keys of the sets of labels whose documents may be read. Who lends the catalog sets it anew.
    now
        Unix time in seconds, by which documents expire; as `readable`.
    """

    # Who may not read what came after a version may not read the version either.
    _readable_version = (
        "NOT EXISTS (SELECT 1 FROM version AS later WHERE later.id = v.id AND "
        "(later.until, later.key) >= (v.until, v.key) AND NOT readable(later.labels))"
    )

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self.readable: Container[int] = frozenset()
        self.now = 0
        connection.create_function("now", 0, lambda: self.now)
        connection.create_function("readable", 1, lambda labels: labels in self.readable)
        connection.create_function("content_number", 4, _content_number, deterministic=True)

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open the catalog of the index in `directory`; errors as of `schema.connect`."""
        return cls(schema.connect(directory, restricted=True))

    def label_sets(self) -> dict[int, tuple[str, ...]]:
        """Return every set of labels by its key."""
        rows = self._connection.execute("SELECT key, labels FROM labels")
        return {key: tuple(json.loads(labels)) for key, labels in rows}

    def labels(self, segment: int, size: int) -> NDArray[np.int64]:
        """Return the keys of the sets of labels of the passages of a segment: O(its passages).

        Those of passages that the caller may not read are among them.
        """
        labels = "0" if self._format < upgrade.TERMS else "d.labels"
        found = self.columns(
            ("p.position", labels),
            "main.passage AS p JOIN main.document AS d ON d.key = p.document WHERE p.segment = ?",
            [segment],
        ).reshape(-1, 2)
        keys = np.zeros(size, np.int64)
        keys[found[:, 0]] = found[:, 1]
        return keys

    def document_keys(self) -> dict[str, int]:
        """Return a number for each document by id, which changes with its content.

        The keys themselves would tell how many documents were added in between.
        """
        row = self._connection.execute(
            "SELECT json_group_object(id, content_number(sha256, uri, title, metadata)) "
            "FROM document"
        ).fetchone()
        keys: dict[str, int] = json.loads(row[0])
        return keys

    def _renew(self) -> None:
        super()._renew()
        self._connection.execute("PRAGMA query_only = OFF")
        self._connection.execute(schema.READABLE_DOCUMENTS)
        self._connection.execute("PRAGMA query_only = ON")


def _content_number(*content: str) -> int:
    digest = hashlib.blake2b(json.dumps(content).encode("utf-8"), digest_size=6).digest()
    return int.from_bytes(digest, "big")
