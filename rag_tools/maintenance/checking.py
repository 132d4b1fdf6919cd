"""Checking an index, and reporting everything that is damaged."""

from __future__ import annotations

import contextlib
from pathlib import Path

from rag_tools.catalog.catalog import Catalog
from rag_tools.disk import failures_named
from rag_tools.errors import IndexCorruptError
from rag_tools.integrity import damage
from rag_tools.types import CheckReport


def check(directory: Path) -> CheckReport:
    """Read everything in the last commit of an index: O(its size).

    Raises
    ------
    IndexNotFoundError, IndexVersionError, IndexAccessError, IndexLockedError
        If the index can't be read, and not because of what is in it.
    """
    found = tuple(damage(directory))
    documents = segments = 0
    with (
        contextlib.suppress(IndexCorruptError),
        failures_named(directory),
        contextlib.closing(Catalog.open(directory)) as catalog,
    ):
        documents, segments = catalog.counts().documents, len(catalog.segments())
    return CheckReport(index=str(directory), documents=documents, segments=segments, damage=found)
