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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rag_tools.catalog.copying import EPOCH
from rag_tools.catalog.restricted import DEFAULT_DENY, Owners, RestrictedCatalog
from rag_tools.catalog.seen_lexical import Lengths, Passages
from rag_tools.catalog.selecting import Table
from rag_tools.errors import AccessError
from rag_tools.index.restricted import RestrictedSnapshot
from rag_tools.index.snapshot import Selection, Snapshot
from rag_tools.reader import Reader, Restriction, View
from rag_tools.types import Document, Principal

_SCOPES = 64  # sets of readable labels for which the derived arrays are kept


class Scope:
    """What callers see who may read the documents with some sets of labels, in one commit."""

    def __init__(
        self, readable: frozenset[int], snapshot: Snapshot, owners: Mapping[int, Owners]
    ) -> None:
        allowed = np.fromiter(readable, np.int64, len(readable))
        self.readable = readable
        self._owners = owners
        self.snapshot = RestrictedSnapshot(
            snapshot.generation,
            snapshot.codebook,
            snapshot.segments,
            {id: live & np.isin(owners[id].labels, allowed) for id, live in snapshot.live.items()},
        )

    @cached_property
    def addresses(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Keys of the passages, ``(n,)`` int64 ascending, and addresses, ``(n, 2)`` int64."""
        at = {id: np.flatnonzero(live) for id, live in self.snapshot.live.items()}
        keys = np.concatenate(
            [np.empty(0, np.int64), *(self._owners[id].keys[at[id]] for id in at)]
        )
        found = np.concatenate(
            [
                np.empty((0, 2), np.int64),
                *(np.stack([np.full(len(at[id]), id), at[id]], axis=1) for id in at),
            ]
        )
        order = np.argsort(keys)
        return keys[order], found[order]


class Scopes:
    """The scopes of the last commits, the most recently used ones."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._lengths = Lengths()
        self._generation = -1
        self._sets: dict[int, tuple[str, ...]] = {}
        self._owners: dict[tuple[int, int], Owners] = {}
        self._scopes: OrderedDict[object, Scope] = OrderedDict()
        self._passages: dict[Scope, Passages] = {}

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
                scope = Scope(readable, snapshot, self._owners_of(catalog, snapshot))
            for key in ((generation, principal.labels), (generation, readable)):
                self._scopes[key] = scope
            while len(self._scopes) > 2 * _SCOPES:
                self._scopes.popitem(last=False)
            kept = set(self._scopes.values())
            self._passages = {s: p for s, p in self._passages.items() if s in kept}
            return scope

    def passages(self, scope: Scope, catalog: RestrictedCatalog) -> Passages:
        """Return the passages that a caller sees, as BM25 counts them."""
        with self._lock:
            found = self._passages.get(scope)
            if found is None:
                keys, addresses = scope.addresses
                found = Passages(keys, addresses, catalog.lengths(self._lengths, keys))
                self._passages[scope] = found
            return found

    def _known(self, key: object) -> Scope | None:
        if key not in self._scopes:
            return None
        self._scopes.move_to_end(key)
        return self._scopes[key]

    def _owners_of(self, catalog: RestrictedCatalog, snapshot: Snapshot) -> dict[int, Owners]:
        """Return whose the passages of each segment are: O(size of those that changed)."""
        rows = [row for row in catalog.segments() if row.id in snapshot.segments]
        self._owners = {
            (row.id, row.revision): self._owners.get((row.id, row.revision))
            or catalog.owners(row.id, row.passages)
            for row in rows
        }
        return {row.id: self._owners[row.id, row.revision] for row in rows}


@dataclass(frozen=True)
class RestrictedView(View):
    """What a caller sees of one committed state."""

    scope: Scope
    scopes: Scopes

    def _seen(self, table: Table) -> NDArray[np.bool_]:
        most = int(table.labels.max(initial=0))
        readable = np.zeros(most + 1, np.bool_)
        readable[[key for key in self.scope.readable if key <= most]] = True
        return readable[table.labels]

    def bm25(
        self, words: Sequence[str], restriction: Restriction, selection: Selection
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return what `View.bm25` does, with the statistics of the passages that are seen."""
        assert isinstance(self.catalog, RestrictedCatalog)
        passages = self.scopes.passages(self.scope, self.catalog)
        sizes = [0, *(len(bitmap) for bitmap in selection.bitmaps.values())]
        starts, bits = np.cumsum(sizes), [np.empty(0, np.bool_), *selection.bitmaps.values()]
        numbers = np.searchsorted(
            np.fromiter(selection.bitmaps, np.int64), passages.addresses[:, 0]
        )
        chosen = np.concatenate(bits)[starts[numbers] + passages.addresses[:, 1]]
        return self.catalog.bm25_among(words, passages, chosen)


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
                catalog,
                snapshot,
                template,
                epoch,
                expired,
                self._whole.columns,
                catalog.now,
                scope,
                self._scopes,
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
