"""Copying a catalog whole: out of an index while a writer may be at work, and back into one."""

from __future__ import annotations

import json
import os
import sqlite3
import uuid
from contextlib import closing, suppress
from pathlib import Path

from rag_tools.catalog import schema
from rag_tools.catalog.catalog import Catalog
from rag_tools.disk import failures_named, sweep
from rag_tools.errors import IndexCorruptError, RagToolsError
from rag_tools.index.codebook import CODEBOOKS
from rag_tools.index.segment import SEGMENTS

EPOCH = "restored"
"""The setting that is new when the documents behind known keys may have changed.

By a restore, or because a document expires at another time or is held. Open readers then forget
what they cached.
"""


def copy_out(directory: Path, target: Path) -> None:
    """Copy the last commit of an index's catalog to a new file, durably: O(its size).

    Writers and readers aren't disturbed. A commit that is made meanwhile isn't in the copy.

    Raises
    ------
    IndexNotFoundError, IndexCorruptError, IndexVersionError, IndexAccessError, IndexLockedError
        If the catalog can't be read or the copy can't be written.
    """
    with (
        closing(schema.connect(directory)) as source,
        failures_named(target),
        closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        source.execute("BEGIN")
        # In one step: with several, a commit would make SQLite begin again.
        source.backup(copy)
        source.execute("ROLLBACK")
        # A single file, with no log of commits beside it.
        copy.execute("PRAGMA journal_mode = DELETE")


def put_in_place(copy: Path, directory: Path) -> None:
    """Make a copy the catalog of an index, in one step; the copy is gone afterwards.

    The caller holds the lock for writing. Where the index has a catalog that can be read, its pages
    are replaced in one transaction, so open readers go on with the old state and see the new one
    with their next view. The numbers of commits, documents, passages and segments go on from the
    higher of both states, so that none is ever used for something else. Another catalog, which is
    damaged, is replaced by the file. Then what the new commit doesn't list is deleted.

    Raises
    ------
    IndexAccessError, IndexLockedError
        If the catalog can't be written; then it is as it was.
    """
    path = directory / schema.FILE_NAME
    with failures_named(directory):
        if path.exists() and _replace_pages(copy, directory):
            copy.unlink()
        else:
            # The log belongs to the damaged file: SQLite must not apply it to the new one.
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            copy.replace(path)
            _flush(directory)
    # What can't be deleted now is deleted by the next session of changes.
    with (
        suppress(RagToolsError),
        failures_named(directory),
        closing(Catalog.open(directory)) as catalog,
    ):
        sweep_unlisted(directory, catalog)


def sweep_unlisted(directory: Path, catalog: Catalog) -> None:
    """Delete the files of an index that its commit doesn't list, and unfinished catalogs.

    The caller holds the lock for writing.

    Raises
    ------
    IndexAccessError
        If the directory can't be read. What can't be deleted is left for the next time.
    """
    listed = {file for row in catalog.segments() for file in row.files}
    listed |= set(catalog.codebook_files())
    for folder in (SEGMENTS, CODEBOOKS):
        sweep(directory / folder, listed)
    for path in directory.glob(f"{schema.NEW_FILE_NAME}*"):
        with suppress(OSError):
            path.unlink()


def _replace_pages(copy: Path, directory: Path) -> bool:
    """Replace the content of a catalog in one transaction; return false if it is too damaged."""
    try:
        with (
            failures_named(directory),
            closing(schema.connect(directory, write=True)) as live,
            closing(sqlite3.connect(copy, isolation_level=None)) as new,
        ):
            if live.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                return False
            _continue_numbers(live, new)
            new.backup(live)
            live.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    except (IndexCorruptError, sqlite3.Error, ValueError, TypeError, LookupError):
        return False
    return True


def _continue_numbers(live: sqlite3.Connection, new: sqlite3.Connection) -> None:
    """Have the numbers of the new state go on from those of the live one."""
    used = dict(live.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    (generation,) = live.execute(
        "SELECT max(CAST(value AS INTEGER)) FROM setting WHERE key = 'generation'"
    ).fetchone()
    new.execute("BEGIN IMMEDIATE")
    own = dict(new.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    new.execute("DELETE FROM sqlite_sequence")
    new.executemany(
        "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)",
        [(name, max(used.get(name, 0), own.get(name, 0))) for name in used.keys() | own.keys()],
    )
    new.execute(
        "UPDATE setting SET value = max(CAST(value AS INTEGER), ?) + 1 WHERE key = 'generation'",
        [generation or 0],
    )
    new.execute(
        "INSERT OR REPLACE INTO setting VALUES (?, ?)", [EPOCH, json.dumps(uuid.uuid4().hex)]
    )
    new.execute("COMMIT")


def _flush(directory: Path) -> None:
    if os.name == "posix":  # a rename is durable once its directory is
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
