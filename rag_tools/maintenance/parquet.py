"""Exports as Parquet, for programs that analyse tables; needs the extra ``[parquet]``.

One file, whose rows are documents, versions and passages (column ``kind``), in the order of the
JSON lines. What the columns don't tell of a document is in ``structure``, as JSON. The header is in
the metadata of the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydantic import ValidationError

from rag_tools.disk import failures_named
from rag_tools.encode.embeddings import Embeddings
from rag_tools.errors import ConfigurationError, IngestError, TransferError
from rag_tools.gathered import Recall
from rag_tools.ingest.seen import Seen
from rag_tools.maintenance.exported import (
    Exported,
    Header,
    PassageArrays,
    Told,
    as_json,
    embeddings_of,
    wrong,
)
from rag_tools.opened import OpenIndex
from rag_tools.types import Document

MAGIC = b"PAR1"
"""How a file begins that is Parquet."""

_HEADER = b"rag_tools_export"
_GROUP_BYTES = 64 << 20  # of texts and embeddings in a row group, which is in memory while written
_GROUP_ROWS = 10_000
_MOST_GROUP = 1 << 32  # uncompressed bytes of a row group that is read
_PLAIN = ("id", "uri", "title", "media_type", "text", "labels", "expires", "hold")


class _Arrow:
    """The modules of pyarrow, which are loaded only for this."""

    def __init__(self) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise ConfigurationError(
                "Parquet needs pyarrow: pip install 'rag-tools[parquet]', or use JSON lines"
            ) from error
        self.pa, self.pq = pyarrow, pyarrow.parquet

    def schema(self, header: Header) -> Any:  # noqa: ANN401 - a Schema
        """Return the columns, with the header."""
        pa = self.pa
        return pa.schema(
            [
                pa.field("kind", pa.string(), nullable=False),
                pa.field("document_id", pa.string(), nullable=False),
                *((name, pa.string()) for name in ("uri", "title", "media_type", "text")),
                ("labels", pa.list_(pa.string())),
                ("expires", pa.int64()),
                ("hold", pa.bool_()),
                *((name, pa.string()) for name in ("metadata", "structure", "provenance")),
                ("since", pa.timestamp("ms", tz="UTC")),
                ("until", pa.timestamp("ms", tz="UTC")),
                ("key", pa.binary()),
                ("token_ids", pa.list_(pa.int32())),
                ("spans", pa.list_(pa.int32())),
                ("vectors", pa.list_(pa.float16())),
                ("pooled", pa.list_(pa.float32())),
            ],
            metadata={_HEADER: json.dumps(header.as_json()).encode()},
        )


class ParquetSink:
    """Writes an export to an open file; a context manager.

    Raises
    ------
    ConfigurationError
        If pyarrow isn't installed.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._arrow, self._file = _Arrow(), file
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0
        self._document = ""

    def __enter__(self) -> ParquetSink:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def begin(self, header: Header) -> None:
        """Write the columns."""
        self._schema = self._arrow.schema(header)
        self._writer = self._arrow.pq.ParquetWriter(self._file, self._schema, compression="zstd")

    def add(self, exported: Exported) -> None:
        """Write a document or a version."""
        document, told = exported
        values = as_json(document)
        self._document = document.id
        row = {name: values.pop(name) for name in _PLAIN}
        row["document_id"] = row.pop("id")
        row["metadata"] = json.dumps(values.pop("metadata"), ensure_ascii=False)
        row["structure"] = json.dumps(values, ensure_ascii=False)
        if told.provenance is not None:
            row["provenance"] = told.provenance.model_dump_json(exclude_none=True)
        kind = "document" if told.until is None else "version"
        self._row({"kind": kind, **row, "since": told.since, "until": told.until})

    def add_passage(self, passage: PassageArrays) -> None:
        """Write the embeddings of a passage."""
        self._row(
            {
                "kind": "passage",
                "document_id": self._document,
                "key": passage.key,
                "token_ids": passage.token_ids,
                "spans": passage.spans.ravel(),
                "vectors": passage.vectors.ravel(),
                "pooled": passage.pooled,
            }
        )

    def _row(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        self._bytes += sum(
            value.nbytes if isinstance(value, np.ndarray) else len(value)
            for value in row.values()
            if isinstance(value, np.ndarray | str)
        )
        if self._bytes >= _GROUP_BYTES or len(self._rows) >= _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            columns = {
                field.name: self._arrow.pa.array(
                    [row.get(field.name) for row in self._rows], field.type
                )
                for field in self._schema
            }
            table = self._arrow.pa.table(columns, schema=self._schema)
            self._writer.write_table(table, row_group_size=len(table))
        self._rows.clear()
        self._bytes = 0


class ParquetSource:
    """Reads an export from an open file.

    Raises
    ------
    ConfigurationError
        If pyarrow isn't installed.
    TransferError
        If it isn't an export, or one of a newer release.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._arrow, self._path = _Arrow(), path
        self._group: tuple[int, Any] | None = None  # the row group read last
        trouble = self._arrow.pa.ArrowException
        try:
            self._parquet = self._arrow.pq.ParquetFile(file)
            schema = self._parquet.schema_arrow
            self.header = Header.model_validate_json((schema.metadata or {})[_HEADER])
            expected = self._arrow.schema(self.header)
            for name in expected.names:
                if schema.field(name).type != expected.field(name).type:
                    raise ValueError(f"column {name!r} is of another type")
        except (trouble, OSError, KeyError, ValueError) as error:
            raise TransferError(
                f"{path} isn't an export in Parquet that this release reads ({error}): name a file "
                "that 'export-index --format parquet' wrote"
            ) from error

    def entries(self) -> Iterator[tuple[str, Exported | IngestError]]:
        """Yield the documents and versions, or why a row can't be used."""
        names = [
            *("kind", "document_id", "uri", "title", "media_type", "text", "labels", "expires"),
            *("hold", "metadata", "structure", "provenance", "since", "until"),
        ]
        number = 0
        for group in range(self._parquet.num_row_groups):
            for row in self._rows(group, names):
                number += 1
                if row["kind"] != "passage":
                    yield f"row {number}", _entry(row)

    def recall(self, opened: OpenIndex) -> Recall:
        """Return what reads embeddings from the file when they are needed.

        Only the place of each passage is in memory, and one row group.
        """
        places: dict[bytes, tuple[int, int]] = {}
        for group in range(self._parquet.num_row_groups):
            for at, row in enumerate(self._rows(group, ["kind", "key"])):
                if row["kind"] == "passage" and row["key"] is not None:
                    places[row["key"]] = group, at
        checkpoint, dim = opened.encoder.checkpoint, opened.settings.dim

        def read(passage: Seen) -> Embeddings | None:
            place = places.get(passage.key(checkpoint.fingerprint))
            if place is None:
                return None
            group, at = place
            if self._group is None or self._group[0] != group:
                names = ["token_ids", "spans", "vectors", "pooled"]
                self._group = group, self._table(group, names)
            row = self._group[1].slice(at, 1).to_pydict()
            try:
                token_ids = np.array(row["token_ids"][0], "<i4")
                pooled = row["pooled"][0]
                arrays = PassageArrays(
                    b"",
                    token_ids,
                    np.array(row["spans"][0], "<i4").reshape(len(token_ids), 2),
                    np.array(row["vectors"][0], "<f2").reshape(len(token_ids), dim),
                    None if pooled is None else np.array(pooled, "<f4"),
                )
            except (ValueError, TypeError):
                return None  # encoded instead
            return embeddings_of(arrays, passage, checkpoint)

        return read

    def _rows(self, group: int, names: list[str]) -> Iterator[dict[str, Any]]:
        table = self._table(group, names)
        for batch in table.to_batches(max_chunksize=64):
            # Times as numbers: Python's reach only from the year 1 to 9999.
            yield from self._arrow.pa.RecordBatch.from_arrays(
                [
                    column.cast(self._arrow.pa.int64())
                    if self._arrow.pa.types.is_timestamp(column.type)
                    else column
                    for column in batch.columns
                ],
                names=batch.schema.names,
            ).to_pylist()

    def _table(self, group: int, names: list[str]) -> Any:  # noqa: ANN401 - a Table
        size = self._parquet.metadata.row_group(group).total_byte_size
        if size > _MOST_GROUP:
            raise TransferError(f"{self._path}: a row group has {size:,} bytes, which is too large")
        try:
            with failures_named(self._path):
                return self._parquet.read_row_group(group, columns=names)
        except self._arrow.pa.ArrowException as error:
            raise TransferError(f"{self._path} is damaged: {error}") from error


def _entry(row: dict[str, Any]) -> Exported | IngestError:
    try:
        values = {
            **json.loads(row["structure"]),
            **{name: row[name] for name in _PLAIN if name != "id" and row[name] is not None},
            "id": row["document_id"],
            "metadata": json.loads(row["metadata"]),
        }
        document = Document.model_validate_json(json.dumps(values))
        told = {name: row[name] for name in ("since", "until", "provenance")}
        if told["provenance"] is not None:
            told["provenance"] = json.loads(told["provenance"])
        return Exported(document, Told.model_validate(told))
    except ValidationError as error:
        return wrong(error)
    except (ValueError, TypeError, RecursionError) as error:
        return IngestError(f"the row can't be a document: {error}")
