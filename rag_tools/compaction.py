"""Planning which segments to merge, from their sizes alone.

No file is touched here, so that plans can be tested on invented sizes. `rag_tools.writer` carries
them out.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

_Run = TypeVar("_Run")

MAX_SEGMENTS = 8
"""Segments are merged when there are more than this, not counting those that are full."""

FULL_TOKENS = 16_000_000
"""A segment of this many tokens is left alone: 1.3 GB at 4 bits."""

MAX_DEAD = 0.3
"""A segment is rewritten when more than this share of its passages is dead (deleted)."""


class SegmentSize(NamedTuple):
    """The sizes of a segment; `passages` includes dead passages, `live` doesn't."""

    id: int
    passages: int
    tokens: int
    live: int


def plan(sizes: Sequence[SegmentSize], *, thorough: bool = False) -> list[list[int]]:
    """Return groups of segment ids, each to be merged into one segment, in ascending order.

    A group of one segment is rewritten to drop its dead passages. No segment is merged with others
    that together have less than half of its tokens: so a passage is moved O(log n) times over the
    life of an index of n passages.

    Parameters
    ----------
    thorough
        Merge whatever fits into one segment, and drop every dead passage, whatever it costs.
    """
    small = {size.id for size in sizes if size.tokens < FULL_TOKENS}
    most_dead = 0.0 if thorough else MAX_DEAD
    dying = {size.id for size in sizes if size.live < (1 - most_dead) * size.passages}
    chosen = dying | (small if thorough or len(small) > MAX_SEGMENTS else set())
    groups: list[list[int]] = []
    total = 0
    for size in sorted(sizes, key=lambda size: (size.tokens, size.id)):
        if size.id not in chosen:
            continue
        apart = size.tokens > 2 * total and not thorough
        if not groups or apart or total + size.tokens > FULL_TOKENS:
            groups.append([])
            total = 0
        groups[-1].append(size.id)
        total += size.tokens
    return [sorted(group) for group in groups if len(group) > 1 or group[0] in dying]


def paced(runs: Iterable[_Run], throttle: float) -> Iterator[_Run]:
    """Yield runs; pause after each for `throttle` times as long as it took."""
    since = time.monotonic()
    for run in runs:
        yield run
        if throttle:
            time.sleep(throttle * (time.monotonic() - since))
            since = time.monotonic()
