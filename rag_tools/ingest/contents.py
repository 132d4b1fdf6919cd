"""Every document in a file: itself, the members of an archive, what is attached to a message.

``members`` unpacks and ``worker`` parses; here is what belongs together, and what is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.members import (
    MOST_BYTES,
    MOST_MEMBERS,
    Allowance,
    Member,
    Members,
    has_members,
)
from rag_tools.ingest.sensitive import is_sensitive
from rag_tools.ingest.worker import Worker
from rag_tools.member_uri import member_uri
from rag_tools.types import Document

DEEPEST = 4
"""Most archives and messages inside of each other."""


class Found(NamedTuple):
    """A document in a file, or why there is none.

    Attributes
    ----------
    path
        Below the file; ``""`` for the file itself.
    uri
        Of the document.
    document
        None if the member can't be read.
    error
        Why it can't.
    """

    path: str
    uri: str
    document: Document | None = None
    error: Exception | None = None


class Contents:
    """The documents in a file, one after the other: an iterator of `Found`.

    Parameters
    ----------
    worker
        Unpacks and parses.
    data
        The whole file.
    name, uri
        Of the file.
    max_bytes
        Members that are larger aren't read.
    hidden
        Whether members are read whose names start with a dot, or whose folders' names do.

    Attributes
    ----------
    unsupported
        Number of members without a loader so far, by suffix.
    sensitive
        Number of members that were passed over so far because their names suggest keys.
    """

    def __init__(
        self,
        worker: Worker,
        data: bytes,
        *,
        name: str,
        uri: str,
        max_bytes: int,
        hidden: bool = False,
    ) -> None:
        self.unsupported: dict[str, int] = {}
        self.sensitive = 0
        self._worker = worker
        self._file = Member(name, data)
        self._uri = uri
        self._hidden = hidden
        self._members = MOST_MEMBERS
        self._bytes = MOST_BYTES
        self._member_bytes = max_bytes

    def __iter__(self) -> Iterator[Found]:
        """Yield what is found.

        Raises
        ------
        IngestError
            The file itself can't be read. What is wrong with a member is in its `Found`.
        """
        yield from self._read(self._file, "", 0)

    def _read(self, file: Member, path: str, depth: int) -> Iterator[Found]:
        name = PurePosixPath(file.path).name if depth else file.path
        uri = member_uri(self._uri, path) if path else self._uri
        held = Members(is_document=True)
        if has_members(name):
            if depth == DEEPEST:
                raise UnreadableFileError(
                    f"more than {DEEPEST} archives or messages inside of each other: unpack them"
                )
            held = self._unpacked(file.data, name)
        if held.is_document:
            document = self._worker.load(file.data, name=name, uri=uri)
            yield Found(path, uri, document)
        for inner, reason in held.skipped:
            yield self._failed(_below(path, inner), UnreadableFileError(reason))
        while held.members:
            member = held.members.pop(0)
            inner = _below(path, member.path)
            if not self._passed_over(member.path):
                try:
                    yield from self._read(member, inner, depth + 1)
                except Exception as error:
                    yield self._failed(inner, error)

    def _unpacked(self, data: bytes, name: str) -> Members:
        allowance = Allowance(self._members, self._bytes, self._member_bytes)
        held = self._worker.members(data, name=name, allowance=allowance)
        self._members -= len(held.members)
        self._bytes -= held.unpacked
        for suffix, count in held.unsupported.items():
            self.unsupported[suffix] = self.unsupported.get(suffix, 0) + count
        return held

    def _passed_over(self, path: str) -> bool:
        if is_sensitive(path):
            self.sensitive += 1
            return True
        return not self._hidden and any(part.startswith(".") for part in path.split("/"))

    def _failed(self, path: str, error: Exception) -> Found:
        return Found(path, member_uri(self._uri, path), error=error)


def find(
    worker: Worker, data: bytes, *, name: str, uri: str, path: str, max_bytes: int
) -> Document | None:
    """Return the document at a path inside of a file, or None if there is no such member.

    Parameters are those of `Contents`; ``path`` is that of `Found`. The members beside it aren't
    parsed.

    Raises
    ------
    IngestError
        The file or the member can't be read.
    """
    for _ in range(DEEPEST):
        if not path:
            break
        allowance = Allowance(member_bytes=max_bytes)
        members = worker.members(data, name=name, allowance=allowance).members
        around = [each for each in members if path == each.path or path.startswith(f"{each.path}/")]
        if not around:
            return None
        file = max(around, key=lambda each: len(each.path))
        data, name = file.data, PurePosixPath(file.path).name
        path = path[len(file.path) + 1 :]
    return None if path else worker.load(data, name=name, uri=uri)


def _below(path: str, inner: str) -> str:
    return f"{path}/{inner}" if path else inner
