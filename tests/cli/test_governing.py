"""The commands that hold, expire and purge documents, and check the audit log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rag_tools.audit.log import FILE_VARIABLE
from rag_tools.cli.main import app


def call(*arguments: object):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = tmp_path / "boats.md", tmp_path / "tides.md"
    files[0].write_text("The xylocanary42 leaves at noon.", encoding="utf-8")
    files[1].write_text("The tide turns twice a day.", encoding="utf-8")
    monkeypatch.setenv(FILE_VARIABLE, str(tmp_path / "audit.jsonl"))
    assert call("index", *files, "--index", tmp_path / "index").exit_code == 0
    return tmp_path / "index"


def ids(index: Path) -> dict[str, str]:
    found = json.loads(call("search", "noon tide", "--index", index, "--json").stdout)["results"]
    return {Path(hit["uri"]).stem: hit["document_id"] for hit in found}


def test_documents_are_held_released_expired_and_purged(index: Path):
    known = ids(index)
    boats, tides = known["boats"], known["tides"]
    assert call("hold", boats, "--index", index).stdout == "1 held\n"
    held = call("purge", boats, "--yes", "--index", index)
    assert held.exit_code == 1 and "0 purged, 1 held" in held.stdout
    assert call("release", boats, "nobody", "--index", index).exit_code == 1
    assert call("expire", tides, "--on", "2020-01-31", "--index", index).exit_code == 0
    assert set(ids(index)) == {"boats"}
    assert call("expire", tides, "--never", "--index", index).exit_code == 0
    assert set(ids(index)) == {"boats", "tides"}
    assert call("expire", tides, "--index", index).exit_code == 2
    assert call("purge", "--index", index).exit_code == 2
    result = call("purge", boats, "--yes", "--json", "--index", index)
    assert (result.exit_code, json.loads(result.stdout)["findings"]) == (0, [])
    files = (path for path in index.rglob("*") if path.is_file())
    assert not any(b"xylocanary42" in path.read_bytes() for path in files)


def test_the_audit_log_is_checked_and_shown(index: Path, tmp_path: Path):
    log = tmp_path / "audit.jsonl"
    assert ids(index)
    good = call("audit", "verify", log)
    assert good.exit_code == 0 and "3 records, 1 to 3, checked without a key" in good.stdout
    head = good.stdout.split("head ")[1].strip()
    assert call("audit", "verify", log, "--expect", head).exit_code == 0
    assert call("audit", "verify", log, "--expect", "2:00").exit_code == 1
    shown = call("audit", "show", log, "--last", 1).stdout
    assert shown.startswith("3  ") and "search  ok" in shown
    assert json.loads(call("audit", "show", log, "--json").stdout.splitlines()[0])["number"] == 1
    log.write_bytes(log.read_bytes().replace(b"search", b"browse"))
    bad = call("audit", "verify", log)
    assert bad.exit_code == 1 and "changed" in bad.stderr
    assert call("audit", "verify", tmp_path / "absent").exit_code == 1
