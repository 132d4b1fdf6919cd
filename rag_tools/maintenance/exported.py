"""What an export consists of, in whatever form it is written; `transfer` writes and reads it.

``docs/format.md`` describes the fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from rag_tools.encode.checkpoint import Checkpoint
from rag_tools.encode.embeddings import Embeddings
from rag_tools.errors import IngestError
from rag_tools.gathered import Recall
from rag_tools.ingest.seen import Seen
from rag_tools.opened import OpenIndex
from rag_tools.reader import View
from rag_tools.types import Document, Provenance, Value, VersionRules


class Header(Value):
    """What stands at the beginning of an export.

    Attributes
    ----------
    rag_tools_export
        Version of the format.
    release
        The release of rag-tools that wrote it.
    checkpoint, fingerprint, dim
        What the embeddings were made with.
    embeddings
        Whether there are any.
    documents
        Number of documents.
    default_deny
        Whether no caller may read documents without labels. Only written if that is so: a release
        that doesn't know it then refuses the export rather than open the documents.
    versions
        Which earlier versions the index keeps; None: none. Only written if it keeps some.
    """

    rag_tools_export: Literal[1] = 1
    release: str
    checkpoint: str | None
    fingerprint: str
    dim: int = Field(ge=1, le=1 << 16)
    embeddings: bool
    documents: int
    default_deny: bool = False
    versions: VersionRules | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the fields, without those that only some exports have."""
        values = self.model_dump(mode="json")
        for name in ("default_deny", "versions"):
            if not values[name]:
                del values[name]
        return values


class Told(Value):
    """What is known of a document beside it: since when it is so, and where it is from.

    Attributes
    ----------
    since, until
        From when to when its text was the current one, in milliseconds since 1970; `until` is None
        of the current version.
    """

    since: int | None = None
    until: int | None = None
    provenance: Provenance | None = None


class Exported(NamedTuple):
    """A document, or an earlier version of one if it has an ``until``."""

    document: Document
    told: Told


class PassageArrays(NamedTuple):
    """The embeddings of a passage.

    Attributes
    ----------
    key
        The key of what the encoder saw of it, see `Seen`.
    token_ids, spans, vectors, pooled
        ``(n,)`` int32, ``(n, 2)`` int32, ``(n, dim)`` float16, and ``(pooled_dim,)`` float32 or
        None.
    """

    key: bytes
    token_ids: NDArray[np.int32]
    spans: NDArray[np.int32]
    vectors: NDArray[np.float16]
    pooled: NDArray[np.float32] | None


class Sink(Protocol):
    """Writes an export."""

    def begin(self, header: Header) -> None:
        """Write what stands at the beginning."""

    def add(self, exported: Exported) -> None:
        """Write a document or a version; versions follow their document."""

    def add_passage(self, passage: PassageArrays) -> None:
        """Write the embeddings of a passage of the document before it."""


class Source(Protocol):
    """Reads an export."""

    header: Header

    def entries(self) -> Iterator[tuple[str, Exported | IngestError]]:
        """Yield the documents and versions, or why one can't be used, each with its place."""

    def recall(self, opened: OpenIndex) -> Recall:
        """Return what gives the embeddings in the export for passages of an index."""


def embedded(view: View, document: int) -> Iterator[Callable[[], PassageArrays]]:
    """Yield, for each passage of a document, what returns its embeddings."""
    for row in view.catalog.encoded_rows(document):
        if row.encoded is None:  # in an index of an earlier format
            continue
        segment = view.snapshot.segments[row.address.segment]
        position, encoded = row.address.position, row.encoded

        def arrays(
            segment: Any = segment,  # noqa: ANN401 - a Segment
            position: int = position,
            encoded: bytes = encoded,
        ) -> PassageArrays:
            first, last = map(int, segment.token_offsets[position : position + 2])
            pooled = None
            if segment.pooled is not None:
                rows, scales = segment.pooled
                pooled = (rows[position] * scales[position]).astype("<f4")
            return PassageArrays(
                encoded,
                segment.codebook.token_ids[segment.centroids[first:last]].astype("<i4"),
                segment.spans(position).astype("<i4"),
                segment.vectors(first, last).astype("<f2"),
                pooled,
            )

        yield arrays


def embeddings_of(
    arrays: PassageArrays, passage: Seen, checkpoint: Checkpoint
) -> Embeddings | None:
    """Return the embeddings of a passage; None if they can't be those of this checkpoint."""
    vectors = arrays.vectors.astype(np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    ids, spans, pooled = arrays.token_ids, arrays.spans, arrays.pooled
    fits = (
        len(ids) > 0
        and bool(np.isfinite(vectors).all() and (norms > 0).all())
        and bool(((ids >= 0) & (ids < checkpoint.vocabulary_size)).all())
        and bool((spans[:, 0] >= 0).all() and (spans[:, 0] <= spans[:, 1]).all())
        and bool((spans[:, 1] <= len(passage.text)).all())
        and (None if pooled is None else len(pooled)) == checkpoint.pooled_dim
        and (pooled is None or bool(np.isfinite(pooled).all()))
    )
    if not fits:
        return None
    return Embeddings(
        vectors=vectors / norms,
        token_ids=ids.astype(np.int32),
        spans=spans.astype(np.int32),
        pooled=None if pooled is None else pooled.astype(np.float32),
    )


def as_json(document: Document) -> dict[str, Any]:
    """Return the fields of a document as an export has them."""
    values = document.model_dump(mode="json")
    if document.source_map is None:
        del values["source_map"]
    return values


def wrong(error: ValidationError) -> IngestError:
    """Return why something in an export can't be used."""
    first = error.errors(include_url=False)[0]
    return IngestError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
