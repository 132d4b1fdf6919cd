"""What the catalog's rows hold, and how a document is stored in one."""

from __future__ import annotations

import json
import zlib
from typing import Any, NamedTuple

from rag_tools.errors import IndexCorruptError
from rag_tools.index.postings import Worded
from rag_tools.types import Block, Document, Hidden, Passage, SourceMap


class SourceState(NamedTuple):
    """A synced file as it was read.

    Attributes
    ----------
    size, mtime_ns, sha256
        Its size, modification time and the hash of its bytes.
    terms
        What was laid down about it outside of it, as JSON; None: nothing.

    Notes
    -----
    Of a file of a git repository, the hash is ``git:`` and the id of the blob, and the time 0.
    """

    size: int
    mtime_ns: int
    sha256: str
    terms: str | None = None


UNSETTLED = SourceState(-1, 0, "")
"""That of a file whose documents aren't all in the index yet. No file has it."""


class Known(NamedTuple):
    """What the catalog knows of a synced file.

    Attributes
    ----------
    ids
        Of its documents, one unless others are inside of it, as in an archive.
    state
        As it was read; `UNSETTLED` if its documents weren't read of the same state.
    """

    ids: tuple[str, ...]
    state: SourceState


class SegmentRow(NamedTuple):
    """A live segment; `lexical` is None in a catalog of an earlier format, see `wording`."""

    id: int
    file: str
    lexical: str | None
    passages: int
    tokens: int
    revision: int

    @property
    def files(self) -> tuple[str, ...]:
        """The names of its files."""
        return (self.file,) if self.lexical is None else (self.file, self.lexical)


class PassageRow(NamedTuple):
    """A live passage: its key and the key of its document."""

    key: int
    document: int
    passage: Passage


class Address(NamedTuple):
    """Where the embeddings of a passage stand."""

    segment: int
    position: int


class NewSegment(NamedTuple):
    """A segment to insert: its files, with the embeddings and the lexical postings; its size."""

    file: str
    lexical: str
    passages: int
    tokens: int


class EncodedRow(NamedTuple):
    """A live passage: its row's key, the key of what the encoder saw of it, its heading path."""

    key: int
    encoded: bytes | None
    path: tuple[str, ...]
    address: Address


class NewPassage(NamedTuple):
    """A passage of a document to insert.

    Attributes
    ----------
    passage
        Its range and heading path.
    encoded
        Key of what the encoder saw of it.
    address
        Of its embeddings.
    row
        Key of the row that becomes this one's: a passage of a document deleted in the same
        transaction, with the same text, heading path and address. None: a new row.
    """

    passage: Passage
    encoded: bytes
    address: Address
    row: int | None


class DocumentColumns(NamedTuple):
    """What the catalog stores of a document, without its passages and its file, as it stores it."""

    id: str
    uri: str
    title: str
    media_type: str
    sha256: str
    characters: int
    labels: str
    expires: int | None
    hold: bool
    metadata: str
    text: bytes
    structure: bytes


class StoredDocument(NamedTuple):
    """A document as it is stored, without the file that it was read from."""

    id: str
    uri: str
    title: str
    media_type: str
    sha256: str
    labels: str
    expires: int | None
    hold: int
    metadata: str
    text: bytes
    structure: bytes


class Counts(NamedTuple):
    """Sizes of what is live."""

    documents: int
    passages: int
    tombstones: int


def heading(passage: Passage) -> str:
    """Return the heading path of a passage as the lexical index and people read it."""
    return " > ".join(passage.path)


def worded(document: Document, passage: Passage) -> Worded:
    """Return what is looked up of a passage of a document."""
    return Worded(document.text[passage.start : passage.end], heading(passage))


def encode_document(document: Document) -> DocumentColumns:
    """Return what is to be stored of a document.

    Raises
    ------
    ValueError
        It holds what can't be stored, such as a lone surrogate in a heading. A `Document` refuses
        most of that when it is made.
    """
    for name in (
        document.media_type,
        *(title for block in document.blocks for title in block.path),
    ):
        name.encode("utf-8")
    return DocumentColumns(
        document.id,
        document.uri,
        document.title,
        document.media_type,
        document.sha256,
        len(document.text),
        json.dumps(document.labels, ensure_ascii=False),
        document.expires,
        document.hold,
        json.dumps(document.metadata, ensure_ascii=False),
        zlib.compress(document.text.encode("utf-8")),
        _encode_structure(document),
    )


def decode_document(row: StoredDocument) -> Document:
    """Undo `encode_document`: O(the size of the document).

    Raises
    ------
    IndexCorruptError
        If something of it is damaged.
    """
    try:
        return Document.model_construct(
            id=row.id,
            uri=row.uri,
            title=row.title,
            media_type=row.media_type,
            text=zlib.decompress(row.text).decode("utf-8"),
            metadata=json.loads(row.metadata),
            labels=tuple(json.loads(row.labels)),
            expires=row.expires,
            hold=bool(row.hold),
            **decode_structure(row.structure),
        )
    except (zlib.error, ValueError, LookupError, TypeError, RecursionError) as error:
        raise IndexCorruptError(
            f"the stored document {row.id!r} is damaged ({type(error).__name__}: {error}): "
            "run 'rag-tools repair'"
        ) from error


def _encode_structure(document: Document) -> bytes:
    source_map = document.source_map
    structure: dict[str, Any] = {
        "blocks": document.blocks,
        # Without defaults: earlier releases read it too, unless it has what they don't know.
        "source_map": None
        if source_map is None
        else source_map.model_dump(mode="json", exclude_defaults=True),
    }
    if document.hidden:
        structure["hidden"] = document.hidden
    if document.left_out:
        structure["left_out"] = document.left_out
    return zlib.compress(json.dumps(structure, ensure_ascii=False).encode("utf-8"))


def decode_structure(stored: bytes) -> dict[str, Any]:
    """Return the fields of a document that are stored as its structure."""
    structure = json.loads(zlib.decompress(stored))
    blocks = tuple(
        Block(kind, start, end, tuple(path)) for kind, start, end, path in structure["blocks"]
    )
    raw = structure["source_map"]
    source_map = None if raw is None else SourceMap.model_validate(raw)
    return {
        "blocks": blocks,
        "source_map": source_map,
        "hidden": tuple(Hidden(*each) for each in structure.get("hidden", ())),
        "left_out": structure.get("left_out", 0),
    }
