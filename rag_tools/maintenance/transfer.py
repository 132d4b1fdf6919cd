"""Exporting an index as JSON lines, and importing it: between releases, machines and programs.

The first line describes the index. Each other line is a document, or the embeddings of a passage of
the document before it. ``docs/format.md`` describes the fields.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from rag_tools import __version__
from rag_tools.disk import failures_named
from rag_tools.encode.embeddings import Embeddings
from rag_tools.errors import IngestError, RagToolsError, TransferError
from rag_tools.index.arrayfile import open_atomically
from rag_tools.indexer import Indexer
from rag_tools.ingest.seen import Seen
from rag_tools.opened import OpenIndex
from rag_tools.reader import View
from rag_tools.types import Document, Progress, Skipped, TransferReport, Value

_MOST_LINE = 1 << 30  # bytes: a document of 64 MiB with its structure takes less
_SHOWN = 100  # skipped lines that a report names


class Header(Value):
    """The first line of an export.

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
    """

    rag_tools_export: Literal[1] = 1
    release: str
    checkpoint: str | None
    fingerprint: str
    dim: int = Field(ge=1, le=1 << 16)
    embeddings: bool
    documents: int


def export(
    opened: OpenIndex, target: Path, *, embeddings: bool = False, progress: Progress | None = None
) -> TransferReport:
    """Write the documents of the last commit to a file, in order of their ids: O(its size).

    The file replaces `target` when it is complete.

    Parameters
    ----------
    embeddings
        Whether to write the embeddings of the passages as well, in half precision, as they are
        restored from what is stored: 60 kB for each passage with the bundled checkpoint. An import
        then encodes nothing.
    progress
        Called with the stage ``documents`` and the number of documents.

    Raises
    ------
    IndexCorruptError, IndexAccessError, IndexLockedError, IndexMismatchError
        If the index can't be read.
    IndexAccessError
        If the file can't be written.
    """
    skipped: list[Skipped] = []
    documents = passages = 0
    with (
        opened.reader.view() as view,
        failures_named(target),
        open_atomically(target) as file,
    ):
        keys = sorted(view.catalog.document_keys().items())
        settings = opened.settings
        header = Header(
            release=__version__,
            checkpoint=settings.checkpoint,
            fingerprint=settings.fingerprint,
            dim=settings.dim,
            embeddings=embeddings,
            documents=len(keys),
        )
        _write(file, header.model_dump())
        for number, (id, key) in enumerate(keys):
            if progress:
                progress("documents", number, len(keys))
            try:
                document = view.catalog.document(key)
            except RagToolsError as error:
                skipped.append(Skipped(path=id, reason=str(error)))
                continue
            _write(file, {"document": _as_json(document)})
            documents += 1
            for line in _embedded(view, key):
                passages += 1
                if embeddings:
                    _write(file, {"passage": line()})
    return TransferReport(documents=documents, passages=passages, skipped=tuple(skipped[:_SHOWN]))


def _as_json(document: Document) -> dict[str, Any]:
    values = document.model_dump(mode="json")
    if document.source_map is None:
        del values["source_map"]
    return values


def _embedded(view: View, key: int) -> Iterator[Callable[[], dict[str, Any]]]:
    """Yield, for each passage of a document, what returns its line."""
    for row in view.catalog.encoded_rows(key):
        if row.encoded is None:  # in an index of an earlier format
            continue
        segment = view.snapshot.segments[row.address.segment]
        position, encoded = row.address.position, row.encoded

        def line(
            segment: Any = segment,  # noqa: ANN401 - a Segment
            position: int = position,
            encoded: bytes = encoded,
        ) -> dict[str, Any]:
            first, last = map(int, segment.token_offsets[position : position + 2])
            token_ids = segment.codebook.token_ids[segment.centroids[first:last]]
            values = {
                "key": encoded.hex(),
                "token_ids": _packed(token_ids, "<i4"),
                "spans": _packed(segment.spans(position), "<i4"),
                "vectors": _packed(segment.vectors(first, last), "<f2"),
            }
            if segment.pooled is not None:
                rows, scales = segment.pooled
                values["pooled"] = _packed(rows[position] * scales[position], "<f4")
            return values

        yield line


def _packed(array: NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype=dtype).tobytes()).decode("ascii")


def _unpacked(text: str, dtype: str) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=dtype)


def _write(file: BinaryIO, value: dict[str, Any]) -> None:
    file.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")


def import_(opened: OpenIndex, source: Path, *, progress: Progress | None = None) -> TransferReport:
    """Add the documents of an export to an index, replacing those with the same ids.

    Embeddings in the export are used where the index has the same checkpoint and divides the
    document into the same passages; what has none is encoded. A line that can't be used is skipped
    and reported.

    Parameters
    ----------
    progress
        Called with the stage ``encode`` and the number of passages encoded.

    Raises
    ------
    TransferError
        If the file isn't an export, or one of a newer release.
    IndexLockedError
        If another process is writing.
    IndexAccessError
        If the file can't be read or the index can't be written; what was committed is kept.
    """
    with failures_named(source):
        if not source.is_file():
            raise TransferError(f"{source} is no file: name a file that 'export-index' wrote")
        file = source.open("rb")
    skipped: list[Skipped] = []
    documents = passages = 0
    with file:
        header = _header(source, file)
        same = (header.fingerprint, header.dim) == (
            opened.settings.fingerprint,
            opened.settings.dim,
        )
        kept = _Kept(source, opened, file) if header.embeddings and same else None
        with Indexer(opened).session(progress, recall=kept) as writer:
            for number, line in _lines(source, file):
                try:
                    document = _document(line)
                    if document is None:
                        continue
                    prepared = writer.prepare(document)
                except IngestError as error:
                    skipped.append(Skipped(path=f"line {number}", reason=str(error)))
                    continue
                writer.put(prepared)
                documents += 1
                passages += len(prepared.passages)
        encoded = writer.encoded_passages
    return TransferReport(
        documents=documents,
        passages=passages,
        encoded_passages=encoded,
        skipped=tuple(skipped[:_SHOWN]),
    )


def _header(source: Path, file: BinaryIO) -> Header:
    with failures_named(source):
        line = file.readline(_MOST_LINE)
    try:
        return Header.model_validate_json(line)
    except ValidationError as error:
        raise TransferError(
            f"{source} isn't an export that this release reads: it must begin with a line that has "
            'the field "rag_tools_export": 1'
        ) from error


def _lines(source: Path, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the lines after the header, with their numbers; their place is kept between them."""
    number, place = 1, file.tell()
    while True:
        with failures_named(source):
            file.seek(place)
            line = file.readline(_MOST_LINE)
        if not line:
            return
        place += len(line)
        number += 1
        if not line.endswith(b"\n") and len(line) >= _MOST_LINE:
            raise TransferError(f"{source}: line {number} has more than {_MOST_LINE:,} bytes")
        yield number, line


def _document(line: bytes) -> Document | None:
    """Return the document of a line, None if it holds something else.

    Raises
    ------
    IngestError
        If it can't be a document.
    """
    if line.startswith(b'{"passage":') or not line.strip():
        return None
    try:
        return _Line.model_validate_json(line).document
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise IngestError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


class _Line(Value):
    document: Document


class _Kept:
    """The embeddings in an export, read from the file when they are needed.

    Only the place of each passage is in memory: the writer asks for them long after their lines.
    """

    def __init__(self, source: Path, opened: OpenIndex, file: BinaryIO) -> None:
        self._source, self._file = source, file
        self._checkpoint, self._dim = opened.encoder.checkpoint, opened.settings.dim
        self._places: dict[bytes, int] = {}
        start = file.tell()
        place = start
        for _, line in _lines(source, file):
            prefix = b'{"passage":{"key":"'
            if line.startswith(prefix):
                with contextlib.suppress(ValueError):
                    key = bytes.fromhex(
                        line[len(prefix) : len(prefix) + 64].split(b'"')[0].decode()
                    )
                    self._places[key] = place
            place += len(line)
        file.seek(start)

    def __call__(self, passage: Seen) -> Embeddings | None:
        place = self._places.get(passage.key(self._checkpoint.fingerprint))
        if place is None:
            return None
        with failures_named(self._source):
            self._file.seek(place)
            line = self._file.readline(_MOST_LINE)
        try:
            found = self._embeddings(json.loads(line)["passage"])
        except (ValueError, LookupError, TypeError, AttributeError):
            return None  # encoded instead
        return found if self._fits(found, passage) else None

    def _embeddings(self, values: dict[str, str]) -> Embeddings:
        token_ids = _unpacked(values["token_ids"], "<i4").astype(np.int32)
        vectors = _unpacked(values["vectors"], "<f2").reshape(len(token_ids), self._dim)
        vectors = vectors.astype(np.float32)
        pooled = values.get("pooled")
        return Embeddings(
            vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
            token_ids=token_ids,
            spans=_unpacked(values["spans"], "<i4").reshape(len(token_ids), 2).astype(np.int32),
            pooled=None if pooled is None else _unpacked(pooled, "<f4").astype(np.float32),
        )

    def _fits(self, found: Embeddings, passage: Seen) -> bool:
        """Return whether embeddings from elsewhere can be those of a passage."""
        checkpoint, ids, spans = self._checkpoint, found.token_ids, found.spans
        pooled = found.pooled
        return (
            len(ids) > 0
            and bool(np.isfinite(found.vectors).all())
            and bool(((ids >= 0) & (ids < checkpoint.vocabulary_size)).all())
            and bool((spans[:, 0] >= 0).all() and (spans[:, 0] <= spans[:, 1]).all())
            and bool((spans[:, 1] <= len(passage.text)).all())
            and (None if pooled is None else len(pooled)) == checkpoint.pooled_dim
            and (pooled is None or bool(np.isfinite(pooled).all()))
        )
