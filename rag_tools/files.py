"""Keeping the files of an index in order during a session of changes.

Segments are merged and written anew, and the codebook is trained anew; the catalog says with each
commit which files count. `rag_tools.writer` adds what changes the documents.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from rag_tools.catalog.copying import sweep_unlisted
from rag_tools.catalog.rows import NewSegment, SegmentRow
from rag_tools.catalog.writing import CatalogWriter
from rag_tools.compaction import SegmentSize, plan
from rag_tools.index.codebook import CODEBOOKS, Codebook
from rag_tools.index.recoding import retrained
from rag_tools.index.segment import SEGMENTS, Segment
from rag_tools.segment_files import SegmentFiles

_MAX_CODEBOOK_PARTS = 8


class Files:
    """The segments and the codebook of an index, for the one process that writes.

    Attributes
    ----------
    catalog
        The catalog.
    """

    catalog: CatalogWriter
    _directory: Path
    _files: SegmentFiles
    _codebook: Codebook | None
    _codebook_files: list[str]

    def compact(self, *, thorough: bool = False, throttle: float = 0.0) -> None:
        """Merge segments if there are too many, and rewrite those with many dead passages.

        The time is O(tokens of these segments), and nothing is encoded. Merged tokens keep their
        codes, so no precision is lost however often segments are merged.

        Parameters
        ----------
        thorough
            As for `plan`.
        throttle
            Seconds to pause for each second of work.
        """
        if self._codebook is None:
            return
        self._drop_empty_segments()
        rows = {row.id: row for row in self.catalog.segments()}
        dead = self.catalog.tombstone_counts()
        groups = plan(
            [
                SegmentSize(row.id, row.passages, row.tokens, row.passages - dead.get(row.id, 0))
                for row in rows.values()
            ],
            thorough=thorough,
        )
        if groups and len(self._codebook_files) > 1:  # a single part is mapped, not copied
            self._write_codebook(self._codebook, first=0)
        for group in groups:
            self._merge([rows[id] for id in group], self._codebook, throttle)
        sweep_unlisted(self._directory, self.catalog)

    def drop_dead(self) -> None:
        """Write every segment anew that holds anything deleted: O(tokens of these segments)."""
        self._drop_empty_segments()
        for row in self.catalog.segments():
            if self._codebook is not None and len(self.catalog.tombstones(row.id)):
                self._merge([row], self._codebook, throttle=0.0)
        sweep_unlisted(self._directory, self.catalog)

    def _merge(self, rows: list[SegmentRow], codebook: Codebook, throttle: float) -> None:
        """Replace segments by one segment of their live passages."""
        live = [np.flatnonzero(self.catalog.live(row.id, row.passages)) for row in rows]
        merged = self._files.merge(rows, live, codebook, throttle)
        with self.catalog.transaction():
            (id,) = self._insert_segments([merged])
            first = 0
            for row, positions in zip(rows, live, strict=True):
                self.catalog.move((row.id, positions), (id, first))
                first += len(positions)
            for row in rows:
                self.catalog.delete_segment(row.id)
            self._finish_transaction()

    def recluster(self, *, throttle: float = 0.0) -> bool:
        """Train the codebook anew on what is stored, and code everything by it: O(tokens).

        Nothing is encoded. It needs room for a second set of segments, until they replace the first
        one in one transaction: readers go on with what they see, and see the new one with their
        next view.

        Parameters
        ----------
        throttle
            As for `compact`.

        Returns
        -------
        bool
            Whether there was anything to train on.
        """
        self._drop_empty_segments()
        old, files = self._codebook, self._codebook_files
        rows = self.catalog.segments()
        if old is None or not rows:
            return False
        live = [np.flatnonzero(self.catalog.live(row.id, row.passages)) for row in rows]
        stored = [Segment(self._directory / SEGMENTS / row.file, old) for row in rows]
        new = retrained(old, zip(stored, live, strict=True))
        made = [
            self._files.recode(row, positions, old, new, throttle)
            for row, positions in zip(rows, live, strict=True)
        ]
        try:
            self._write_codebook(new, first=0)
            with self.catalog.transaction():
                ids = self._insert_segments(made)
                for row, positions, id in zip(rows, live, ids, strict=True):
                    self.catalog.move((row.id, positions), (id, 0))
                    self.catalog.delete_segment(row.id)
                self._finish_transaction()
        except BaseException:
            self._codebook, self._codebook_files = old, files
            raise
        sweep_unlisted(self._directory, self.catalog)
        return True

    def _insert_segments(self, cuts: Iterable[NewSegment]) -> list[int]:
        return [self.catalog.insert_segment(cut) for cut in cuts]

    def _drop_empty_segments(self) -> None:
        """Drop the segments without a live passage, which nothing in this session can use again."""
        empty = self.catalog.empty_segments()
        if empty:
            with self.catalog.transaction():
                for id in empty:
                    self.catalog.delete_segment(id)
                self._finish_transaction()

    def _finish_transaction(self) -> None:
        self.catalog.set_codebook_files(self._codebook_files)
        generation = self.catalog.setting("generation", 0)
        self.catalog.set_setting("generation", generation + 1)

    def _write_codebook(self, codebook: Codebook, *, first: int) -> Codebook:
        """Write the centroids from `first` on; `codebook` becomes that of the next commit."""
        if len(self._codebook_files) >= _MAX_CODEBOOK_PARTS:
            first = 0  # joins the parts
        file = f"{uuid.uuid4().hex}.cb"
        codebook.write(self._directory / CODEBOOKS / file, first=first)
        files = [*(self._codebook_files if first else []), file]
        # Set together: an interruption in between would leave parts that don't belong together.
        self._codebook, self._codebook_files = codebook, files
        return codebook
