"""Checking an audit log: whether every record is there, unchanged and in its place."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from rag_tools.audit import chain
from rag_tools.audit.chain import FIRST, MAX_LINE, Head
from rag_tools.errors import AuditError
from rag_tools.types import Value

ProblemKind = Literal["changed", "missing", "order", "cut off", "unreadable", "erased", "head"]

MAX_PROBLEMS = 100


class Problem(Value):
    """Something wrong with a log.

    Attributes
    ----------
    kind
        ``changed``: a record isn't what was written. ``missing``: records aren't there.
        ``order``: a record stands elsewhere than where it was written. ``cut off``: the last
        records are missing. ``unreadable``: a line is no record. ``erased``: the text of a query
        is missing, and no record says that it was erased. ``head``: the head is missing or wrong.
    file, line
        Where, the line from 1.
    message
        For a person.
    """

    kind: ProblemKind
    file: str
    line: int
    message: str


class AuditReport(Value):
    """What a check of a log found.

    Attributes
    ----------
    records
        Records that were read.
    first, last
        Their numbers, 0 if there are none.
    head
        The hash of the last record. Kept elsewhere, it proves later that nothing before was
        changed, even if the key becomes known.
    keyed
        Whether the hashes were checked with a key.
    erased
        Queries whose texts were erased, as records say.
    notices
        What the log itself noticed when it was continued, such as a missing end.
    problems
        The first hundred; without any, the log is whole.
    """

    records: int = 0
    first: int = 0
    last: int = 0
    head: str = FIRST
    keyed: bool = False
    erased: int = 0
    notices: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = Field(default=())


def verify(
    file: Path,
    *,
    key: bytes | None = None,
    removed: bool = False,
    expected: tuple[int, str] | None = None,
) -> AuditReport:
    """Check a log: O(its size), in constant memory but for the numbers of erased queries.

    Parameters
    ----------
    file
        The current file; the full ones beside it are read too.
    key
        The key that the log was written with.
    removed
        Whether the oldest files may be missing, because they were removed on purpose.
    expected
        Number and hash of a record that must be in the log, as an earlier report gave them.

    Raises
    ------
    AuditError
        If there is no log, or it can't be read.
    """
    checker = _Checker(key)
    files = chain.files(file)
    if not files:
        raise AuditError(f"there is no audit log at {file}: name the file that was given to it")
    try:
        for path in files:
            checker.read(path, removed=removed, expected=expected)
    except OSError as error:
        raise AuditError(f"{file} can't be read: {error.strerror or error}") from None
    if expected is not None and not checker.met:
        checker.problem("missing", file, 0, f"record {expected[0]} isn't the one that was expected")
    checker.compare(file)
    return checker.report()


def records(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a log in order, without checking them; unreadable lines are left out."""
    for path in chain.files(file):
        for _, line in _lines(path):
            record = _record(line)
            if record is not None:
                yield record


class _Checker:
    def __init__(self, key: bytes | None) -> None:
        self._key = key
        self._first: int | None = None
        self._last = Head(0, FIRST, 0)
        self._count = 0
        self._problems: list[Problem] = []
        self._notices: list[str] = []
        self._without_text: dict[int, tuple[Path, int]] = {}
        self._erased: set[int] = set()
        self.met = False

    def problem(self, kind: ProblemKind, file: Path, line: int, message: str) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(Problem(kind=kind, file=str(file), line=line, message=message))

    def read(self, file: Path, *, removed: bool, expected: tuple[int, str] | None) -> None:
        for number, line in _lines(file):
            record = _record(line)
            if record is None:
                self.problem("unreadable", file, number, "the line is no record")
                continue
            self._check(record, file, number, removed=removed)
            self.met |= expected == (record["number"], record["hash"])

    def _check(self, record: dict[str, Any], file: Path, line: int, *, removed: bool) -> None:
        self._count += 1
        number, last = record["number"], self._last
        if self._first is None:
            self._first = number
            if removed and number > 1:
                last = Head(number - 1, record["prev"], 0)
        if not hmac.compare_digest(record["hash"], chain.record_hash(record, self._key)):
            self.problem("changed", file, line, f"record {number} isn't what was written")
        elif number > last.number + 1:
            gap = f"{last.number + 1} to {number - 1}"
            self.problem("missing", file, line, f"the records {gap} are missing here")
        elif number <= last.number:
            self.problem("order", file, line, f"record {number} stands after {last.number}")
        elif record["prev"] != last.hash:
            self.problem(
                "changed", file, line, f"the record before {number} isn't what was written"
            )
        self._query(record, file, line)
        detail = record.get("detail")
        if record.get("event") == "erase" and isinstance(detail, dict):
            self._erased.update(each for each in detail.get("records", ()) if type(each) is int)
        if record.get("event") == "log":
            self._notices.append(f"before record {number}: {record.get('outcome')}")
        self._last = Head(number, record["hash"], 0)

    def _query(self, record: dict[str, Any], file: Path, line: int) -> None:
        digest, query = record.get("query_digest"), record.get("query")
        if digest is None:
            if query is not None:
                self.problem("changed", file, line, f"record {record['number']} had no query")
        elif query is None:
            self._without_text[record["number"]] = file, line
        elif not (
            isinstance(query, dict)
            and isinstance(query.get("text"), str)
            and chain.query_digest(query["text"], str(query.get("salt"))) == digest
        ):
            self.problem("changed", file, line, f"record {record['number']} had another query")

    def compare(self, file: Path) -> None:
        """Compare the last record with the head, and the missing texts with what was erased."""
        for number, (path, line) in self._without_text.items():
            if number not in self._erased:
                self.problem("erased", path, line, f"record {number} lacks the text of its query")
        try:
            head = chain.read_head(file, self._key)
        except AuditError as error:
            self.problem("head", file, 0, str(error))
            return
        if head is None:
            self.problem("head", file, 0, "the head is missing, so the end may be cut off")
        elif head.number > self._last.number:
            missing = head.number - self._last.number
            self.problem("cut off", file, 0, f"the last {missing} records are missing")
        elif head.number == self._last.number and head.hash != self._last.hash:
            self.problem("changed", file, 0, "the last record isn't the one that the head names")

    def report(self) -> AuditReport:
        return AuditReport(
            records=self._count,
            first=self._first or 0,
            last=self._last.number,
            head=self._last.hash,
            keyed=self._key is not None,
            erased=len(self._without_text.keys() & self._erased),
            notices=tuple(self._notices[:MAX_PROBLEMS]),
            problems=tuple(self._problems),
        )


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    with file.open("rb") as lines:
        number = 0
        while line := lines.readline(MAX_LINE):
            number += 1
            yield number, line


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or type(record.get("number")) is not int:
        return None
    return record if all(isinstance(record.get(each), str) for each in ("prev", "hash")) else None
