"""A writing session: documents in, committed segments out.

A lock ensures that there is one writer at a time. Documents are queued and encoded together. When
enough have gathered, they are written as a segment and committed in one transaction of the catalog.
A crash before that transaction leaves files that nothing refers to, which the next session deletes;
a crash after it loses nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import time
import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from rag_tools.catalog.rows import (
    DocumentColumns,
    NewPassage,
    SegmentRow,
    SourceState,
    encode_document,
)
from rag_tools.catalog.writing import CatalogWriter
from rag_tools.compaction import SegmentSize, plan
from rag_tools.disk import failures_named
from rag_tools.encode.embeddings import Embeddings
from rag_tools.encode.encoder import Encoder
from rag_tools.errors import IndexLockedError, IngestError, fault
from rag_tools.index.codebook import CODEBOOKS, Codebook
from rag_tools.index.segment import SEGMENTS, Segment, compress, write_segment
from rag_tools.ingest.chunk import chunk, context
from rag_tools.ingest.code_grammars import CODE_TYPES, with_words
from rag_tools.types import Document, Passage, Progress

LOCK = "writer.lock"

_QUEUE_PASSAGES = 256  # encoded together, to keep all cores busy with short documents
_SEGMENT_PASSAGES = 4096  # per commit: about 190 MB of half-precision embeddings in memory
_COMMIT_SECONDS = 60.0  # maximum time between commits: the work that a kill can lose
_MAX_CODEBOOK_PARTS = 8


class Prepared(NamedTuple):
    """A document that is ready to be stored: its passages, its columns and its source file."""

    document: Document
    passages: list[Passage]
    columns: DocumentColumns
    source: tuple[str, SourceState] | None


class _Pending(NamedTuple):
    """A document to insert at the next commit, and the numbers of its passages so far."""

    prepared: Prepared
    sequence: list[int]


class _Encoded(NamedTuple):
    """Embeddings of a passage, with vectors in float16."""

    vectors: NDArray[np.float16]
    token_ids: NDArray[np.int32]
    spans: NDArray[np.int32]
    pooled: NDArray[np.float32] | None


@dataclass
class _Batch:
    """The changes since the last commit. Passages are numbered in the order of the queue."""

    began: float = field(default_factory=time.monotonic)
    documents: dict[str, _Pending] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    touched: dict[str, SourceState] = field(default_factory=dict)
    roots: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    queued: int = 0
    queue: list[tuple[str, str]] = field(default_factory=list)
    encoded: list[_Encoded] = field(default_factory=list)
    cuts: list[tuple[str, int, int]] = field(default_factory=list)  # file, passages, tokens

    def __bool__(self) -> bool:
        return bool(self.documents or self.deleted or self.touched or self.roots or self.settings)


class Writer:
    """A session of changes to one index; a context manager.

    Parameters
    ----------
    directory
        Directory of the index.
    encoder
        Encoder of the checkpoint that the index was made with.
    passage_tokens
        Maximum tokens per passage.
    bits
        Bits per dimension of a residual code, for a new codebook.
    progress
        Called with the number of passages encoded.

    Attributes
    ----------
    catalog
        The catalog, for reading only; changes go through the methods.
    encoded_passages
        Number of passages that this session has encoded.

    Raises
    ------
    IndexLockedError
        If another process is writing.
    IndexAccessError
        If the directory can't be written.
    """

    def __init__(
        self,
        directory: Path,
        encoder: Encoder,
        *,
        passage_tokens: int,
        bits: int,
        progress: Progress | None = None,
    ) -> None:
        self.encoded_passages = 0
        self._directory = directory
        self._encoder = encoder
        self._passage_tokens = passage_tokens
        self._bits = bits
        self._progress = progress
        self._batch = _Batch()
        self._lock = acquire(directory)
        try:
            self.catalog = CatalogWriter.open(directory)
            self._sweep()
            self._codebook_files = self.catalog.codebook_files()
            self._codebook = (
                Codebook.read([directory / CODEBOOKS / file for file in self._codebook_files])
                if self._codebook_files
                else None
            )
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is KeyboardInterrupt:
                self._progress = None  # it may have raised the interrupt, and would raise it again
                self._keep_finished()
                self.commit()
            elif kind is None:
                self.commit()
                self.compact()
        finally:
            self.catalog.close()
            self._lock.release()

    def prepare(
        self, document: Document, source: tuple[str, SourceState] | None = None
    ) -> Prepared:
        """Split a document into passages and make it ready to be stored.

        The index isn't changed. Everything that can fail because of a document's content fails
        here; what `put` and `commit` raise is trouble with the index.

        Raises
        ------
        InvalidDocumentError
            If the blocks of the document don't tile its text.
        IngestError
            If something else about the document can't be handled.
        """
        try:
            passages = chunk(document, self._encoder, passage_tokens=self._passage_tokens)
            return Prepared(document, passages, encode_document(document), source)
        except IngestError:
            raise
        except Exception as error:
            raise IngestError(fault(document.uri, "can't be made ready to index", error)) from error

    def put(self, prepared: Prepared) -> None:
        """Add a document, or replace the one with its id, at the next commit.

        It commits by itself when enough has gathered, so that an interruption loses little.
        """
        document = prepared.document
        batch = self._batch
        if document.id in batch.documents:
            self.commit()
            batch = self._batch
        pending = _Pending(prepared, [])
        batch.documents[document.id] = pending
        batch.deleted.add(document.id)
        for passage in prepared.passages:
            pending.sequence.append(self._queue(document, passage))
            if len(batch.encoded) >= 2 * _SEGMENT_PASSAGES:  # one huge document
                self._cut()
        if (
            max(batch.queued, len(batch.documents)) >= _SEGMENT_PASSAGES
            or time.monotonic() - batch.began > _COMMIT_SECONDS
        ):
            self.commit()

    def delete(self, document_id: str) -> None:
        """Delete a document at the next commit; an unknown id is ignored."""
        self._batch.deleted.add(document_id)

    def touch(self, document_id: str, state: SourceState) -> None:
        """Record a file's new size and time at the next commit; its content hasn't changed."""
        self._batch.touched[document_id] = state

    def set_root(self, path: str, options: dict[str, Any]) -> None:
        """Remember a synced path and its options at the next commit."""
        if self.catalog.roots().get(path) != options:
            self._batch.roots[path] = options

    def forget_root(self, path: str) -> None:
        """Forget a synced path at the next commit."""
        self._batch.roots[path] = None

    def set_url_template(self, template: str | None) -> None:
        """Set the template for citations' URLs at the next commit; None removes it."""
        self._batch.settings["url_template"] = template

    def commit(self) -> None:
        """Make all changes since the last commit durable, and visible to readers at once."""
        if not self._batch:
            return
        self._encode()
        self._cut()
        batch, self._batch = self._batch, _Batch()
        with self.catalog.transaction():
            ids = self._insert_segments(batch.cuts)
            addresses = _addresses(ids, [passages for _, passages, _ in batch.cuts])
            self._delete_documents(batch.deleted)
            self._drop_empty_segments(keep=ids)
            for (document, passages, columns, source), sequence in batch.documents.values():
                rows = [
                    NewPassage(passage, *addresses(number))
                    for passage, number in zip(passages, sequence, strict=True)
                ]
                self.catalog.insert_document(document, columns, rows, source)
            for id, state in batch.touched.items():
                self.catalog.touch_source(id, state)
            for path, options in batch.roots.items():
                if options is None:
                    self.catalog.delete_root(path)
                else:
                    self.catalog.set_root(path, options)
            for name, value in batch.settings.items():
                self.catalog.set_setting(name, value)
            self._finish_transaction()
        self._sweep()

    def compact(self) -> None:
        """Merge segments if there are too many, and rewrite those with many dead passages.

        The time is O(tokens of these segments), and nothing is encoded. Merged tokens keep their
        codes, so no precision is lost however often segments are merged.
        """
        if self._codebook is None:
            return
        rows = {row.id: row for row in self.catalog.segments()}
        groups = plan(
            [
                SegmentSize(row.id, row.passages, row.tokens, len(self._live(row.id, row.passages)))
                for row in rows.values()
            ]
        )
        if groups and len(self._codebook_files) > 1:  # a single part is mapped, not copied
            self._write_codebook(self._codebook, first=0)
        for group in groups:
            self._merge([rows[id] for id in group], self._codebook)
        self._sweep()

    def _merge(self, rows: list[SegmentRow], codebook: Codebook) -> None:
        """Replace segments by one segment of their live passages."""
        live = [self._live(row.id, row.passages) for row in rows]
        file = f"{uuid.uuid4().hex}.seg"
        runs = (
            run
            for row, positions in zip(rows, live, strict=True)
            for run in Segment(self._path(row.file), codebook).runs(positions)
        )
        write_segment(self._path(file), runs, codebook)
        merged = Segment(self._path(file), codebook)
        with self.catalog.transaction():
            (id,) = self._insert_segments([(file, len(merged), merged.n_tokens)])
            first = 0
            for row, positions in zip(rows, live, strict=True):
                self.catalog.move((row.id, positions), (id, first))
                first += len(positions)
            self._drop_empty_segments(keep=[])
            self._finish_transaction()

    # -- gathering -------------------------------------------------------------------------------

    def _queue(self, document: Document, passage: Passage) -> int:
        """Add a passage to the queue; return its sequence number."""
        batch = self._batch
        batch.queue.append(
            (document.text[passage.start : passage.end], _context(document, passage))
        )
        batch.queued += 1
        if len(batch.queue) >= _QUEUE_PASSAGES:
            self._encode()
        return batch.queued - 1

    def _encode(self) -> None:
        batch = self._batch
        for embeddings in self._encoder.encode_passages(batch.queue):
            batch.encoded.append(_halved(embeddings))
            self.encoded_passages += 1
            if self._progress:
                self._progress("encode", self.encoded_passages, 0)
        batch.queue.clear()

    def _cut(self) -> None:
        """Write the encoded passages as a segment, which readers don't see before the commit."""
        encoded = self._batch.encoded
        if not encoded:
            return
        vectors = np.concatenate([item.vectors for item in encoded])
        token_ids = np.concatenate([item.token_ids for item in encoded])
        codebook = self._fitted_codebook(vectors, token_ids)
        pooled = [item.pooled for item in encoded if item.pooled is not None]
        tokens = compress(
            codebook,
            vectors,
            token_ids,
            np.concatenate([item.spans for item in encoded]),
            np.cumsum([0, *(len(item.token_ids) for item in encoded)]),
            np.stack(pooled) if pooled else None,
        )
        file = f"{uuid.uuid4().hex}.seg"
        write_segment(self._path(file), [tokens], codebook)
        cut = (file, len(encoded), len(token_ids))
        encoded.clear()  # first: an interruption in between must not count passages twice
        self._batch.cuts.append(cut)

    def _fitted_codebook(
        self, vectors: NDArray[np.float16], token_ids: NDArray[np.int32]
    ) -> Codebook:
        """Return the codebook, trained on or extended for these embeddings."""
        known = self._codebook
        if known is None:
            codebook = Codebook.train(vectors, token_ids, bits=self._bits, progress=self._progress)
            return self._write_codebook(codebook, first=0)
        stored = sum(row.tokens for row in self.catalog.segments())
        gathered = sum(tokens for _, _, tokens in self._batch.cuts)
        n_tokens = stored + gathered + len(token_ids)
        grown = known.grow(vectors, token_ids, n_tokens=n_tokens, progress=self._progress)
        return known if grown is known else self._write_codebook(grown, first=len(known))

    def _keep_finished(self) -> None:
        """Keep the documents that are encoded completely, and drop the interrupted ones."""
        batch = self._batch
        cut = sum(passages for _, passages, _ in batch.cuts)
        encoded = cut + len(batch.encoded)
        finished = [
            pending
            for pending in batch.documents.values()
            if len(pending.sequence) == len(pending.prepared.passages)
            and all(number < encoded for number in pending.sequence[-1:])
        ]
        end = max((entry.sequence[-1] + 1 for entry in finished if entry.sequence), default=0)
        if end < cut:  # a segment contains passages of an interrupted document
            self._batch = _Batch()
            return
        batch.deleted -= batch.documents.keys() - {entry.prepared.document.id for entry in finished}
        batch.documents = {entry.prepared.document.id: entry for entry in finished}
        del batch.encoded[end - cut :]
        batch.queue.clear()

    # -- committing ------------------------------------------------------------------------------

    def _delete_documents(self, ids: Iterable[str]) -> None:
        for id in sorted(ids):
            key = self.catalog.document_key(id)
            if key is not None:
                self.catalog.delete_document(key)

    def _insert_segments(self, cuts: Iterable[tuple[str, int, int]]) -> list[int]:
        return [
            self.catalog.insert_segment(file, passages=passages, tokens=tokens)
            for file, passages, tokens in cuts
        ]

    def _drop_empty_segments(self, *, keep: Iterable[int]) -> None:
        for id in set(self.catalog.empty_segments()) - set(keep):
            self.catalog.delete_segment(id)

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

    # -- files -----------------------------------------------------------------------------------

    def _path(self, file: str) -> Path:
        return self._directory / SEGMENTS / file

    def _live(self, segment: int, passages: int) -> NDArray[np.intp]:
        return np.setdiff1d(np.arange(passages), self.catalog.tombstones(segment))

    def _sweep(self) -> None:
        """Delete the files that the current commit doesn't refer to."""
        known = {row.file for row in self.catalog.segments()}
        known |= set(self.catalog.codebook_files())
        for folder in (SEGMENTS, CODEBOOKS):
            with failures_named(self._directory):
                paths = list((self._directory / folder).iterdir())
            for path in paths:
                if path.name not in known:
                    # Windows can't delete a file that a reader has mapped, and a disk may fail. A
                    # later sweep deletes the file; until then it does no harm.
                    with contextlib.suppress(OSError):
                        path.unlink()


def _addresses(ids: list[int], sizes: list[int]) -> Callable[[int], tuple[int, int]]:
    """Return a function from a passage's sequence number to its segment id and position."""
    starts = [0, *itertools.accumulate(sizes)]

    def address(sequence: int) -> tuple[int, int]:
        index = bisect_right(starts, sequence) - 1
        return ids[index], sequence - starts[index]

    return address


def _context(document: Document, passage: Passage) -> str:
    """Return the context of a passage: the document's title and the heading path.

    Names of code that are written as one word are followed by the words they consist of.
    """
    path = passage.path
    if document.media_type in CODE_TYPES:
        path = tuple(map(with_words, path))
    titled = path if path and path[0] == document.title else (document.title, *path)
    return context([part for part in titled if part])


def _halved(embeddings: Embeddings) -> _Encoded:
    """Return the embeddings in half precision, to save memory until a segment is written."""
    return _Encoded(
        embeddings.vectors.astype(np.float16),
        embeddings.token_ids,
        embeddings.spans,
        embeddings.pooled,
    )


def acquire(directory: Path) -> FileLock:
    """Return the lock for writing; raise `IndexLockedError` if another process holds it."""
    guard = FileLock(directory / LOCK, timeout=0)
    with failures_named(directory):
        try:
            guard.acquire()
        except Timeout:
            raise IndexLockedError(
                f"another process is writing to {directory}: wait for it, or stop it"
            ) from None
    return guard
