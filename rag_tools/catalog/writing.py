"""Writing the catalog: what is written in one transaction is committed together or not at all."""

from __future__ import annotations

import json
import uuid
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rag_tools.catalog import schema
from rag_tools.catalog.catalog import Catalog
from rag_tools.catalog.copying import EPOCH
from rag_tools.catalog.history import HistoryWriter
from rag_tools.catalog.rows import (
    Address,
    DocumentColumns,
    NewPassage,
    NewSegment,
    SourceState,
)
from rag_tools.types import Document

_LOG_PAGES = 4096  # of 4 kB: a longer log of commits is cut off even if readers must be waited for
_READERS_MILLISECONDS = 2_000  # for which they are


class CatalogWriter(Catalog, HistoryWriter):
    """An open catalog, for the one process that writes."""

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open the catalog of the index in `directory`; errors as of `schema.connect`."""
        return cls(schema.connect(directory, write=True))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what a ``with`` block writes, durably, or nothing of it if it raises."""
        with self._transaction("BEGIN IMMEDIATE"):
            # A passage may pass from a document that is deleted to one that isn't inserted yet.
            self._connection.execute("PRAGMA defer_foreign_keys = ON")
            yield

    def set_setting(self, key: str, value: Any) -> None:  # noqa: ANN401
        """Store a JSON-serialisable setting."""
        self._connection.execute(
            "INSERT INTO setting VALUES (?, ?) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [key, json.dumps(value)],
        )

    def set_root(self, path: str, options: dict[str, Any]) -> None:
        """Remember a synced path."""
        self._connection.execute(
            "INSERT INTO root VALUES (?, ?) "
            "ON CONFLICT (path) DO UPDATE SET options = excluded.options",
            [path, json.dumps(options)],
        )

    def delete_root(self, path: str) -> None:
        """Forget a synced path."""
        self._connection.execute("DELETE FROM root WHERE path = ?", [path])

    def touch_source(self, id: str, state: SourceState) -> None:
        """Record the state of the file that a document was read from."""
        self._connection.execute(
            "UPDATE document SET source_size = ?, source_mtime_ns = ?, source_sha256 = ?, "
            "source_terms = ? WHERE id = ?",
            [*state, id],
        )

    def insert_document(
        self,
        document: Document,
        columns: DocumentColumns,
        passages: Sequence[NewPassage],
        source: tuple[str, SourceState] | None,
    ) -> None:
        """Insert a document and its passages; `columns` are what `encode_document` made of it."""
        path, state = source or (None, SourceState(0, 0, ""))
        self._connection.execute(
            "INSERT INTO labels (labels) VALUES (?) ON CONFLICT DO NOTHING", [columns.labels]
        )
        cursor = self._connection.execute(
            "INSERT INTO document (id, uri, title, media_type, sha256, characters, labels, "
            "expires, hold, metadata, text, structure, source_path, source_size, source_mtime_ns, "
            "source_sha256, source_terms) VALUES (?, ?, ?, ?, ?, ?, "
            "(SELECT key FROM labels WHERE labels = ?), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [*columns, path, *state],
        )
        owner = cursor.lastrowid
        for passage, encoded, address, row in passages:
            if row is not None:
                cursor.execute(
                    "UPDATE passage SET document = ?, start = ?, end = ? WHERE key = ?",
                    [owner, passage.start, passage.end, row],
                )
                continue
            cursor.execute("DELETE FROM tombstone WHERE segment = ? AND position = ?", address)
            cursor.execute(
                "INSERT INTO passage (document, start, end, path, segment, position, encoded) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                [owner, passage.start, passage.end, json.dumps(passage.path), *address, encoded],
            )
        self._connection.executemany(
            "UPDATE segment SET revision = revision + 1 WHERE id = ?",
            ([id] for id in {new.address.segment for new in passages}),
        )

    def delete_document(self, key: int, *, kept: Container[int] = ()) -> None:
        """Delete a document: its passages become tombstones of their segments. O(its passages).

        Parameters
        ----------
        kept
            Keys of the passages that other documents take over in the same transaction.
        """
        rows = self._passages("p.document = ?", [key])
        keys = [[row.key] for row in rows if row.key not in kept]
        self._connection.executemany(
            "INSERT INTO tombstone (segment, position, encoded) "
            "SELECT segment, position, encoded FROM passage WHERE key = ?",
            keys,
        )
        self._connection.executemany("DELETE FROM passage WHERE key = ?", keys)
        self._connection.execute("DELETE FROM provenance WHERE document = ?", [key])
        self._connection.execute("DELETE FROM document WHERE key = ?", [key])

    def insert_tombstones(self, addresses: Iterable[tuple[bytes, Address]]) -> None:
        """Record that embeddings, given with the key of what was encoded, are no passage's."""
        self._connection.executemany(
            "INSERT INTO tombstone (encoded, segment, position) VALUES (?, ?, ?)",
            ((encoded, *address) for encoded, address in addresses),
        )

    def tombstone_counts(self) -> dict[int, int]:
        """Return how many tombstones each segment has that has any: O(tombstones)."""
        rows = self._connection.execute("SELECT segment, count(*) FROM tombstone GROUP BY segment")
        return dict(rows.fetchall())

    def erase(self) -> None:
        """Take what was deleted out of the files of the catalog, as far as no reader needs it.

        SQLite overwrites with zeros what is deleted. Left is the log of commits.
        """
        self._connection.execute(
            "DELETE FROM labels WHERE key <> 0 AND NOT EXISTS (SELECT 1 FROM document "
            "WHERE document.labels = labels.key AND document.labels <> 0) AND NOT EXISTS "
            "(SELECT 1 FROM version WHERE version.labels = labels.key AND version.labels <> 0)"
        )
        # Where a reader still needs the log, a later session cuts it off. Where readers follow each
        # other without a gap, none ever could: then those that read already are waited for.
        busy, pages = self._cut_log(0)
        if busy and pages > _LOG_PAGES:
            self._cut_log(_READERS_MILLISECONDS)

    def _cut_log(self, milliseconds: int) -> tuple[bool, int]:
        """Cut off the log of commits; return whether a reader needs it, and its number of pages."""
        self._connection.execute(f"PRAGMA busy_timeout = {milliseconds}")
        try:
            busy, pages, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {schema.BUSY_MILLISECONDS}")
        return bool(busy), int(pages)

    def vacuum(self) -> None:
        """Pack the file: O(its size). Readers go on with what they see."""
        self._connection.execute("VACUUM")

    def scrub(self) -> bool:
        """Leave nothing of what was deleted in the files of the catalog: O(its size).

        All pages are written anew, and the log of commits is cut off.

        Returns
        -------
        bool
            Whether the log was cut off. It isn't as long as a reader needs it.
        """
        self._connection.execute("VACUUM")
        (busy, _, _) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def set_terms(self, id: str, terms: Mapping[str, int | bool | None]) -> None:
        """Set when a document expires (``expires``), or whether it is held (``hold``)."""
        for name, value in terms.items():
            assert name in ("expires", "hold")
            for table in ("document", "version"):
                self._connection.execute(f"UPDATE {table} SET {name} = ? WHERE id = ?", [value, id])
        self.set_setting(EPOCH, uuid.uuid4().hex)

    def move(self, old: tuple[int, NDArray[np.intp]], new: tuple[int, int]) -> None:
        """Record that embeddings now stand in another segment, in a row.

        Parameters
        ----------
        old
            Segment and positions.
        new
            Segment and the first position.
        """
        segment, positions = old
        self._connection.executemany(
            "UPDATE passage SET segment = ?, position = ? WHERE segment = ? AND position = ?",
            (
                (new[0], new[1] + at, segment, int(position))
                for at, position in enumerate(positions)
            ),
        )

    def insert_segment(self, segment: NewSegment) -> int:
        """Insert a live segment; return its id, which is never used again."""
        cursor = self._connection.execute(
            "INSERT INTO segment (file, lexical, passages, tokens) VALUES (?, ?, ?, ?)", segment
        )
        return int(cursor.lastrowid or 0)

    def delete_segment(self, id: int) -> None:
        """Delete a segment that no live passage stands in, and its tombstones."""
        self._connection.execute("DELETE FROM tombstone WHERE segment = ?", [id])
        self._connection.execute("DELETE FROM segment WHERE id = ?", [id])

    def set_codebook_files(self, files: Sequence[str]) -> None:
        """Replace the list of the codebook's parts."""
        self._connection.execute("DELETE FROM codebook")
        self._connection.executemany("INSERT INTO codebook VALUES (?, ?)", list(enumerate(files)))
