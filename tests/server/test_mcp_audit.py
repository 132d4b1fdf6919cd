"""The audit log of a server over HTTP: callers by name, and refusals."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from rag_tools.audit.verify import records, verify
from rag_tools.client import Client
from rag_tools.engine import Engine
from rag_tools.errors import ServerError
from rag_tools.types import Document
from serving import RAG_TOOLS, serving

KEY = "a key that nobody else knows"
TOKEN = "the-token-of-ana-long-enough"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of a server that answered some calls."""
    folder = tmp_path_factory.mktemp("audited")
    with Engine.open(folder / "index", create=True) as engine:
        engine.add([Document(id="boats", uri="memo:boats", text="The ferry leaves at noon.")])
    (folder / "key").write_text(KEY)
    (folder / "token").write_text(TOKEN)
    (folder / "settings.toml").write_text(
        """
allow_write = ["notes"]
collections = {notes = "index"}
audit = {file = "audit.jsonl", queries = "hashed", key_file = "key"}
[http]
address = "127.0.0.1:0"
[[http.tokens]]
name = "ana"
file = "token"
"""
    )
    command = [*RAG_TOOLS, "serve", "--config", str(folder / "settings.toml")]
    with serving(command) as url:
        with Client(url, token=TOKEN) as client:
            client.search("ferry")
            client.fetch("boats")
            with pytest.raises(ServerError):
                client.fetch("no such document")
        call = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "sync", "arguments": {}},
        }
        headers = {"Accept": "application/json, text/event-stream"}
        allowed = {"Authorization": f"Bearer {TOKEN}", **headers}
        assert "scope write" in httpx.post(url, json=call, headers=allowed, timeout=60).text
        assert httpx.post(url, json=call, headers=headers, timeout=60).status_code == 401
    return folder / "audit.jsonl"


def test_calls_are_recorded_with_their_callers(log: Path):
    seen = [
        (record["event"], record["outcome"], record["actor"], record.get("documents"))
        for record in records(log)
    ]
    assert ("search", "ok", "ana", ["boats"]) in seen
    assert ("read", "ok", "ana", ["boats"]) in seen
    assert ("read", "refused: NotFoundError", "ana", ["no such document"]) in seen
    by_ana = [record for record in records(log) if record["actor"] == "ana"]
    assert all(record["via"] == "mcp" and record["request"] for record in by_ana)
    assert {record.get("index") for record in records(log)} == {"notes", None}
    assert b"ferry" not in log.read_bytes()
    assert not verify(log, key=KEY.encode()).problems


def test_refusals_are_recorded(log: Path):
    refused = [record for record in records(log) if record["event"] == "refuse"]
    assert [(record["actor"], record["outcome"]) for record in refused] == [
        ("ana", "refused: denied"),
        ("127.0.0.1", "refused: no valid token"),
    ]
    assert refused[0]["detail"] == {"tool": "sync"}
