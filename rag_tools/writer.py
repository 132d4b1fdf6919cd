"""A writing session: documents in, committed segments out.

A lock ensures that there is one writer at a time. Documents are queued and encoded together. When
enough have gathered, they are written as a segment and committed in one transaction of the catalog.
A crash before that transaction leaves files that nothing refers to, which the next session deletes;
a crash after it loses nothing.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rag_tools.carrying import Source, Wanted, assign, copies
from rag_tools.catalog.catalog import RETIRED
from rag_tools.catalog.filters import DECLARED
from rag_tools.catalog.restricted import DEFAULT_DENY
from rag_tools.catalog.rows import (
    Address,
    NewPassage,
    SegmentRow,
    SourceState,
    encode_document,
)
from rag_tools.catalog.writing import CatalogWriter
from rag_tools.compaction import SegmentSize, paced, plan
from rag_tools.disk import sweep
from rag_tools.encode.encoder import Encoder
from rag_tools.errors import HeldError, IngestError, fault
from rag_tools.gathered import Batch, Pending, Prepared, Recall, addresses, halved
from rag_tools.index.codebook import CODEBOOKS, Codebook
from rag_tools.index.segment import SEGMENTS, Segment, compress, write_segment
from rag_tools.ingest.chunk import chunk
from rag_tools.ingest.seen import Seen, seen
from rag_tools.integrity import explained
from rag_tools.locking import acquire
from rag_tools.quota import SETTING as QUOTA
from rag_tools.quota import Room
from rag_tools.types import Document, FieldType, Progress, Quota

HELD = "is held: it is kept as it is until it is released (rag-tools release ID)"

_QUEUE_PASSAGES = 256  # encoded together, to keep all cores busy with short documents
_SEGMENT_PASSAGES = 4096  # per commit: about 190 MB of half-precision embeddings in memory
_COMMIT_SECONDS = 60.0  # maximum time between commits: the work that a kill can lose
_MAX_CODEBOOK_PARTS = 8


class Writer:
    """A session of changes to one index; a context manager.

    Parameters
    ----------
    directory
        Directory of the index.
    encoder
        Encoder of the checkpoint that the index was made with; None for a session that prepares no
        document.
    passage_tokens
        Maximum tokens per passage.
    bits
        Bits per dimension of a residual code, for a new codebook.
    progress
        Called with the number of passages encoded.
    recall
        Asked for the embeddings of each passage before it is encoded.

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
        encoder: Encoder | None,
        *,
        passage_tokens: int = 0,
        bits: int = 0,
        progress: Progress | None = None,
        recall: Recall | None = None,
    ) -> None:
        self.encoded_passages = 0
        self._directory = directory
        self._given_encoder = encoder
        self._recall = recall
        self._passage_tokens = passage_tokens
        self._bits = bits
        self._progress = progress
        self._batch = Batch()
        self._lock = acquire(directory)
        try:
            self.catalog = CatalogWriter.open(directory)
            self._sweep()
            token_bytes = encoder.dim * bits / 8 if encoder else 0.0
            self._room = Room(directory, self.catalog, token_bytes=token_bytes)
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
                self._progress = None  # which may have raised it, and would again
                self._batch = self._batch.finished()
                self.commit()
            elif kind is None:
                self.commit()
                with explained(self._directory):
                    self.compact()
                    self.catalog.erase()
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
        QuotaError
            If the index would hold more with it than its quota allows.
        HeldError
            If the document that it would replace is held.
        IngestError
            If something else about the document can't be handled.
        """
        if self.catalog.held(document.id):
            raise HeldError(f"{document.uri} {HELD}")
        if document.expires is None and (known := self.catalog.expires(document.id)) is not None:
            document = document.model_copy(update={"expires": known})
        try:
            passages = chunk(document, self._encoder, passage_tokens=self._passage_tokens)
            columns = encode_document(document)
            size = len(columns.text) + len(columns.structure) + len(columns.metadata)
            self._room.take(document.id, size, len(passages) * self._passage_tokens)
            return Prepared(document, passages, columns, source)
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
        pending = Pending(prepared, [])
        batch.documents[document.id] = pending
        batch.deleted.add(document.id)
        for passage in prepared.passages:
            pending.keys.append(self._queue(seen(document, passage)))
            if len(batch.encoded) >= 2 * _SEGMENT_PASSAGES:  # one huge document
                self._cut()
        batch.passages += len(prepared.passages)
        if (
            max(batch.passages, len(batch.documents)) >= _SEGMENT_PASSAGES
            or time.monotonic() - batch.began > _COMMIT_SECONDS
        ):
            self.commit()

    def delete(self, document_id: str) -> None:
        """Delete a document at the next commit; an unknown id is ignored."""
        self._batch.deleted.add(document_id)

    def touch(self, document_id: str, state: SourceState) -> None:
        """Record the state of the file that a document was read from, at the next commit."""
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

    def set_default_deny(self, *, denied: bool) -> None:
        """Set at the next commit whether no caller may read documents without labels."""
        self._batch.settings[DEFAULT_DENY] = denied

    def set_quota(self, quota: Quota) -> None:
        """Set what the index may hold, at the next commit."""
        self._batch.settings[QUOTA] = quota.model_dump()

    def set_terms(
        self, document_ids: Iterable[str], terms: Mapping[str, int | bool | None]
    ) -> None:
        """Set when documents expire, or whether they are held, at the next commit."""
        for id in document_ids:
            self._batch.terms[id] = terms

    def set_retired(self, document_ids: Iterable[str]) -> None:
        """Keep these documents from being indexed again by a sync, from the next commit on."""
        self._batch.settings[RETIRED] = sorted(set(document_ids))

    def set_declared(self, types: Mapping[str, FieldType]) -> None:
        """Set the declared types of fields, at the next commit."""
        self._batch.settings[DECLARED] = dict(types)

    def commit(self) -> None:
        """Make all changes since the last commit durable, and visible to readers at once."""
        if self._batch:
            with explained(self._directory):
                self._commit()

    def _commit(self) -> None:
        self._encode()
        self._cut()
        batch, self._batch = self._batch, Batch()
        with self.catalog.transaction():
            ids = self._insert_segments(batch.cuts)
            self._replace_documents(batch, addresses(ids, [n for _, n, _ in batch.cuts]))
            for id, state in batch.touched.items():
                self.catalog.touch_source(id, state)
            for path, options in batch.roots.items():
                if options is None:
                    self.catalog.delete_root(path)
                else:
                    self.catalog.set_root(path, options)
            for name, value in batch.settings.items():
                self.catalog.set_setting(name, value)
            for id, terms in batch.terms.items():
                self.catalog.set_terms(id, terms)
            self._finish_transaction()
        self._sweep()
        self._room.committed()

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
        groups = plan(
            [
                SegmentSize(row.id, row.passages, row.tokens, len(self._live(row.id, row.passages)))
                for row in rows.values()
            ],
            thorough=thorough,
        )
        if groups and len(self._codebook_files) > 1:  # a single part is mapped, not copied
            self._write_codebook(self._codebook, first=0)
        for group in groups:
            self._merge([rows[id] for id in group], self._codebook, throttle)
        self._sweep()

    def drop_dead(self) -> None:
        """Write every segment anew that holds anything deleted: O(tokens of these segments)."""
        self._drop_empty_segments()
        for row in self.catalog.segments():
            if self._codebook is not None and len(self.catalog.tombstones(row.id)):
                self._merge([row], self._codebook, throttle=0.0)
        self._sweep()

    def _merge(self, rows: list[SegmentRow], codebook: Codebook, throttle: float) -> None:
        """Replace segments by one segment of their live passages."""
        live = [self._live(row.id, row.passages) for row in rows]
        file = f"{uuid.uuid4().hex}.seg"
        runs = (
            run
            for row, positions in zip(rows, live, strict=True)
            for run in Segment(self._path(row.file), codebook).runs(positions)
        )
        write_segment(self._path(file), paced(runs, throttle), codebook)
        merged = Segment(self._path(file), codebook)
        with self.catalog.transaction():
            (id,) = self._insert_segments([(file, len(merged), merged.n_tokens)])
            first = 0
            for row, positions in zip(rows, live, strict=True):
                self.catalog.move((row.id, positions), (id, first))
                first += len(positions)
            for row in rows:
                self.catalog.delete_segment(row.id)
            self._finish_transaction()

    # -- gathering -------------------------------------------------------------------------------

    def _queue(self, passage: Seen) -> bytes:
        """Put a passage on the queue unless it was encoded before; return its key."""
        batch = self._batch
        key = passage.key(self._encoder.checkpoint.fingerprint)
        if key not in batch.queued and self.catalog.address_of(key) is None:
            batch.queued[key] = len(batch.queued)
            batch.queue.append(passage)
            if len(batch.queue) >= _QUEUE_PASSAGES:
                self._encode()
        return key

    def _encode(self) -> None:
        batch = self._batch
        if not batch.queue:
            return
        known = [self._recall(passage) if self._recall else None for passage in batch.queue]
        unknown = (one for one, each in zip(batch.queue, known, strict=True) if each is None)
        with contextlib.closing(self._encoder.encode_passages(unknown)) as fresh:
            for each in known:
                batch.encoded.append(halved(next(fresh) if each is None else each))
                self.encoded_passages += each is None
                if self._progress:
                    self._progress("encode", self.encoded_passages, 0)
        batch.queue.clear()

    @property
    def _encoder(self) -> Encoder:
        if self._given_encoder is None:
            raise RuntimeError("this session was opened without an encoder")
        return self._given_encoder

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

    # -- committing ------------------------------------------------------------------------------

    def _replace_documents(self, batch: Batch, address: Callable[[int], Address]) -> None:
        """Delete and insert the documents of a batch, whose new embeddings stand at `address`."""
        catalog = self.catalog
        keys = ((id, catalog.document_key(id)) for id in sorted(batch.deleted))
        deleted = {id: key for id, key in keys if key is not None}
        fresh = {key: address(number) for key, number in batch.queued.items()}
        wanted = [
            Wanted(id, passage, key)
            for id, pending in batch.documents.items()
            for passage, key in zip(pending.prepared.passages, pending.keys, strict=True)
        ]
        freed = {id: catalog.encoded_rows(key) for id, key in deleted.items()}
        sources = self._copied(assign(wanted, freed, fresh, catalog))
        kept = {source.row for source in sources if source.row is not None}
        for key in deleted.values():
            catalog.delete_document(key, kept=kept)
        remaining = iter(
            NewPassage(passage, key, source.address, source.row)
            for (_, passage, key), source in zip(wanted, sources, strict=True)
        )
        for (document, passages, columns, file), _ in batch.documents.values():
            rows = list(itertools.islice(remaining, len(passages)))
            catalog.insert_document(document, columns, rows, file)
        # Of what an interruption left, no document may want every passage.
        taken = {source.address for source in sources}
        catalog.insert_tombstones(item for item in fresh.items() if item[1] not in taken)

    def _copied(self, sources: list[Source]) -> list[Source]:
        """Copy the embeddings that another passage has as well; return where all are then."""
        addresses = [source.address for source in sources if source.copied]
        if not addresses:
            return sources
        codebook = self._codebook
        assert codebook is not None, "nothing was ever encoded"
        file = f"{uuid.uuid4().hex}.seg"
        files = {row.id: row.file for row in self.catalog.segments()}
        open_segment = functools.cache(lambda id: Segment(self._path(files[id]), codebook))
        write_segment(self._path(file), copies(addresses, open_segment), codebook)
        copy = Segment(self._path(file), codebook)
        (id,) = self._insert_segments([(file, len(copy), copy.n_tokens)])
        positions = itertools.count()
        return [
            Source(Address(id, next(positions))) if source.copied else source for source in sources
        ]

    def _insert_segments(self, cuts: Iterable[tuple[str, int, int]]) -> list[int]:
        return [
            self.catalog.insert_segment(file, passages=passages, tokens=tokens)
            for file, passages, tokens in cuts
        ]

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
            sweep(self._directory / folder, known)
