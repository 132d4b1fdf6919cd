"""Reading and writing the catalog's rows.

Functions of a `Reader` see one committed state; functions of a `Writer`'s transaction are
committed together or not at all. Both are thin over SQL: no caching, no scoring.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_tools.catalog import lexical
from rag_tools.types import Block, Document, DocumentEntry, Passage, SourceMap


class SourceState(NamedTuple):
    """A synced file as it was read: size, modification time, hash of its bytes."""

    size: int
    mtime_ns: int
    sha256: str


class SegmentRow(NamedTuple):
    """A live segment."""

    id: int
    file: str
    passages: int
    tokens: int


class PassageRow(NamedTuple):
    """A live passage: its key and the key of its document."""

    key: int
    document: int
    passage: Passage


class NewPassage(NamedTuple):
    """A passage to insert, and the place of its embeddings."""

    passage: Passage
    segment: int
    position: int


class DocumentColumns(NamedTuple):
    """What the catalog stores of a document, without its passages and its file, as it stores it."""

    id: str
    uri: str
    title: str
    media_type: str
    sha256: str
    text: bytes
    structure: bytes
    metadata: str


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, *, write: bool = False) -> Iterator[None]:
    """Run a block on one committed state; commit what it wrote, or roll back if it raises."""
    connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # a full disk has SQLite roll back by itself
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


# -- settings ------------------------------------------------------------------------------------


def setting(connection: sqlite3.Connection, key: str, default: Any = None) -> Any:  # noqa: ANN401
    """Return a setting's value, or `default`."""
    row = connection.execute("SELECT value FROM setting WHERE key = ?", [key]).fetchone()
    return default if row is None else json.loads(row[0])


def set_setting(connection: sqlite3.Connection, key: str, value: Any) -> None:  # noqa: ANN401
    """Store a JSON-serialisable setting."""
    connection.execute(
        "INSERT INTO setting VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        [key, json.dumps(value)],
    )


def roots(connection: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    """Return every synced path with the options it was synced with."""
    rows = connection.execute("SELECT path, options FROM root ORDER BY path")
    return {path: json.loads(options) for path, options in rows}


def set_root(connection: sqlite3.Connection, path: str, options: dict[str, Any]) -> None:
    """Remember a synced path."""
    connection.execute(
        "INSERT INTO root VALUES (?, ?) "
        "ON CONFLICT (path) DO UPDATE SET options = excluded.options",
        [path, json.dumps(options)],
    )


def delete_root(connection: sqlite3.Connection, path: str) -> None:
    """Forget a synced path."""
    connection.execute("DELETE FROM root WHERE path = ?", [path])


# -- documents -----------------------------------------------------------------------------------


def document(connection: sqlite3.Connection, key: int) -> Document:
    """Return a document whole: O(its size)."""
    row = connection.execute(
        "SELECT id, uri, title, media_type, text, structure, metadata FROM document WHERE key = ?",
        [key],
    ).fetchone()
    id_, uri, title, media_type, text, structure, metadata = row
    blocks, source_map = _decode_structure(structure)
    return Document.model_construct(
        id=id_,
        uri=uri,
        title=title,
        media_type=media_type,
        text=zlib.decompress(text).decode("utf-8"),
        blocks=blocks,
        source_map=source_map,
        metadata=json.loads(metadata),
    )


def entries(
    connection: sqlite3.Connection,
    condition: str,
    parameters: Sequence[str | int | float],
    *,
    after: str,
    limit: int,
) -> list[DocumentEntry]:
    """Return the first documents that meet the condition and whose id is greater than `after`.

    In order of id. Reads their texts, to count characters.
    """
    rows = connection.execute(
        "SELECT d.id, d.title, d.uri, d.media_type, d.text, d.metadata FROM document AS d "
        f"WHERE d.id > ? AND ({condition}) ORDER BY d.id LIMIT ?",
        [after, *parameters, limit],
    )
    return [
        DocumentEntry(
            id=id_,
            title=title,
            uri=uri,
            media_type=media_type,
            characters=len(zlib.decompress(text).decode("utf-8")),
            metadata=json.loads(metadata),
        )
        for id_, title, uri, media_type, text, metadata in rows
    ]


def ids_like(connection: sqlite3.Connection, text: str, *, limit: int) -> list[str]:
    """Return the ids that begin with `text`, or whose title contains it, in order: O(documents)."""
    rows = connection.execute(
        "SELECT id FROM document WHERE substr(id, 1, length(?1)) = ?1 "
        "OR instr(lower(title), lower(?1)) > 0 ORDER BY id LIMIT ?2",
        [text, limit],
    )
    return [id_ for (id_,) in rows]


def ids_beginning(connection: sqlite3.Connection, text: str, *, limit: int) -> list[str]:
    """Return the ids that begin with `text`, in order: O(log documents + limit)."""
    rows = connection.execute(
        # No character is greater than the last one, by which the index of ids is left early.
        "SELECT id FROM document WHERE id >= ?1 AND id < ?1 || char(1114111) ORDER BY id LIMIT ?2",
        [text, limit],
    )
    return [id_ for (id_,) in rows]


def document_keys(connection: sqlite3.Connection) -> dict[str, int]:
    """Return the key of every document by id."""
    row = connection.execute("SELECT json_group_object(id, key) FROM document").fetchone()
    keys: dict[str, int] = json.loads(row[0])
    return keys


def document_key(connection: sqlite3.Connection, id: str) -> int | None:
    """Return the key of a document, or None."""
    row = connection.execute("SELECT key FROM document WHERE id = ?", [id]).fetchone()
    return None if row is None else int(row[0])


def document_key_by_text(connection: sqlite3.Connection, sha256: str) -> int | None:
    """Return the key of the oldest document with this canonical text, or None."""
    row = connection.execute("SELECT min(key) FROM document WHERE sha256 = ?", [sha256]).fetchone()
    return None if row[0] is None else int(row[0])


def sources(
    connection: sqlite3.Connection, path: str, prefix: str
) -> dict[str, tuple[str, SourceState]]:
    """Return the document id and state of the synced files at `path` or below, by their path.

    Parameters
    ----------
    prefix
        What the paths below `path` start with.
    """
    rows = connection.execute(
        "SELECT source_path, id, source_size, source_mtime_ns, source_sha256 FROM document "
        "WHERE source_path = ? OR (source_path >= ? AND source_path < ?)",
        [path, prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)],
    )
    return {row[0]: (row[1], SourceState(*row[2:])) for row in rows}


def source(connection: sqlite3.Connection, key: int) -> tuple[str | None, SourceState]:
    """Return the path a document was synced from, or None, and the file's state then."""
    row = connection.execute(
        "SELECT source_path, source_size, source_mtime_ns, source_sha256 FROM document "
        "WHERE key = ?",
        [key],
    ).fetchone()
    return row[0], SourceState(*row[1:])


def touch_source(connection: sqlite3.Connection, id: str, state: SourceState) -> None:
    """Record that a file has another size or time but the same bytes."""
    connection.execute(
        "UPDATE document SET source_size = ?, source_mtime_ns = ? WHERE id = ?",
        [state.size, state.mtime_ns, id],
    )


def encode_document(document: Document) -> DocumentColumns:
    """Return what is to be stored of a document.

    Raises
    ------
    ValueError
        It holds what can't be stored, such as a lone surrogate in a heading. A `Document` refuses
        most of that when it is made.
    """
    for name in (
        document.media_type,
        *(title for block in document.blocks for title in block.path),
    ):
        name.encode("utf-8")
    return DocumentColumns(
        document.id,
        document.uri,
        document.title,
        document.media_type,
        document.sha256,
        zlib.compress(document.text.encode("utf-8")),
        _encode_structure(document),
        json.dumps(document.metadata, ensure_ascii=False),
    )


def insert_document(
    connection: sqlite3.Connection,
    document: Document,
    columns: DocumentColumns,
    passages: Sequence[NewPassage],
    source: tuple[str, SourceState] | None,
) -> None:
    """Insert a document and its passages; `columns` are what `encode_document` made of it."""
    path, state = source or (None, SourceState(0, 0, ""))
    cursor = connection.execute(
        "INSERT INTO document (id, uri, title, media_type, sha256, text, structure, metadata, "
        "source_path, source_size, source_mtime_ns, source_sha256) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [*columns, path, state.size, state.mtime_ns, state.sha256],
    )
    owner = cursor.lastrowid
    keys = []
    for passage, segment, position in passages:
        cursor.execute(
            "INSERT INTO passage (document, start, end, path, segment, position) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [owner, passage.start, passage.end, json.dumps(passage.path), segment, position],
        )
        keys.append(int(cursor.lastrowid or 0))
    lexical.add(
        connection,
        (
            (key, document.text[new.passage.start : new.passage.end], heading(new.passage))
            for key, new in zip(keys, passages, strict=True)
        ),
    )


def delete_document(connection: sqlite3.Connection, key: int) -> None:
    """Delete a document: its passages become tombstones of their segments. O(its passages)."""
    stored = document(connection, key)
    rows = list(_passages(connection, "p.document = ?", [key]))
    lexical.remove(
        connection,
        (
            (row.key, stored.text[row.passage.start : row.passage.end], heading(row.passage))
            for row in rows
        ),
    )
    connection.execute(
        "INSERT INTO tombstone SELECT segment, position FROM passage WHERE document = ?", [key]
    )
    connection.execute("DELETE FROM passage WHERE document = ?", [key])
    connection.execute("DELETE FROM document WHERE key = ?", [key])


def heading(passage: Passage) -> str:
    """Return the heading path of a passage as the lexical index and people read it."""
    return " > ".join(passage.path)


# -- passages ------------------------------------------------------------------------------------


def passage_at(connection: sqlite3.Connection, segment: int, position: int) -> PassageRow:
    """Return the live passage whose embeddings stand at a place."""
    (row,) = _passages(connection, "p.segment = ? AND p.position = ?", [segment, position])
    return row


def passage_id(connection: sqlite3.Connection, segment: int, position: int) -> str:
    """Return the id of the live passage whose embeddings stand at a place."""
    (id,) = connection.execute(
        "SELECT d.id || ':' || p.start || '-' || p.end FROM passage AS p "
        "JOIN document AS d ON d.key = p.document WHERE p.segment = ? AND p.position = ?",
        [segment, position],
    ).fetchone()
    return str(id)


def places(
    connection: sqlite3.Connection, condition: str, parameters: Sequence[str | int | float]
) -> NDArray[np.int64]:
    """Return where the live passages stand whose document meets the condition.

    Returns
    -------
    NDArray
        ``(n, 2)`` int64: segment ids and positions.
    """
    return columns(
        connection,
        ("p.segment", "p.position"),
        f"passage AS p JOIN document AS d ON d.key = p.document WHERE {condition}",
        parameters,
    )


def places_of(connection: sqlite3.Connection, keys: Sequence[int]) -> NDArray[np.int64]:
    """Return where passages stand, ``(n, 2)`` int64 segment ids and positions, in that order."""
    found = columns(
        connection,
        ("wanted.key", "p.segment", "p.position"),
        "json_each(?) AS wanted JOIN passage AS p ON p.key = wanted.value",
        [json.dumps(list(keys))],
    )
    return found[np.argsort(found[:, 0]), 1:]


def columns(
    connection: sqlite3.Connection,
    names: Sequence[str],
    source: str,
    parameters: Sequence[str | int | float],
) -> NDArray[np.int64]:
    """Return columns of whole numbers, ``(n_rows, n_columns)`` int64, the rows in any order.

    They come from SQLite in a single row: it gives up the interpreter at every row, and where other
    threads are at work, has to wait for it again.
    """
    arrays = ", ".join(f"json_group_array({name})" for name in names)
    row = connection.execute(f"SELECT {arrays} FROM {source}", list(parameters)).fetchone()
    return np.array([json.loads(each) for each in row], dtype=np.int64).T


def move(
    connection: sqlite3.Connection, old: tuple[int, NDArray[np.intp]], new: tuple[int, int]
) -> None:
    """Record that embeddings now stand in another segment, in a row.

    Parameters
    ----------
    old
        Segment and positions.
    new
        Segment and the first position.
    """
    segment, positions = old
    connection.executemany(
        "UPDATE passage SET segment = ?, position = ? WHERE segment = ? AND position = ?",
        ((new[0], new[1] + at, segment, int(position)) for at, position in enumerate(positions)),
    )


def _passages(
    connection: sqlite3.Connection, condition: str, parameters: Sequence[Any]
) -> Iterator[PassageRow]:
    rows = connection.execute(
        f"SELECT p.key, p.document, p.start, p.end, p.path FROM passage AS p WHERE {condition}",
        list(parameters),
    )
    for key, owner, start, end, path in rows:
        yield PassageRow(key, owner, Passage(start, end, tuple(json.loads(path))))


# -- segments ------------------------------------------------------------------------------------


def segments(connection: sqlite3.Connection) -> list[SegmentRow]:
    """Return the live segments, oldest first."""
    rows = connection.execute("SELECT id, file, passages, tokens FROM segment ORDER BY id")
    return [SegmentRow(*row) for row in rows]


def insert_segment(connection: sqlite3.Connection, file: str, *, passages: int, tokens: int) -> int:
    """Insert a live segment; return its id, which is never used again."""
    cursor = connection.execute(
        "INSERT INTO segment (file, passages, tokens) VALUES (?, ?, ?)", [file, passages, tokens]
    )
    return int(cursor.lastrowid or 0)


def empty_segments(connection: sqlite3.Connection) -> list[int]:
    """Return the segments in which no live passage stands."""
    rows = connection.execute(
        "SELECT id FROM segment AS s "
        "WHERE NOT EXISTS (SELECT 1 FROM passage AS p WHERE p.segment = s.id)"
    )
    return [id for (id,) in rows]


def delete_segment(connection: sqlite3.Connection, id: int) -> None:
    """Delete a segment that no live passage stands in, and its tombstones."""
    connection.execute("DELETE FROM tombstone WHERE segment = ?", [id])
    connection.execute("DELETE FROM segment WHERE id = ?", [id])


def tombstones(connection: sqlite3.Connection, segment: int) -> NDArray[np.int64]:
    """Return the dead positions of a segment, rising."""
    rows = connection.execute(
        "SELECT position FROM tombstone WHERE segment = ? ORDER BY position", [segment]
    )
    return np.fromiter((row[0] for row in rows), dtype=np.int64)


def codebook_files(connection: sqlite3.Connection) -> list[str]:
    """Return the files of the codebook's parts, in order."""
    return [file for (file,) in connection.execute("SELECT file FROM codebook ORDER BY part")]


def set_codebook_files(connection: sqlite3.Connection, files: Sequence[str]) -> None:
    """Replace the list of the codebook's parts."""
    connection.execute("DELETE FROM codebook")
    connection.executemany("INSERT INTO codebook VALUES (?, ?)", list(enumerate(files)))


class Counts(NamedTuple):
    """Sizes of what is live."""

    documents: int
    passages: int
    tombstones: int


def counts(connection: sqlite3.Connection) -> Counts:
    """Count documents, passages and tombstones."""
    return Counts(
        *connection.execute(
            "SELECT (SELECT count(*) FROM document), (SELECT count(*) FROM passage), "
            "(SELECT count(*) FROM tombstone)"
        ).fetchone()
    )


# -- encoding of columns -------------------------------------------------------------------------


def _encode_structure(document: Document) -> bytes:
    source_map = document.source_map
    structure = {
        "blocks": document.blocks,
        "source_map": None if source_map is None else source_map.model_dump(mode="json"),
    }
    return zlib.compress(json.dumps(structure, ensure_ascii=False).encode("utf-8"))


def _decode_structure(stored: bytes) -> tuple[tuple[Block, ...], SourceMap | None]:
    structure = json.loads(zlib.decompress(stored))
    blocks = tuple(
        Block(kind, start, end, tuple(path)) for kind, start, end, path in structure["blocks"]
    )
    raw = structure["source_map"]
    source_map = None if raw is None else SourceMap.model_validate(raw)
    return blocks, source_map
