"""Freeing room on the disk: merging segments, and packing the catalog."""

from __future__ import annotations

import contextlib
from pathlib import Path

from rag_tools.catalog.catalog import Catalog
from rag_tools.disk import bytes_on_disk, failures_named
from rag_tools.quota import SETTING as QUOTA
from rag_tools.quota import quota_of
from rag_tools.types import CompactReport, Quota
from rag_tools.writer import Writer


def compact(directory: Path, *, recluster: bool = False, throttle: float = 0.0) -> CompactReport:
    """Merge the segments, and drop what was deleted: O(tokens of the index).

    Nothing is encoded, and readers go on meanwhile. It needs room for the merged segments beside
    the old ones.

    Parameters
    ----------
    directory
        Directory of the index.
    recluster
        Whether to train the codebook anew on what is stored first, and code everything by it. That
        is for an index to which other kinds of documents came after it was begun: what `Status`
        calls drift.
    throttle
        Seconds to pause for each second of work, so that searches keep the processor: 1 takes twice
        as long.

    Raises
    ------
    IndexNotFoundError, IndexCorruptError, IndexVersionError
        If there is no index, or not one that can be read.
    IndexLockedError
        If another process is writing.
    IndexAccessError
        If the index can't be written; what was merged until then is kept.
    """
    before = _room(directory)
    with failures_named(directory), Writer(directory, None) as writer:
        if recluster:
            writer.recluster(throttle=throttle)
        writer.compact(thorough=True, throttle=throttle)
    return _report(before, _room(directory))


def vacuum(directory: Path) -> CompactReport:
    """Give back the room in the catalog that deleted documents had: O(its size).

    Readers go on meanwhile. It needs room for a second catalog; errors are those of `compact`.
    """
    before = _room(directory)
    with failures_named(directory), Writer(directory, None) as writer:
        writer.catalog.vacuum()
    return _report(before, _room(directory))


def _room(directory: Path) -> tuple[int, int, int]:
    """Return the number of segments, of tombstones, and of bytes."""
    with contextlib.closing(Catalog.open(directory)) as catalog, failures_named(directory):
        segments, tombstones = len(catalog.segments()), catalog.counts().tombstones
    return segments, tombstones, bytes_on_disk(directory)


def _report(before: tuple[int, int, int], after: tuple[int, int, int]) -> CompactReport:
    return CompactReport(
        segments_before=before[0],
        segments=after[0],
        tombstones_before=before[1],
        tombstones=after[1],
        bytes_before=before[2],
        bytes=after[2],
    )


def set_quota(directory: Path, *, documents: int | None = None, size: int | None = None) -> Quota:
    """Set how many documents an index may hold and how many bytes it may take; return both.

    What is in the index stays. A document that would exceed a quota is refused from now on.

    Parameters
    ----------
    documents, size
        None leaves a quota as it is; 0 removes it.

    Raises
    ------
    IndexNotFoundError, IndexCorruptError, IndexVersionError, IndexLockedError, IndexAccessError
        As for `compact`.
    """
    with failures_named(directory), contextlib.closing(Catalog.open(directory)) as catalog:
        quota = quota_of(catalog)
    given = {"documents": documents, "bytes": size}
    update = {name: value or None for name, value in given.items() if value is not None}
    quota = quota.model_copy(update=update)
    if update:
        with failures_named(directory), Writer(directory, None) as writer:
            writer.set_setting(QUOTA, quota.model_dump())
    return quota
