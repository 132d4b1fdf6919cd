"""Planning which segments to merge, from their sizes alone.

No file is touched here, so that plans can be tested on invented sizes. `rag_tools.writer` carries
them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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


def plan(sizes: Sequence[SegmentSize]) -> list[list[int]]:
    """Return groups of segment ids, each to be merged into one segment, in ascending order.

    A group of one segment is rewritten to drop its dead passages. No segment is merged with others
    that together have less than half of its tokens: so a passage is moved O(log n) times over the
    life of an index of n passages.
    """
    small = {size.id for size in sizes if size.tokens < FULL_TOKENS}
    dying = {size.id for size in sizes if size.live < (1 - MAX_DEAD) * size.passages}
    chosen = dying | (small if len(small) > MAX_SEGMENTS else set())
    groups: list[list[int]] = []
    total = 0
    for size in sorted(sizes, key=lambda size: (size.tokens, size.id)):
        if size.id not in chosen:
            continue
        if not groups or size.tokens > 2 * total or total + size.tokens > FULL_TOKENS:
            groups.append([])
            total = 0
        groups[-1].append(size.id)
        total += size.tokens
    return [sorted(group) for group in groups if len(group) > 1 or group[0] in dying]
