"""Earlier versions of documents, and where the current ones are from, in the catalog.

A version is what a document was before another text replaced it. Its passages aren't kept, so it
can be read and quoted, and isn't found by a search. A document that is deleted, expires or is
purged takes its versions with it; one whose file is gone leaves them.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from rag_tools.catalog.rows import DocumentColumns, StoredDocument, decode_document
from rag_tools.types import Document

SETTING = "versions"
"""The setting with the `VersionRules` of an index."""

FORMAT = 6
"""The format that added these tables."""

TABLES = """
CREATE TABLE provenance (
    document INTEGER PRIMARY KEY REFERENCES document (key),
    since INTEGER,                   -- ms since 1970 from which its text is current, or NULL
    provenance TEXT                  -- JSON, NULL if unknown
);

CREATE TABLE version (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,                -- of the document
    uri TEXT NOT NULL,
    title TEXT NOT NULL,
    media_type TEXT NOT NULL,
    sha256 TEXT NOT NULL,            -- of the canonical text as UTF-8
    characters INTEGER NOT NULL,
    labels INTEGER NOT NULL DEFAULT 0 REFERENCES labels (key),
    expires INTEGER,                 -- as of the document, for when that is gone
    hold INTEGER NOT NULL DEFAULT 0,
    since INTEGER,                   -- ms since 1970, NULL if unknown
    until INTEGER NOT NULL,
    provenance TEXT,                 -- JSON, NULL if unknown
    metadata TEXT NOT NULL,          -- JSON
    text BLOB NOT NULL,              -- as in document
    structure BLOB NOT NULL
);
CREATE INDEX version_id ON version (id, until);
CREATE INDEX version_until ON version (until);
CREATE INDEX version_labels ON version (labels) WHERE labels <> 0;
"""

_STORED = "id, uri, title, media_type, sha256"
_GONE = "NOT EXISTS (SELECT 1 FROM main.document AS d WHERE d.id = v.id)"
_KEPT = "(v.hold OR v.expires IS NULL OR v.expires > ?)"


class VersionRow(NamedTuple):
    """A version of a document, without its text; `key` is None of the current one."""

    key: int | None
    id: str
    sha256: str
    characters: int
    title: str
    uri: str
    since: int | None
    until: int | None
    provenance: str | None


class History:
    """What a catalog knows of versions; a part of `rag_tools.catalog.catalog.Catalog`."""

    _connection: sqlite3.Connection
    _format: int
    _readable_version = "1"  # condition on ``version AS v``

    def versions_of(self, id: str) -> list[VersionRow]:
        """Return the versions of a document that may be read, the oldest first."""
        current = self._connection.execute(
            "SELECT key, id, sha256, characters, title, uri FROM document WHERE id = ?", [id]
        ).fetchone()
        if self._format < FORMAT:
            return [] if current is None else [_current(current, (None, None))]
        condition = f"v.id = ? AND {self._readable_version}"
        parameters: list[str | int] = [id]
        if current is None:  # it is gone, or may not be read
            condition += f" AND {_GONE} AND {_KEPT}"
            parameters.append(int(time.time()))
        rows = self._connection.execute(
            "SELECT v.key, v.id, v.sha256, v.characters, v.title, v.uri, v.since, v.until, "
            f"v.provenance FROM version AS v WHERE {condition} ORDER BY v.until, v.key",
            parameters,
        )
        found = [VersionRow(*row) for row in rows]
        if current is not None:
            found.append(_current(current, self.provenance(current[0])))
        return found

    def provenance(self, document: int) -> tuple[int | None, str | None]:
        """Return since when the text of a document is the current one, and its provenance."""
        if self._format < FORMAT:
            return None, None
        row = self._connection.execute(
            "SELECT since, provenance FROM provenance WHERE document = ?", [document]
        ).fetchone()
        return (None, None) if row is None else (row[0], row[1])

    def stored_version(self, key: int) -> StoredDocument:
        """Return a version as it is stored."""
        row = self._connection.execute(
            f"SELECT {_STORED}, (SELECT labels FROM labels WHERE key = version.labels), expires, "
            "hold, metadata, text, structure FROM version WHERE key = ?",
            [key],
        ).fetchone()
        return StoredDocument(*row)

    def version(self, key: int) -> Document:
        """Return a version whole; raise `IndexCorruptError` if it is damaged."""
        return decode_document(self.stored_version(key))

    def version_keys(self, id: str | None = None) -> list[int]:
        """Return the keys of all versions, or of those of a document, whoever may read them."""
        if self._format < FORMAT:
            return []
        rows = self._connection.execute(
            "SELECT key FROM version WHERE ?1 IS NULL OR id = ?1 ORDER BY key", [id]
        )
        return [key for (key,) in rows]

    def versioned_ids(self) -> list[str]:
        """Return the ids of documents that are gone and have versions, in order."""
        if self._format < FORMAT:
            return []
        rows = self._connection.execute(
            f"SELECT DISTINCT v.id FROM version AS v WHERE {_GONE} ORDER BY v.id"
        )
        return [id for (id,) in rows]

    def expired_versions(self, now: int) -> list[str]:
        """Return the ids of documents that are gone and whose versions have expired, in order."""
        if self._format < FORMAT:
            return []
        rows = self._connection.execute(
            f"SELECT DISTINCT v.id FROM version AS v WHERE {_GONE} AND NOT {_KEPT} ORDER BY v.id",
            [now],
        )
        return [id for (id,) in rows]

    def knows(self, id: str) -> bool:
        """Tell whether there is a document with this id, or a version of one that is gone."""
        row = self._connection.execute("SELECT 1 FROM document WHERE id = ?", [id]).fetchone()
        return row is not None or bool(self.version_keys(id))

    def holds(self, id: str) -> bool:
        """Tell whether a document is held, or the versions of one that is gone."""
        row = self._connection.execute("SELECT hold FROM document WHERE id = ?", [id]).fetchone()
        if row is None and self._format >= FORMAT:
            row = self._connection.execute(
                "SELECT max(hold) FROM version WHERE id = ?", [id]
            ).fetchone()
        return row is not None and bool(row[0])

    def version_ids_of(self, uri: str) -> list[str]:
        """Return the ids of documents that came from an address in some version: O(versions)."""
        if self._format < FORMAT:
            return []
        rows = self._connection.execute(
            "SELECT DISTINCT id FROM version WHERE uri = ? ORDER BY id", [uri]
        )
        return [id for (id,) in rows]

    def count_versions(self) -> int:
        """Return the number of versions that aren't current."""
        if self._format < FORMAT:
            return 0
        return int(self._connection.execute("SELECT count(*) FROM version").fetchone()[0])


def _current(row: tuple[Any, ...], told: tuple[int | None, str | None]) -> VersionRow:
    return VersionRow._make([None, *row[1:], told[0], None, told[1]])


class HistoryWriter(History):
    """Writes versions; a part of `rag_tools.catalog.writing.CatalogWriter`."""

    def keep_version(self, document: int, *, until: int) -> None:
        """Keep what a document is as a version, before it is replaced or deleted."""
        self._connection.execute(
            f"INSERT INTO version ({_STORED}, characters, labels, expires, hold, since, until, "
            f"provenance, metadata, text, structure) SELECT {_STORED}, characters, labels, "
            "expires, hold, p.since, max(?2, coalesce(p.since, ?2)), p.provenance, metadata, text, "
            "structure FROM document LEFT JOIN provenance AS p ON p.document = document.key "
            "WHERE document.key = ?1",
            [document, until],
        )

    def insert_version(
        self, columns: DocumentColumns, times: tuple[int | None, int], told: str | None
    ) -> None:
        """Insert a version of an import, unless it is there; `times` are from when to when."""
        self._connection.execute(
            "INSERT INTO labels (labels) VALUES (?) ON CONFLICT DO NOTHING", [columns.labels]
        )
        self._connection.execute(
            f"INSERT INTO version ({_STORED}, characters, labels, expires, hold, since, until, "
            "provenance, metadata, text, structure) SELECT ?1, ?2, ?3, ?4, ?5, ?6, "
            "(SELECT key FROM labels WHERE labels = ?7), ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15 "
            "WHERE NOT EXISTS (SELECT 1 FROM version WHERE id = ?1 AND sha256 = ?5 "
            "AND until = ?11)",
            [*columns[:9], *times, told, *columns[9:]],
        )

    def set_provenance(self, id: str, since: int | None, provenance: str) -> None:
        """Record where a document is from that was just inserted."""
        self._connection.execute(
            "INSERT OR REPLACE INTO provenance SELECT key, ?2, ?3 FROM document WHERE id = ?1",
            [id, since, provenance],
        )

    def settle_versions(self, document: int) -> None:
        """Give the versions of a document its terms, before it is deleted and leaves them."""
        self._connection.execute(
            "UPDATE version SET (expires, hold) = (SELECT expires, hold FROM document "
            "WHERE key = ?1) WHERE id = (SELECT id FROM document WHERE key = ?1)",
            [document],
        )

    def drop_versions(self, id: str) -> None:
        """Delete all versions of a document but the current one."""
        self._connection.execute("DELETE FROM version WHERE id = ?", [id])

    def trim_versions(
        self, *, most: int | None, before: int | None, ids: Iterable[str] | None = None
    ) -> int:
        """Delete the versions that exceed a number for each document, or that are too old.

        Versions of documents that are held stay.

        Parameters
        ----------
        before
            Those that were replaced before this time, in milliseconds.
        ids
            Documents among whose versions some may exceed the number; None: any.

        Returns
        -------
        int
            How many.
        """
        free = (
            "NOT v.hold AND NOT EXISTS (SELECT 1 FROM document AS d WHERE d.id = v.id AND d.hold)"
        )
        run, deleted = self._connection.execute, 0
        if before is not None:
            deleted += run(
                f"DELETE FROM version AS v WHERE v.until < ? AND {free}", [before]
            ).rowcount
        if most is not None:
            wanted = [None] if ids is None else list(ids)
            for id in wanted:
                deleted += run(
                    f"DELETE FROM version AS v WHERE (?1 IS NULL OR v.id = ?1) AND {free} AND "
                    "(SELECT count(*) FROM version AS later WHERE later.id = v.id AND "
                    "(later.until, later.key) > (v.until, v.key)) >= ?2",
                    [id, most],
                ).rowcount
        return deleted
