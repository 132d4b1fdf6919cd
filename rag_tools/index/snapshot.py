"""A snapshot: the segments of one commit and which of their passages are live.

A passage is found by two pairs of numbers. Its address is the id of its segment and its position
there, as the catalog stores it. Its place is the number of the segment in the snapshot, in order
of id, and the position: what the stages of a search and the kernels compute with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rag_tools.index.codebook import Codebook
from rag_tools.index.lexical import Collection
from rag_tools.index.postings import Postings
from rag_tools.index.segment import Segment


@dataclass(frozen=True)
class Selection:
    """The passages that a search may return.

    Attributes
    ----------
    segments
        Segment id → segment.
    bitmaps
        Segment id → ``(n_passages,)`` bool.
    """

    segments: Mapping[int, Segment]
    bitmaps: Mapping[int, NDArray[np.bool_]]

    @cached_property
    def n_passages(self) -> int:
        """Number of selected passages."""
        return sum(int(np.count_nonzero(bitmap)) for bitmap in self.bitmaps.values())

    @cached_property
    def n_tokens(self) -> int:
        """Number of tokens of the selected passages."""
        total = 0
        for id, bitmap in self.bitmaps.items():
            positions, offsets = np.flatnonzero(bitmap), self.segments[id].token_offsets
            total += int((offsets[positions + 1] - offsets[positions]).sum())
        return total

    def places(self) -> NDArray[np.int64]:
        """Return the places of the passages selected, ``(n, 2)`` int64, in ascending order."""
        positions = [np.flatnonzero(self.bitmaps[id]) for id in self.segments]
        numbers = np.repeat(np.arange(len(positions)), [len(part) for part in positions])
        return np.stack([numbers, np.concatenate([np.empty(0, np.int64), *positions])], axis=1)


@dataclass(frozen=True)
class Snapshot:
    """The state that a search reads. It is immutable, so threads may share it.

    Attributes
    ----------
    generation
        Number of the commit.
    codebook
        Codebook of all segments; None if the index is empty.
    segments
        Segment id → segment, in ascending order of id, which is the order of age.
    live
        Segment id → ``(n_passages,)`` bool: the passages that aren't tombstones.
    postings
        Segment id → lexical postings.
    """

    generation: int
    codebook: Codebook | None
    segments: Mapping[int, Segment]
    live: Mapping[int, NDArray[np.bool_]]
    postings: Mapping[int, Postings] = field(default_factory=dict)

    @cached_property
    def everything(self) -> Selection:
        """All live passages."""
        return Selection(self.segments, self.live)

    @property
    def n_passages(self) -> int:
        """Number of live passages."""
        return self.everything.n_passages

    @cached_property
    def words(self) -> Collection:
        """The words of the live passages, as BM25 counts them."""
        return Collection(
            [self.postings[id] for id in self.segments], [self.live[id] for id in self.segments]
        )

    @property
    def n_stored(self) -> int:
        """Number of passages, tombstones included."""
        return sum(len(segment) for segment in self.segments.values())

    @cached_property
    def cell_sizes(self) -> NDArray[np.int64]:
        """``(n_centroids,)`` int64: number of passages with each centroid, over all segments."""
        sizes = np.zeros(0 if self.codebook is None else len(self.codebook), dtype=np.int64)
        for segment in self.segments.values():
            sizes[segment.cells] += np.diff(segment.cell_offsets)
        return sizes

    def document_frequencies(self, token_ids: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the number of passages that contain each token, tombstones included."""
        frequencies = np.zeros(len(token_ids), dtype=np.int64)
        for segment in self.segments.values():
            tokens, counts = segment.document_frequencies
            at = np.minimum(np.searchsorted(tokens, token_ids), len(tokens) - 1)
            frequencies += np.where(tokens[at] == token_ids, counts[at], 0)
        return frequencies

    def without(self, addresses: NDArray[np.int64]) -> Self:
        """Return the snapshot with fewer live passages, without those at ``(n, 2)`` addresses."""
        if not len(addresses):
            return self
        live = {id: bits.copy() for id, bits in self.live.items()}
        for segment, position in addresses.tolist():
            live[segment][position] = False
        return self._with_live(live)

    def _with_live(self, live: Mapping[int, NDArray[np.bool_]]) -> Self:
        return type(self)(self.generation, self.codebook, self.segments, live, self.postings)

    def select(self, bitmaps: Mapping[int, NDArray[np.bool_]]) -> Selection:
        """Return the selection of those live passages that bitmaps mark, one for each segment."""
        chosen = {id: live & bitmaps[id] for id, live in self.live.items()}
        return Selection(self.segments, chosen)
