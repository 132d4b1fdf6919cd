"""Reading an index: one consistent state at a time, from any number of threads.

A `View` holds a transaction of the catalog and the snapshot of the same commit. A new commit,
by this process or another, is seen by the next view; nothing has to be reopened.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rag_tools.catalog import catalog
from rag_tools.catalog.catalog import transaction
from rag_tools.catalog.schema import connect
from rag_tools.errors import IndexCorruptError
from rag_tools.index.codebook import CODEBOOKS, Codebook
from rag_tools.index.segment import SEGMENTS, Segment
from rag_tools.index.snapshot import Snapshot
from rag_tools.types import Document

_CACHED_DOCUMENTS = 64


@dataclass(frozen=True)
class View:
    """One committed state.

    Attributes
    ----------
    connection
        The catalog, inside a transaction.
    snapshot
        Of the same commit.
    url_template
        Makes the urls of citations, see `cite_span`; None: the source's own.
    """

    connection: sqlite3.Connection
    snapshot: Snapshot
    url_template: str | None


class Reader:
    """The reading side of an index.

    Parameters
    ----------
    directory
        The index.

    Raises
    ------
    IndexNotFoundError, IndexCorruptError, IndexVersionError
        If it can't be opened.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._idle: list[sqlite3.Connection] = [connect(directory)]
        self._closed = False
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._documents: OrderedDict[int, Document] = OrderedDict()

    @contextlib.contextmanager
    def view(self) -> Iterator[View]:
        """Open a consistent view for the length of a ``with`` block."""
        with self._connection() as connection:
            with transaction(connection):
                snapshot = self._current(connection)
                if snapshot is not None:
                    yield _view(connection, snapshot)
                    return
            # The writer deleted files of this commit after a later one: read that.
            with transaction(connection):
                snapshot = self._load(connection, catalog.setting(connection, "generation", 0))
                yield _view(connection, snapshot)

    def document(self, view: View, key: int) -> Document:
        """Return a document by its key. Recent ones are kept: a key's document never changes."""
        with self._lock:
            if key in self._documents:
                self._documents.move_to_end(key)
                return self._documents[key]
        document = catalog.document(view.connection, key)
        with self._lock:
            self._documents[key] = document
            while len(self._documents) > _CACHED_DOCUMENTS:
                self._documents.popitem(last=False)
        return document

    def close(self) -> None:
        """Close the connections: those in use, when their view ends."""
        with self._lock:
            self._closed = True
            self._snapshot = None
            while self._idle:
                self._idle.pop().close()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection: as many are open as there were views at once, not threads ever."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or connect(self._directory)
        try:
            yield connection
        finally:
            with self._lock:
                if self._closed:
                    connection.close()
                else:
                    self._idle.append(connection)

    def _current(self, connection: sqlite3.Connection) -> Snapshot | None:
        """Return the snapshot of this transaction's commit, or None if its files are gone."""
        generation = catalog.setting(connection, "generation", 0)
        snapshot = self._snapshot
        if snapshot is None or snapshot.generation != generation:
            try:
                snapshot = self._load(connection, generation)
            except IndexCorruptError as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise
                return None
        return snapshot

    def _load(self, connection: sqlite3.Connection, generation: int) -> Snapshot:
        with self._lock:
            known = self._snapshot
            files = catalog.codebook_files(connection)
            paths = [self._directory / CODEBOOKS / file for file in files]
            codebook = Codebook.read(paths) if paths else None
            segments, live = {}, {}
            for row in catalog.segments(connection) if codebook else ():
                assert codebook is not None
                segment = Segment(self._directory / SEGMENTS / row.file, codebook)
                segments[row.id] = segment
                live[row.id] = np.ones(len(segment), dtype=np.bool_)
                live[row.id][catalog.tombstones(connection, row.id)] = False
            snapshot = Snapshot(generation, codebook, segments, live)
            if known is None or known.generation < generation:
                self._snapshot = snapshot
            return snapshot


def _view(connection: sqlite3.Connection, snapshot: Snapshot) -> View:
    return View(connection, snapshot, catalog.setting(connection, "url_template"))
