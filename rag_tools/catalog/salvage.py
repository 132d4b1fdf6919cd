"""Making a sound catalog of what can still be read in a damaged one.

What to do about a document or a segment is decided in `rag_tools.maintenance.repair`.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from rag_tools.catalog import schema
from rag_tools.catalog.catalog import Catalog
from rag_tools.catalog.rows import (
    DocumentColumns,
    decode_document,
    decode_structure,
    encode_document,
)
from rag_tools.disk import failures_named
from rag_tools.errors import IndexCorruptError
from rag_tools.file_uri import sqlite_uri
from rag_tools.types import Document, check_labels

_MOST_GAPS = 100_000  # keys of rows that are looked for one by one, beside ten for each row found
UNKNOWN_READERS = "unknown after a repair"
"""Label of a document whose own labels were damaged. No group should have this name."""

_TROUBLE = (
    *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED),
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM),
)
_UNREADABLE = (zlib.error, ValueError, LookupError, TypeError, RecursionError)


# Columns that earlier formats lack, until they are made anew.
_FILLED = {"document": {"characters": "0"}, "segment": {"lexical": "hex(randomblob(16))"}}


class Salvaged(NamedTuple):
    """A document whose text is intact.

    Attributes
    ----------
    key, document
        Its key, and what is left of it.
    whole
        Whether nothing but the text's checksum had to be made anew.
    """

    key: int
    document: Document
    whole: bool


def copy_rows(directory: Path, target: Path) -> list[int]:
    """Copy the rows that can be read into a new catalog; return the keys of documents that can't.

    Parameters
    ----------
    directory
        Directory of the damaged index.
    target
        Directory in which the new catalog is made.

    Raises
    ------
    IndexCorruptError
        If the file isn't a database at all.
    IndexAccessError
        If it can't be read, or the new one can't be written.
    """
    schema.create(target / schema.FILE_NAME, {})
    path = directory / schema.FILE_NAME
    lost: list[int] = []
    with failures_named(directory):
        old = sqlite3.connect(
            f"{sqlite_uri(path.absolute())}?mode=rw", uri=True, isolation_level=None
        )
        new = sqlite3.connect(target / schema.FILE_NAME, isolation_level=None)
        with closing(old), closing(new):
            old.text_factory = lambda data: data.decode("utf-8", "replace")
            try:
                names = _tables(old)
            except sqlite3.DatabaseError as error:
                _require_damage(error)
                raise IndexCorruptError(
                    f"{path} can't be read as a database any more ({error}): restore a backup "
                    f"with 'rag-tools restore', or delete {directory} and index again"
                ) from error
            new.execute("BEGIN")
            for table in sorted(_tables(new) & names):
                keys = _copy_table(old, new, table)
                lost += keys if table == "document" else []
            new.execute("COMMIT")
    return lost


def _tables(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    internal = ("sqlite_", "lexical")  # of FTS5, which formats before 6 used
    return {name for (name,) in rows if isinstance(name, str) and not name.startswith(internal)}


def _copy_table(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> list[int]:
    """Copy what can be read of a table; return the integer keys of rows that can't be read."""
    columns = [name for name in _columns(new, table) if name in _columns(old, table)]
    ours = ", ".join(f'"{name}"' for name in columns)
    fill = {name: value for name, value in _FILLED.get(table, {}).items() if name not in columns}
    into = ", ".join([ours, *fill])
    marks = ", ".join(["?"] * len(columns) + list(fill.values()))
    insert = f"INSERT OR IGNORE INTO {table} ({into}) VALUES ({marks})"
    select = f"SELECT {ours} FROM {table}"
    keyed = columns[0] in ("key", "id", "part")

    def read(condition: str = "", parameters: tuple[int, ...] = ()) -> bool:
        """Copy rows up to the first that can't be read; return whether there was none."""
        rows = _readable(old, f"{select} {condition}", parameters)
        for row in rows:
            if row is None:
                return False
            with contextlib.suppress(sqlite3.IntegrityError):  # a column holds nothing usable
                new.execute(insert, row)
        return True

    if read():
        return []
    order = columns[0] if keyed else ", ".join(columns[:2])
    read(f"ORDER BY {order} DESC")
    if not keyed:
        return []
    have = {key for (key,) in new.execute(f"SELECT {order} FROM {table}")}
    lost = [key for key in range(1, _last(old, table, have) + 1) if key not in have]
    return [
        key
        for key in lost
        if not read(f"WHERE {order} = ?", (key,))
        or (
            not new.execute(f"SELECT 1 FROM {table} WHERE {order} = ?", [key]).fetchone()
            and _was_there(old, table, key)
        )
    ]


def _readable(
    old: sqlite3.Connection, query: str, parameters: tuple[int, ...]
) -> Iterator[tuple[Any, ...] | None]:
    """Yield rows of a damaged catalog; None, and no more, where the next one can't be read."""
    try:
        # Not delegated: the cursor would be closed with this, after its connection.
        for row in old.execute(query, parameters):  # noqa: UP028
            yield row
    except (sqlite3.DatabaseError, OverflowError) as error:
        _require_damage(error)
        yield None


def _require_damage(error: Exception) -> None:
    """Raise an error again that isn't due to what is in the file, such as a failing disk."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF in _TROUBLE and code != sqlite3.SQLITE_IOERR_SHORT_READ:
        raise error


def _was_there(old: sqlite3.Connection, table: str, key: int) -> bool:
    """Return whether passages refer to a row, or that can't be told."""
    if table != "document":
        return False
    try:
        return bool(old.execute("SELECT 1 FROM passage WHERE document = ?", [key]).fetchone())
    except sqlite3.DatabaseError as error:
        _require_damage(error)
        return True


def _last(old: sqlite3.Connection, table: str, have: set[int]) -> int:
    """Return the highest key that a table may have."""
    try:
        row = old.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", [table]).fetchone()
    except sqlite3.DatabaseError as error:
        _require_damage(error)
        row = None
    used = row[0] if row and isinstance(row[0], int) else max(have, default=0)
    # A damaged number must not have us look for billions of rows.
    return int(min(used, 10 * len(have) + _MOST_GAPS))


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


class SalvagedCatalog(Catalog):
    """A new catalog with the rows of a damaged one, until it is consistent."""

    @classmethod
    def open_new(cls, directory: Path) -> SalvagedCatalog:
        """Open the catalog that `copy_rows` made, and begin to change it."""
        connection = sqlite3.connect(directory / schema.FILE_NAME, isolation_level=None)
        connection.execute("BEGIN")
        return cls(connection)

    def finish(self) -> None:
        """Commit the changes and close the file."""
        self._connection.execute("COMMIT")
        self._connection.close()

    def salvage(self, key: int) -> Salvaged | None:
        """Return a document, and store it anew where something of it is damaged.

        None, and the document is deleted, if its text is damaged.
        """
        row = self.stored_document(key)
        try:
            text = zlib.decompress(row.text).decode("utf-8")
        except _UNREADABLE:
            self.drop_document(key)
            return None
        document = Document.model_construct(
            id=row.id,
            uri=row.uri,
            title=row.title,
            media_type=row.media_type,
            text=text,
            expires=row.expires,
            hold=bool(row.hold),
        )
        found: list[dict[str, Any]] = []
        for read in (
            lambda: decode_structure(row.structure),
            lambda: {"metadata": dict(json.loads(row.metadata))},
            lambda: {"labels": check_labels(json.loads(row.labels))},
        ):
            with contextlib.suppress(*_UNREADABLE):
                found.append(read())
        whole = len(found) == 3
        # Who may read it isn't known any more: until its file is read again, no caller may.
        fields: dict[str, Any] = {"labels": (UNKNOWN_READERS,)}
        for each in found:
            fields |= each
        document = document.model_copy(update=fields)
        if not whole or row.sha256 != document.sha256:
            self._store(key, encode_document(document), read_again=not whole)
        else:
            self._connection.execute(
                "UPDATE document SET characters = ? WHERE key = ? AND characters <> ?",
                [len(text), key, len(text)],
            )
        return Salvaged(key, document, whole)

    def _store(self, key: int, columns: DocumentColumns, *, read_again: bool) -> None:
        self._connection.execute(
            "INSERT INTO labels (labels) VALUES (?) ON CONFLICT DO NOTHING", [columns.labels]
        )
        names = [f"{name} = ?" for name in DocumentColumns._fields]
        names[names.index("labels = ?")] = "labels = (SELECT key FROM labels WHERE labels = ?)"
        names += ["source_mtime_ns = 0", "source_sha256 = ''"] if read_again else []
        self._connection.execute(
            f"UPDATE document SET {', '.join(names)} WHERE key = ?", [*columns, key]
        )

    def drop_document(self, key: int) -> None:
        """Delete a document and its passages."""
        self.drop_passages(key)
        self._connection.execute("DELETE FROM provenance WHERE document = ?", [key])
        self._connection.execute("DELETE FROM document WHERE key = ?", [key])

    def drop_passages(self, document: int) -> None:
        """Delete the passages of a document; their embeddings can be used again."""
        self._connection.execute(
            "INSERT OR REPLACE INTO tombstone (segment, position, encoded) "
            "SELECT segment, position, encoded FROM passage WHERE document = ?",
            [document],
        )
        self._connection.execute("DELETE FROM passage WHERE document = ?", [document])

    def drop_segment(self, id: int) -> None:
        """Delete a segment with all passages and tombstones in it."""
        for statement in (
            "DELETE FROM passage WHERE segment = ?",
            "DELETE FROM tombstone WHERE segment = ?",
            "DELETE FROM segment WHERE id = ?",
        ):
            self._connection.execute(statement, [id])

    def drop_codebook(self) -> None:
        """Forget the codebook."""
        self._connection.execute("DELETE FROM codebook")

    def readable_setting(self, key: str) -> Any:  # noqa: ANN401
        """Return a setting; None if it is missing or damaged."""
        try:
            return self.setting(key)
        except ValueError:
            return None

    def set_setting(self, key: str, value: Any) -> None:  # noqa: ANN401
        """Store a setting."""
        self._connection.execute(
            "INSERT OR REPLACE INTO setting VALUES (?, ?)", [key, json.dumps(value)]
        )

    def drop_unreadable_roots(self) -> None:
        """Forget the synced paths whose options can't be read."""
        rows = self._connection.execute("SELECT path, options FROM root").fetchall()
        for path, options in rows:
            try:
                dict(json.loads(options))
            except _UNREADABLE:
                self._connection.execute("DELETE FROM root WHERE path = ?", [path])

    def drop_unreadable_versions(self) -> int:
        """Delete the earlier versions that can't be read, or by whom isn't known; return how many.

        And what is known of where documents are from, if it can't be read.
        """
        run, dropped = self._connection.execute, 0
        for key in self.version_keys():
            try:
                row = self.stored_version(key)
                intact = decode_document(row).sha256 == row.sha256
            except (IndexCorruptError, *_UNREADABLE):
                intact = False
            if not intact:
                run("DELETE FROM version WHERE key = ?", [key])
                dropped += 1
        run("DELETE FROM provenance WHERE document NOT IN (SELECT key FROM document)")
        run("DELETE FROM provenance WHERE NOT json_valid(provenance)")
        return dropped

    def settle(self) -> None:
        """Delete what belongs to nothing, and list every position of a segment once."""
        run = self._connection.execute
        run(
            "DELETE FROM passage WHERE document NOT IN (SELECT key FROM document) "
            "OR segment NOT IN (SELECT id FROM segment)"
        )
        run("DELETE FROM tombstone WHERE segment NOT IN (SELECT id FROM segment)")
        for segment in self.segments():
            run(
                "DELETE FROM passage WHERE segment = ? AND position NOT BETWEEN 0 AND ?",
                [segment.id, segment.passages - 1],
            )
            run(
                "DELETE FROM tombstone WHERE segment = ?1 AND (position NOT BETWEEN 0 AND ?2 "
                "OR position IN (SELECT position FROM passage WHERE segment = ?1))",
                [segment.id, segment.passages - 1],
            )
            known = {*self.positions(segment.id).tolist(), *self.tombstones(segment.id).tolist()}
            self._connection.executemany(
                "INSERT INTO tombstone (segment, position) VALUES (?, ?)",
                [(segment.id, at) for at in range(segment.passages) if at not in known],
            )

    def set_lexical(self, segment: int, file: str) -> None:
        """Name the file with the lexical postings of a segment."""
        self._connection.execute("UPDATE segment SET lexical = ? WHERE id = ?", [file, segment])
