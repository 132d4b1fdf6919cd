"""Making a catalog, and opening one without harm to anything else.

SQLite runs in WAL mode: one writer, any number of readers, each reader on the state that was
committed when its transaction began.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rag_tools.catalog import history, upgrade
from rag_tools.catalog.tables import TABLES
from rag_tools.disk import failures_named
from rag_tools.errors import IndexCorruptError, IndexNotFoundError
from rag_tools.file_uri import sqlite_uri
from rag_tools.index.arrayfile import FORMAT_VERSION, check_version

FILE_NAME = "catalog.sqlite"
NEW_FILE_NAME = "catalog.new"  # until it is whole
_APPLICATION_ID = 0x52414754  # "RAGT", in the SQLite header: tells our files from others'
BUSY_MILLISECONDS = 30_000

EXPIRED = "d.expires <= ? AND d.hold = 0"
"""The condition on ``document AS d`` that it has expired and isn't held, with the time."""

_KEPT = "(expires IS NULL OR hold OR expires > {now})"
KEPT_DOCUMENTS = f"CREATE TEMP VIEW document AS SELECT * FROM main.document WHERE {_KEPT}"
READABLE_DOCUMENTS = (
    "CREATE TEMP VIEW document AS SELECT * FROM main.document WHERE readable(labels) "
    f"AND {_KEPT.format(now='now()')}"
)
_READABLE_PASSAGES = (
    "CREATE TEMP VIEW passage AS SELECT * FROM main.passage AS p "
    "WHERE EXISTS (SELECT 1 FROM document WHERE document.key = p.document)"
)


def create(path: Path, settings: Mapping[str, Any]) -> None:
    """Create an empty catalog with some settings, whole or not at all.

    Raises
    ------
    IndexAccessError
        If it can't be written.
    """
    # A half-made catalog must never be taken for one: make it beside, then rename.
    temporary = path.with_name(NEW_FILE_NAME)
    with failures_named(path.parent):
        temporary.unlink(missing_ok=True)
        try:
            _fill(temporary, settings)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def _fill(path: Path, settings: Mapping[str, Any]) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.executescript(
            # Without a journal, which a crash would leave behind.
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = FULL; BEGIN; "
            f"{TABLES} {history.TABLES} "
            f"PRAGMA application_id = {_APPLICATION_ID}; "
            f"PRAGMA user_version = {FORMAT_VERSION}; COMMIT;"
        )
        connection.executemany(
            "INSERT INTO setting VALUES (?, ?)",
            [(key, json.dumps(value)) for key, value in settings.items()],
        )
    finally:
        connection.close()


def connect(
    directory: Path, *, write: bool = False, restricted: bool = False
) -> sqlite3.Connection:
    """Open the catalog in `directory`.

    Parameters
    ----------
    write
        Whether to change it.
    restricted
        Whether only documents and passages are read for whose labels the SQL function ``readable``
        holds, which the caller makes.

    Raises
    ------
    IndexNotFoundError
        If there is none.
    IndexCorruptError
        If it isn't ours or is damaged.
    IndexAccessError, IndexLockedError
        If it can't be read, and not because of what is in it.
    IndexVersionError
        If a release with another format wrote it. One of an earlier format that can be read is
        upgraded when it is opened to write, in one transaction.
    """
    path = directory / FILE_NAME
    with failures_named(directory):
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            raise IndexNotFoundError(
                f"no index at {directory}: run 'rag-tools index PATH' first"
            ) from None
        if not stat.S_ISREG(mode):
            raise IndexCorruptError(
                f"{path} is no file and can't be opened as a catalog: name another directory"
            )
        connection = _open(path)
        try:
            _prepare(connection, path, write=write, restricted=restricted)
        except BaseException:
            connection.close()
            raise
    return connection


def _open(path: Path) -> sqlite3.Connection:
    # A reader shares memory with the writer through a file in the directory. Where we can't write,
    # somebody else still may: only without a log of commits can the file be read as it stands.
    if os.access(path.parent, os.W_OK):
        mode = "rw"
    elif path.with_name(f"{FILE_NAME}-wal").exists():
        mode = "ro"
    else:
        mode = "ro&immutable=1"
    return sqlite3.connect(
        f"{sqlite_uri(path.absolute())}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=BUSY_MILLISECONDS / 1000,
        check_same_thread=False,
    )


def _prepare(connection: sqlite3.Connection, path: Path, *, write: bool, restricted: bool) -> None:
    """Refuse what isn't our catalog, or of another format; set how it is used."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != _APPLICATION_ID:
        raise IndexCorruptError(f"{path} is a database of another program: name another directory")
    check_version(path, version)
    if write:
        connection.execute("PRAGMA journal_mode = WAL")
        # A commit survives power loss, not only a crash of the process.
        connection.execute("PRAGMA synchronous = FULL")
        # What is deleted is overwritten with zeros, however SQLite was built.
        connection.execute("PRAGMA secure_delete = ON")
        if version < FORMAT_VERSION:
            upgrade.upgrade(connection, path.parent)
        connection.execute("PRAGMA foreign_keys = ON")
    else:
        connection.execute("PRAGMA temp_store = MEMORY")  # the disk may be one we can't write
        if version < FORMAT_VERSION:
            # No document has labels in the earliest ones.
            upgrade.read_as_current(connection, "readable(0)" if restricted else "1")
        if restricted and version >= upgrade.TERMS:
            connection.execute(READABLE_DOCUMENTS)
        if restricted:
            connection.execute(_READABLE_PASSAGES)
        connection.execute("PRAGMA query_only = ON")
