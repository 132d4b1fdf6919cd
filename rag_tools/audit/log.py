"""Writing the audit log. Threads and processes may share one; each record is one line."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from copy import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from filelock import FileLock, Timeout

from rag_tools.audit import chain
from rag_tools.audit.chain import FIRST, MAX_LINE, Head
from rag_tools.disk import described
from rag_tools.errors import AuditError, ConfigurationError

Queries = Literal["off", "hashed", "on"]

FILE_VARIABLE = "RAG_TOOLS_AUDIT"
QUERIES_VARIABLE = "RAG_TOOLS_AUDIT_QUERIES"
KEY_VARIABLE = "RAG_TOOLS_AUDIT_KEY_FILE"

DEFAULT_MAX_BYTES = 64 * 2**20
"""The size from which on a file is full and the next one is begun."""

LEAST_KEY = 16
"""The fewest bytes of a key."""

_MAX_DOCUMENTS = 500  # ids in one record; the number of all of them is recorded too
_MAX_TEXT = 20_000  # characters of a query or of a detail
_LOCK_SECONDS = 30.0


class Actor(NamedTuple):
    """Who acts: a name, the way in (``python``, ``mcp``), and the id of the request, if any."""

    name: str
    via: str = "python"
    request: str | None = None


acting: ContextVar[Actor | None] = ContextVar("rag_tools_actor", default=None)
"""Who acts in the current context; None: the user of the operating system."""


def key_from(file: Path) -> bytes:
    """Return the key in a file, without white space at its ends.

    Raises
    ------
    ConfigurationError
        If it can't be read or is too short.
    """
    try:
        key = file.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(f"can't read the audit key: {described(error)}") from None
    if len(key) < LEAST_KEY:
        raise ConfigurationError(
            f"the audit key in {file} has {len(key)} bytes: make one of at least {LEAST_KEY}, for "
            "example with: python -c 'import secrets; print(secrets.token_hex(32))'"
        )
    return key


class AuditLog:
    """An audit log.

    Whatever can't be recorded isn't done: `record` raises, and so does the operation.

    Parameters
    ----------
    file
        The current file. Full ones are beside it, with a number after its name: ``.1`` is the
        oldest. ``.head`` names the last record, so that records cut off at the end are missed.
    queries
        What is recorded of the text of a query: nothing (``off``), its HMAC, by which equal
        queries are recognised (``hashed``), or the text itself (``on``), which can be erased.
    key
        Secret of at least 16 bytes, which must be kept from whoever can write to the log. With it,
        nobody else can compute hashes. It is needed for ``hashed``.
    max_bytes
        The size from which on a file is full.

    Attributes
    ----------
    index
        Name of the index that the records are about, see `of`.

    Raises
    ------
    ConfigurationError
        If the key is missing or too short, or the option is unknown.
    """

    def __init__(
        self,
        file: str | Path,
        *,
        queries: Queries = "off",
        key: bytes | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        if queries not in ("off", "hashed", "on"):
            raise ConfigurationError(f"queries {queries!r}: choose off, hashed or on")
        if key is not None and len(key) < LEAST_KEY:
            raise ConfigurationError(f"an audit key of {len(key)} bytes: use {LEAST_KEY} or more")
        if queries == "hashed" and key is None:
            raise ConfigurationError(
                "queries can be hashed only with a key: without one, everybody could try texts"
            )
        self.file = Path(file).absolute()
        self.key = key
        self._queries, self._max_bytes = queries, max_bytes
        self.index = ""
        self._turn = threading.RLock()
        self._lock = FileLock(f"{self.file}.lock", timeout=_LOCK_SECONDS)

    @classmethod
    def from_environment(cls) -> Self | None:
        """Return the log that ``$RAG_TOOLS_AUDIT`` names; None if it names none.

        Raises
        ------
        ConfigurationError
            As for a new log.
        """
        file, key = os.environ.get(FILE_VARIABLE), os.environ.get(KEY_VARIABLE)
        if not file:
            return None
        queries: Any = os.environ.get(QUERIES_VARIABLE) or "off"
        return cls(file, queries=queries, key=key_from(Path(key)) if key else None)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to make a log on the same file, for copying and pickling."""
        return _remade, (self.file, self._queries, self.key, self._max_bytes, self.index)

    def of(self, index: str) -> Self:
        """Return this log for the operations on an index, whose name is in their records."""
        named = copy(self)
        named.index = index
        return named

    def __copy__(self) -> Self:
        """Return a log that shares the lock with this one."""
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__)
        return made

    def record(
        self,
        event: str,
        *,
        outcome: str = "ok",
        query: str | None = None,
        documents: Iterable[str] = (),
        **detail: Any,  # noqa: ANN401 - whatever JSON holds
    ) -> int:
        """Append a record; return its number.

        Parameters
        ----------
        event
            What was done: ``search``, ``cite``, ``read``, ``list``, ``verify``, ``sync``, ``add``,
            ``delete``, ``purge``, ``refuse`` and others.
        outcome
            ``ok``, or why it wasn't done.
        query
            The text that was searched for.
        documents
            The ids of the documents that were returned or changed.
        detail
            Anything else.

        Raises
        ------
        AuditError
            If the record can't be written.
        """
        ids = list(dict.fromkeys(documents))
        actor = acting.get() or Actor(_user())
        fields: dict[str, Any] = {
            "event": event,
            "outcome": outcome,
            "actor": actor.name,
            "via": actor.via,
            "request": actor.request,
            "index": self.index or None,
            "documents": ids[:_MAX_DOCUMENTS] or None,
            "number_of_documents": len(ids) if len(ids) > _MAX_DOCUMENTS else None,
            "detail": {name: each for name, each in detail.items() if each is not None} or None,
            **self._described(query),
        }
        with self._locked():
            return self._append({name: each for name, each in fields.items() if each is not None})

    def erase_queries(self, wanted: Callable[[Mapping[str, Any], str], bool], why: str) -> int:
        """Erase texts of queries; return how many.

        The records stay, and the chain stays whole: it covers only digests of the texts. A record
        says which were erased.

        Parameters
        ----------
        wanted
            Tells whether to erase it, given a record and the text of its query.
        why
            For the record.

        Raises
        ------
        AuditError
            If the log can't be read or written.
        """
        with self._locked():
            numbers = [
                record["number"]
                for file in chain.files(self.file)
                for record in _records(file)
                if "query" in record and wanted(record, record["query"]["text"])
            ]
            if not numbers:
                return 0
            # First: an interruption must not leave texts missing that nobody says were erased.
            for start in range(0, len(numbers), _MAX_DOCUMENTS):
                some = numbers[start : start + _MAX_DOCUMENTS]
                detail = {"records": some, "why": why[:_MAX_TEXT]}
                self._append(
                    {"event": "erase", "outcome": "ok", "actor": actor().name, "detail": detail}
                )
            erased = frozenset(numbers)
            for file in chain.files(self.file):
                self._rewrite(file, erased)
            return len(numbers)

    def files(self) -> list[Path]:
        """Return the files of the log that exist, the oldest first, and that of its head."""
        head = chain.head_path(self.file)
        return chain.files(self.file) + [head] * head.exists()

    # -- under the lock --------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with self._turn, self._lock:
                yield
        except Timeout:
            raise AuditError(
                f"another process holds {self.file}.lock for more than {_LOCK_SECONDS:g} s: "
                "stop it, and do this again"
            ) from None
        except OSError as error:
            raise AuditError(
                f"the audit log can't be written, so nothing was done: {described(error)}"
            ) from error

    def _append(self, fields: dict[str, Any]) -> int:
        head, noticed = self._continued()
        if noticed:
            head = self._write(head, {"event": "log", "outcome": noticed, "actor": "rag-tools"})
        return self._write(head, fields).number

    def _continued(self) -> tuple[Head, str]:
        """Return the last record, and what is wrong with the log, or ``""``."""
        size = self.file.stat().st_size if self.file.exists() else 0
        head = chain.read_head(self.file, self.key)
        noticed = ""
        if head is None:
            head = Head(0, FIRST, 0)
            noticed = "the head was missing" if chain.files(self.file) else ""
        if size > head.size:  # it was interrupted after the line, or within it
            head, whole = self._caught_up(head)
            noticed = "" if whole else "what follows the head was not appended by a log"
        elif size < head.size:
            noticed = f"{head.size - size} bytes were missing at the end"
            head = head._replace(size=size)
        return head, noticed

    def _caught_up(self, head: Head) -> tuple[Head, bool]:
        """Return the head after complete lines that continue it; cut off an incomplete line."""
        with self.file.open("rb+") as file:
            file.seek(head.size)
            rest = file.read(MAX_LINE)
            end = rest.rfind(b"\n") + 1
            if end < len(rest) < MAX_LINE:
                file.truncate(head.size + end)
        for line in rest[:end].splitlines(keepends=True):
            record = _parsed(line)
            if record is None or record.get("prev") != head.hash:
                return head._replace(size=self.file.stat().st_size), False
            head = Head(head.number + 1, record.get("hash", ""), head.size + len(line))
        size = self.file.stat().st_size
        return head._replace(size=size), size == head.size

    def _write(self, head: Head, fields: dict[str, Any]) -> Head:
        if head.size >= self._max_bytes:
            self.file.replace(chain.next_rotated(self.file))
            head = head._replace(size=0)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        record = {"number": head.number + 1, "time": now, **fields, "prev": head.hash}
        record["hash"] = chain.record_hash(record, self.key)
        line = json.dumps(record, ensure_ascii=True).encode() + b"\n"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # Only the owner may read who searched what.
        descriptor = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(line)
        head = Head(head.number + 1, record["hash"], head.size + len(line))
        self._write_head(head)
        return head

    def _write_head(self, head: Head) -> None:
        _replaced(chain.head_path(self.file), chain.head_as_bytes(head, self.key))

    def _rewrite(self, file: Path, erased: frozenset[int]) -> None:
        lines = []
        for line in file.read_bytes().splitlines(keepends=True):
            record = _parsed(line)
            if record is not None and record.get("number") in erased and "query" in record:
                del record["query"]
                line = json.dumps(record, ensure_ascii=True).encode() + b"\n"
            lines.append(line)
        content = b"".join(lines)
        _replaced(file, content)
        if file == self.file:
            head = chain.read_head(self.file, self.key)
            assert head is not None, "a record was appended before"
            self._write_head(head._replace(size=len(content)))

    def _described(self, query: str | None) -> dict[str, Any]:
        if query is None or self._queries == "off":
            return {}
        text = query[:_MAX_TEXT].encode("utf-8", "replace").decode()
        if self._queries == "hashed":
            return {"query_hmac": chain.digest(text.encode(), self.key)}
        salt = secrets.token_hex(16)
        return {
            "query_digest": chain.query_digest(text, salt),
            "query": {"text": text, "salt": salt},
        }


def _remade(
    file: Path, queries: Queries, key: bytes | None, max_bytes: int, index: str
) -> AuditLog:
    return AuditLog(file, queries=queries, key=key, max_bytes=max_bytes).of(index)


def actor() -> Actor:
    """Return who acts in the current context."""
    return acting.get() or Actor(_user())


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user without a name, as in containers
        return "unknown"


def _records(file: Path) -> Iterator[dict[str, Any]]:
    with file.open("rb") as lines:
        while line := lines.readline(MAX_LINE):
            if (record := _parsed(line)) is not None:
                yield record


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _replaced(path: Path, content: bytes) -> None:
    """Replace a file's content, whole or not at all."""
    temporary = path.with_name(f"{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)
