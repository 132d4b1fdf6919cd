"""Columns: the values of a field over all documents, by which filters become bitmaps.

A column is read from the catalog when its field is first named, and kept: a later commit adds what
its new documents state, since the metadata of a key never change within an epoch. Each different
value is stored once and compared once per filter.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import cached_property, reduce
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_tools.catalog import fields
from rag_tools.catalog.filters import Scalar, Test
from rag_tools.types import FieldType

Row = tuple[int, str, Scalar]
"""The key of a document, the type of a value as SQLite's JSON names it, and the value."""

_KINDS = {"text": 0, "integer": 1, "real": 1, "true": 2, "false": 2}
TEXT, NUMBER, BOOLEAN = 0, 1, 2
_MASKS = 32  # of prefixes and globs, for which the last results are kept


class Values:
    """The different values of a column, numbered in the order in which they were first read."""

    def __init__(self, values: Sequence[Scalar] = (), kinds: Sequence[int] = ()) -> None:
        self.values = list(values)
        self.kinds = list(kinds)
        self._numbers = {
            (kind, value): n for n, (kind, value) in enumerate(zip(kinds, values, strict=True))
        }
        self._masks: OrderedDict[tuple[str, Scalar], NDArray[np.bool_]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.values)

    def number(self, kind: int, value: Scalar) -> int:
        """Return the number of a value, which is added if it is new."""
        found = self._numbers.setdefault((kind, value), len(self.values))
        if found == len(self.values):
            self.values.append(value)
            self.kinds.append(kind)
        return found

    def meeting(self, test: Test, type: str) -> NDArray[np.bool_]:
        """Return which values meet a test, ``(n,)`` bool: O(log values + those that meet it).

        A glob is compared with every value that begins as it does, the first time.

        Parameters
        ----------
        type
            Of the field: dates are compared as times, and a path may be given by a glob.
        """
        operator, operand = test
        mask = np.zeros(len(self), np.bool_)
        if operator in ("=", "in"):
            for value in operand if isinstance(operand, tuple) else (operand,):
                self._mark_equal(mask, value, type)
        elif operator in ("prefix", "glob"):
            return self._matching(operator, str(operand))
        elif type == "date":
            begin, end = fields.period(str(operand)) or (0, 0)
            starts, order = self._by_time
            edge = begin if operator in (">=", "<") else end
            at = int(np.searchsorted(starts, edge))
            mask[order[at:] if operator in (">=", ">") else order[:at]] = True
        else:
            assert not isinstance(operand, tuple)
            order = self._by_value[TEXT if isinstance(operand, str) else NUMBER]
            side = bisect_left if operator in (">=", "<") else bisect_right
            at = side(order, operand, key=self.values.__getitem__)
            mask[order[at:] if operator in (">=", ">") else order[:at]] = True
        return mask

    def _mark_equal(self, mask: NDArray[np.bool_], value: Scalar, type: str) -> None:
        kinds = (TEXT,) if isinstance(value, str) else (NUMBER, BOOLEAN)  # true equals 1
        numbers = (self._numbers.get((kind, value)) for kind in kinds)
        mask[[number for number in numbers if number is not None]] = True
        if not isinstance(value, str):
            return
        if type == "path":
            path = value.removeprefix("./")
            at = self._numbers.get((TEXT, path))
            if at is not None:
                mask[at] = True
            if any(mark in path for mark in "*?["):
                mask |= self._matching("glob", path)
            if "[" in path and ("*" in path or "?" in path):
                mask |= self._matching("glob", path.replace("[", "[[]"))  # the bracket itself
        elif type == "date" and (named := fields.period(value)):
            starts, order = self._by_time
            first, last = np.searchsorted(starts, named)
            mask[order[first:last]] = True

    def _matching(self, operator: str, pattern: str) -> NDArray[np.bool_]:
        known = self._masks.get((operator, pattern))
        if known is not None and len(known) == len(self):
            return known
        mask = np.zeros(len(self), np.bool_)
        literal = pattern
        if operator == "glob":
            literal = pattern[: min((pattern + mark).index(mark) for mark in "*?[")]
        order = self._by_value[TEXT]
        texts = self.values
        first = bisect_left(order, literal, key=texts.__getitem__)  # type: ignore[arg-type]
        last = bisect_right(order, literal, key=lambda at: str(texts[at])[: len(literal)])
        if operator == "prefix":
            mask[order[first:last]] = True
        else:
            matches = fields.glob(pattern).fullmatch
            mask[[at for at in order[first:last].tolist() if matches(str(texts[at]))]] = True
        self._masks[operator, pattern] = mask
        while len(self._masks) > _MASKS:
            self._masks.popitem(last=False)
        return mask

    @cached_property
    def _by_value(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of the texts and of the numbers, each in ascending order of value."""
        of_kind = ([n for n, each in enumerate(self.kinds) if each == kind] for kind in (0, 1))
        texts, numbers = (sorted(each, key=self.values.__getitem__) for each in of_kind)
        return np.array(texts, np.int64), np.array(numbers, np.int64)

    @cached_property
    def _by_time(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """When the dates begin, ascending, and their numbers."""
        found = sorted(
            (begin[0], n)
            for n, value in enumerate(self.values)
            if isinstance(value, str) and (begin := fields.period(value))
        )
        return (
            np.array([start for start, _ in found], np.int64),
            np.array([n for _, n in found], np.int64),
        )


class Column(NamedTuple):
    """The values of a field.

    Attributes
    ----------
    keys
        ``(n_rows,)`` int64, ascending: of documents, one row for each value of a document.
    numbers
        ``(n_rows,)`` int32: of the values.
    values
        The different values.
    """

    keys: NDArray[np.int64]
    numbers: NDArray[np.int32]
    values: Values

    @classmethod
    def empty(cls) -> Column:
        """Return a column without values."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int32), Values())

    def extended(self, rows: Iterable[Row], declared: FieldType | None) -> Column:
        """Return the column with the rows of later documents: O(rows, and different values)."""
        values = Values(self.values.values, self.values.kinds)
        added: dict[tuple[int, int], None] = {}  # each value of a document once
        for key, kind, stored in rows:
            if kind not in _KINDS:
                continue
            value = bool(stored) if _KINDS[kind] == BOOLEAN else stored
            for each in [value] if declared is None else fields.converted(value, declared):
                added[key, values.number(_kind(each), each)] = None
        if not added:
            return self
        keys = np.array([key for key, _ in added], np.int64)
        numbers = np.array([number for _, number in added], np.int32)
        return Column(np.append(self.keys, keys), np.append(self.numbers, numbers), values)

    def of(self, documents: NDArray[np.int64]) -> Column:
        """Return the column without the rows of other documents, and without their values."""
        live = np.isin(self.keys, documents)
        numbers, again = np.unique(self.numbers[live], return_inverse=True)
        values = [self.values.values[n] for n in numbers.tolist()]
        kinds = [self.values.kinds[n] for n in numbers.tolist()]
        return Column(self.keys[live], again.astype(np.int32), Values(values, kinds))


class Bound:
    """A column over the documents of one commit.

    Attributes
    ----------
    places
        ``(n_rows,)`` int64: of the documents among those of the commit.
    numbers, values
        As in `Column`.
    """

    def __init__(self, column: Column, documents: NDArray[np.int64]) -> None:
        at = np.searchsorted(documents, column.keys)
        live = np.zeros(len(at), np.bool_)
        inside = at < len(documents)
        live[inside] = documents[at[inside]] == column.keys[inside]
        self.places = at[live]
        self.numbers = column.numbers[live]
        self.values = column.values
        self._n_documents = len(documents)

    def documents(self, tests: Sequence[Test], type: str) -> NDArray[np.bool_]:
        """Return which documents have a value that meets all tests, ``(n_documents,)`` bool."""
        found = np.zeros(self._n_documents, np.bool_)
        if not tests:
            found[self.places] = True
            return found
        met = (self.values.meeting(test, type) for test in tests)
        mask = reduce(lambda one, other: one & other, met)
        found[self.places[mask[self.numbers]]] = True
        return found

    def counts(self, among: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return how many of some documents have each value, ``(n_values,)`` int64."""
        return np.bincount(self.numbers[among[self.places]], minlength=len(self.values))

    def type(self, among: NDArray[np.bool_]) -> FieldType | Literal["mixed"]:
        """Return the type of the values that some documents have."""
        seen = np.flatnonzero(self.counts(among)).tolist()
        kinds = {self.values.kinds[n] for n in seen}
        texts = (str(self.values.values[n]) for n in seen if self.values.kinds[n] == TEXT)
        return fields.inferred(texts, numbers=NUMBER in kinds, booleans=BOOLEAN in kinds)


def _kind(value: Scalar) -> int:
    return TEXT if isinstance(value, str) else BOOLEAN if isinstance(value, bool) else NUMBER
