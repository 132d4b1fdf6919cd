"""Which documents of a commit meet a condition, and the passages that are theirs.

What is derived of the catalog is kept from commit to commit. What callers may read is no part of
it: whoever asks says which documents are seen, and of the others nothing is told.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from threading import Lock
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from rag_tools.catalog import fields
from rag_tools.catalog.columns import Bound, Column
from rag_tools.catalog.copying import EPOCH
from rag_tools.catalog.filters import (
    DECLARED,
    RANGES,
    All,
    Any,
    Condition,
    Has,
    Not,
    Test,
    check_field,
)
from rag_tools.errors import InvalidQueryError
from rag_tools.types import Facet, FacetValue, FieldEntry, FieldType

if TYPE_CHECKING:
    from rag_tools.catalog.catalog import Catalog


_KEPT_ROWS = 8_000_000  # of columns: 12 bytes each, and their different values
_MOST_FACETS = 20

FACET_VALUES = 50
"""Most values of a facet; the others are counted only."""

_BUILT_IN = (*fields.OF_DOCUMENTS, fields.PATH)


class Table:
    """The documents of one commit, in order of their keys, and the columns over them.

    Attributes
    ----------
    keys
        ``(n,)`` int64, ascending: of all documents, whoever may read them.
    labels
        ``(n,)`` int64: keys of their sets of labels.
    declared
        Types of fields that are declared.
    """

    def __init__(
        self,
        keys: NDArray[np.int64],
        labels: NDArray[np.int64],
        declared: Mapping[str, FieldType],
        before: Table | None = None,
    ) -> None:
        self.keys = keys
        self.labels = labels
        self.declared = declared
        self._lock = Lock()
        self._columns = OrderedDict[tuple[str, str | None], tuple[Column, int]]()
        self._bound: dict[tuple[str, str | None], Bound] = {}
        self._places: dict[tuple[int, int], NDArray[np.int64]] = {}
        if before is not None:
            with before._lock:
                self._columns.update(before._columns)

    @classmethod
    def empty(cls) -> Table:
        """Return the table of an index without documents."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), {})

    def column(self, catalog: Catalog, field: str) -> Bound:
        """Return the column of a field: O(documents) the first time, later O(those added)."""
        name = field, self.declared.get(field)
        with self._lock:
            if name in self._bound:
                self._columns.move_to_end(name)
                return self._bound[name]
            column, read = self._columns.get(name, (Column.empty(), 0))
            column = column.extended(catalog.field_rows(field, read), self.declared.get(field))
            bound = Bound(column, self.keys)
            if 2 * len(bound.places) < len(column.keys):  # most of it is of deleted documents
                column = column.of(self.keys)
                bound = Bound(column, self.keys)
            self._bound[name] = bound
            self._columns[name] = column, int(self.keys[-1]) if len(self.keys) else read
            self._columns.move_to_end(name)
            total = sum(len(each.keys) for each, _ in self._columns.values())
            while total > _KEPT_ROWS and len(self._columns) > 1:
                oldest, (dropped, _) = self._columns.popitem(last=False)
                self._bound.pop(oldest, None)
                total -= len(dropped.keys)
            return bound

    def places(
        self, owners: Mapping[tuple[int, int], NDArray[np.int64]]
    ) -> list[NDArray[np.int64]]:
        """Return the place of the document of every passage of segments; -1 if it is no more."""
        with self._lock:
            self._places = {
                name: self._places[name] if name in self._places else self._of(keys)
                for name, keys in owners.items()
            }
            return list(self._places.values())

    def _of(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        if not len(self.keys):
            return np.full(len(keys), -1, np.int64)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, at, -1)


class Columns:
    """The documents of the last commit that was read, and whose its passages are."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._state: tuple[int, str | None] | None = None  # generation and epoch
        self._table = Table.empty()
        self._owners: dict[tuple[int, int], NDArray[np.int64]] = {}

    def table(self, catalog: Catalog, generation: int) -> Table:
        """Return the documents of the commit that a catalog reads: O(documents), once a commit."""
        epoch = catalog.setting(EPOCH)
        declared = catalog.setting(DECLARED, {})
        with self._lock:
            known = self._table
            if self._state == (generation, epoch) and known.declared == declared:
                return known
            later = self._state is not None and self._state[0] > generation
            if self._state is None or self._state[1] != epoch or later:
                known = Table.empty()  # another thread read a later commit, or keys were replaced
            last = int(known.keys[-1]) if len(known.keys) else 0
            added = catalog.labels_after(last)
            keys = np.append(known.keys, added[:, 0])
            labels = np.append(known.labels, added[:, 1])
            kept = np.isin(keys, catalog.key_array(), assume_unique=True)
            table = Table(keys[kept], labels[kept], declared, known)
            if not later:
                self._table, self._state = table, (generation, epoch)
            return table

    def owners(self, catalog: Catalog) -> dict[tuple[int, int], NDArray[np.int64]]:
        """Return the key of the document of every passage, by segment and revision.

        O(the passages of the segments that changed).
        """
        rows = catalog.segments()
        with self._lock:
            self._owners = {
                (row.id, row.revision): self._owners[row.id, row.revision]
                if (row.id, row.revision) in self._owners
                else catalog.document_owners(row.id, row.passages)
                for row in rows
            }
            return self._owners


class Selecting:
    """Finds documents of a commit among those that are seen.

    Parameters
    ----------
    seen
        ``(n_documents,)`` bool: of the table's documents.
    """

    def __init__(
        self, columns: Columns, catalog: Catalog, table: Table, seen: NDArray[np.bool_]
    ) -> None:
        self._columns = columns
        self._catalog = catalog
        self._table = table
        self._seen = seen

    def documents(self, condition: Condition) -> NDArray[np.bool_]:
        """Return which documents meet a condition, ``(n_documents,)`` bool.

        Raises
        ------
        InvalidQueryError
            If no document has a field that it names, or a field's values can't be compared so.
        """
        return self._meeting(condition) & self._seen

    def passages(self, chosen: NDArray[np.bool_]) -> dict[int, NDArray[np.bool_]]:
        """Return which passages are of some documents, by segment: ``(n_passages,)`` bool each."""
        owners = self._columns.owners(self._catalog)
        padded = np.append(chosen, False)  # which -1 leads to
        bitmaps = (padded[places] for places in self._table.places(owners))
        return {segment: bitmap for (segment, _), bitmap in zip(owners, bitmaps, strict=True)}

    def by_id(self, chosen: NDArray[np.bool_], *, after: str, limit: int) -> list[int]:
        """Return the keys of the first of some documents whose ids are greater, in their order."""
        column = self._column("document_id")
        greater = column.values.meeting(Test(">", after), "string")
        rows = np.flatnonzero(chosen[column.places] & greater[column.numbers])
        ids = column.values.values
        first = sorted((ids[column.numbers[row]], row) for row in rows.tolist())[:limit]
        return [int(self._table.keys[column.places[row]]) for _, row in first]

    def facets(self, names: Sequence[str], chosen: NDArray[np.bool_]) -> tuple[Facet, ...]:
        """Count the values of fields among some documents.

        Raises
        ------
        InvalidQueryError
            If no document has such a field, or if too many are named.
        """
        if len(names) > _MOST_FACETS:
            raise InvalidQueryError(f"{len(names)} facets: ask for {_MOST_FACETS} at most")
        return tuple(self._facet(name, chosen) for name in dict.fromkeys(map(check_field, names)))

    def _facet(self, field: str, chosen: NDArray[np.bool_]) -> Facet:
        column = self._known(field)
        counts = column.counts(chosen)
        found = np.flatnonzero(counts)
        values, kinds = column.values.values, column.values.kinds
        order = sorted(found.tolist(), key=lambda n: (-counts[n], kinds[n], values[n]))
        having = column.documents((), "string") & chosen
        return Facet(
            field=field,
            values=tuple(
                FacetValue(value=values[n], documents=int(counts[n])) for n in order[:FACET_VALUES]
            ),
            distinct=len(found),
            missing=int(np.count_nonzero(chosen & ~having)),
        )

    def fields(self, chosen: NDArray[np.bool_]) -> tuple[FieldEntry, ...]:
        """Return the fields that some documents have, and those declared, in order of name."""
        names = self._column(fields.NAMES)
        counts = dict(
            zip(map(str, names.values.values), names.counts(chosen).tolist(), strict=True)
        )
        found = {name for name, count in counts.items() if count} | set(self._table.declared)
        return tuple(self._entry(name, chosen, counts.get(name, 0)) for name in sorted(found))

    def _entry(self, name: str, chosen: NDArray[np.bool_], count: int) -> FieldEntry:
        column = self._column(name)
        most = np.bincount(column.places[chosen[column.places]], minlength=1).max()
        return FieldEntry(
            name=name,
            type=self._type(name, column),
            documents=count,
            several=bool(most > 1),
            declared=name in self._table.declared,
        )

    def _meeting(self, condition: Condition) -> NDArray[np.bool_]:
        match condition:
            case Has(field, tests):
                return self._having(field, tests)
            case Not(negated):
                return ~self._meeting(negated)
            case All(conditions):
                found = np.ones(len(self._seen), np.bool_)
                for each in conditions:
                    found &= self._meeting(each)
                return found
            case Any(conditions):
                found = np.zeros(len(self._seen), np.bool_)
                for each in conditions:
                    found |= self._meeting(each)
                return found

    def _having(self, field: str, tests: Sequence[Test]) -> NDArray[np.bool_]:
        column = self._known(field)
        if not tests:
            return column.documents((), "string")
        declared = field in self._table.declared
        type = self._type(field, column)
        return column.documents([_ready(field, type, each, declared) for each in tests], type)

    def _known(self, field: str) -> Bound:
        """Return the column of a field that is known: that is built in, declared, or stated."""
        column = self._column(field)
        if field in _BUILT_IN or field in self._table.declared:
            return column
        if self._seen.any() and not self._seen[column.places].any():
            names = [entry for entry in self._names() if entry != field]
            near = get_close_matches(field, names, n=1, cutoff=0.5)
            hint = f": did you mean {near[0]!r}?" if near else f"; there are {_list(names)}"
            raise InvalidQueryError(f"filter {field!r}: no document has this field{hint}")
        return column

    def _names(self) -> list[str]:
        names = self._column(fields.NAMES)
        seen = np.flatnonzero(names.counts(self._seen)).tolist()
        return sorted(
            {*_BUILT_IN, *self._table.declared, *(str(names.values.values[n]) for n in seen)}
        )

    def _column(self, field: str) -> Bound:
        return self._table.column(self._catalog, field)

    def _type(self, field: str, column: Bound) -> FieldType | Literal["mixed"]:
        if field in self._table.declared:
            return self._table.declared[field]
        if field == fields.PATH:
            return "path"
        return "string" if field in _BUILT_IN else column.type(self._seen)


def _ready(field: str, type: str, test: Test, declared: bool) -> Test:
    """Return a test with its operand as the values of the field are compared with it."""
    if test.operator in RANGES:
        assert not isinstance(test.operand, tuple)
        return Test(test.operator, fields.bound(field, type, test.operand))
    if test.operator in ("prefix", "glob"):
        if type in ("number", "boolean"):
            raise InvalidQueryError(
                f"filter {field!r}: the field holds values of type {type}, and {test.operator} "
                "compares text"
            )
        return test
    if isinstance(test.operand, tuple):
        return Test("in", tuple(fields.wanted(field, type, v, declared) for v in test.operand))
    return Test("=", fields.wanted(field, type, test.operand, declared))


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:20])
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"
