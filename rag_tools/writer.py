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
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rag_tools.carrying import Source, Wanted, assign
from rag_tools.catalog.copying import sweep_unlisted
from rag_tools.catalog.rows import (
    Address,
    NewPassage,
    SourceState,
    encode_document,
    worded,
)
from rag_tools.catalog.writing import CatalogWriter
from rag_tools.encode.encoder import Encoder
from rag_tools.errors import HeldError, IngestError, fault
from rag_tools.files import Files
from rag_tools.gathered import (
    Batch,
    EarlierVersion,
    Pending,
    Prepared,
    Queued,
    Recall,
    addresses,
    halved,
)
from rag_tools.index.codebook import CODEBOOKS, Codebook
from rag_tools.index.postings import Worded
from rag_tools.index.segment import compress
from rag_tools.ingest.chunk import chunk
from rag_tools.ingest.seen import seen
from rag_tools.integrity import explained
from rag_tools.locking import acquire
from rag_tools.quota import Room
from rag_tools.segment_files import SegmentFiles
from rag_tools.types import Document, Progress, Provenance
from rag_tools.versioning import keep_versions, record_provenance

HELD = "is held: it is kept as it is until it is released (rag-tools release ID)"

_QUEUE_PASSAGES = 256  # encoded together, to keep all cores busy with short documents
_SEGMENT_PASSAGES = 4096  # per commit: about 190 MB of half-precision embeddings in memory
_COMMIT_SECONDS = 60.0  # maximum time between commits: the work that a kill can lose


class Writer(Files):
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
        self._files = SegmentFiles(directory)
        self._given_encoder = encoder
        self._recall = recall
        self._passage_tokens = passage_tokens
        self._bits = bits
        self._progress = progress
        self._batch = Batch()
        self._lock = acquire(directory)
        try:
            self.catalog = CatalogWriter.open(directory)
            sweep_unlisted(self._directory, self.catalog)
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
        self,
        document: Document,
        source: tuple[str, SourceState] | None = None,
        provenance: Provenance | None = None,
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
            return Prepared(document, passages, columns, source, provenance)
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
            queued = Queued(seen(document, passage), worded(document, passage))
            pending.keys.append(self._queue(queued))
            if len(batch.encoded) >= 2 * _SEGMENT_PASSAGES:  # one huge document
                self._cut()
        batch.passages += len(prepared.passages)
        if (
            max(batch.passages, len(batch.documents)) >= _SEGMENT_PASSAGES
            or time.monotonic() - batch.began > _COMMIT_SECONDS
        ):
            self.commit()

    def put_version(self, version: EarlierVersion) -> None:
        """Add an earlier version of a document at the next commit, unless it is there."""
        self._batch.versions.append(version)
        if len(self._batch.versions) >= _QUEUE_PASSAGES:
            self.commit()

    def delete(self, document_id: str, *, vanished: bool = False) -> None:
        """Delete a document at the next commit; an unknown id is ignored.

        Its earlier versions are deleted too, unless it `vanished`: because its file is gone.
        """
        self._batch.deleted.add(document_id)
        if vanished:
            self._batch.vanished.add(document_id)

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

    def set_setting(self, name: str, value: Any) -> None:  # noqa: ANN401 - JSON
        """Store a setting of the index at the next commit."""
        self._batch.settings[name] = value

    def set_terms(
        self, document_ids: Iterable[str], terms: Mapping[str, int | bool | None]
    ) -> None:
        """Set when documents expire, or whether they are held, at the next commit."""
        for id in document_ids:
            self._batch.terms[id] = terms

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
            self._replace_documents(batch, addresses(ids, [cut.passages for cut in batch.cuts]))
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
        sweep_unlisted(self._directory, self.catalog)
        self._room.committed()

    # -- gathering -------------------------------------------------------------------------------

    def _queue(self, passage: Queued) -> bytes:
        """Put a passage on the queue unless it was encoded before; return its key."""
        batch = self._batch
        key = passage.seen.key(self._encoder.checkpoint.fingerprint)
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
        known = [self._recall(passage.seen) if self._recall else None for passage in batch.queue]
        unknown = (one.seen for one, each in zip(batch.queue, known, strict=True) if each is None)
        with contextlib.closing(self._encoder.encode_passages(unknown)) as fresh:
            for (_, words), each in zip(batch.queue, known, strict=True):
                batch.encoded.append(halved(next(fresh) if each is None else each, words))
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
        cut = self._files.cut(tokens, (item.worded for item in encoded), codebook)
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
        gathered = sum(cut.tokens for cut in self._batch.cuts)
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
        words = [
            worded(pending.prepared.document, passage)
            for pending in batch.documents.values()
            for passage in pending.prepared.passages
        ]
        digests = iter([own.digest for own in words])
        wanted = [
            Wanted(id, passage, key, next(digests))
            for id, pending in batch.documents.items()
            for passage, key in zip(pending.prepared.passages, pending.keys, strict=True)
        ]
        freed = {id: catalog.encoded_rows(key) for id, key in deleted.items()}
        digest_at = self._files.digests(catalog.segments())
        sources = self._copied(assign(wanted, freed, fresh, catalog, digest_at), words)
        kept = {source.row for source in sources if source.row is not None}
        since = keep_versions(catalog, batch, deleted)
        for key in deleted.values():
            catalog.delete_document(key, kept=kept)
        remaining = iter(
            NewPassage(passage, key, source.address, source.row)
            for (_, passage, key, _), source in zip(wanted, sources, strict=True)
        )
        for (document, passages, columns, file, *_), _ in batch.documents.values():
            rows = list(itertools.islice(remaining, len(passages)))
            catalog.insert_document(document, columns, rows, file)
        record_provenance(catalog, batch, since)
        # Of what an interruption left, no document may want every passage.
        taken = {source.address for source in sources}
        catalog.insert_tombstones(item for item in fresh.items() if item[1] not in taken)

    def _copied(self, sources: list[Source], words: list[Worded]) -> list[Source]:
        """Copy the embeddings that another passage has as well; return where all are then."""
        chosen = [pair for pair in zip(sources, words, strict=True) if pair[0].copied]
        if not chosen:
            return sources
        assert self._codebook is not None, "nothing was ever encoded"
        addresses, theirs = [source.address for source, _ in chosen], [each for _, each in chosen]
        rows = self.catalog.segments()
        (id,) = self._insert_segments([self._files.copy(addresses, theirs, rows, self._codebook)])
        positions = itertools.count()
        return [
            Source(Address(id, next(positions))) if source.copied else source for source in sources
        ]
