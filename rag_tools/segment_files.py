"""The files of segments: token embeddings and lexical postings, always written together.

What a segment is made of is decided in `rag_tools.writer`, and the catalog lists it afterwards.
Until then nothing refers to the files.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rag_tools.carrying import copies
from rag_tools.catalog.rows import Address, NewSegment, SegmentRow
from rag_tools.compaction import paced
from rag_tools.index.codebook import Codebook
from rag_tools.index.postings import Postings, Run, Worded, runs, write_postings
from rag_tools.index.recoding import recoded
from rag_tools.index.segment import SEGMENTS, Segment, Tokens, write_segment


class SegmentFiles:
    """Writes segments of the index in a directory."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / SEGMENTS

    def cut(self, tokens: Tokens, words: Iterable[Worded], codebook: Codebook) -> NewSegment:
        """Write passages that were encoded: O(tokens)."""
        return self._write([tokens], runs(words), codebook)

    def merge(
        self,
        rows: Sequence[SegmentRow],
        live: Sequence[NDArray[np.intp]],
        codebook: Codebook,
        throttle: float,
    ) -> NewSegment:
        """Write the passages of segments at ascending positions, one after the other: O(tokens).

        Parameters
        ----------
        live
            The positions in each.
        throttle
            Seconds to pause for each second of work.
        """
        pairs = list(zip(rows, live, strict=True))
        tokens = (
            run
            for row, positions in pairs
            for run in Segment(self._folder / row.file, codebook).runs(positions)
        )
        words = (self.postings(row).run(positions) for row, positions in pairs)
        return self._write(paced(tokens, throttle), paced(words, throttle), codebook)

    def recode(
        self,
        row: SegmentRow,
        live: NDArray[np.intp],
        old: Codebook,
        new: Codebook,
        throttle: float,
    ) -> NewSegment:
        """Write the passages of a segment at ascending positions by another codebook: O(tokens)."""
        tokens = recoded(old, new, Segment(self._folder / row.file, old).runs(live))
        words = iter([self.postings(row).run(live)])
        return self._write(paced(tokens, throttle), words, new)

    def copy(
        self,
        addresses: Sequence[Address],
        words: Iterable[Worded],
        rows: Iterable[SegmentRow],
        codebook: Codebook,
    ) -> NewSegment:
        """Write passages whose embeddings are those at some addresses: O(tokens)."""
        files = {row.id: row.file for row in rows}
        open_segment = cache(lambda id: Segment(self._folder / files[id], codebook))
        return self._write(copies(addresses, open_segment), runs(words), codebook)

    def digests(self, rows: Iterable[SegmentRow]) -> Callable[[Address], int]:
        """Return the function from an address in some segments to the digest of its words."""
        listed = {row.id: row for row in rows}
        opened = cache(lambda id: self.postings(listed[id]).digests)
        return lambda address: int(opened(address.segment)[address.position])

    def postings(self, row: SegmentRow) -> Postings:
        """Open the lexical postings of a segment; errors are those of `Postings.open`."""
        assert row.lexical is not None, "a catalog that is written to has the current format"
        return Postings.open(self._folder / row.lexical)

    def _write(
        self, tokens: Iterable[Tokens], words: Iterable[Run], codebook: Codebook
    ) -> NewSegment:
        name = uuid.uuid4().hex
        path = self._folder / f"{name}.seg"
        write_segment(path, tokens, codebook)
        lexical = path.with_suffix(".lex")
        write_postings(lexical, words)
        segment = Segment(path, codebook)
        return NewSegment(path.name, lexical.name, len(segment), segment.n_tokens)
