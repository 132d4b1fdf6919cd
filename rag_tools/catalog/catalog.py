"""Reading the catalog: what there is in one committed state.

Nothing outside this folder sees a connection. The methods are thin over SQL: they cache nothing and
score nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rag_tools.catalog import schema, upgrade
from rag_tools.catalog.history import History
from rag_tools.catalog.numbers import StoredNumbers
from rag_tools.catalog.remains import Remains
from rag_tools.catalog.rows import (
    UNSETTLED,
    Address,
    Counts,
    EncodedRow,
    Known,
    PassageRow,
    SegmentRow,
    SourceState,
    StoredDocument,
    decode_document,
)
from rag_tools.catalog.wording import wording
from rag_tools.index.arrayfile import FORMAT_VERSION
from rag_tools.index.postings import Worded
from rag_tools.types import Document, DocumentEntry, Passage

RETIRED = "retired"
"""The setting with the ids of documents that a sync doesn't index again."""


class Catalog(StoredNumbers, History, Remains):
    """An open catalog, for reading.

    What is read in one `state` is of one commit; outside of it, every call reads the last commit.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._format = self.format_version
        self._hides_since: int | None = None

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open the catalog of the index in `directory`; errors as of `schema.connect`."""
        return cls(schema.connect(directory))

    def close(self) -> None:
        """Release the files."""
        self._connection.close()

    @contextmanager
    def state(self) -> Iterator[None]:
        """Read one committed state for the length of a ``with`` block."""
        with self._transaction("BEGIN"):
            if self._format < FORMAT_VERSION and self.format_version == FORMAT_VERSION:
                self._renew()
                self._format = FORMAT_VERSION
            yield

    def _renew(self) -> None:
        """Read the current format, to which another process has upgraded the catalog."""
        upgrade.read_as_it_is(self._connection)
        self._hides_since = None

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        """Run a block in a transaction; roll back what it wrote if it raises."""
        connection = self._connection
        connection.execute(begin)
        try:
            yield
        except BaseException:
            if connection.in_transaction:  # a full disk has SQLite roll back by itself
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def damage(self) -> list[str]:
        """Return what SQLite finds wrong with the file: O(its size), and its logarithm."""
        found = [str(line) for (line,) in self._connection.execute("PRAGMA integrity_check(10)")]
        return [] if found == ["ok"] else found

    def count_homeless(self) -> int:
        """Return how many passages belong to a segment or a document that isn't there."""
        (count,) = self._connection.execute(
            "SELECT count(*) FROM passage WHERE segment NOT IN (SELECT id FROM segment) "
            "OR document NOT IN (SELECT key FROM document)"
        ).fetchone()
        return int(count)

    def positions(self, segment: int) -> NDArray[np.int64]:
        """Return the positions of the live passages of a segment."""
        rows = self._connection.execute("SELECT position FROM passage WHERE segment = ?", [segment])
        return np.fromiter((row[0] for row in rows), dtype=np.int64)

    def passages_of(self, document: int) -> list[PassageRow]:
        """Return the passages of a document, in order."""
        return list(self._passages("p.document = ? ORDER BY p.start", [document]))

    @property
    def format_version(self) -> int:
        """The format that the catalog is in: an earlier one until something is written."""
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def setting(self, key: str, default: Any = None) -> Any:  # noqa: ANN401
        """Return a setting's value, or `default`."""
        row = self._connection.execute("SELECT value FROM setting WHERE key = ?", [key]).fetchone()
        return default if row is None else json.loads(row[0])

    def roots(self) -> dict[str, dict[str, Any]]:
        """Return every synced path with the options it was synced with."""
        rows = self._connection.execute("SELECT path, options FROM root ORDER BY path")
        return {path: json.loads(options) for path, options in rows}

    def document(self, key: int) -> Document:
        """Return a document whole: O(its size).

        Raises
        ------
        IndexCorruptError
            If it is damaged.
        """
        return decode_document(self.stored_document(key))

    def stored_document(self, key: int) -> StoredDocument:
        """Return a document as it is stored."""
        row = self._connection.execute(
            "SELECT id, uri, title, media_type, sha256, "
            "(SELECT labels FROM labels WHERE key = document.labels), expires, hold, "
            "metadata, text, structure FROM document WHERE key = ?",
            [key],
        ).fetchone()
        return StoredDocument(*row)

    def all_keys(self) -> list[int]:
        """Return the keys of all documents, in ascending order."""
        rows = self._connection.execute("SELECT key FROM document ORDER BY key")
        return [key for (key,) in rows]

    def entries(self, *, after: str, limit: int) -> list[DocumentEntry]:
        """Return the first documents whose id is greater than `after`, in order of id.

        None of their texts is read.
        """
        return self._entries("d.id > ? ORDER BY d.id LIMIT ?", [after, limit])

    def listed(self, keys: Sequence[int]) -> list[DocumentEntry]:
        """Return documents by key, in order of id; see `entries`."""
        condition = "d.key IN (SELECT value FROM json_each(?)) ORDER BY d.id"
        return self._entries(condition, [json.dumps(list(keys))])

    def _entries(self, condition: str, parameters: Sequence[str | int]) -> list[DocumentEntry]:
        rows = self._connection.execute(
            "SELECT d.id, d.title, d.uri, d.media_type, d.characters, d.metadata "
            f"FROM document AS d WHERE {condition}",
            parameters,
        )
        return [
            DocumentEntry(
                id=id_,
                title=title,
                uri=uri,
                media_type=media_type,
                characters=characters,
                metadata=json.loads(metadata),
            )
            for id_, title, uri, media_type, characters, metadata in rows
        ]

    def ids_like(self, text: str, *, limit: int) -> list[str]:
        """Return the ids that begin with `text`, or whose title contains it, in ascending order.

        O(documents).
        """
        rows = self._connection.execute(
            "SELECT id FROM document WHERE substr(id, 1, length(?1)) = ?1 "
            "OR instr(lower(title), lower(?1)) > 0 ORDER BY id LIMIT ?2",
            [text, limit],
        )
        return [id_ for (id_,) in rows]

    def ids_beginning(self, text: str, *, limit: int) -> list[str]:
        """Return the ids that begin with `text`, in ascending order: O(log documents + limit)."""
        rows = self._connection.execute(
            # No character is greater than the last one, by which the index of ids is left early.
            "SELECT id FROM document WHERE id >= ?1 AND id < ?1 || char(1114111) "
            "ORDER BY id LIMIT ?2",
            [text, limit],
        )
        return [id_ for (id_,) in rows]

    def document_keys(self) -> dict[str, int]:
        """Return the key of every document by id."""
        row = self._connection.execute("SELECT json_group_object(id, key) FROM document").fetchone()
        keys: dict[str, int] = json.loads(row[0])
        return keys

    def document_key(self, id: str) -> int | None:
        """Return the key of a document, or None."""
        row = self._connection.execute("SELECT key FROM document WHERE id = ?", [id]).fetchone()
        return None if row is None else int(row[0])

    @property
    def retired(self) -> frozenset[str]:
        """Ids of documents that were purged or have expired, and aren't to come back by a sync."""
        return frozenset(self.setting(RETIRED, ()))

    def held(self, id: str) -> bool:
        """Tell whether a document is held; an unknown one isn't."""
        row = self._connection.execute("SELECT hold FROM document WHERE id = ?", [id]).fetchone()
        return row is not None and bool(row[0])

    def expires(self, id: str) -> int | None:
        """Return when a document expires; None: never, or there is no such document."""
        row = self._connection.execute("SELECT expires FROM document WHERE id = ?", [id]).fetchone()
        return None if row is None else row[0]

    def expired(self, now: int) -> list[str]:
        """Return the ids of the documents that have expired and aren't held, in order."""
        rows = self._connection.execute(
            f"SELECT d.id FROM document AS d WHERE {schema.EXPIRED} ORDER BY d.id", [now]
        )
        return [id_ for (id_,) in rows]

    def expired_addresses(self, now: int) -> NDArray[np.int64]:
        """Return the addresses of the passages of expired documents, see `addresses`."""
        if self._format < upgrade.TERMS:
            return np.empty((0, 2), np.int64)
        return self.columns(
            ("p.segment", "p.position"),
            "main.document AS d JOIN main.passage AS p ON p.document = d.key "
            f"WHERE {schema.EXPIRED}",
            [now],
        )

    def hide_expired(self, now: int) -> NDArray[np.int64]:
        """Have the documents that have expired not exist for this connection, until called again.

        Returns the addresses of their passages. Without any, it costs one look into an index.
        """
        none = np.empty((0, 2), np.int64)
        if self._format < upgrade.TERMS:
            return none
        found = self._connection.execute(
            f"SELECT max(d.expires) FROM main.document AS d WHERE {schema.EXPIRED}", [now]
        ).fetchone()[0]
        if found != self._hides_since:
            self._connection.execute("PRAGMA query_only = OFF")
            self._connection.execute("DROP VIEW IF EXISTS temp.document")
            if found is not None:
                self._connection.execute(schema.KEPT_DOCUMENTS.format(now=int(found)))
            self._connection.execute("PRAGMA query_only = ON")
            self._hides_since = found
        return none if found is None else self.expired_addresses(now)

    def ids_of(self, uri: str) -> list[str]:
        """Return the ids of the documents that came from an address, in order: O(documents)."""
        rows = self._connection.execute("SELECT id FROM document WHERE uri = ? ORDER BY id", [uri])
        return [id_ for (id_,) in rows]

    def wording(self, segment: SegmentRow) -> Iterator[Worded | None]:
        """Yield what is looked up of each passage of a segment, see `wording`."""
        return wording(self._connection, segment.id, segment.passages)

    def document_key_by_text(self, sha256: str) -> int | None:
        """Return the key of the oldest document with this canonical text, or None."""
        row = self._connection.execute(
            "SELECT min(key) FROM document WHERE sha256 = ?", [sha256]
        ).fetchone()
        return None if row[0] is None else int(row[0])

    def sources(self, path: str, prefix: str) -> dict[str, Known]:
        """Return what is known of the synced files at `path` or below, by their path.

        Parameters
        ----------
        prefix
            What the paths below `path` start with.
        """
        rows = self._connection.execute(
            "SELECT source_path, id, source_size, source_mtime_ns, source_sha256, source_terms "
            "FROM document "
            "WHERE source_path = ? OR (source_path >= ? AND source_path < ?)",
            [path, prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)],
        )
        found: dict[str, Known] = {}
        for name, id, *columns in rows:
            state = SourceState(*columns)
            if before := found.get(name):
                same = state == before.state
                found[name] = Known((*before.ids, id), state if same else UNSETTLED)
            else:
                found[name] = Known((id,), state)
        return found

    def source(self, key: int) -> tuple[str | None, SourceState]:
        """Return the path a document was synced from, or None, and the file's state then."""
        row = self._connection.execute(
            "SELECT source_path, source_size, source_mtime_ns, source_sha256, source_terms "
            "FROM document WHERE key = ?",
            [key],
        ).fetchone()
        return row[0], SourceState(*row[1:])

    def passage_at(self, segment: int, position: int) -> PassageRow:
        """Return the live passage whose embeddings stand at an address."""
        (row,) = self._passages("p.segment = ? AND p.position = ?", [segment, position])
        return row

    def passage_id(self, segment: int, position: int) -> str:
        """Return the id of the live passage whose embeddings stand at an address."""
        (id,) = self._connection.execute(
            "SELECT d.id || ':' || p.start || '-' || p.end FROM passage AS p "
            "JOIN document AS d ON d.key = p.document WHERE p.segment = ? AND p.position = ?",
            [segment, position],
        ).fetchone()
        return str(id)

    def keys_at(self, addresses: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the keys of the passages at ``(n, 2)`` addresses, ``(n,)`` int64, in that order.

        Keys stay as they are when compaction moves passages.
        """
        found = self.columns(
            ("wanted.key", "p.key"),
            "json_each(?) AS wanted JOIN main.passage AS p "
            "ON p.segment = json_extract(wanted.value, '$[0]') "
            "AND p.position = json_extract(wanted.value, '$[1]')",
            [json.dumps(addresses.tolist())],
        )
        keys: NDArray[np.int64] = found[np.argsort(found[:, 0]), 1]
        return keys

    def _passages(self, condition: str, parameters: Sequence[Any]) -> Iterator[PassageRow]:
        rows = self._connection.execute(
            f"SELECT p.key, p.document, p.start, p.end, p.path FROM passage AS p WHERE {condition}",
            list(parameters),
        )
        for key, owner, start, end, path in rows:
            yield PassageRow(key, owner, Passage(start, end, tuple(json.loads(path))))

    def encoded_rows(self, document: int) -> list[EncodedRow]:
        """Return the passages of a document, in order."""
        rows = self._connection.execute(
            "SELECT key, encoded, path, segment, position FROM passage WHERE document = ? "
            "ORDER BY start",
            [document],
        )
        return [
            EncodedRow(key, encoded, tuple(json.loads(path)), Address(segment, position))
            for key, encoded, path, segment, position in rows
        ]

    def address_of(self, encoded: bytes) -> Address | None:
        """Return where the embeddings of something stand that was encoded before; None: nowhere.

        A passage that was deleted still has its own, until its segment is merged.
        """
        row = self._connection.execute(
            "SELECT segment, position FROM passage WHERE encoded = ?1 UNION ALL "
            "SELECT segment, position FROM tombstone WHERE encoded = ?1 LIMIT 1",
            [encoded],
        ).fetchone()
        return None if row is None else Address(*row)

    def dead_addresses(self, encoded: bytes, *, limit: int) -> list[Address]:
        """Return where tombstones stand of what was encoded before, in order."""
        rows = self._connection.execute(
            "SELECT segment, position FROM tombstone WHERE encoded = ? "
            "ORDER BY segment, position LIMIT ?",
            [encoded, limit],
        )
        return [Address(*row) for row in rows]

    def segments(self) -> list[SegmentRow]:
        """Return the live segments, oldest first."""
        rows = self._connection.execute(
            "SELECT id, file, lexical, passages, tokens, revision FROM segment ORDER BY id"
        )
        return [SegmentRow(*row) for row in rows]

    def empty_segments(self) -> list[int]:
        """Return the segments in which no live passage stands."""
        rows = self._connection.execute(
            "SELECT id FROM segment AS s "
            "WHERE NOT EXISTS (SELECT 1 FROM passage AS p WHERE p.segment = s.id)"
        )
        return [id for (id,) in rows]

    def tombstones(self, segment: int) -> NDArray[np.int64]:
        """Return the dead positions of a segment, rising."""
        rows = self._connection.execute(
            "SELECT position FROM tombstone WHERE segment = ? ORDER BY position", [segment]
        )
        return np.fromiter((row[0] for row in rows), dtype=np.int64)

    def live(self, segment: int, passages: int) -> NDArray[np.bool_]:
        """Return which of the passages of a segment aren't dead: ``(passages,)`` bool."""
        live = np.ones(passages, dtype=np.bool_)
        live[self.tombstones(segment)] = False
        return live

    def codebook_files(self) -> list[str]:
        """Return the files of the codebook's parts, in order."""
        return [
            file for (file,) in self._connection.execute("SELECT file FROM codebook ORDER BY part")
        ]

    def counts(self) -> Counts:
        """Count documents, passages and tombstones."""
        return Counts(
            *self._connection.execute(
                "SELECT (SELECT count(*) FROM document), (SELECT count(*) FROM passage), "
                "(SELECT count(*) FROM tombstone)"
            ).fetchone()
        )
