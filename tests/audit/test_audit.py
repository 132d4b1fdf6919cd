"""The audit log: appending from threads and processes, rotation, and what a check detects."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from pathlib import Path

import pytest

from rag_tools.audit import chain
from rag_tools.audit.log import Actor, AuditLog, acting, key_from
from rag_tools.audit.verify import records, verify
from rag_tools.errors import AuditError, ConfigurationError

KEY = b"a key that nobody else knows"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "audit.jsonl"


def filled(file: Path, number: int = 5, **options: object) -> AuditLog:
    log = AuditLog(file, **options)  # type: ignore[arg-type]
    for at in range(number):
        log.of("notes").record("search", query=f"query {at}", documents=[f"d{at}"], limit=3)
    return log


def kinds(file: Path, key: bytes | None = None) -> set[str]:
    return {problem.kind for problem in verify(file, key=key).problems}


def lines(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines(keepends=True)


def test_a_log_is_a_chain_that_says_who_did_what(file: Path):
    token = acting.set(Actor("ana", "mcp", "r1"))
    try:
        filled(file, queries="on")
    finally:
        acting.reset(token)
    report = verify(file)
    assert (report.records, report.first, report.last, report.problems) == (5, 1, 5, ())
    first = next(records(file))
    assert (first["actor"], first["via"], first["request"]) == ("ana", "mcp", "r1")
    assert (first["event"], first["index"], first["documents"]) == ("search", "notes", ["d0"])
    assert first["query"]["text"] == "query 0" and first["detail"] == {"limit": 3}


def test_queries_are_off_unless_asked_for_and_can_be_hashed(file: Path, tmp_path: Path):
    filled(file)
    assert b"query 0" not in file.read_bytes()
    other = tmp_path / "hashed.jsonl"
    log = filled(other, queries="hashed", key=KEY)
    log.record("search", query="query 0")
    found = [record["query_hmac"] for record in records(other)]
    assert b"query 0" not in other.read_bytes()
    assert found[0] == found[-1] and len(set(found)) == 5
    with pytest.raises(ConfigurationError, match="only with a key"):
        AuditLog(file, queries="hashed")


@pytest.mark.parametrize("key", [None, KEY])
def test_a_changed_record_is_detected(file: Path, key: bytes | None):
    filled(file, key=key)
    file.write_bytes(file.read_bytes().replace(b'"d2"', b'"dX"'))
    assert kinds(file, key) == {"changed"}


@pytest.mark.parametrize("key", [None, KEY])
def test_a_dropped_record_is_detected(file: Path, key: bytes | None):
    filled(file, key=key)
    kept = lines(file)
    file.write_bytes(b"".join(kept[:2] + kept[3:]))
    assert "missing" in kinds(file, key)


def test_reordered_and_repeated_records_are_detected(file: Path):
    filled(file)
    kept = lines(file)
    file.write_bytes(b"".join([kept[0], kept[2], kept[1], *kept[3:]]))
    assert "order" in kinds(file)
    file.write_bytes(b"".join([*kept[:2], kept[1], *kept[2:]]))
    assert "order" in kinds(file)


@pytest.mark.parametrize("left", [0, 3])
def test_a_missing_end_is_detected_and_noticed_by_the_next_record(file: Path, left: int):
    log = filled(file)
    file.write_bytes(b"".join(lines(file)[:left]))
    assert kinds(file) == {"cut off"}
    log.record("search")
    report = verify(file)
    assert {problem.kind for problem in report.problems} == {"missing"}
    assert "bytes were missing at the end" in report.notices[0]


def test_a_chain_made_anew_is_detected_by_its_key_or_by_an_earlier_head(file: Path):
    filled(file, key=KEY)
    earlier = verify(file, key=KEY)
    for path in (file, chain.head_path(file)):
        path.unlink()
    filled(file, 4)  # an attacker who doesn't know the key writes another one
    assert {"changed", "head"} <= kinds(file, KEY)
    assert not kinds(file)
    report = verify(file, expected=(earlier.last, earlier.head))
    assert {problem.kind for problem in report.problems} == {"missing"}


def test_a_missing_or_forged_head_is_detected(file: Path):
    log = filled(file, key=KEY)
    head = chain.head_path(file)
    head.write_bytes(head.read_bytes().replace(b'"number": 5', b'"number": 4'))
    assert kinds(file, KEY) == {"head"}
    with pytest.raises(AuditError, match="another key"):
        log.record("search")
    head.unlink()
    assert kinds(file, KEY) == {"head"}


def test_full_files_are_kept_and_the_chain_goes_on_across_them(file: Path):
    log = filled(file, 40, max_bytes=2_000)
    rotated = chain.files(file)
    assert len(rotated) > 5 and rotated[-1] == file
    assert [path.name for path in rotated[:2]] == ["audit.jsonl.1", "audit.jsonl.2"]
    assert not verify(file).problems and verify(file).records == 40
    rotated[0].unlink()
    assert kinds(file) == {"missing"}
    assert not verify(file, removed=True).problems
    rotated[2].unlink()
    assert "missing" in {problem.kind for problem in verify(file, removed=True).problems}
    log.record("search")


def test_an_interruption_within_a_record_loses_only_that_record(file: Path):
    log = filled(file)
    head = chain.head_path(file).read_bytes()
    log.record("search")  # the process ends after the line, before the head
    chain.head_path(file).write_bytes(head)
    with file.open("ab") as end:
        end.write(b'{"number": 7, "eve')  # and another one within a line
    log.record("search")
    report = verify(file)
    assert (report.records, report.problems, report.notices) == (7, (), ())


def test_texts_of_queries_can_be_erased_and_nothing_else(file: Path):
    log = filled(file, 40, max_bytes=2_000, queries="on")
    erased = log.erase_queries(lambda record, text: text.endswith("7"), "purge of d7")
    assert erased == 4
    assert b"query 17" not in b"".join(path.read_bytes() for path in chain.files(file))
    report = verify(file)
    assert (report.problems, report.erased) == ((), 4)
    log.record("search", query="query 99")
    assert not verify(file).problems
    first = chain.files(file)[0]
    record = json.loads(lines(first)[0])
    del record["query"]  # by hand, so that no record says it
    first.write_bytes(json.dumps(record).encode() + b"\n" + b"".join(lines(first)[1:]))
    assert kinds(file) == {"erased"}


def test_the_text_of_a_query_can_not_be_changed(file: Path):
    filled(file, queries="on")
    file.write_bytes(file.read_bytes().replace(b"query 3", b"query 4"))
    assert kinds(file) == {"changed"}


def test_threads_and_copies_share_a_log(file: Path):
    log = AuditLog(file, max_bytes=5_000)
    logs = [log, copy(log), log.of("a"), pickle.loads(pickle.dumps(log.of("b")))]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda at: logs[at % 4].record("search"), range(80)))
    report = verify(file)
    assert (report.records, report.problems) == (80, ())


def test_processes_share_a_log(file: Path):
    program = (
        "import sys; from rag_tools.audit.log import AuditLog\n"
        "log = AuditLog(sys.argv[1], max_bytes=8_000)\n"
        "for at in range(40): log.record('search', documents=[sys.argv[2]])"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(file), str(number)])
        for number in range(3)
    ]
    assert [process.wait() for process in started] == [0, 0, 0]
    report = verify(file)
    assert (report.records, report.problems) == (120, ())
    assert {record["documents"][0] for record in records(file)} == {"0", "1", "2"}


def test_what_can_not_be_recorded_is_an_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditError, match="nothing was done"):
        AuditLog(tmp_path / "file" / "audit.jsonl").record("search")
    with pytest.raises(AuditError, match="no audit log"):
        verify(tmp_path / "absent")
    (tmp_path / "key").write_bytes(b"short\n")
    with pytest.raises(ConfigurationError, match="at least 16"):
        key_from(tmp_path / "key")
