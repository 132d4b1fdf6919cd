"""A snapshot of which a caller sees some passages: the others count for nothing.

Whatever a search derives from a snapshot is that of the passages seen: how many there are, how many
contain a token, how many a cell holds. Only the codebook is everybody's, see ``docs/security.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rag_tools.index.segment import Segment
from rag_tools.index.snapshot import Snapshot


@dataclass(frozen=True)
class RestrictedSnapshot(Snapshot):
    """The passages of a snapshot that a caller may read; `live` marks no others.

    What is counted is counted when it is first needed, and kept.
    """

    _frequencies: dict[int, int] = field(default_factory=dict, repr=False, compare=False)

    @property
    def n_stored(self) -> int:
        """Number of passages: those that can't be read, and tombstones, aren't there."""
        return self.n_passages

    @cached_property
    def cell_sizes(self) -> NDArray[np.int64]:
        """``(n_centroids,)`` int64: number of these passages with each centroid: O(postings)."""
        sizes = np.zeros(0 if self.codebook is None else len(self.codebook), dtype=np.int64)
        for id, segment in self.segments.items():
            if len(segment.cells):
                seen = self.live[id][segment.cell_passages]
                starts = segment.cell_offsets[:-1]
                sizes[segment.cells] += np.add.reduceat(seen, starts, dtype=np.int64)
        return sizes

    def document_frequencies(self, token_ids: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the number of these passages that contain each token."""
        return np.array([self._frequency(token) for token in token_ids.tolist()], dtype=np.int64)

    def _frequency(self, token: int) -> int:
        known = self._frequencies.get(token)
        if known is None:
            assert self.codebook is not None or not self.segments
            centroids = (
                np.empty(0, np.int64)
                if self.codebook is None
                else np.flatnonzero(self.codebook.token_ids == token)
            )
            known = self._frequencies[token] = sum(
                int(np.count_nonzero(_holding(segment, centroids) & self.live[id]))
                for id, segment in self.segments.items()
            )
        return known


def _holding(segment: Segment, centroids: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return which passages of a segment have a token at one of these centroids."""
    holding = np.zeros(len(segment), dtype=np.bool_)
    if len(segment.cells):
        at = np.minimum(np.searchsorted(segment.cells, centroids), len(segment.cells) - 1)
        for cell in at[segment.cells[at] == centroids].tolist():
            low, high = segment.cell_offsets[cell], segment.cell_offsets[cell + 1]
            holding[segment.cell_passages[low:high]] = True
    return holding
