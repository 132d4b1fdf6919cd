"""What a sync takes in: the documents of a file, from its bytes to the writer.

Files, pages of the web and files of git go the same way. Which of them there are, and which have
changed, is in ``sync``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

from rag_tools.catalog.rows import UNSETTLED, Known, SourceState
from rag_tools.errors import (
    IngestError,
    InvalidDocumentError,
    UnsupportedFormatError,
    fault,
)
from rag_tools.ingest.contents import Contents
from rag_tools.ingest.discover import LeftOut, file_type
from rag_tools.ingest.formats import format_suffix
from rag_tools.ingest.labelling import labelled
from rag_tools.ingest.load import lacks_grammar, loader_of
from rag_tools.ingest.members import has_members
from rag_tools.ingest.worker import Worker
from rag_tools.meter import Meter
from rag_tools.types import Document, Metadata, Origin, Skipped, SyncReport, document_id
from rag_tools.versioning import provenance
from rag_tools.writer import HELD, Writer

_TYPES_NAMED = 12  # maximum number of file types in a report of what was left out

# Expected characters of text per byte of a file, where that isn't about one. Only the estimate of
# the time left depends on it.
_TEXT_SHARE = {
    **{".doc": 0.1, ".docx": 0.3, ".eml": 0.3, ".epub": 1.5, ".htm": 0.4, ".html": 0.4},
    **{".mbox": 0.3, ".msg": 0.1, ".odp": 0.05, ".pdf": 0.05, ".ppt": 0.02, ".pptx": 0.02},
    **{".rtf": 0.3, ".srt": 0.6, ".vtt": 0.6, ".xhtml": 0.4},
}

Read = Callable[[], tuple[bytes | None, SourceState]]
"""Returns the bytes of a file, None if they haven't changed, and its state."""


class Source(NamedTuple):
    """A file to read; its content may turn out to be unchanged.

    Attributes
    ----------
    path
        By which the catalog knows it.
    uri
        Of its document.
    name
        Its suffix tells the format.
    relative
        Path below its root, for filters and links.
    known
        What the index has of it.
    size
        In bytes.
    metadata
        What is known of the file besides what its documents say; they take precedence.
    is_root
        Whether the caller named this very file.
    hidden
        Whether members are read whose names start with a dot.
    terms
        What was laid down about it outside of it, see `SourceState`.
    root, revision
        The root that it is of, and the commit if that is a repository.
    """

    path: str
    uri: str
    name: str
    relative: str
    known: Known | None
    size: int
    metadata: Metadata = {}  # noqa: RUF012 - never changed
    is_root: bool = False
    hidden: bool = False
    terms: str | None = None
    root: str | None = None
    revision: str | None = None

    @property
    def shown(self) -> str:
        """The file as a report names it."""
        return self.path if self.uri.startswith("file:") else self.uri

    @property
    def characters(self) -> int:
        """Expected characters of text, at least 1; they measure the file's share of the work."""
        share = _TEXT_SHARE.get(PurePosixPath(self.name).suffix.lower(), 1.0)
        return max(1, int(self.size * share))


Planned = tuple[Source, Read]
"""A file that may have changed, and how to read it."""

Finish = Callable[[], None]
"""Records, once everything planned is taken in, what needn't be asked for the next time."""


@dataclass
class Tally:
    """What a sync did so far."""

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    unchanged: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)
    undivided: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    left_out_characters: int = 0
    retired: int = 0

    def report(self, *, encoded_passages: int, seconds: float) -> SyncReport:
        """Return the report."""
        return SyncReport(
            added=tuple(self.added),
            updated=tuple(self.updated),
            removed=tuple(self.removed),
            unchanged=self.unchanged,
            unsupported=self.left_out.unsupported.total(),
            unsupported_types=_most_common(self.left_out.unsupported),
            sensitive=self.left_out.sensitive,
            ignored=self.left_out.ignored,
            skipped=tuple(sorted(self.skipped, key=lambda item: item.path)),
            retired=self.retired,
            hidden=self.hidden,
            left_out_characters=self.left_out_characters,
            undivided=_most_common(self.undivided),
            encoded_passages=encoded_passages,
            seconds=seconds,
        )


class Intake:
    """Takes in files, one after the other.

    Parameters
    ----------
    max_bytes
        Members of archives that are larger are reported and skipped.
    meter
        Told of what is done; the writer's progress too.

    Attributes
    ----------
    failed
        Paths of the files that couldn't be taken in, or not whole.
    """

    def __init__(
        self, writer: Writer, worker: Worker, tally: Tally, meter: Meter, *, max_bytes: int
    ) -> None:
        self.tally = tally
        self.failed: set[str] = set()
        self._writer = writer
        self._worker = worker
        self._meter = meter
        self._max_bytes = max_bytes

    def take(self, source: Source, read: Read) -> None:
        """Read a file and put its documents, if it has changed.

        If it can't be read, parsed or made ready, whatever is raised, that is reported, and what
        is indexed of it stays.
        """
        try:
            data, state = read()
            if data is None:
                self.tally.unchanged += 1
                self._settle(source, state)
                left = source.characters
            else:
                left = self._documents(source, data, state)
        except Exception as error:
            # Any error here is due to this file, because nothing here changes the index.
            self._failed(source, source.shown, error)
            left = source.characters
        self._meter.settled(left)

    def remove(self, gone: Iterable[Known], *, vanished: bool = True) -> None:
        """Delete the documents of files that are gone; see `Writer.delete`."""
        for known in gone:
            for id in known.ids:
                if self._writer.catalog.held(id):
                    reason = f"its file is gone, and it {HELD}"
                    self.tally.skipped.append(Skipped(path=self._path(id), reason=reason))
                    continue
                self._writer.delete(id, vanished=vanished)
                self.tally.removed.append(id)

    def _path(self, id: str) -> str:
        """Return the path of the file that a document was read from."""
        key = self._writer.catalog.document_key(id)
        return (None if key is None else self._writer.catalog.source(key)[0]) or id

    def _settle(self, source: Source, state: SourceState) -> None:
        """Record the state of a file whose documents are all in the index."""
        if source.known and state != source.known.state:
            for id in source.known.ids:
                self._writer.touch(id, state)

    def _documents(self, source: Source, data: bytes, state: SourceState) -> int:
        """Put the documents of a file; return how many of its characters aren't accounted for."""
        contents = Contents(
            self._worker,
            data,
            name=source.name,
            uri=source.uri,
            max_bytes=self._max_bytes,
            hidden=source.hidden,
        )
        several = has_members(source.name)
        left = source.characters
        put: list[str] = []
        kept: list[str] = []
        before = source.known.ids if source.known else ()
        for path, uri, document, failure in contents:
            relative = f"{source.relative}/{path}" if path else source.relative
            name = f"{source.shown}/{path}" if path else source.shown
            try:
                if failure:
                    raise failure
                assert document is not None
                metadata = {**source.metadata, **document.metadata, "path": relative}
                document = document.model_copy(update={"metadata": metadata})
                document = labelled(document, source.terms)
                if _has_expired(document):
                    self.tally.retired += 1
                    if not several:
                        self.remove([source.known] if source.known else [], vanished=False)
                    continue
                # Until all of them are in the index, the file counts as one that wasn't read.
                loader = loader_of(name, None if several else data)
                origin = Origin(root=source.root, revision=source.revision, loader=loader)
                prepared = self._writer.prepare(
                    document,
                    (source.path, UNSETTLED._replace(terms=source.terms) if several else state),
                    provenance(origin),
                )
            except Exception as error:
                if not several:
                    raise
                self._failed(source, name, error)
                kept += [id for id in before if id == document_id(uri)]
                continue
            if lacks_grammar(suffix := format_suffix(name)):
                self.tally.undivided[suffix] += 1
            characters = left if not several else min(left, len(document.text))
            left -= characters
            self._meter.encoding(characters, len(prepared.passages))
            self._writer.put(prepared)
            self.tally.hidden += bool(document.hidden)
            self.tally.left_out_characters += document.left_out
            (self.tally.updated if document.id in before else self.tally.added).append(document.id)
            put.append(document.id)
        self.tally.left_out.unsupported.update(contents.unsupported)
        self.tally.left_out.sensitive += contents.sensitive
        if several:
            self._complete(before, put, kept, state)
        return left

    def _complete(
        self, before: tuple[str, ...], put: list[str], kept: list[str], state: SourceState
    ) -> None:
        """Delete the documents that a file no longer has, and record that the others are read."""
        here = {*put, *kept}
        self.remove([Known(tuple(id for id in before if id not in here), state)])
        for id in put:
            self._writer.touch(id, state)

    def _failed(self, source: Source, name: str, error: Exception) -> None:
        self.failed.add(source.path)
        named = source.is_root and name == source.shown
        if isinstance(error, UnsupportedFormatError) and not named:
            self.tally.left_out.unsupported[file_type(PurePosixPath(name).name)] += 1
        elif isinstance(error, IngestError) and not isinstance(error, InvalidDocumentError):
            self.tally.skipped.append(Skipped(path=name, reason=str(error)))
        else:
            relative = source.relative + name.removeprefix(source.shown)
            reason = fault(relative, "can't be indexed", error)
            self.tally.skipped.append(Skipped(path=name, reason=reason))


def _has_expired(document: Document) -> bool:
    """Tell whether a document that isn't held is past the time until which it is kept."""
    return document.expires is not None and document.expires <= time.time() and not document.hold


def _most_common(types: Counter[str]) -> dict[str, int]:
    """Return the most common types, ties by name, and the total of all others as ``other``."""
    ranked = sorted(types.items(), key=lambda item: (-item[1], item[0]))
    kept = dict(ranked[:_TYPES_NAMED])
    if others := sum(count for _, count in ranked[_TYPES_NAMED:]):
        kept["other"] = others
    return kept
