"""Files inside of a file: members of ZIP and TAR archives, and attachments of messages.

Each is a document of its own. Here they are unpacked, within limits; ``contents`` loads them.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import BinaryIO, NamedTuple, cast

from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.archive import MAX_RATIO, RATIO_APPLIES_FROM
from rag_tools.ingest.formats import ARCHIVES, format_suffix
from rag_tools.ingest.load import supported
from rag_tools.ingest.reading import printable
from rag_tools.ingest.recognise import recognise

_MESSAGES = frozenset({".eml", ".mbox", ".msg"})

MOST_MEMBERS = 10_000
"""Most files in an archive, those of the archives inside of it included."""

MOST_BYTES = 256 * 1024 * 1024
"""Most bytes that an archive unpacks to, with the archives inside of it."""

_LONGEST_PATH = 1000
_ENCRYPTED = 0x1  # flag of a member of a ZIP archive
_UNPACKERS: dict[str, Callable[[BinaryIO], BinaryIO]] = {
    ".tar": lambda file: file,
    ".tbz2": lambda file: cast(BinaryIO, bz2.BZ2File(file)),
    ".tgz": lambda file: cast(BinaryIO, gzip.GzipFile(fileobj=file)),
    ".txz": lambda file: cast(BinaryIO, lzma.LZMAFile(file)),  # noqa: SIM115 - is passed on
}
_DAMAGED = (
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


class Allowance(NamedTuple):
    """What may still be unpacked of a file.

    Attributes
    ----------
    members, bytes
        Of all that is inside of it, however deep.
    member_bytes
        Of a single one.
    """

    members: int = MOST_MEMBERS
    bytes: int = MOST_BYTES
    member_bytes: int = MOST_BYTES


class Member(NamedTuple):
    """A file inside of a file. Its path has no ``..`` and no slash at its beginning."""

    path: str
    data: bytes


class Members(NamedTuple):
    """What is inside of a file.

    Attributes
    ----------
    is_document
        Whether the file itself is a document too: a message, or one in a format of its own whose
        name says that it is an archive.
    members
        Those that a loader reads, in order.
    skipped
        Path and reason of those that can't be unpacked.
    unsupported
        Number of those without a loader, by suffix.
    unpacked
        Bytes.
    """

    is_document: bool
    members: list[Member] = []  # noqa: RUF012 - never changed
    skipped: list[tuple[str, str]] = []  # noqa: RUF012
    unsupported: Counter[str] = Counter()  # noqa: RUF012
    unpacked: int = 0


def has_members(name: str) -> bool:
    """Tell by its name whether a file may have others inside."""
    return format_suffix(name) in ARCHIVES | _MESSAGES


def read_members(data: bytes, name: str, allowance: Allowance) -> Members:
    """Return what is inside of a file.

    Parameters
    ----------
    data
        The whole file.
    name
        Its name, which tells its format.
    allowance
        What may be unpacked.

    Raises
    ------
    UnreadableFileError
        It is damaged or not of this format, or unpacks to more than `allowance`, as a bomb does.
    """
    suffix, shown = format_suffix(name), printable(name)
    if suffix not in ARCHIVES | _MESSAGES:
        return Members(is_document=True)
    if suffix in ARCHIVES and recognise(data, shown, archive=True):
        return Members(is_document=True)
    gathered = _Gathered(shown, len(data), allowance)
    try:
        if suffix in _MESSAGES:
            _attachments(data, suffix, gathered)
        elif suffix == ".zip":
            _unzip(data, gathered)
        else:
            _untar(data, suffix, gathered)
    except _DAMAGED as error:
        raise UnreadableFileError(
            f"{shown}: damaged or not an archive ({error}): get the file again"
        ) from error
    return gathered.result(is_document=suffix in _MESSAGES)


class _Gathered:
    """The members that were unpacked so far; refuses more than is allowed."""

    def __init__(self, name: str, size: int, allowance: Allowance) -> None:
        self._name = name
        self._size = size
        self._allowance = allowance
        self._listed = 0
        self._unpacked = 0
        self._members: dict[str, bytes] = {}
        self._skipped: list[tuple[str, str]] = []
        self._unsupported: Counter[str] = Counter()

    def result(self, *, is_document: bool) -> Members:
        members = [Member(path, data) for path, data in self._members.items()]
        return Members(is_document, members, self._skipped, self._unsupported, self._unpacked)

    def listed(self, count: int) -> None:
        """Take note of members, whatever they are."""
        self._listed += count
        if self._listed > self._allowance.members:
            raise UnreadableFileError(
                f"{self._name}: more than {self._allowance.members:,} files: unpack it, and index "
                "the folder"
            )

    def unpacked(self, count: int) -> None:
        """Take note of bytes that were, or are going to be unpacked."""
        self._unpacked += count
        is_bomb = self._unpacked > RATIO_APPLIES_FROM and self._unpacked > MAX_RATIO * self._size
        if is_bomb:
            raise UnreadableFileError(
                f"{self._name}: unpacks from {self._size:,} to {self._unpacked:,} bytes or more, "
                "which no ordinary archive does"
            )
        if self._unpacked > self._allowance.bytes:
            raise UnreadableFileError(
                f"{self._name}: unpacks to more than {self._allowance.bytes:,} bytes: unpack it, "
                "and index the folder"
            )

    def wants(self, path: str, size: int) -> bool:
        """Tell whether to unpack a member; if not, take note of why."""
        if not supported(PurePath(path)):
            suffix = PurePath(path).suffix.lower()
            self._unsupported[suffix] += 1
        elif size > self._allowance.member_bytes:
            self.skip(
                path,
                f"{size:,} bytes, the limit is {self._allowance.member_bytes:,}; raise the limit "
                "(--max-file-size, max_bytes)",
            )
        else:
            return True
        return False

    def skip(self, path: str, reason: str) -> None:
        """Take note that a member can't be unpacked."""
        self._skipped.append((path, reason))

    def add(self, path: str, data: bytes) -> None:
        """Add a member; one whose path is taken gets a number."""
        name = PurePath(path)
        number = 1
        while path in self._members:
            number += 1
            path = name.with_name(f"{name.stem} ({number}){name.suffix}").as_posix()
        self._members[path] = data


def _unzip(data: bytes, gathered: _Gathered) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = [each for each in archive.infolist() if each.filename and not each.is_dir()]
        gathered.listed(len(entries))
        # No more than the declared size of a member is ever unpacked.
        gathered.unpacked(sum(entry.file_size for entry in entries))
        for entry in entries:
            path = _safe(entry.filename)
            if not path or not gathered.wants(path, entry.file_size):
                continue
            if entry.flag_bits & _ENCRYPTED:
                gathered.skip(path, "it is encrypted: unpack the archive with its password")
                continue
            try:
                gathered.add(path, archive.read(entry))
            except _DAMAGED as error:
                gathered.skip(path, f"damaged ({error}): get the archive again")


def _untar(data: bytes, suffix: str, gathered: _Gathered) -> None:
    source = _Counted(_UNPACKERS[suffix](io.BytesIO(data)), gathered.unpacked)
    with tarfile.open(fileobj=cast(BinaryIO, source), mode="r|") as archive:
        for entry in archive:
            gathered.listed(1)
            path = _safe(entry.name)
            # Links lead to what is a member itself; holes of sparse files have no end.
            if not path or not entry.isreg() or entry.issparse():
                continue
            if gathered.wants(path, entry.size):
                content = archive.extractfile(entry)
                gathered.add(path, content.read() if content else b"")


class _Counted:
    """A file that reports how much is read of it; what a TAR archive is read from."""

    def __init__(self, file: BinaryIO, report: Callable[[int], None]) -> None:
        self._file = file
        self._report = report

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        data = self._file.read(size)
        self._report(len(data))
        return data


def _attachments(data: bytes, suffix: str, gathered: _Gathered) -> None:
    for folder, name, content in _attached(data, suffix):
        gathered.listed(1)
        path = _safe(f"{folder}/{name}")
        if path and gathered.wants(path, len(content)):
            gathered.unpacked(len(content))
            gathered.add(path, content)


def _attached(data: bytes, suffix: str) -> Iterator[tuple[str, str, bytes]]:
    """Yield folder, name and content of what is attached to a message or a folder of messages."""
    if suffix == ".msg":
        from rag_tools.ingest.msg import msg_attachments

        for attachment in msg_attachments(data):
            yield "", *attachment
    else:
        from rag_tools.ingest.mail import mail_attachments

        for folder, attachment in mail_attachments(data):
            yield folder, *attachment


def _safe(name: str) -> str:
    """Return the name of a member as a path below its archive; ``""`` if nothing is left of it."""
    name = re.sub(r"[\0-\x1f\x7f]", "\ufffd", printable(name).replace("\\", "/"))
    parts = [part.strip() for part in name.split("/")]
    return "/".join(part for part in parts if part not in ("", ".", ".."))[:_LONGEST_PATH]
