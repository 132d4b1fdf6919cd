"""Catalogs of earlier formats: reading one as it is, and making one of the current format of it.

Format 4 added the number of characters of each document, the key of what the encoder saw of each
passage, and put the large columns of a document last. Format 5 added who may read a document, when
it expires and whether it is held, what was laid down about its file, and the revision of a segment.
Format 6 has lexical postings beside each segment instead of an index by FTS5 in the catalog, and it
added earlier versions of documents, and where documents are from.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from pathlib import Path

from rag_tools.catalog import history
from rag_tools.catalog.tables import (
    DOCUMENT,
    DOCUMENT_INDEXES,
    ENCODED_INDEXES,
    LABELS,
    SEGMENT,
)
from rag_tools.catalog.wording import wording
from rag_tools.errors import IndexCorruptError
from rag_tools.index.arrayfile import FORMAT_VERSION
from rag_tools.index.postings import Postings, runs, write_postings
from rag_tools.index.segment import SEGMENTS
from rag_tools.ingest.seen import seen_in_format_3
from rag_tools.types import Passage

TERMS = 5
"""The format that added who may read a document, and how long it is kept."""

_COLUMNS_OF_3 = (
    "key, id, uri, title, media_type, sha256, source_path, source_size, source_mtime_ns, "
    "source_sha256, metadata, text, structure"
)


def read_as_current(connection: sqlite3.Connection, condition: str = "1") -> None:
    """Have a catalog of a format before `TERMS` read like one of it; nothing in it is changed.

    Views that only this connection sees take the place of the tables that lack columns. In format
    3, characters are counted where they are asked for.

    Parameters
    ----------
    condition
        Leaves out documents, in formats before `TERMS`.
    """
    connection.execute("PRAGMA temp_store = MEMORY")  # the disk may be one that can't be written
    if _version(connection) >= TERMS:
        connection.execute(
            "CREATE TEMP VIEW segment AS SELECT id, file, NULL AS lexical, passages, tokens, "
            "revision FROM main.segment"
        )
        return
    connection.execute(
        f"CREATE TEMP VIEW document AS SELECT {_COLUMNS_OF_3}, {_characters(connection)} AS "
        "characters, NULL AS source_terms, 0 AS labels, NULL AS expires, 0 AS hold "
        f"FROM main.document WHERE {condition}"
    )
    connection.execute("CREATE TEMP VIEW labels AS SELECT 0 AS key, '[]' AS labels")
    connection.execute(
        # Earlier releases count no revisions: every commit may be one. Those counted are positive.
        "CREATE TEMP VIEW segment AS SELECT id, file, NULL AS lexical, passages, tokens, "
        "-(SELECT CAST(value AS INTEGER) FROM setting WHERE key = 'generation') AS revision "
        "FROM main.segment"
    )


def read_as_it_is(connection: sqlite3.Connection) -> None:
    """Undo `read_as_current`, because another process has upgraded the catalog."""
    connection.execute("PRAGMA query_only = OFF")
    for view in ("document", "labels", "segment"):
        connection.execute(f"DROP VIEW IF EXISTS temp.{view}")
    connection.execute("PRAGMA query_only = ON")


def upgrade(connection: sqlite3.Connection, directory: Path) -> None:
    """Make a catalog of the current format of an earlier one: O(its size), in one transaction.

    Until it is committed, every reader sees the old one, and a crash leaves it as it was. What was
    deleted in format 3 is no longer in the file afterwards.

    Parameters
    ----------
    directory
        Directory of the index, where lexical postings are written. Those that an upgrade wrote
        before it was interrupted aren't written again.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)
        if version < TERMS:
            _run(connection, LABELS)
            _documents(connection)
            connection.execute("ALTER TABLE segment ADD COLUMN revision INTEGER NOT NULL DEFAULT 0")
        if version < history.FORMAT:
            _run(connection, history.TABLES)
        if version < 4:
            connection.execute("ALTER TABLE passage ADD COLUMN encoded BLOB")
            connection.execute("ALTER TABLE tombstone ADD COLUMN encoded BLOB")
            _passages(connection)
            _run(connection, ENCODED_INDEXES)
        _segments(connection, directory / SEGMENTS)
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has SQLite roll back by itself
            connection.execute("ROLLBACK")
        raise
    connection.execute("VACUUM")  # frees the room of the old tables


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _characters(connection: sqlite3.Connection) -> str:
    """Return the expression for the characters of a document in the format of this catalog."""
    if _version(connection) >= 4:
        return "characters"
    connection.create_function("count_characters", 1, _count_characters, deterministic=True)
    return "count_characters(text)"


def _documents(connection: sqlite3.Connection) -> None:
    """Put the documents into a table of the current form. Foreign keys aren't checked yet."""
    used = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'document'").fetchall()
    _run(connection, DOCUMENT.format(name="upgraded"))
    connection.execute(
        f"INSERT INTO upgraded ({_COLUMNS_OF_3}, characters) "
        f"SELECT {_COLUMNS_OF_3}, {_characters(connection)} FROM document ORDER BY key"
    )
    connection.execute("DROP TABLE document")
    connection.execute("ALTER TABLE upgraded RENAME TO document")
    _run(connection, DOCUMENT_INDEXES)
    # Keys are never used again, those of deleted documents neither.
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'document'")
    connection.executemany("INSERT INTO sqlite_sequence VALUES ('document', ?)", used)


def _passages(connection: sqlite3.Connection) -> None:
    """Give each passage the key of what the encoder saw of it."""
    (fingerprint,) = connection.execute(
        "SELECT json_extract(value, '$') FROM setting WHERE key = 'fingerprint'"
    ).fetchone()
    documents = [key for (key,) in connection.execute("SELECT key FROM document ORDER BY key")]
    for document in documents:
        title, stored = connection.execute(
            "SELECT title, text FROM document WHERE key = ?", [document]
        ).fetchone()
        text = _decompressed(stored)
        if text is None:
            continue
        passages = [
            (key, Passage(start, end, tuple(json.loads(path))))
            for key, start, end, path in connection.execute(
                "SELECT key, start, end, path FROM passage WHERE document = ?", [document]
            )
        ]
        connection.executemany(
            "UPDATE passage SET encoded = ? WHERE key = ?",
            (
                (seen_in_format_3(text, title, passage).key(fingerprint), key)
                for key, passage in passages
            ),
        )


def _segments(connection: sqlite3.Connection, folder: Path) -> None:
    """Write the lexical postings of every segment from the stored texts; FTS5 isn't used any more.

    The files are named after the commit: what an interrupted upgrade of the same state wrote is
    what this one would write.
    """
    used = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'segment'").fetchall()
    (generation,) = connection.execute(
        "SELECT max(CAST(value AS INTEGER)) FROM setting WHERE key = 'generation'"
    ).fetchone()
    rows = connection.execute("SELECT id, file, passages, tokens, revision FROM segment").fetchall()
    _run(connection, SEGMENT.format(name="upgraded"))
    folder.mkdir(exist_ok=True)
    for id, file, passages, tokens, revision in rows:
        path = folder / f"{Path(file).stem}_{generation or 0}.lex"
        if not _written(path, passages):
            write_postings(path, runs(wording(connection, id, passages)))
        connection.execute(
            "INSERT INTO upgraded (id, file, lexical, passages, tokens, revision) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [id, file, path.name, passages, tokens, revision],
        )
    connection.execute("DROP TABLE segment")
    connection.execute("ALTER TABLE upgraded RENAME TO segment")
    connection.execute("DELETE FROM sqlite_sequence WHERE name IN ('segment', 'upgraded')")
    connection.executemany("INSERT INTO sqlite_sequence VALUES ('segment', ?)", used)
    connection.execute("DROP TABLE lexical")
    connection.execute("DELETE FROM setting WHERE key = 'removed_passages'")


def _written(path: Path, passages: int) -> bool:
    """Tell whether a file with the postings of this many passages is there, whole."""
    try:
        return len(Postings.open(path)) == passages
    except IndexCorruptError:
        return False


def _run(connection: sqlite3.Connection, statements: str) -> None:
    """Run statements in the transaction that is open, which ``executescript`` would commit."""
    for statement in statements.split(";"):
        connection.execute(statement)


def _count_characters(stored: bytes) -> int:
    return len(_decompressed(stored) or "")


def _decompressed(stored: bytes) -> str | None:
    """Return a text; None if it is damaged, which must not keep the others from being upgraded."""
    try:
        return zlib.decompress(stored).decode("utf-8")
    except (zlib.error, UnicodeDecodeError):
        return None
