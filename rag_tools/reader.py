"""Reading an index: one consistent state at a time, from any number of threads.

A `View` holds a transaction of the catalog and the snapshot of the same commit. The next view sees
a new commit of this process or another; nothing has to be reopened.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rag_tools.catalog.catalog import Catalog
from rag_tools.catalog.copying import EPOCH
from rag_tools.catalog.schema import FILE_NAME
from rag_tools.catalog.selecting import Columns, Selecting, Table
from rag_tools.disk import failures_named
from rag_tools.errors import IndexCorruptError, IndexMismatchError
from rag_tools.index import lexical
from rag_tools.index.codebook import CODEBOOKS, Codebook
from rag_tools.index.postings import Postings, merged, runs
from rag_tools.index.segment import SEGMENTS, Segment
from rag_tools.index.snapshot import Selection, Snapshot
from rag_tools.integrity import corrupt, damage, explained
from rag_tools.types import Document

_Catalog = TypeVar("_Catalog", bound=Catalog)

_CACHED_CHARACTERS = 32 * 1024 * 1024  # of cached documents, not counting the last one


@dataclass(frozen=True)
class View:
    """One committed state of an index.

    Attributes
    ----------
    catalog
        The catalog in this state.
    snapshot
        The segments of the same commit.
    url_template
        Template for the URLs of citations, see `cite_span`; None gives them the URLs of their
        sources.
    epoch
        Changes when the documents behind known keys may have, see `EPOCH`; None at first.
    columns
        What filters are compared with, kept by the reader.
    now
        Unix time in seconds, by which documents expire.
    """

    catalog: Catalog
    snapshot: Snapshot
    url_template: str | None
    epoch: str | None
    columns: Columns
    now: int

    @cached_property
    def selecting(self) -> Selecting:
        """Finds the documents of this state that meet a condition, among those that are seen."""
        table = self.columns.table(self.catalog, self.snapshot.generation)
        seen = self._seen(table)
        gone = self.catalog.expired_keys(self.now)
        if len(gone):
            seen &= ~np.isin(table.keys, gone)
        return Selecting(self.columns, self.catalog, table, seen)

    def _seen(self, table: Table) -> NDArray[np.bool_]:
        """Return which documents of a commit are seen in this view, expired ones aside."""
        return np.ones(len(table.keys), np.bool_)

    def bm25(
        self, words: Sequence[str], selection: Selection
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the passages of a selection that BM25 lists for some words, and their scores.

        Of those that tie with the last one, the oldest are listed, wherever compaction put them.

        Returns
        -------
        tuple
            ``(n, 2)`` int64 addresses and ``(n,)`` float32, best first.
        """
        segments = self.snapshot.segments
        bitmaps = [selection.bitmaps[id] for id in segments]
        places, scores = lexical.bm25(
            self.snapshot.words, words, limit=lexical.LISTED, selected=bitmaps
        )
        ids = np.fromiter(segments, np.int64, len(segments))
        addresses = np.stack([ids[places[:, 0]], places[:, 1]], axis=1)
        if len(scores) > lexical.LISTED:
            tied = np.flatnonzero(scores == scores[-1])
            first = np.argsort(self.catalog.keys_at(addresses[tied]), kind="stable")
            listed = np.append(np.arange(tied[0]), tied[first])[: lexical.LISTED]
            addresses, scores = addresses[listed], scores[listed]
        return addresses, scores.astype(np.float32)


class Reader:
    """Gives access to committed states of an index.

    Parameters
    ----------
    directory
        Directory of the index.

    Raises
    ------
    IndexNotFoundError, IndexCorruptError, IndexVersionError, IndexAccessError, IndexLockedError
        If the index can't be opened.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._idle: defaultdict[type[Catalog], list[Catalog]] = defaultdict(list)
        self._closed = False
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._documents: OrderedDict[tuple[str | None, int], Document] = OrderedDict()
        self._cached_characters = 0
        self._sound: set[tuple[int, ...]] = set()
        self.columns = Columns()
        with self._catalog(Catalog):  # raises if the index can't be opened
            self._opened = self._identity()

    @contextlib.contextmanager
    def view(self) -> Iterator[View]:
        """Open a consistent view for the length of a ``with`` block.

        Raises
        ------
        IndexCorruptError
            If data that the block reads is damaged.
        IndexAccessError, IndexLockedError
            If the index can't be read for another reason.
        IndexMismatchError
            If the index was deleted or replaced since it was opened.
        """
        with self.state(Catalog) as (catalog, snapshot):
            now = int(time.time())
            expired = catalog.hide_expired(now)
            template, epoch = catalog.setting("url_template"), catalog.setting(EPOCH)
            shown = snapshot.without(expired)
            yield View(catalog, shown, template, epoch, self.columns, now)

    @contextlib.contextmanager
    def state(self, kind: type[_Catalog]) -> Iterator[tuple[_Catalog, Snapshot]]:
        """Read one committed state with a catalog of some kind; errors are those of `view`."""
        self.require()
        place = self._directory
        with (
            explained(place, self._sound),
            failures_named(place),
            self._catalog(kind) as catalog,
        ):
            missing = None
            while True:
                with catalog.state():
                    generation = catalog.setting("generation", 0)
                    try:
                        snapshot = self._load(catalog, generation)
                    except IndexCorruptError as error:
                        if generation == missing or not isinstance(
                            error.__cause__, FileNotFoundError
                        ):
                            raise
                        # A writer deletes the files of a commit after the next one: read that.
                        missing = generation
                        continue
                    yield catalog, snapshot
                    return

    def document(self, view: View, key: int) -> Document:
        """Return a document by its key, cached: it doesn't change within an epoch."""
        name = view.epoch, key
        with self._lock:
            if name in self._documents:
                self._documents.move_to_end(name)
                return self._documents[name]
        document = view.catalog.document(key)
        with self._lock:
            if name not in self._documents:  # another thread may have been faster
                self._documents[name] = document
                self._cached_characters += len(document.text)
            while self._cached_characters > _CACHED_CHARACTERS and len(self._documents) > 1:
                _, dropped = self._documents.popitem(last=False)
                self._cached_characters -= len(dropped.text)
        return document

    @property
    def replaced(self) -> bool:
        """Whether the index was deleted, or replaced by another, since it was opened."""
        return self._identity() != self._opened

    def require(self) -> None:
        """Raise `IndexMismatchError` if the index was deleted or replaced since it was opened."""
        if self.replaced:
            raise IndexMismatchError(
                f"{self._directory} was deleted or replaced since it was opened: open it again"
            )

    def check(self) -> None:
        """Read everything in the current commit and compare its checksums: O(size).

        Raises
        ------
        IndexCorruptError
            If something is damaged; the message names what.
        """
        if found := list(damage(self._directory)):
            raise corrupt(self._directory, found)

    def close(self) -> None:
        """Close the catalogs; one that is in use is closed when its view ends."""
        with self._lock:
            self._closed = True
            self._snapshot = None
            for idle in self._idle.values():
                while idle:
                    idle.pop().close()

    @contextlib.contextmanager
    def _catalog(self, kind: type[_Catalog]) -> Iterator[_Catalog]:
        """Lend a catalog; as many of a kind are open as there were simultaneous views."""
        with self._lock:
            catalog = self._idle[kind].pop() if self._idle[kind] else None
        if not isinstance(catalog, kind):
            catalog = kind.open(self._directory)
        try:
            yield catalog
        finally:
            # If only others can write here, an open catalog may miss what they commit later.
            lasting = os.access(self._directory, os.W_OK)
            with self._lock:
                if self._closed or not lasting:
                    catalog.close()
                else:
                    self._idle[kind].append(catalog)

    def _identity(self) -> tuple[int, int] | None:
        """Return what identifies the catalog's file, as long as it is open."""
        with failures_named(self._directory):
            try:
                status = (self._directory / FILE_NAME).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return status.st_dev, status.st_ino

    def _load(self, catalog: Catalog, generation: int) -> Snapshot:
        """Return the snapshot of the commit that this transaction reads."""
        with self._lock:
            known = self._snapshot
            if known is not None and known.generation == generation:
                return known
            files = catalog.codebook_files()
            paths = [self._directory / CODEBOOKS / file for file in files]
            codebook = Codebook.read(paths) if paths else None
            segments, live, postings = {}, {}, {}
            for row in catalog.segments() if codebook else ():
                assert codebook is not None
                segment = Segment(self._directory / SEGMENTS / row.file, codebook)
                segments[row.id] = segment
                live[row.id] = catalog.live(row.id, len(segment))
                postings[row.id] = (
                    # In a catalog of an earlier format, which a first write upgrades.
                    Postings.of(merged(list(runs(catalog.wording(row)))))
                    if row.lexical is None
                    else Postings.open(self._directory / SEGMENTS / row.lexical)
                )
            snapshot = Snapshot(generation, codebook, segments, live, postings)
            if known is None or known.generation < generation:
                self._snapshot = snapshot
            return snapshot
