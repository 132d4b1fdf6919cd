"""Exports as JSON lines: a header, then documents, each followed by what belongs to it."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from rag_tools.disk import failures_named
from rag_tools.encode.embeddings import Embeddings
from rag_tools.errors import IngestError, TransferError
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
from rag_tools.types import Document, Value

_MOST_LINE = 1 << 30  # bytes: a document of 64 MiB with its structure takes less
_PASSAGE = b'{"passage":'


class JsonLinesSink:
    """Writes an export to an open file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def begin(self, header: Header) -> None:
        """Write the first line."""
        self._write(header.as_json())

    def add(self, exported: Exported) -> None:
        """Write a document, after the line of what is known of it; or a version."""
        document, told = exported
        known = told.model_dump(mode="json", exclude_none=True)
        if told.until is not None:
            self._write({"version": {"document": as_json(document), **known}})
            return
        if known:  # a line of its own, which earlier releases skip
            self._write({"about": {"id": document.id, **known}})
        self._write({"document": as_json(document)})

    def add_passage(self, passage: PassageArrays) -> None:
        """Write the embeddings of a passage."""
        values = {
            "key": passage.key.hex(),
            "token_ids": _packed(passage.token_ids),
            "spans": _packed(passage.spans),
            "vectors": _packed(passage.vectors),
        }
        if passage.pooled is not None:
            values["pooled"] = _packed(passage.pooled)
        self._write({"passage": values})

    def _write(self, value: dict[str, Any]) -> None:
        line = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        self._file.write(line.encode() + b"\n")


class _About(Told):
    id: str


class _Version(Told):
    document: Document


class _Line(Value):
    document: Document | None = None
    about: _About | None = None
    version: _Version | None = None


class JsonLinesSource:
    """Reads an export from an open file.

    Raises
    ------
    TransferError
        If it isn't one, or one of a newer release.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        with failures_named(path):
            line = file.readline(_MOST_LINE)
        try:
            self.header = Header.model_validate_json(line)
        except ValidationError as error:
            raise TransferError(
                f"{path} isn't an export that this release reads: it must begin with a line that "
                'has the field "rag_tools_export": 1'
            ) from error
        self._begin = file.tell()

    def entries(self) -> Iterator[tuple[str, Exported | IngestError]]:
        """Yield the documents and versions, or why a line can't be used."""
        about: _About | None = None
        for number, _, line in self._lines():
            if line.startswith(_PASSAGE) or not line.strip():
                continue
            place = f"line {number}"
            try:
                found = _Line.model_validate_json(line)
            except ValidationError as error:
                yield place, wrong(error)
                continue
            if found.about is not None:
                about = found.about
            elif found.version is not None:
                told = Told(**found.version.model_dump(include=set(Told.model_fields)))
                yield place, Exported(found.version.document, told)
            elif found.document is not None:
                told = Told()
                if about is not None and about.id == found.document.id:
                    told = Told(**about.model_dump(include=set(Told.model_fields)))
                yield place, Exported(found.document, told)
            else:
                yield place, IngestError("it is empty")

    def recall(self, opened: OpenIndex) -> Recall:
        """Return what reads embeddings from the file when they are needed.

        Only the place of each passage is in memory: the writer asks long after their lines.
        """
        places: dict[bytes, int] = {}
        prefix = b'{"passage":{"key":"'
        for _, place, line in self._lines():
            if line.startswith(prefix):
                with contextlib.suppress(ValueError):
                    key = line[len(prefix) : len(prefix) + 64].split(b'"')[0].decode()
                    places[bytes.fromhex(key)] = place
        checkpoint, dim = opened.encoder.checkpoint, opened.settings.dim

        def read(passage: Seen) -> Embeddings | None:
            key = passage.key(checkpoint.fingerprint)
            if key not in places:
                return None
            with failures_named(self._path):
                self._file.seek(places[key])
                line = self._file.readline(_MOST_LINE)
            try:
                return embeddings_of(_arrays(json.loads(line)["passage"], dim), passage, checkpoint)
            except (ValueError, LookupError, TypeError, AttributeError):
                return None  # encoded instead

        return read

    def _lines(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield the lines after the header: numbers, places, and contents.

        Their place is kept between them.
        """
        number, place = 1, self._begin
        while True:
            with failures_named(self._path):
                self._file.seek(place)
                line = self._file.readline(_MOST_LINE)
            if not line:
                return
            number += 1
            if not line.endswith(b"\n") and len(line) >= _MOST_LINE:
                raise TransferError(
                    f"{self._path}: line {number} has more than {_MOST_LINE:,} bytes"
                )
            yield number, place, line
            place += len(line)


def _arrays(values: dict[str, str], dim: int) -> PassageArrays:
    token_ids = _unpacked(values["token_ids"], "<i4")
    pooled = values.get("pooled")
    return PassageArrays(
        b"",
        token_ids,
        _unpacked(values["spans"], "<i4").reshape(len(token_ids), 2),
        _unpacked(values["vectors"], "<f2").reshape(len(token_ids), dim),
        None if pooled is None else _unpacked(pooled, "<f4"),
    )


def _packed(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _unpacked(text: str, dtype: str) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=dtype)
