"""From where blocks open to blocks that tile the text; shared by the loaders that keep it whole."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from rag_tools.types import Block, BlockKind


class Opening(NamedTuple):
    """Where a block opens, as code point of the text, what it is, and its path."""

    kind: BlockKind
    start: int
    path: tuple[str, ...] = ()


def tile(openings: Iterable[Opening], end: int) -> tuple[Block, ...]:
    """Return blocks that tile ``[0, end)``: each runs to where the next one opens.

    The first block begins at 0 whatever its opening says; of several openings at one place the
    last counts. Without openings there is one paragraph.

    Parameters
    ----------
    openings
        In order of `start`.
    end
        Length of the text in code points.

    Examples
    --------
    >>> [block[:3] for block in tile([Opening("heading", 1), Opening("paragraph", 5)], 9)]
    [('heading', 0, 5), ('paragraph', 5, 9)]
    """
    kept: list[Opening] = []
    for opening in openings:
        if kept and kept[-1].start == opening.start:
            kept.pop()
        kept.append(opening)
    if not kept:
        kept = [Opening("paragraph", 0)]
    starts = [0, *(opening.start for opening in kept[1:]), end]
    return tuple(
        Block(opening.kind, start, stop, opening.path)
        for opening, (start, stop) in zip(kept, pairwise(starts), strict=True)
        if start < stop
    )
