"""Purging: nothing of a document is left in any file, and the report proves it."""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path

import pytest

from rag_tools.audit.log import AuditLog
from rag_tools.audit.verify import records, verify
from rag_tools.catalog import schema
from rag_tools.catalog.catalog import Catalog
from rag_tools.engine import Engine
from rag_tools.index.codebook import CODEBOOKS, Codebook
from rag_tools.index.segment import SEGMENTS, Segment
from rag_tools.maintenance.backup import backup, restore
from rag_tools.purge.report import PurgeReport
from rag_tools.types import Document

KEY = b"a key that nobody else knows"
CANARY = "The vault of Zarquon opens with the word xylocanary42 spoken thrice at midnight."
OTHERS = [
    Document(
        id=f"other{at}",
        uri=f"memo:other{at}",
        text=f"Note {at}. The tide of the estuary turns twice a day, and the ferry leaves at noon.",
    )
    for at in range(20)
]


def secret() -> Document:
    return Document(
        id="secret",
        uri="memo:vault-of-zarquon",
        title="Vault of Zarquon",
        text=f"{CANARY}\n\nNobody else in the company may know of it.",
        metadata={"owner": "trillian@zarquon.example"},
    )


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    log = AuditLog(tmp_path / "audit.jsonl", queries="on", key=KEY)
    engine = Engine.open(tmp_path / "index", create=True, audit=log)
    engine.add([*OTHERS, secret()])
    return engine


def content(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def token_runs(directory: Path) -> list[bytes]:
    """The token ids of all stored passages, dead ones included, of every segment file."""
    catalog = Catalog.open(directory)
    codebook = Codebook.read([directory / CODEBOOKS / file for file in catalog.codebook_files()])
    catalog.close()
    return [
        Segment(path, codebook).token_ids(position).tobytes()
        for path in (directory / SEGMENTS).glob("*.seg")
        for position in range(len(Segment(path, codebook)))
    ]


def test_nothing_of_a_purged_document_is_left_in_the_files_of_the_index(engine: Engine):
    directory = engine.directory
    before = token_runs(directory)
    stored = zlib.compress(secret().text.encode())
    assert stored in content(directory) and b"xylocanary42" in content(directory)
    report = engine.retention.purge(["secret"])
    assert [purged.id for purged in report.documents] == ["secret"]
    assert report.findings == () and report.traces > 10
    after = content(directory)
    for trace in (stored[8:40], b"xylocanary42", b"Zarquon", b"zarquon", b"trillian", b"midnight"):
        assert trace not in after
    left = token_runs(directory)
    assert len(before) - len(left) == report.documents[0].passages > 0
    assert {path.name for path in (directory / SEGMENTS).iterdir()} == set(
        Path(file.path).name for file in report.files if file.path.endswith((".seg", ".lex"))
    )
    assert not (directory / "catalog.sqlite-wal").exists() or not (
        (directory / "catalog.sqlite-wal").stat().st_size
    )
    engine.check()
    assert engine.search("tide of the estuary", limit=5).results


def test_what_is_left_elsewhere_is_found(engine: Engine, tmp_path: Path):
    elsewhere = tmp_path / "exports"
    elsewhere.mkdir()
    (elsewhere / "dump.jsonl").write_text(json.dumps({"text": secret().text}), encoding="utf-8")
    stored = zlib.compress(secret().text.encode())
    (elsewhere / "raw.bin").write_bytes(bytes(100) + stored + bytes(100))
    report = engine.retention.purge(["secret"], also=[elsewhere])
    found = {(Path(finding.path).name, finding.kind) for finding in report.findings}
    assert ("dump.jsonl", "text") in found and ("raw.bin", "stored document") in found
    assert report.remarks


def test_indexes_in_backups_are_purged_too(engine: Engine, tmp_path: Path):
    engine.retention.hold([])  # cuts off the log of commits, so that a copy of the files is whole
    backups = tmp_path / "backups"
    shutil.copytree(engine.directory, backups / "monday")
    report = engine.retention.purge(["secret"], backups=[backups])
    assert report.backups == (str(backups / "monday"),) and report.findings == ()
    assert b"xylocanary42" not in content(backups)
    with Engine.open(backups / "monday") as backup:
        assert "secret" not in {entry.id for entry in backup.documents()}
        assert backup.status().documents == len(OTHERS)


def test_backups_are_made_anew_without_what_was_purged(engine: Engine, tmp_path: Path):
    backups = tmp_path / "backups"
    earlier = "The word plumbago77 opened the vault of Zarquon until spring came over the hills."
    engine.add([secret().model_copy(update={"text": earlier})])
    backup(engine.directory, backups / "monday")
    engine.add([secret(), *(other.model_copy(update={"id": f"x{other.id}"}) for other in OTHERS)])
    backup(engine.directory, backups / "tuesday")
    damaged = backups / "sunday"
    shutil.copytree(backups / "monday", damaged)
    next((damaged / SEGMENTS).iterdir()).write_bytes(b"")
    assert b"plumbago77" in content(backups / "monday")
    report = engine.retention.purge(["secret"], backups=[backups])
    assert report.backups == (str(backups / "monday"), str(backups / "tuesday"))
    assert any("sunday" in remark and "damaged" in remark for remark in report.remarks)
    # The one that is damaged was searched as it is; nothing is left in the others.
    assert report.findings and all("sunday" in finding.path for finding in report.findings)
    assert report.holds(KEY)
    searched = {Path(file.path).parent.parent for file in report.files}
    assert {backups / "monday", backups / "tuesday", damaged} <= searched
    for name, number in (("monday", len(OTHERS)), ("tuesday", 2 * len(OTHERS))):
        for trace in (b"plumbago77", b"xylocanary42", b"Zarquon", b"zarquon"):
            assert trace not in content(backups / name)
        assert not list((backups / name).glob("purge-*"))
        assert restore(backups / name, tmp_path / name).documents == number
        assert {path.parent.name for path in (backups / name / "commits").rglob("*.sqlite")} == {
            path.name for path in (backups / name / "commits").iterdir()
        }
        with Engine.open(tmp_path / name) as restored:
            restored.check()
            assert restored.search("tide of the estuary").results
    # A backup is brought up to date afterwards as before.
    backup(engine.directory, backups / "monday", verify=True)
    assert restore(backups / "monday", tmp_path / "again").documents == 2 * len(OTHERS)


def test_what_only_a_backup_holds_any_more_is_purged_from_it(engine: Engine, tmp_path: Path):
    backup(engine.directory, tmp_path / "backups" / "monday")
    engine.delete(["secret"])
    report = engine.retention.purge(uris=[secret().uri], backups=[tmp_path / "backups"])
    assert report.backups == (str(tmp_path / "backups" / "monday"),)
    assert (report.unknown, report.findings) == ((), ())
    assert b"xylocanary42" not in content(tmp_path / "backups")


def test_queries_that_quote_a_purged_document_are_erased_from_the_audit_log(
    engine: Engine, tmp_path: Path
):
    engine.search("xylocanary42 vault", limit=1)
    engine.search("when does the ferry leave?", limit=1, filter={"document_id": "other3"})
    engine.search(CANARY[:40], filter={"document_id": "other3"}, limit=1)
    report = engine.retention.purge(["secret"])
    assert report.queries == 2 and report.findings == ()
    kept = [
        record["query"]["text"] for record in records(tmp_path / "audit.jsonl") if "query" in record
    ]
    assert kept == ["when does the ferry leave?"]
    checked = verify(tmp_path / "audit.jsonl", key=KEY)
    assert checked.problems == () and checked.erased == 2
    last = list(records(tmp_path / "audit.jsonl"))[-1]
    assert (last["event"], last["documents"]) == ("purge", ["secret"])
    assert last["detail"] == {"findings": 0, "report": report.signature}


def test_a_report_is_signed(engine: Engine):
    report = engine.retention.purge(["secret", "nobody"])
    assert report.unknown == ("nobody",) and report.signed == "HMAC-SHA-256"
    again = PurgeReport.model_validate_json(report.model_dump_json())
    assert again.holds(KEY) and not again.holds(b"another key of enough bytes")
    assert not again.model_copy(update={"findings": (), "traces": 1}).holds(KEY)
    assert CANARY[:20] not in report.model_dump_json()


def test_a_reader_that_needs_the_log_of_commits_is_reported(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(schema, "BUSY_MILLISECONDS", 100)
    with Engine.open(engine.directory) as reader, reader._opened.reader.view():
        report = engine.retention.purge(["secret"])
    assert any("log of commits" in remark for remark in report.remarks)


def test_text_that_another_document_holds_stays_with_that_one(engine: Engine):
    engine.add([secret().model_copy(update={"id": "copy", "uri": "memo:copy"})])
    report = engine.retention.purge(["secret"])
    assert report.findings == ()
    assert engine.document("copy").text == secret().text
    assert engine.search("xylocanary42").results[0].document_id == "copy"
    assert engine.retention.purge(uris=["memo:copy"]).findings == ()
    assert b"xylocanary42" not in content(engine.directory)


def test_an_unknown_document_is_no_error_and_costs_nothing(engine: Engine):
    before = {path.name for path in (engine.directory / SEGMENTS).iterdir()}
    report = engine.retention.purge(["nobody"])
    assert (report.documents, report.unknown, report.traces) == ((), ("nobody",), 0)
    assert {path.name for path in (engine.directory / SEGMENTS).iterdir()} == before
