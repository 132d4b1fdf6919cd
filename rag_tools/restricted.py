"""Reading an index as a caller who may not read all of it.

A `RestrictedReader` stands in the place of a `Reader`. Its views show the documents that the caller
may read, and nothing that the others leave traces in. What is derived for a set of readable labels
is kept by `Scopes` and shared between the callers who may read the same.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag_tools.catalog.copying import EPOCH
from rag_tools.catalog.restricted import DEFAULT_DENY, RestrictedCatalog
from rag_tools.catalog.selecting import Table
from rag_tools.errors import AccessError
from rag_tools.index.restricted import RestrictedSnapshot
from rag_tools.index.snapshot import Snapshot
from rag_tools.reader import Reader, View
from rag_tools.types import Document, Principal

_SCOPES = 64  # sets of readable labels for which the derived arrays are kept


class Scope:
    """What callers see who may read the documents with some sets of labels, in one commit."""

    def __init__(
        self,
        readable: frozenset[int],
        snapshot: Snapshot,
        labels: Mapping[int, NDArray[np.int64]],
    ) -> None:
        allowed = np.fromiter(readable, np.int64, len(readable))
        self.readable = readable
        self.snapshot = RestrictedSnapshot(
            snapshot.generation,
            snapshot.codebook,
            snapshot.segments,
            {id: live & np.isin(labels[id], allowed) for id, live in snapshot.live.items()},
            snapshot.postings,
        )


class Scopes:
    """The scopes of the last commits, the most recently used ones."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._generation = -1
        self._sets: dict[int, tuple[str, ...]] = {}
        self._labels: dict[tuple[int, int], NDArray[np.int64]] = {}
        self._scopes: OrderedDict[object, Scope] = OrderedDict()

    def of(self, principal: Principal, catalog: RestrictedCatalog, snapshot: Snapshot) -> Scope:
        """Return what a caller sees of a snapshot, whose catalog this is."""
        generation = snapshot.generation
        with self._lock:
            if known := self._known((generation, principal.labels)):
                return known
            if generation != self._generation:
                self._sets = catalog.label_sets()
                self._generation = generation
            denied = catalog.setting(DEFAULT_DENY, False)
            readable = frozenset(
                key
                for key, labels in self._sets.items()
                if principal.admitted(labels) or not (labels or denied)
            )
            scope = self._known((generation, readable))
            if scope is None:
                scope = Scope(readable, snapshot, self._labels_of(catalog, snapshot))
            for key in ((generation, principal.labels), (generation, readable)):
                self._scopes[key] = scope
            while len(self._scopes) > 2 * _SCOPES:
                self._scopes.popitem(last=False)
            return scope

    def _known(self, key: object) -> Scope | None:
        if key not in self._scopes:
            return None
        self._scopes.move_to_end(key)
        return self._scopes[key]

    def _labels_of(
        self, catalog: RestrictedCatalog, snapshot: Snapshot
    ) -> dict[int, NDArray[np.int64]]:
        """Return the labels of the passages of each segment: O(size of those that changed)."""
        rows = [row for row in catalog.segments() if row.id in snapshot.segments]
        known = self._labels
        self._labels = {
            (row.id, row.revision): known[row.id, row.revision]
            if (row.id, row.revision) in known
            else catalog.labels(row.id, row.passages)
            for row in rows
        }
        return {row.id: self._labels[row.id, row.revision] for row in rows}


@dataclass(frozen=True)
class RestrictedView(View):
    """What a caller sees of one committed state."""

    scope: Scope

    def _seen(self, table: Table) -> NDArray[np.bool_]:
        most = int(table.labels.max(initial=0))
        readable = np.zeros(most + 1, np.bool_)
        readable[[key for key in self.scope.readable if key <= most]] = True
        return readable[table.labels]


class RestrictedReader(Reader):
    """Reads an index as a caller who may not read all of it.

    Parameters
    ----------
    whole
        Reads all of it. Its connections, mapped files and cached documents are shared.
    principal
        The caller.
    """

    def __init__(self, whole: Reader, scopes: Scopes, principal: Principal) -> None:
        self._whole = whole
        self._scopes = scopes
        self.principal = principal

    @contextlib.contextmanager
    def view(self) -> Iterator[View]:
        """Open a consistent view, as `Reader.view` does, of what the caller may read."""
        with self._whole.state(RestrictedCatalog) as (catalog, snapshot):
            scope = self._scopes.of(self.principal, catalog, snapshot)
            catalog.readable, catalog.now = scope.readable, int(time.time())
            expired = catalog.expired_addresses(catalog.now)
            template, epoch = catalog.setting("url_template"), catalog.setting(EPOCH)
            snapshot = scope.snapshot.without(expired)
            yield RestrictedView(
                catalog, snapshot, template, epoch, self._whole.columns, catalog.now, scope
            )

    def document(self, view: View, key: int) -> Document:
        """Return a document by its key, which `view` gave; see `Reader.document`."""
        return self._whole.document(view, key)

    @property
    def replaced(self) -> bool:
        """Whether the index was deleted, or replaced by another, since it was opened."""
        return self._whole.replaced

    def require(self) -> None:
        """Raise `IndexMismatchError` if the index was deleted or replaced since it was opened."""
        self._whole.require()

    def check(self) -> None:
        """Raise `AccessError`: what is damaged may be what the caller may not read."""
        raise AccessError("checking an index reads all of it, which this caller may not")

    def close(self) -> None:
        """Do nothing: what is shared is closed with the reader of the whole index."""
