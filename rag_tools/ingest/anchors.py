"""Borders of passages that depend on nothing but the text around them.

Passages are packed one after the other, so a word that is added moves every border after it, until
the packing meets a border that doesn't depend on what came before. Headings are such borders, but a
long section has none. There, some units are chosen as anchors: a passage begins at each.

A unit is an anchor if its key is the smallest of those within `reach` tokens on both sides: the
local minima of content-defined chunking (Bjørner, Blass and Gurevich, "Content-dependent chunking
for differential compression, the local maximum approach", 2010). An edit only changes this for
units within reach of it.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar

REACH = 1.0
"""Smallest distance between two anchors, in budgets of a passage.

One line more in a log, rows of numbers, made-up sentences and six PEPs, at three places each,
changes up to 148 passages without anchors. With a reach of 1 and 2 it is 8 at most, where a line is
a unit, but in 2,000 short passages of sentences up to 3 and 9. Passages become 14 % more with 1,
and 7 % with 2. On 240 questions of Chroma's chunking evaluation, the IoU of citations is 0.432
without and 0.440 with a reach of 1, and the reciprocal rank of the first hit with evidence 0.853
with both.
"""


class _Unit(Protocol):
    """What is read of a unit; see `rag_tools.ingest.chunk`."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def section(self) -> int: ...
    @property
    def leads(self) -> bool: ...


UnitT = TypeVar("UnitT", bound=_Unit)


class _Candidate(NamedTuple):
    """A unit's number, the tokens ahead of it, and its key."""

    number: int
    position: int
    key: tuple[bool, int]


def anchored(
    text: str, units: Iterable[UnitT | None], reach: int
) -> Iterator[tuple[UnitT, bool] | None]:
    """Yield units, in order, with whether each is an anchor: O(their number).

    No anchor is within `reach` tokens of another one, of the start or the end of its section, or of
    something left out, which None stands for; none stands behind a unit that leads to it. Units
    are held back for the length of the reach.
    """
    waiting: deque[tuple[int, Any]] = deque()  # tokens ahead of the unit, the unit
    minima: deque[_Candidate] = deque()  # within reach, their keys in ascending order
    beaten: set[int] = set()
    first = number = position = 0  # of what waits; of the next unit; tokens ahead of it
    before: UnitT | None = None

    def decided(*, ended: bool) -> Iterator[tuple[UnitT, bool]]:
        nonlocal first
        while waiting and (ended or waiting[0][0] + reach <= position):
            at, unit = waiting.popleft()
            yield unit, first not in beaten and reach <= at and at + reach <= position
            beaten.discard(first)
            first += 1

    for unit in units:
        if before is not None and (unit is None or unit.section != before.section):
            yield from decided(ended=True)
            minima.clear()
            position, before = 0, None
        if unit is None:
            yield None
            continue
        if before is not None and before.leads:
            beaten.add(number)
        else:
            while minima and minima[0].position + reach <= position:
                minima.popleft()
            key = _key(text, unit)
            while minima and minima[-1].key > key:
                beaten.add(minima.pop().number)
            if minima:
                beaten.add(number)
            minima.append(_Candidate(number, position, key))
        waiting.append((position, unit))
        position += unit.tokens
        number += 1
        before = unit
        yield from decided(ended=False)
    yield from decided(ended=True)


def _key(text: str, unit: _Unit) -> tuple[bool, int]:
    """Return the key of a unit: smaller where a paragraph begins, and otherwise at random."""
    begins = text[max(unit.start - 3, 0) : unit.start].count("\n") > 1
    return not begins, zlib.crc32(text[unit.start : unit.end].encode("utf-8"))
