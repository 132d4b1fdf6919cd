"""Exporting an index, and importing it: between releases, machines and programs.

The form is that of `json_lines` or of `parquet`; what is in it stands in `exported`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from rag_tools import __version__
from rag_tools.catalog.history import SETTING as VERSIONS
from rag_tools.catalog.restricted import DEFAULT_DENY
from rag_tools.catalog.rows import encode_document
from rag_tools.disk import failures_named
from rag_tools.errors import IngestError, RagToolsError, TransferError, fault
from rag_tools.gathered import EarlierVersion
from rag_tools.index.arrayfile import open_atomically
from rag_tools.indexer import Indexer
from rag_tools.maintenance import parquet
from rag_tools.maintenance.exported import Exported, Header, Sink, Source, Told, embedded
from rag_tools.maintenance.json_lines import JsonLinesSink, JsonLinesSource
from rag_tools.opened import OpenIndex
from rag_tools.reader import View
from rag_tools.types import Progress, Provenance, Skipped, TransferReport
from rag_tools.versioning import provenance, rules_of
from rag_tools.writer import Writer

Format = Literal["jsonl", "parquet"]
"""The form of an export."""

_SHOWN = 100  # skipped lines that a report names


def export(
    opened: OpenIndex,
    target: Path,
    *,
    embeddings: bool = False,
    format: Format = "jsonl",
    progress: Progress | None = None,
) -> TransferReport:
    """Write the documents of the last commit to a file, in order of their ids: O(its size).

    With them go their earlier versions, where they are from, and whether documents without labels
    may be read. The file replaces `target` when it is complete.

    Parameters
    ----------
    embeddings
        Whether to write the embeddings of the passages as well, in half precision, as they are
        restored from what is stored: 60 kB for each passage with the bundled checkpoint. An import
        then encodes nothing.
    format
        ``jsonl``, JSON lines, or ``parquet``, for which the extra ``[parquet]`` is needed.
    progress
        Called with the stage ``documents`` and the number of documents.

    Raises
    ------
    ConfigurationError
        If what the format needs isn't installed.
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
        _sink(file, format) as sink,
    ):
        keys = sorted(view.catalog.document_keys().items())
        rules = rules_of(view.catalog)
        settings = opened.settings
        sink.begin(
            Header(
                release=__version__,
                checkpoint=settings.checkpoint,
                fingerprint=settings.fingerprint,
                dim=settings.dim,
                embeddings=embeddings,
                documents=len(keys),
                default_deny=bool(view.catalog.setting(DEFAULT_DENY, False)),
                versions=rules if rules.keep else None,
            )
        )
        for number, (id, key) in enumerate(keys):
            if progress:
                progress("documents", number, len(keys))
            try:
                sink.add(_current(view, key))
            except RagToolsError as error:
                skipped.append(Skipped(path=id, reason=str(error)))
                continue
            documents += 1
            for arrays in embedded(view, key):
                passages += 1
                if embeddings:
                    sink.add_passage(arrays())
            skipped += _versions(view, id, sink)
        for id in view.catalog.versioned_ids():
            skipped += _versions(view, id, sink)
    return TransferReport(documents=documents, passages=passages, skipped=tuple(skipped[:_SHOWN]))


@contextlib.contextmanager
def _sink(file: BinaryIO, format: Format) -> Iterator[Sink]:
    if format == "parquet":
        with parquet.ParquetSink(file) as sink:
            yield sink
    else:
        yield JsonLinesSink(file)


def _current(view: View, key: int) -> Exported:
    since, told = view.catalog.provenance(key)
    known = None if told is None else Provenance.model_validate_json(told)
    return Exported(view.catalog.document(key), Told(since=since, provenance=known))


def _versions(view: View, id: str, sink: Sink) -> list[Skipped]:
    """Write the earlier versions of a document; return those that can't be exported."""
    skipped = []
    for row in view.catalog.versions_of(id):
        if row.key is None:
            continue
        known = None if row.provenance is None else Provenance.model_validate_json(row.provenance)
        try:
            document = view.catalog.version(row.key)
        except RagToolsError as error:
            skipped.append(Skipped(path=f"{id}, version {row.key}", reason=str(error)))
            continue
        sink.add(Exported(document, Told(since=row.since, until=row.until, provenance=known)))
    return skipped


def import_(opened: OpenIndex, source: Path, *, progress: Progress | None = None) -> TransferReport:
    """Add the documents of an export to an index, replacing those with the same ids.

    Its form is recognised. Embeddings in the export are used where the index has the same
    checkpoint and divides the document into the same passages; what has none is encoded. Earlier
    versions are added to those that the index has. If documents without labels were for nobody in
    the index that was exported, they are for nobody in this one from then on. What can't be used is
    skipped and reported.

    Parameters
    ----------
    progress
        Called with the stage ``encode`` and the number of passages encoded.

    Raises
    ------
    TransferError
        If the file isn't an export, or one of a newer release.
    ConfigurationError
        If what its form needs isn't installed.
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
        found = _source(source, file)
        header, settings = found.header, opened.settings
        same = (header.fingerprint, header.dim) == (settings.fingerprint, settings.dim)
        recall = found.recall(opened) if header.embeddings and same else None
        here = provenance(None)
        here = here.model_copy(update={"root": source.absolute().as_uri()})
        with Indexer(opened).session(progress, recall=recall) as writer:
            if header.default_deny:
                writer.set_setting(DEFAULT_DENY, True)
            if header.versions is not None and not rules_of(writer.catalog).keep:
                writer.set_setting(VERSIONS, header.versions.model_dump(mode="json"))
            for place, entry in found.entries():
                try:
                    if isinstance(entry, IngestError):
                        raise entry
                    added = _put(writer, entry, here)
                except IngestError as error:
                    skipped.append(Skipped(path=place, reason=str(error)))
                    continue
                documents += added is not None
                passages += added or 0
        encoded = writer.encoded_passages
    return TransferReport(
        documents=documents,
        passages=passages,
        encoded_passages=encoded,
        skipped=tuple(skipped[:_SHOWN]),
    )


def _put(writer: Writer, entry: Exported, here: Provenance) -> int | None:
    """Put a document and return the number of its passages; or a version, which has none."""
    document, told = entry
    known = here if told.provenance is None else told.provenance
    if told.until is not None:
        try:
            columns = encode_document(document)
        except ValueError as error:
            raise IngestError(fault(document.uri, "can't be stored", error)) from error
        writer.put_version(EarlierVersion(columns, told.since, told.until, told.provenance))
        return None
    if told.provenance is not None:
        known = known.model_copy(update={"imported": here})
    prepared = writer.prepare(document, provenance=known)
    writer.put(prepared._replace(since=told.since))
    return len(prepared.passages)


def _source(path: Path, file: BinaryIO) -> Source:
    with failures_named(path):
        begins = file.read(len(parquet.MAGIC))
        file.seek(0)
    if begins == parquet.MAGIC:
        return parquet.ParquetSource(path, file)
    return JsonLinesSource(path, file)
