"""What loaders share: the headings above a place, and blocks that tile the text."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from rag_tools.types import Block, BlockKind


class Opening(NamedTuple):
    """The beginning of a block: its kind, its offset in code points of the text, and its path."""

    kind: BlockKind
    start: int
    path: tuple[str, ...] = ()


class Sections:
    """The headings of the sections that are open at a place in a document.

    Examples
    --------
    >>> sections = Sections()
    >>> for level, title in ((1, "Guide"), (3, "Install"), (2, "Use")):
    ...     sections.open(level, title)
    >>> sections.path
    ('Guide', 'Use')
    """

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []  # level and title, outermost first

    def open(self, level: int, title: str) -> None:
        """Open a section, which ends those of its level and of deeper ones."""
        self.close(level)
        self._open.append((level, title))

    def close(self, level: int) -> None:
        """End the sections of a level and of deeper ones."""
        while self._open and self._open[-1][0] >= level:
            self._open.pop()

    @property
    def path(self) -> tuple[str, ...]:
        """Titles of the open sections, outermost first."""
        return tuple(title for _, title in self._open)

    def opening(self, kind: BlockKind, start: int) -> Opening:
        """Return the opening of a block in the open sections."""
        return Opening(kind, start, self.path)


def tile(openings: Iterable[Opening], end: int) -> tuple[Block, ...]:
    """Return blocks that tile ``[0, end)``: each runs to where the next one opens.

    The first block begins at 0, whatever its opening says. If several openings share an offset,
    the last one counts. Without openings, the whole text is one paragraph.

    Parameters
    ----------
    openings
        Openings in ascending order of `start`.
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
