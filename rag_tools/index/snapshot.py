"""A snapshot: the segments of one commit and which of their passages are live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rag_tools.index.codebook import Codebook
from rag_tools.index.segment import Segment

Selection = Mapping[int, NDArray[np.bool_]]
"""Segment id → ``(n_passages,)`` bool: the passages a search may return."""


@dataclass(frozen=True)
class Snapshot:
    """What a search reads. Immutable, so any number of threads may share it.

    Attributes
    ----------
    generation
        Number of the commit.
    codebook
        Shared by all segments.
    segments
        By id, oldest first.
    live
        The passages that aren't tombstones.
    """

    generation: int
    codebook: Codebook | None
    segments: Mapping[int, Segment]
    live: Selection

    @cached_property
    def n_passages(self) -> int:
        """Live passages."""
        return sum(int(np.count_nonzero(bitmap)) for bitmap in self.live.values())

    @cached_property
    def cell_sizes(self) -> NDArray[np.int64]:
        """``(n_centroids,)`` int64: passages in the postings of each centroid, over segments."""
        sizes = np.zeros(0 if self.codebook is None else len(self.codebook), dtype=np.int64)
        for segment in self.segments.values():
            sizes[segment.cells] += np.diff(segment.cell_offsets)
        return sizes

    def document_frequencies(self, token_ids: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return how many passages hold each token: tombstones still count."""
        frequencies = np.zeros(len(token_ids), dtype=np.int64)
        for segment in self.segments.values():
            tokens, counts = segment.document_frequencies
            at = np.minimum(np.searchsorted(tokens, token_ids), len(tokens) - 1)
            frequencies += np.where(tokens[at] == token_ids, counts[at], 0)
        return frequencies

    def select(self, places: NDArray[np.int64]) -> Selection:
        """Return the selection of the live passages at `places`, ``(n, 2)`` segments, positions."""
        selection = {}
        for id, bitmap in self.live.items():
            chosen = np.zeros_like(bitmap)
            chosen[places[places[:, 0] == id, 1]] = True
            selection[id] = chosen & bitmap
        return selection
