"""What a session of changes has gathered since its last commit.

It knows nothing of files: `rag_tools.writer` encodes it, cuts it into segments and commits it.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_tools.catalog.rows import Address, DocumentColumns, NewSegment, SourceState
from rag_tools.encode.embeddings import Embeddings
from rag_tools.index.postings import Worded
from rag_tools.ingest.seen import Seen
from rag_tools.types import Document, Passage, Provenance

Recall = Callable[[Seen], Embeddings | None]
"""Returns the embeddings of a passage that were made elsewhere; None if it doesn't have them."""


class Prepared(NamedTuple):
    """A document that is ready to be put: its passages, its columns, the file it was read from.

    And where it is from; None: a program added it. Since when its text is the current one, in
    milliseconds; None: since the next commit.
    """

    document: Document
    passages: list[Passage]
    columns: DocumentColumns
    source: tuple[str, SourceState] | None
    provenance: Provenance | None = None
    since: int | None = None


class EarlierVersion(NamedTuple):
    """A version of a document from elsewhere: from when to when it was current, in milliseconds."""

    columns: DocumentColumns
    since: int | None
    until: int
    provenance: Provenance | None


class Pending(NamedTuple):
    """A document to insert at the next commit, and the keys of its passages so far, see `Seen`."""

    prepared: Prepared
    keys: list[bytes]


class Queued(NamedTuple):
    """A passage that waits to be encoded, and what is looked up of it."""

    seen: Seen
    worded: Worded


class Encoded(NamedTuple):
    """Embeddings of a passage, vectors in float16, and what is looked up of it."""

    vectors: NDArray[np.float16]
    token_ids: NDArray[np.int32]
    spans: NDArray[np.int32]
    pooled: NDArray[np.float32] | None
    worded: Worded


def halved(embeddings: Embeddings, worded: Worded) -> Encoded:
    """Return the embeddings in half precision: they wait in memory until a segment is cut."""
    return Encoded(
        embeddings.vectors.astype(np.float16),
        embeddings.token_ids,
        embeddings.spans,
        embeddings.pooled,
        worded,
    )


@dataclass
class Batch:
    """What has gathered since the last commit.

    Attributes
    ----------
    vanished
        The ids of those among `deleted` whose files are gone.
    passages
        Of the documents, those that needn't be encoded included.
    queued
        The number of each passage that must be encoded, in the order queued, by its key.
    queue
        Those that wait to be encoded.
    encoded
        Those that wait to be cut into a segment.
    cuts
        The segments that were cut.
    """

    began: float = field(default_factory=time.monotonic)
    documents: dict[str, Pending] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    vanished: set[str] = field(default_factory=set)
    versions: list[EarlierVersion] = field(default_factory=list)
    touched: dict[str, SourceState] = field(default_factory=dict)
    roots: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    terms: dict[str, Mapping[str, int | bool | None]] = field(default_factory=dict)
    passages: int = 0
    queued: dict[bytes, int] = field(default_factory=dict)
    queue: list[Queued] = field(default_factory=list)
    encoded: list[Encoded] = field(default_factory=list)
    cuts: list[NewSegment] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.documents
            or self.deleted
            or self.touched
            or self.roots
            or self.settings
            or self.terms
            or self.versions
        )

    def finished(self) -> Batch:
        """Return what is left without the documents that aren't encoded whole.

        It is nothing if a segment was cut that holds passages of such a document only. Files that
        were touched are left out, since their documents may be: they are read again.
        """
        cut = sum(each.passages for each in self.cuts)
        encoded = cut + len(self.encoded)
        ends = {
            id: max((self.queued.get(key, -1) + 1 for key in pending.keys), default=0)
            for id, pending in self.documents.items()
            if len(pending.keys) == len(pending.prepared.passages)
        }
        ends = {id: end for id, end in ends.items() if end <= encoded}
        end = max(ends.values(), default=0)
        if end < cut:
            return Batch()
        self.touched.clear()
        self.deleted -= self.documents.keys() - ends.keys()
        self.documents = {id: self.documents[id] for id in ends}
        self.queued = {key: number for key, number in self.queued.items() if number < end}
        del self.encoded[end - cut :]
        self.queue.clear()
        return self


def addresses(ids: Sequence[int], sizes: Sequence[int]) -> Callable[[int], Address]:
    """Return the function from a passage's number to its address in segments of some sizes."""
    starts = [0, *accumulate(sizes)]

    def address(number: int) -> Address:
        index = bisect_right(starts, number) - 1
        return Address(ids[index], number - starts[index])

    return address
