"""What an engine records in an audit log."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag_tools.audit.log import FILE_VARIABLE, AuditLog
from rag_tools.audit.verify import records, verify
from rag_tools.engine import Engine
from rag_tools.errors import AuditError, NotFoundError
from rag_tools.types import Document

DOCUMENTS = [
    Document(id="tides", uri="memo:tides", text="The tide turns twice a day in the estuary."),
    Document(id="boats", uri="memo:boats", text="The ferry to the island leaves at noon."),
]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    log = AuditLog(tmp_path / "audit.jsonl", queries="on").of("notes")
    engine = Engine.open(tmp_path / "index", create=True, audit=log)
    engine.add(DOCUMENTS)
    return engine


def test_searches_reads_changes_and_refusals_are_recorded(engine: Engine, tmp_path: Path):
    engine.search("when does the ferry leave?", limit=1)
    engine.search_batch(["tide", "ferry"], limit=1)
    found = engine.cite("The ferry leaves at noon.", limit=1)
    engine.verify(found.citations[0])
    engine.fetch("tides")
    with pytest.raises(NotFoundError):
        engine.fetch("secret plan")
    engine.delete(["boats"])
    seen = [
        (record["event"], record["outcome"], record.get("documents"))
        for record in records(tmp_path / "audit.jsonl")
    ]
    assert seen[:3] == [
        ("add", "begun", None),
        ("add", "ok", ["tides", "boats"]),
        ("search", "ok", ["boats"]),
    ]
    assert sorted(seen[3:5]) == [("search", "ok", ["boats"]), ("search", "ok", ["tides"])]
    assert seen[5:] == [
        ("cite", "ok", ["boats"]),
        ("verify", "ok", ["boats"]),
        ("read", "ok", ["tides"]),
        ("read", "refused: NotFoundError", ["secret plan"]),
        ("delete", "begun", None),
        ("delete", "ok", ["boats"]),
    ]
    texts = [
        record["query"]["text"] for record in records(tmp_path / "audit.jsonl") if "query" in record
    ]
    assert "when does the ferry leave?" in texts
    assert not verify(tmp_path / "audit.jsonl").problems


def test_what_can_not_be_recorded_is_not_returned(engine: Engine, tmp_path: Path):
    (tmp_path / "audit.jsonl.head").write_text("{}")
    with pytest.raises(AuditError):
        engine.search("ferry")
    with pytest.raises(AuditError):
        engine.fetch("tides")
    with pytest.raises(AuditError):
        engine.delete(["tides"])
    assert engine.status().documents == 2


def test_the_environment_names_a_log_for_every_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(FILE_VARIABLE, str(tmp_path / "log.jsonl"))
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.add(DOCUMENTS)
    _, record = records(tmp_path / "log.jsonl")
    assert (record["event"], record["index"]) == ("add", str(tmp_path / "index"))
